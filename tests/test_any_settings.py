"""Whatever the settings, sizes, spaces and the behaviour of actors: a run goes on, or ends in one line.

Settings that are refused at the start, or as soon as the spaces are known, are such a line. All others must train while
one actor delivers, over a simulated wire that hangs up over a large message as libzmq does.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from shards import examples
from simulated_actor import SPEC, Process
from simulation import Simulation

from dppo.learner.config import CollectConfig
from dppo.learner.session.flow_control import check_sizes
from dppo.protocol.codec import encode
from dppo.protocol.errors import UsageError
from dppo.protocol.messages import Stop
from dppo.protocol.specs import Leaf, Spec

EXAMPLES = 5
MANY_EXAMPLES = examples(100, 30)
SECONDS = 90.0  # of one run, simulated
QUIET_SECONDS = 45.0  # without an update, at the end of it
ROUND_SECONDS = 0.1
FAST_STEPS = 4  # in a round
PADDINGS = (0, 0, 0, 1, 300, 20_000)  # bytes of an observation besides its number


@dataclass
class Behaviour:
    """What one actor does, besides being one."""

    kind: str  # fast, slow, silent, unstoppable, leaving, late, killed
    seconds: float  # of a slow one's step, or when it happens
    acts_at: float = 0.0
    started: bool = field(default=False)


def configs() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "batch_steps": st.sampled_from([1, 2, 7, 40, 64, 200]),
            "segment_steps": st.sampled_from([0, 0, 0, 0, 1, 3, 20, 100_000]),
            "envs_per_actor": st.sampled_from([1, 2, 5]),
            "max_rollout_bytes": st.sampled_from([2**26, 2**26, 400_000, 30_000, 2500, 1024]),
            "max_ingress_bytes": st.sampled_from([0, 0, 0, 40_000, 100_000, 10**6, 10**4]),
            "rule": st.sampled_from(["minimum", "even_shares", "quorum"]),  # quota waits for all, by design
            "max_staleness": st.sampled_from([0, 0, 0, 1, 2, 8]),
            "stop_at_episode_end": st.booleans(),
            "on_stop": st.sampled_from(["keep", "keep", "drop"]),
            "stop_grace_seconds": st.sampled_from([0.1, 0.5, 3.0, 3.0, 0.5, 0.001]),
            "lease_seconds": st.sampled_from([1.5, 5.0, 10.0, 10.0, 5.0, 1.0]),
            "max_actors": st.just(100),
        }
    )


def behaviours() -> st.SearchStrategy[Behaviour]:
    kinds = st.sampled_from(["fast", "slow", "silent", "unstoppable", "leaving", "late", "killed"])
    return st.builds(Behaviour, kinds, st.sampled_from([0.3, 1.0, 4.0, 20.0]))


class World(Simulation):
    """Simulated actors that behave as they are told, and a wire that does not carry what is too large."""

    def play(self, process: Process, behaviour: Behaviour, began: float) -> None:
        """Its part of a round."""
        if not process.alive:
            return
        self.attach(process)
        busy = behaviour.kind == "slow" and self.now < behaviour.acts_at
        if behaviour.kind == "silent" or busy:
            self._only_pings(process, busy=busy)
            return
        if behaviour.kind == "leaving" and self.now - began > behaviour.seconds:
            self.terminate(process)
        if behaviour.kind == "killed" and self.now - began > behaviour.seconds:
            self.kill(process, noticed=False)
            return
        self.tick(process)
        if process.connection is not None:
            if behaviour.kind == "unstoppable":
                process.connection.down = type(process.connection.down)(
                    frames for frames in process.connection.down if not frames[0].startswith(STOP_PREFIX)
                )
            self.deliver_down(process.connection)
        if behaviour.kind == "slow":
            behaviour.acts_at = self.now + behaviour.seconds
            self.step(process, 1)
        else:
            self.step(process, FAST_STEPS)
        self._deliver(process)

    def _only_pings(self, process: Process, *, busy: bool) -> None:
        """An actor that is heard and does nothing: a hung one with a watchdog, or one in a long step."""
        if not busy and process.connection is not None and process.session.policy == (0, 0):
            self.deliver_down(process.connection)  # it joins, gets a policy, and that is all
        if not busy:
            self.tick(process)
        self._deliver(process)

    def _deliver(self, process: Process) -> None:
        connection = process.connection
        if connection is None:
            return
        limit = self.settings.max_rollout_bytes
        if any(blob is not None and len(blob) > limit for _, blob in connection.up):
            self.cut(process, lose_up=True, noticed=True)
            self.attach(process)
            process.driver.connected()
            self._flush(process)
            return
        self.deliver_up(connection)


STOP_PREFIX = b"\x94\xa4Stop"


def test_the_prefix_by_which_the_simulated_wire_knows_stop_is_right() -> None:
    assert encode(Stop(1, 1, 3.0)).startswith(STOP_PREFIX)


any_run = given(
    config=configs(), padding=st.sampled_from(PADDINGS), others=st.lists(behaviours(), max_size=3), first=st.booleans()
)


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@any_run
def test_a_run_progresses_or_ends_in_one_line(
    config: dict[str, Any], padding: int, others: list[Behaviour], first: bool
) -> None:
    progress_or_end(config, padding, others, first)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=MANY_EXAMPLES, suppress_health_check=list(HealthCheck))
@any_run
def test_a_run_progresses_or_ends_in_one_line_many_times(
    config: dict[str, Any], padding: int, others: list[Behaviour], first: bool
) -> None:
    progress_or_end(config, padding, others, first)


def progress_or_end(config: dict[str, Any], padding: int, others: list[Behaviour], first: bool) -> None:
    """Play the settings out, or see them refused in one line that names one of them."""
    spec = Spec(
        (*SPEC.observation, Leaf("padding", "|u1", (padding,), "box")) if padding else SPEC.observation, SPEC.action
    )
    refused = refusal(config, spec)
    if refused:
        event("refused")
        assert "\n" not in refused
        assert "collect." in refused
        return
    event("played")
    with World(**config) as world:
        world.spec = spec
        world.cuts_by_steps = True
        crew = [*others, Behaviour("fast", 0.0)] if first else [Behaviour("fast", 0.0), *others]
        run(world, crew)


def refusal(config: dict[str, Any], spec: Spec) -> str:
    """What the command says at the start, or as soon as the spaces are known; "" where it goes on."""
    try:
        checked = CollectConfig(**config)
        check_sizes(
            spec,
            batch_steps=checked.batch_steps,
            segment_steps=checked.segment_steps,
            envs=checked.envs_per_actor,
            max_rollout_bytes=checked.max_rollout_bytes,
            max_ingress_bytes=checked.max_ingress_bytes,
        )
    except UsageError as error:
        return str(error)
    return ""


def run(world: World, crew: list[Behaviour]) -> None:
    began = newest = world.now
    processes: dict[int, Process] = {}
    updates = 0
    while world.now - began < SECONDS:
        world.now += ROUND_SECONDS
        for number, behaviour in enumerate(crew):
            if number not in processes:
                if behaviour.kind == "late" and world.now - began < behaviour.seconds:
                    continue
                processes[number] = world.start(f"actor-{number}")
            world.play(processes[number], behaviour, began)
        world.tick_learner()
        world.train()
        if world.updates > updates:
            updates, newest = world.updates, world.now
    fast = [processes[number] for number, behaviour in enumerate(crew) if behaviour.kind == "fast"]
    assert all(process.alive for process in fast), [process.exit for process in fast]
    assert updates >= 3, (updates, world.notes[-5:])
    assert world.now - newest < QUIET_SECONDS, (updates, world.notes[-5:])
    world.check()
