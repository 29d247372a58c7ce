"""Choice of the deployment that a command is about: the named one, or the only one. Knows records; knows no engine."""

import os
from pathlib import Path

from dppo.deploy.engine import Deployment
from dppo.deploy.records import ROOT, deployments, read_deployment
from dppo.protocol.errors import UsageError


def shown(deployment: Deployment) -> str:
    """Return the run directory as people type it."""
    return os.path.relpath(deployment.run)


def named(run: str) -> Deployment:
    """Return the deployment of that run, up or down. Raises UsageError."""
    found = read_deployment(Path(run))
    if found is None:
        others = ", ".join(shown(one) for one in deployments()[:3])
        raise UsageError(f"{run} is not deployed{f': there are {others}' if others else ': dppo up FILE does'}")
    return found


def the_one_up(run: str) -> Deployment:
    """Return the one that is up and that a command is about: the named one, or the only one. Raises UsageError."""
    if run:
        found = named(run)
        if found.ended:
            raise UsageError(f"{run} is down already: dppo logs {run} has its logs, dppo up FILE goes on with it")
        return found
    there = [one for one in deployments() if not one.ended]
    if not there:
        raise UsageError(f"nothing is deployed below {ROOT.absolute()}: dppo up FILE starts a deployment")
    if len(there) != 1:
        names = ", ".join(shown(one) for one in there)
        raise UsageError(f"run is missing, and {len(there)} deployments are up below {ROOT}: {names}. Name one")
    return there[0]


def chosen_to_read(run: str) -> Deployment:
    """Return the named one, the only one that is up, or, where none is, the one that was submitted last."""
    if run:
        return named(run)
    there = deployments()
    return the_one_up("") if not there or any(not one.ended for one in there) else there[0]
