"""Stacked frames: what the actor's graph saw is what the learner trains on, and each frame crosses the wire once."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from frame_envs import SIDE, WAYS, Pictures, expected_stack, made, number_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trainer_batches import assert_bit_equal

from dppo.actor.envs.interface import Environments
from dppo.actor.sampling.collector import Collector
from dppo.actor.sampling.policy_runner import PolicyRunner
from dppo.learner.config import NetworkConfig, PpoConfig
from dppo.learner.frame_stacks import rollout_spec
from dppo.learner.ppo.batch import Grid, Received, lay_out
from dppo.learner.ppo.stitching import assemble
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.rollout_validation import checked_segment
from dppo.protocol.messages import Rollout
from dppo.protocol.rollout import Segment, pack
from dppo.protocol.specs import Spec

ENVS = 3
FRAMES = 3
SMALL = NetworkConfig(policy_hidden=(), critic_hidden=(), encoder="impala_cnn", frame_stack=FRAMES)
PPO = PpoConfig(minibatch_steps=24, epochs=2, entropy_coefficient=0.01)


def trainer_of(spec: Spec, network: NetworkConfig = SMALL, seed: int = 1, reuse: int = 1) -> Trainer:
    ppo = dataclasses.replace(PPO, reuse=reuse)
    return Trainer(spec, ppo=ppo, network=network, seed=seed, total_steps=1000)


@pytest.fixture(scope="module")
def graph() -> bytes:
    return trainer_of(made("sync", 1).spec).graph_bytes(1)


class Watched(PolicyRunner):
    """Notes the numbers of the pictures that the graph saw: those that it was given, and those that it hands on."""

    def __init__(self, graph: bytes) -> None:
        super().__init__(graph)
        self.saw: list[tuple[np.ndarray, np.ndarray]] = []  # [E, k] given, [E, k - 1] handed on

    def act(self, observations: Any, noise: np.ndarray) -> Any:
        acted = super().act(observations, noise)
        newest = number_of(observations["observation"], 1)[:, None]
        past = np.where(observations["reset"][:, None], newest, number_of(observations["frames"], 2))
        self.saw.append((np.concatenate([past, newest], 1), number_of(self.after["frames"], 2)))
        return acted


def segments(collector: Collector, rows: Sequence[int]) -> Iterator[Segment]:
    for count in rows:
        for _ in range(count):
            collector.step()
        segment = collector.cut()
        assert segment is not None
        yield segment


def check_actor(saw: np.ndarray, handed_on: np.ndarray, segment: Segment) -> None:
    """saw [T, E, k], handed_on [T, E, k - 1]: at every step that is one."""
    expected = np.array([[expected_stack(number, FRAMES) for number in row] for row in saw[..., -1].tolist()])
    np.testing.assert_array_equal(saw[segment.valid], expected[segment.valid])
    np.testing.assert_array_equal(handed_on[segment.valid], expected[segment.valid][:, 1:])


def check_learner(grid: Grid) -> None:
    """Rows that the critic judges or the policy is trained on: steps, what follows the last one, final ones."""
    numbers = number_of(grid.observations["observation"], 1)[grid.frame_rows["observation"]]
    assert len(numbers) == grid.rows
    over = np.concatenate([grid.terminated | grid.truncated | ~grid.valid, np.zeros((1, grid.valid.shape[1]), bool)])
    is_step = np.concatenate([grid.valid, np.zeros((1, grid.valid.shape[1]), bool)])
    is_last = np.zeros_like(is_step)
    is_last[1:] = is_step[:-1] & ~over[:-1]
    needed = (is_step | is_last).T[grid.observed.T]
    for row in np.concatenate([numbers[: len(needed)][needed], numbers[len(needed) :]]).tolist():
        assert row == expected_stack(row[-1], FRAMES)


@pytest.mark.parametrize("way", WAYS)
def test_both_sides_see_the_newest_frames_of_the_episode(way: Any, graph: bytes) -> None:
    environments = made(way, ENVS)
    collector, runner = Collector(environments, seed=3, first_slot=0, life=0), Watched(graph)
    collector.load(runner)
    batch, cuts = [], [1, 7, 2, 30, 1, 1, 20]
    for seq, segment in enumerate(segments(collector, cuts)):
        saw, handed_on = (np.array(numbers) for numbers in zip(*runner.saw, strict=True))
        runner.saw.clear()
        check_actor(saw, handed_on, segment)
        batch.append(Received("actor", b"12345678", seq, 0, segment, 1, 1))
    whole = assemble(batch)
    assert len(whole) == 1, "segments go on where the ones before stopped, frames as well"
    check_learner(lay_out(whole))
    check_learner(lay_out([*assemble(batch[:2]), *assemble(batch[3:4]), *assemble(batch[5:])]))


def test_segments_with_one_missing_in_between_are_not_stitched_even_where_pictures_are_alike(graph: bytes) -> None:
    collector = Collector(made("sync", ENVS), seed=3, first_slot=0, life=0)
    collector.load(PolicyRunner(graph))
    first, _, last = segments(collector, [4, 4, 4])
    last.observations["observation"][0] = first.observations["observation"][-1]
    batch = [Received("actor", b"12345678", seq, 0, segment) for seq, segment in enumerate((first, last))]
    assert len(assemble(batch)) == 2
    for name, frames in last.states.items():
        assert name == "frames"
        assert frames.shape == (ENVS, FRAMES - 1, SIDE, SIDE)


def test_each_frame_crosses_the_wire_once(graph: bytes) -> None:
    spec = made("sync", 1).spec
    collector = Collector(made("sync", ENVS), seed=3, first_slot=0, life=0)
    collector.load(PolicyRunner(graph))
    (segment,) = segments(collector, [128])
    frames = len(pack(rollout_spec(spec, SMALL), segment)) / (SIDE * SIDE)
    finals = segment.counts.finals
    others = 128 * ENVS * 27 / (SIDE * SIDE) + 1  # action, log-prob, reward, flags, and what episodes report
    assert frames < (128 + 1 + FRAMES - 1) * ENVS + finals + others + segment.counts.episodes


class Sides:
    """An actor without a socket, and a learner's trainer."""

    def __init__(self, environments: Environments, network: NetworkConfig, seed: int = 1, reuse: int = 1) -> None:
        self.network, self.seed, self.version, self.spec = network, seed, 0, environments.spec
        self.reuse = reuse
        self.collector = Collector(environments, seed=seed, first_slot=0, life=0)
        self.trainer = self.new_trainer()

    def new_trainer(self) -> Trainer:
        return trainer_of(self.spec, self.network, self.seed, self.reuse)

    def batch(self, seq: int, rows: Sequence[int] = (17, 24)) -> list[Received]:
        self.version += 1
        self.collector.load(PolicyRunner(self.trainer.graph_bytes(self.version)))
        return [self.received(seq + place, segment) for place, segment in enumerate(segments(self.collector, rows))]

    def received(self, seq: int, segment: Segment) -> Received:
        counts, spec = segment.counts, rollout_spec(self.spec, self.network)
        header = Rollout(seq, 1, self.version, counts.T, counts.E, counts.finals, counts.episodes, segment.steps)
        accepted = checked_segment(spec, header, bytes(pack(spec, segment)), envs=ENVS)
        return Received("actor", b"12345678", seq, 0, accepted, 1, self.version)

    def agree(self) -> None:
        """Three updates; the second one resumed, with as good a third."""
        resumed = None
        for update in range(3):
            batch = self.batch(2 * update)
            report = self.trainer.update(batch)
            assert report.first_pass_ratio_error < 1e-4
            assert report.steps_left_out == 0
            if resumed is not None:
                resumed.update(batch)
                assert_bit_equal(resumed.tensors(), self.trainer.tensors())
                return
            if update == 1:
                resumed = self.new_trainer()
                resumed.load(self.trainer.tensors(), self.trainer.counters(), self.trainer.past())


@pytest.mark.slow
def test_the_first_ratios_are_1_with_several_pictures_beside_numbers_and_a_memory() -> None:
    network = dataclasses.replace(SMALL, memory="lstm", memory_width=6, bptt_steps=9)
    Sides(made(WAYS[1], ENVS, beside=True), network).agree()


def test_earlier_batches_of_stacked_frames_survive_a_restart() -> None:
    sides = Sides(made("sync", ENVS), SMALL, reuse=3)
    sides.agree()
    assert sides.trainer.update(sides.batch(6)).reused_steps > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(
    way=st.sampled_from(WAYS),
    shape=st.sampled_from([(8, 8), (9, 8, 2), (2, 8, 9)]),
    frames=st.integers(2, 5),
    memory=st.sampled_from(["none", "gru", "lstm"]),
    critic=st.sampled_from(["shared", "own"]),
    beside=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)
def test_both_sides_agree_on_stacked_frames_with_everything_else(
    way: Any, shape: tuple[int, ...], frames: int, memory: Any, critic: Any, beside: bool, seed: int
) -> None:
    chosen: dict[str, Any] = {"critic_encoder": critic} if memory == "none" else {"memory_width": 5}
    network = dataclasses.replace(SMALL, frame_stack=frames, memory=memory, **chosen)
    Sides(made(way, ENVS, *shape, beside=beside), network, seed).agree()


def test_the_first_ratios_are_1_unless_frames_were_tampered_with() -> None:
    sides = Sides(made("sync", ENVS), SMALL)
    for update in range(2):
        batch = sides.batch(2 * update, [7, 9])
        if not update:
            assert sides.trainer.update(batch).first_pass_ratio_error < 1e-4
    segment = batch[0].segment
    segment = dataclasses.replace(segment, states={"frames": 255 - segment.states["frames"]})
    batch[0] = dataclasses.replace(batch[0], segment=segment)
    assert sides.trainer.update(batch).first_pass_ratio_error > 1e-4


def test_pictures_remember() -> None:
    environment = Pictures()
    first, _ = environment.reset(seed=1)
    second, *_ = environment.step(0)
    numbers = [int(number_of(picture, 0)) for picture in (first, second)]
    assert expected_stack(numbers[0], 3) == numbers[:1] * 3
    assert expected_stack(numbers[1], 3) == [numbers[0], *numbers]
