"""What tests of the two sessions do again and again, in a simulated world."""

from typing import Any

from simulated_actor import ENVS, SPEC, Process
from simulated_settings import RUN_ID
from simulation import Simulation, learner_of

from dppo.learner.session.phases import Phase
from dppo.learner.session.session import HEARTBEAT_SECONDS
from dppo.protocol import PROTOCOL_VERSION
from dppo.protocol.codec import decode_from_actor, decode_from_learner
from dppo.protocol.messages import (
    Hello,
    Tally,
)
from dppo.protocol.specs import spec_hash


def up(process: Process) -> list[Any]:
    """What is on its way to the learner."""
    assert process.connection is not None
    return [decode_from_actor(header, blob is not None) for header, blob in process.connection.up]


def down(process: Process) -> list[Any]:
    """What is on its way to the actor."""
    assert process.connection is not None
    return [decode_from_learner(header, blob is not None) for header, blob in process.connection.down]


def deliver(world: Simulation, process: Process) -> None:
    """All that it has sent reaches the learner."""
    assert process.connection is not None
    world.deliver_up(process.connection)


def hear(world: Simulation, process: Process) -> None:
    """All that was sent to it reaches it."""
    assert process.connection is not None
    world.deliver_down(process.connection)


def fill_batch(world: Simulation, process: Process) -> None:
    """This actor alone fills the batch; nobody has heard STOP yet."""
    while learner_of(world).cycle.phase is Phase.COLLECTING:
        world.step(process, 1)
        deliver(world, process)
        if learner_of(world).cycle.phase is Phase.COLLECTING:
            hear(world, process)


def only_pings_arrive(world: Simulation, process: Process) -> None:
    """So the learner knows of steps that it does not have."""
    world.pass_time(HEARTBEAT_SECONDS)
    assert process.connection is not None
    pings = [frames for frames in process.connection.up if frames[1] is None]
    assert pings
    for frames in pings:
        world.hand_to_learner(process.connection, *frames)


def hello(**changes: Any) -> Hello:
    plain = Hello(
        PROTOCOL_VERSION,
        PROTOCOL_VERSION,
        "test",
        "a",
        b"12345678",
        ENVS,
        Tally(),
        run_id=RUN_ID,
        spec_hash=spec_hash(SPEC),
        spec=SPEC,
    )
    return Hello(**{field: changes.get(field, getattr(plain, field)) for field in plain.__struct_fields__})
