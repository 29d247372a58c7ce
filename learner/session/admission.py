"""Rules of admission: the answer to a HELLO. Pure."""

from collections.abc import Container
from typing import Literal

from dppo.learner.session.flow_control import ENCRYPTION_BYTES, why_no_row_fits
from dppo.learner.session.records import Peer, Settings
from dppo.learner.session.slots import SlotTable
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.errors import UsageError
from dppo.protocol.limits import MAX_ENVS
from dppo.protocol.messages import Hello, Reject, Welcome
from dppo.protocol.specs import spec_hash

ENDED = Reject("token", "the token has been revoked or has expired: ask for a new line", fatal=True)
FULL_RETRY_SECONDS = 3.0
PROOF_SECONDS = 0.05


def refusal(hello: Hello, *, run_id: str, superseded: Container[bytes], max_envs: int = MAX_ENVS) -> Reject | None:
    """Return why this actor may not join, None if it may. `superseded` holds incarnations whose time is over."""
    no = of_other_protocol(hello.protocol_min, hello.protocol_max, "actor")
    if no is not None:
        return no
    if hello.run_id not in ("", run_id):
        text = f"this is run {run_id}, the actor belongs to run {hello.run_id}: start a new actor"
        return Reject("run", text, fatal=True)
    if hello.envs > min(max_envs, MAX_ENVS):
        text = f"{hello.envs} environments in one actor; at most {min(max_envs, MAX_ENVS)} are allowed"
        return Reject("envs", f"{text} (the learner's collect.max_envs_per_actor)", fatal=True)
    if hello.incarnation in superseded:
        return superseded_by_newer(hello.actor)
    if hello.spec is None:
        return None
    if hello.spec_hash != spec_hash(hello.spec):
        return Reject("spec", "the spec and its hash disagree", fatal=True)
    return None


def of_other_protocol(oldest: int, newest: int, peer: Literal["actor", "relay"]) -> Reject | None:
    """Rejection of a peer that does not understand this learner's protocol, else None."""
    if oldest <= PROTOCOL_VERSION <= newest:
        return None
    text = f"this learner speaks protocol {PROTOCOL_VERSION}, the {peer} {oldest}..{newest}"
    return Reject("protocol", f"{text}: install the same release on both", fatal=True)


def too_large(settings: Settings, hello: Hello) -> Reject | None:
    """Rejection of an actor with so many environments of its own that no rollout of it can be accepted, else None.

    Where those that the settings give to every actor are too many, the learner ends with that.
    """
    if hello.spec is None or hello.envs in (0, settings.envs_per_actor):
        return None
    try:
        spec = settings.rollout_spec(hello.spec)
    except UsageError:  # such spaces cannot be trained on, which is another refusal
        return None
    why = why_no_row_fits(spec, envs=hello.envs, max_rollout_bytes=settings.max_rollout_bytes)
    return Reject("envs", why[:512], fatal=True) if why else None


def full(actors: int) -> Reject:
    """Rejection: collect.max_actors is reached."""
    text = f"{actors} actors are connected, which is collect.max_actors; trying again"
    return Reject("full", text, fatal=False, retry_after_seconds=FULL_RETRY_SECONDS)


def without_slots(hello: Hello, slots: SlotTable, envs: int, in_use: Container[str]) -> Reject | None:
    """Rejection: the run's environments (collect.slots) have actors; None where there is room."""
    if slots.limit and envs > slots.limit:
        text = f"{envs} environments in one actor, and this run has {slots.limit} in all (collect.slots)"
        return Reject("envs", text, fatal=True)
    if slots.limit and slots.were_taken_from(hello.actor, hello.incarnation):
        text = f"another actor goes on with the environments of {hello.actor}: start it anew"
        return Reject("superseded", text, fatal=True)
    if slots.has_room(hello.actor, envs, in_use):
        return None
    text = f"the {slots.limit} environments of this run (collect.slots) have actors; trying again"
    return Reject("full", text, fatal=False, retry_after_seconds=FULL_RETRY_SECONDS)


def crowded(most: int) -> Reject:
    """Rejection: the connection carries as many incarnations as it may."""
    text = f"this connection carries as many actors as one may, which is {most}; trying again"
    return Reject("full", text, fatal=False, retry_after_seconds=FULL_RETRY_SECONDS)


def of_another_token(actor: str, *, for_good: bool) -> Reject:
    """Rejection: the name belongs to an actor of another token."""
    text = f"the name {actor} belongs to an actor that came by another token: give this one its own --name"
    return Reject("superseded", text, fatal=for_good, retry_after_seconds=FULL_RETRY_SECONDS)


def to_be_proven(actor: str, challenge: int) -> Reject:
    """Rejection with a challenge: the name is taken, and this HELLO may be a delayed one of a dead process."""
    text = f"another process has the name {actor}; this one gets it by asking again"
    return Reject("superseded", text, fatal=False, retry_after_seconds=PROOF_SECONDS, challenge=challenge)


def superseded_by_newer(actor: str) -> Reject:
    """Rejection: a newer process has taken the name."""
    text = f"a newer process has taken the name {actor}: give every actor its own --name"
    return Reject("superseded", text, fatal=True)


def welcome(settings: Settings, peer: Peer, *, credit: int, heartbeat_seconds: float) -> Welcome:
    """WELCOME: the process may join."""
    return Welcome(
        PROTOCOL_VERSION,
        settings.run_id,
        settings.term,
        settings.env,
        peer.slots.envs,
        peer.slots.first,
        settings.seed,
        peer.slots.life,
        peer.account.watermark,
        credit,
        settings.lease_seconds,
        heartbeat_seconds,
        settings.on_stop,
        settings.max_rollout_bytes - ENCRYPTION_BYTES,
    )
