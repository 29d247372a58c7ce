from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dppo.actor.envs.interface import Step
from dppo.actor.sampling.noise import (
    BLOCK_STEPS,
    EPISODE,
    NoiseKind,
    NoisePart,
    NoiseStream,
    drawn,
    environment_seeds,
    noise_parts,
)
from dppo.protocol.errors import ProtocolError

KINDS: list[NoiseKind] = ["normal", "gumbel"]


def stream(seed: int = 1, *, slot: int = 0, envs: int = 1, life: int = 0, kind: NoiseKind = "normal") -> NoiseStream:
    return NoiseStream(seed, first_slot=slot, envs=envs, life=life, kind=kind, size=2)


def steps(noise: NoiseStream, count: int) -> np.ndarray:
    return np.stack([noise.next() for _ in range(count)])


def groups(cuts: list[bool]) -> Iterator[tuple[int, int]]:
    """(first slot, envs) of consecutive actors, cut after each slot whose flag says so."""
    first = 0
    for slot, cut in enumerate(cuts):
        if cut or slot == len(cuts) - 1:
            yield first, slot + 1 - first
            first = slot + 1


@given(st.sampled_from(KINDS), st.lists(st.booleans(), min_size=1, max_size=8))
def test_what_a_slot_sees_does_not_depend_on_how_slots_are_grouped(kind: NoiseKind, cuts: list[bool]) -> None:
    together = steps(stream(envs=len(cuts), kind=kind), 5)
    apart = [steps(stream(slot=first, envs=envs, kind=kind), 5) for first, envs in groups(cuts)]
    np.testing.assert_array_equal(np.concatenate(apart, axis=1), together)
    seeds = [environment_seeds(1, first_slot=first, envs=envs, life=0) for first, envs in groups(cuts)]
    assert list(chain.from_iterable(seeds)) == environment_seeds(1, first_slot=0, envs=len(cuts), life=0)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_do_not_show(kind: NoiseKind) -> None:
    count = 2 * BLOCK_STEPS + 3
    drawn = steps(stream(slot=7, kind=kind), count)[:, 0]
    generator = np.random.default_rng(np.random.SeedSequence(1, spawn_key=(7, 0, 0)))
    one_by_one = [
        generator.standard_normal(2, np.float32) if kind == "normal" else generator.gumbel(size=2) for _ in drawn
    ]
    np.testing.assert_array_equal(drawn, np.float32(one_by_one))


@pytest.mark.parametrize(("kind", "mean", "variance"), [("normal", 0.0, 1.0), ("gumbel", np.euler_gamma, np.pi**2 / 6)])
def test_noise_has_the_moments_of_its_distribution(kind: NoiseKind, mean: float, variance: float) -> None:
    drawn = steps(stream(envs=20, kind=kind), 1000)
    assert drawn.dtype == np.float32
    assert np.isfinite(drawn).all()
    assert drawn.mean() == pytest.approx(mean, abs=0.03)
    assert drawn.var() == pytest.approx(variance, rel=0.05)


def test_seeds_slots_lives_and_streams_are_all_different() -> None:
    streams = [stream(), stream(2), stream(slot=1), stream(life=1), stream(1, slot=0, life=2)]
    assert len({steps(noise, 1).tobytes() for noise in streams}) == len(streams)
    seeds = environment_seeds(1, first_slot=0, envs=50, life=0) + environment_seeds(1, first_slot=0, envs=50, life=1)
    assert len(set(seeds)) == 100


def test_environment_seeds_fit_in_32_signed_bits() -> None:
    seeds = environment_seeds(2**63, first_slot=0, envs=200, life=3)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert max(seeds) > 2**29


def test_noise_once_given_is_never_overwritten() -> None:
    noise = stream()
    first = noise.next()
    kept = first.copy()
    steps(noise, 2 * BLOCK_STEPS)
    np.testing.assert_array_equal(first, kept)


def test_wide_noise_is_drawn_in_smaller_blocks() -> None:
    noise = NoiseStream(1, first_slot=0, envs=1, life=0, kind="gumbel", size=2**17)
    assert noise.next().shape == (1, 2**17)
    assert noise.next().shape == (1, 2**17)


def test_a_graph_may_take_both_kinds_side_by_side() -> None:
    parts = noise_parts("normal:2 gumbel:3", 5)
    assert parts == (NoisePart("normal", 2), NoisePart("gumbel", 3))
    rows = drawn(np.random.default_rng(1), parts, 50_000)
    assert (rows.shape, rows.dtype) == ((50_000, 5), np.float32)
    np.testing.assert_allclose(rows.mean(0), [0, 0, *[0.5772] * 3], atol=0.03)
    np.testing.assert_allclose(rows.std(0), [1, 1, *[np.pi / 6**0.5] * 3], atol=0.03)
    assert np.abs(np.corrcoef(rows.T) - np.eye(5)).max() < 0.03
    both = NoiseStream(1, first_slot=3, envs=2, life=0, kind="normal:2 gumbel:3", size=5)
    alone = NoiseStream(1, first_slot=4, envs=1, life=0, kind="normal:2 gumbel:3", size=5)
    for _ in range(BLOCK_STEPS + 2):
        np.testing.assert_array_equal(both.next()[1:], alone.next())


def test_the_first_numbers_may_stay_the_same_for_some_steps() -> None:
    kind = "normal:2:16 gumbel:3"
    assert noise_parts(kind, 5) == (NoisePart("normal", 2, 16), NoisePart("gumbel", 3))
    both = NoiseStream(1, first_slot=3, envs=2, life=0, kind=kind, size=5)
    alone = NoiseStream(1, first_slot=4, envs=1, life=0, kind=kind, size=5)
    rows = steps(both, 16 * 20)
    np.testing.assert_array_equal(rows[:, 1:], steps(alone, 16 * 20))
    held = rows[..., :2].reshape(20, 16, 2, 2)
    assert (held == held[:, :1]).all()
    assert len(np.unique(held[:, 0])) == 20 * 2 * 2
    assert len(np.unique(rows[..., 2:])) > 0.999 * 16 * 20 * 2 * 3
    only = steps(NoiseStream(1, first_slot=4, envs=1, life=0, kind="normal:2:16", size=2), 16 * 20)
    np.testing.assert_array_equal(only, rows[:, 1:, :2])


def test_the_first_numbers_may_stay_the_same_for_an_episode() -> None:
    kind = "normal:2:episode gumbel:3"
    assert noise_parts(kind, 5) == (NoisePart("normal", 2, EPISODE), NoisePart("gumbel", 3))
    both = NoiseStream(1, first_slot=3, envs=2, life=0, kind=kind, size=5)
    alone = NoiseStream(1, first_slot=4, envs=1, life=0, kind=kind, size=5)
    ends = {2: (True, False, True), 4: (False, True, True), 5: (False, False, False)}  # terminated, truncated, valid
    held = []
    for row in range(8):
        given = both.next()
        np.testing.assert_array_equal(given[1:], alone.next())
        held.append(given[:, :2].tolist())
        terminated, truncated, valid = ends.get(row, (False, False, True))
        for stream, first in ((both, [False]), (alone, [])):  # the first slot's episode goes on and on
            over = [[*first, flag] for flag in (terminated, truncated)]
            stream.after(step_of(*over, [*(not flag for flag in first), valid]))
    first, second = ([row[slot] for row in held] for slot in (0, 1))
    assert all(numbers == first[0] for numbers in first)
    begins = [row for row in range(1, 8) if second[row] != second[row - 1]]
    assert begins == [3, 5, 6]
    assert len({tuple(numbers) for numbers in second}) == 4


def step_of(terminated: list[bool], truncated: list[bool], valid: list[bool]) -> Step:
    rows, nothing = np.zeros(len(valid), np.float32), np.full(len(valid), np.nan, np.float32)
    return Step({}, rows, np.array(terminated), np.array(truncated), np.array(valid), {}, nothing)


@pytest.mark.parametrize(
    "kind",
    [
        "normal:5:0",
        "normal:5:episodes",
        "normal:episode:5",
        "normal:2 gumbel:3:episode",
        "normal:5:",
        "normal:2 gumbel:3:4",
        "normal:5:4:1",
        "normal:5:-4",
        "normal:5:colour",
        "normal:5:colour0",
        "normal:5:colour0.0",
        "normal:5:colour-1",
        "normal:5:colour2.1",
        "normal:5:colourinf",
        "normal:5:colour0.5:4",
        "normal:2 gumbel:3:colour0.5",
        "gumbel:5:colour0.5",
        "",
        "uniform",
        "normal:",
        "normal:2",
        "normal:2 gumbel:4",
        "normal:5 ",
        "normal:-1 gumbel:6",
        "gumbel" * 99,
    ],
)
def test_other_kinds_of_noise_are_refused(kind: str) -> None:
    with pytest.raises(ProtocolError, match="noise"):
        noise_parts(kind, 5)
