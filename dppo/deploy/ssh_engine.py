"""Engine ssh: the learners on this machine, actors on hosts that ssh reaches, under a supervisor here.

Supervision is ours here, as no other engine's: supervisor.py with ssh_actors.py on this machine, guest.py on each host.
The join line goes over the encrypted connection to the guest's standard input, and is in no argument and no file.
"""

import asyncio
import sys
import time
from pathlib import Path

import msgspec

from dppo.deploy.config import parse_hosts
from dppo.deploy.engine import Deployment, Plan, Rendered
from dppo.deploy.local_engine import scale, start_supervisor, status, stop, supervisor_command
from dppo.deploy.supervised import HOSTS, SETTINGS
from dppo.protocol.errors import UsageError

__all__ = ["render", "scale", "status", "stop", "submit"]

INSTALLED = "~/.dppo/venv/bin/python"
WHEELS = ".dppo"  # in the user's home on a host
INSTALL_SECONDS = 900.0


def render(plan: Plan) -> Rendered:
    """Return the learner's settings, the list of hosts and the supervisor's command."""
    hosts = parse_hosts(plan.deploy.hosts)
    if not hosts:
        raise UsageError("deploy.hosts is empty: name the hosts for actors, for example [h1, user@h2, {h3: 16}]")
    listed = {
        "name": plan.name,
        "hosts": hosts,
        "python": plan.deploy.python or (INSTALLED if plan.deploy.install else sys.executable),
        "ssh_config": plan.deploy.ssh_config and str(plan.directory / Path(plan.deploy.ssh_config).expanduser()),
        "directory": plan.deploy.directory,
    }
    text = msgspec.json.format(msgspec.json.encode(listed)).decode() + "\n"
    return Rendered({SETTINGS: plan.settings, HOSTS: text}, [supervisor_command(plan.run)])


def submit(plan: Plan, rendered: Rendered) -> Deployment:
    """Check every host, install dppo where that is wanted, start the supervisor."""
    if plan.deploy.install and not Path(plan.deploy.install).is_file():
        raise UsageError(f"deploy.install={plan.deploy.install} is not there: name a wheel of dppo")
    try:
        from dppo.deploy.ssh_hosts import check_hosts
    except ModuleNotFoundError as error:
        raise UsageError(f"the engine ssh needs {error.name}: pip install 'dppo[ssh]'") from None

    asyncio.run(check_hosts((plan.folder / HOSTS).read_bytes(), plan.deploy.install))
    deployment = Deployment(
        engine="ssh",
        name=plan.name,
        run=str(plan.run),
        actors=plan.actors,
        learners=plan.learners,
        submitted=time.time(),
        handle={"bind": plan.bind or f"tcp://0.0.0.0:{plan.deploy.port}", "advertise": plan.advertise},
    )
    start_supervisor(plan, rendered, deployment)
    return deployment
