"""Spaces of a policy against those of the environment that it is to play in. Knows specs; knows no graph."""

from collections.abc import Mapping

import msgspec

from dppo.learner.session.run_spaces import difference
from dppo.protocol.errors import ProtocolError, UsageError
from dppo.protocol.specs import Leaf, Spec, spec_from_json


def refuse_other_spaces(metadata: Mapping[str, str], spec: Spec, env: str) -> None:
    """Raise UsageError where the policy was trained on other spaces; nothing where its graph does not say.

    metadata: of the policy's graph. spec: of the environment. Bounds of observations make no difference to a policy.
    """
    try:
        theirs, ours = _compared(spec_from_json(metadata.get("dppo.spec", ""))), _compared(spec)
    except ProtocolError:  # of another release, or none
        return
    if theirs != ours:
        why = difference(ours, theirs).replace(" in the run", " for the policy")
        raise UsageError(
            f"the spaces of {env} differ from those that the policy was trained on: {why}. Install the environment's "
            "former version, or train another run with this one (dppo train ... --run.new)"
        )


def _compared(spec: Spec) -> Spec:
    return Spec(tuple(map(_without_bounds, spec.observation)), spec.action)


def _without_bounds(leaf: Leaf) -> Leaf:
    return msgspec.structs.replace(leaf, low=(), high=()) if leaf.kind == "box" else leaf
