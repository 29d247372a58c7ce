"""Batches in hand when a learner dies: a checkpoint keeps them, and the next learner trains on them."""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from frame_envs import made
from simulated_actor import SPEC, numbers_of
from simulated_settings import ROUND_SECONDS
from simulation import Simulation, learner_of, running
from test_frame_stack import SMALL as STACKING
from test_frame_stack import Sides as Seeing
from test_stale_memory import GoingOn

from dppo.learner.ppo import packed_rollouts
from dppo.learner.ppo.batch import Received
from dppo.learner.ppo.packed_rollouts import pack_groups
from dppo.learner.ppo.trainer import Trainer
from dppo.learner.session.asynchronous import in_hand
from dppo.learner.session.phases import Phase
from dppo.learner.storage import checkpoint
from dppo.learner.storage.books import Books
from dppo.learner.storage.checkpointer import Content, _tensors
from dppo.learner.storage.journal import Position
from dppo.learner.storage.kept_batches import unpack_batches
from dppo.learner.storage.progress import Progress
from dppo.learner.telemetry.episode_stats import EpisodeWindow
from dppo.protocol.errors import ProtocolError
from dppo.protocol.ledger import Ledger
from dppo.protocol.specs import Spec

BATCH_STEPS = 40
MOST = 2


@pytest.fixture
def world() -> Iterator[Simulation]:
    """A learner with all its batches full, which trains on the first of them."""
    with Simulation(batch_steps=BATCH_STEPS, max_staleness=MOST) as made:
        actors = running(made, "a", "b")
        for _ in range(150):
            for actor in actors:
                made.step(actor)
            made.exchange()
        assert learner_of(made).cycle.phase is Phase.UPDATING
        assert len(in_hand(learner_of(made).cycle)) == 1 + MOST
        yield made


def until_updating(world: Simulation) -> None:
    """Let time pass until a batch is trained on; nobody steps."""
    for _ in range(100):
        if learner_of(world).cycle.phase is Phase.UPDATING:
            return
        world.exchange()
        world.pass_time(ROUND_SECONDS)
    raise AssertionError(f"still {learner_of(world).cycle.phase}")


def arrays_of(received: Received) -> dict[str, Any]:
    return {name: array for name, array in dataclasses.asdict(received.segment).items() if name != "counts"}


def test_what_is_kept_is_what_was_accepted_to_the_bit(world: Simulation) -> None:
    before = in_hand(learner_of(world).cycle)
    kept = unpack_batches(pack_groups(SPEC, before), world.version)
    assert len(kept.batches) == len(before)
    for batch, expected in zip(kept.batches, before, strict=True):
        for (received, size), of in zip(batch, expected, strict=True):
            assert size == len(packed_rollouts.pack(SPEC, of.segment))
            assert dataclasses.replace(received, segment=of.segment) == of
            for name, array in arrays_of(of).items():
                np.testing.assert_equal(arrays_of(received)[name], array)


def content_of(trainer: Trainer, spec: Spec, batch: list[Received]) -> Content:
    """What a checkpoint gets of a run of these spaces: the learner knows them as actors announce them."""
    books = Books({}, Position(0, 0), in_hand=(tuple(batch),))
    return Content(trainer, Progress(updates=1), EpisodeWindow(1), spec, books)


@pytest.mark.parametrize("of", ["memory", "frames"])
def test_what_a_memory_had_and_frames_before_are_kept_too(of: str) -> None:
    if of == "memory":
        remembering = GoingOn("gru")
        remembering.load()
        batch = [remembering.rollout(), remembering.rollout(5)]
        content = content_of(remembering.trainer, remembering.environments, batch)
        network = remembering.network
    else:
        seeing = Seeing(made("sync", 3), STACKING)
        batch = seeing.batch(0)
        content, network = content_of(seeing.trainer, seeing.spec, batch), STACKING
    assert all(received.segment.states for received in batch)
    kept = unpack_batches(_tensors(content, network)[checkpoint.IN_HAND].numpy().tobytes(), 1)
    for (received, _), expected in zip(kept.batches[0], batch, strict=True):
        for name, array in arrays_of(expected).items():
            np.testing.assert_equal(arrays_of(received)[name], array)


def test_a_spec_that_does_not_name_all_that_a_rollout_holds_is_not_taken() -> None:
    sides = GoingOn("gru")
    sides.load()
    with pytest.raises(ValueError, match="a rollout with"):
        pack_groups(sides.environments, [[sides.rollout()]])


@pytest.mark.parametrize("content", [b"\xff", b"\x91\x91\x93\xa1a", b"\x81\xa1a\x01"])
def test_bytes_that_are_no_batches_are_named(content: bytes) -> None:
    with pytest.raises(ProtocolError, match="rollouts of a checkpoint cannot be read"):
        unpack_batches(content, 3)


def test_more_than_a_checkpoint_takes_is_not_kept(world: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = in_hand(learner_of(world).cycle)
    size = sum(len(packed_rollouts.pack(SPEC, of.segment)) for batch in batches for of in batch)
    monkeypatch.setattr(packed_rollouts, "MOST_BYTES", size)
    assert pack_groups(SPEC, batches)
    monkeypatch.setattr(packed_rollouts, "MOST_BYTES", size - 1)
    monkeypatch.setattr(packed_rollouts, "pack", None)  # nothing is copied for it
    assert pack_groups(SPEC, batches) == b""
    assert pack_groups(SPEC, [[], []]) == b""


@pytest.mark.parametrize("trained_meanwhile", [0, 2])
def test_a_learner_that_follows_a_killed_one_trains_on_what_was_in_hand(
    world: Simulation, trained_meanwhile: int
) -> None:
    """Also on what the killed one had trained on after its checkpoint, for those weights are gone."""
    batches = in_hand(learner_of(world).cycle)
    steps = {number for batch in batches for of in batch for number in numbers_of(of.segment)}
    ages = [[world.version + place - of.version for of in batch] for place, batch in enumerate(batches)]
    world.checkpoint()
    for _ in range(trained_meanwhile):
        world.train()
    for actor in list(world.living):
        world.kill(actor)
    world.crash_learner()
    world.start_learner()
    assert {number for number, place in world.books.place.items() if place == "pending"} == steps
    world.check()
    world.start("c")  # from it the learner knows the spaces
    for _ in range(10):
        world.exchange()
        world.pass_time(ROUND_SECONDS)
    assert learner_of(world).cycle.phase is Phase.WAITING
    updates, trained = world.updates, world.ever_trained.copy()
    world.train()  # the first policy: weights of the checkpoint, under a number behind what was published
    for expected in ages:
        until_updating(world)
        version = learner_of(world).cycle.snapshot.version
        assert [version - of.version for of in world.handed] == expected, "no older than before the kill"
        world.train()
        world.check()
    assert world.updates == updates + 1 + MOST
    assert world.ever_trained - trained == steps
    assert learner_of(world).ledger.total().dropped["learner_crash"] == 0


def test_a_ledger_keeps_what_it_is_told_to_and_drops_the_rest() -> None:
    ledger = Ledger()
    for incarnation, steps in ((b"a", 10), (b"b", 7)):
        ledger.open(incarnation, incarnation.decode()).accept(1, steps, batch=4)
    saved = Ledger.from_state(ledger.to_state())
    saved.keep_pending({b"a": Counter({1: 6, 2: 3})})
    assert saved.accounts[b"a"].waiting == {1: 6, 2: 3}
    assert (saved.accounts[b"a"].dropped["learner_crash"], saved.accounts[b"b"].dropped["learner_crash"]) == (1, 7)
    saved.train(1)
    assert (saved.total().trained, saved.total().pending, saved.total().in_flight) == (6, 3, 0)
    for kept in ({b"a": Counter({1: 11})}, {b"c": Counter({1: 1})}):
        with pytest.raises(ValueError, match="steps are kept where"):
            Ledger.from_state(ledger.to_state()).keep_pending(kept)


@pytest.mark.parametrize(("in_hand", "past"), [(b"", b""), (b"\x91\x90", b""), (b"", b"\x90"), (b"\x91\x90", b"\x92")])
def test_a_checkpoint_hands_its_trainer_tensors_of_weights_only(tmp_path: Path, in_hand: bytes, past: bytes) -> None:
    tensors = checkpoint.with_rollouts({"weight": torch.arange(3.0)}, in_hand=in_hand, past=past)
    checkpoint.save(tmp_path, 1, tensors, {})
    checkpoint.save_recent(tmp_path, 2, tensors, {})
    for path in (tmp_path / "00000001", tmp_path / "recent"):
        found = checkpoint.read(path)
        assert (found.in_hand, found.past) == (in_hand, past)
        assert found.tensors.keys() == {"weight"}
