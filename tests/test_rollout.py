import dataclasses
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dppo.protocol.errors import ProtocolError
from dppo.protocol.rollout import MAX_STEPS, Counts, Leaves, Segment, blob_bytes, check_counts, pack, unpack
from dppo.protocol.specs import Leaf, Spec

DTYPES = ["|u1", "|i1", "|b1", "<i2", "<i4", "<i8", "<f4", "<f8"]
PLAIN = Spec((Leaf("observation", "<f4", (3,), "box"),), (Leaf("action", "<i8", (), "discrete", categories=4),))
SMALL = settings(derandomize=True, deadline=None, max_examples=60)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Of one to three leaves in each needed group, none to two in the others, any dtype and shape."""
    number = iter(range(100))

    def group(least: int, most: int) -> tuple[Leaf, ...]:
        size = draw(st.integers(least, most))
        return tuple(
            Leaf(
                f"leaf{next(number)}",
                draw(st.sampled_from(DTYPES)),
                tuple(draw(st.lists(st.integers(1, 3), max_size=3))),
                "box",
            )
            for _ in range(size)
        )

    return Spec(group(1, 3), group(1, 3), group(0, 2), group(0, 2))


def random_segment(spec: Spec, seed: int, T: int, E: int, episodes: int) -> Segment:
    """Every byte random, except that flags are flags and the final observations are as many as truncations."""
    rng = np.random.default_rng(seed)

    def array(dtype: str, *shape: int) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw = rng.integers(0, 2 if dtype == "|b1" else 256, size, np.uint8)
        return raw.view(dtype).reshape(shape)

    def leaves(group: tuple[Leaf, ...], *lead: int) -> Leaves:
        return {leaf.name: array(leaf.dtype, *lead, *leaf.shape) for leaf in group}

    truncated = rng.random((T, E)) < 0.3
    return Segment(
        observations=leaves(spec.observation, T + 1, E),
        actions=leaves(spec.action, T, E),
        masks=leaves(spec.mask, T, E),
        states=leaves(spec.state, E),
        behaviour_log_probs=array("<f4", T, E),
        rewards=array("<f4", T, E),
        terminated=rng.random((T, E)) < 0.3,
        truncated=truncated,
        valid=rng.random((T, E)) < 0.9,
        final_observations=leaves(spec.observation, int(truncated.sum())),
        episode_returns=array("<f4", episodes),
        episode_lengths=array("<i4", episodes),
        episode_columns=array("<i4", episodes),
        episode_successes=array("<f4", episodes),
        episode_metrics=np.empty((episodes, 0), np.float32),
    )


def same(one: Any, other: Any) -> bool:
    """Bit for bit, with dtype and shape: NaN equals NaN."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())


def arrays(segment: Segment) -> list[np.ndarray]:
    """All arrays in wire order."""
    groups = ("observations", "actions", "masks", "states")
    found = [array for group in groups for array in getattr(segment, group).values()]
    found += [getattr(segment, n) for n in ("behaviour_log_probs", "rewards", "terminated", "truncated", "valid")]
    found += segment.final_observations.values()
    episodes = (segment.episode_returns, segment.episode_lengths, segment.episode_columns, segment.episode_successes)
    return sorted([*found, *episodes], key=lambda array: -array.itemsize)


@SMALL
@given(specs(), st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 4), st.integers(0, 3))
def test_a_segment_arrives_bit_for_bit(spec: Spec, seed: int, T: int, E: int, episodes: int) -> None:
    segment = random_segment(spec, seed, T, E, episodes)
    blob = pack(spec, segment)
    for sent in (blob, bytes(blob), memoryview(bytes(blob))):
        arrived = unpack(spec, segment.counts, sent)
        for field in dataclasses.fields(Segment):
            assert same(getattr(segment, field.name), getattr(arrived, field.name)), field.name


@SMALL
@given(specs(), st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 4), st.integers(0, 3))
def test_arrays_follow_each_other_without_gaps_and_each_is_aligned_to_its_numbers(
    spec: Spec, seed: int, T: int, E: int, episodes: int
) -> None:
    segment = random_segment(spec, seed, T, E, episodes)
    blob = bytes(pack(spec, segment))
    offset = 0
    for array in arrays(segment):
        assert offset % array.itemsize == 0
        assert blob[offset : offset + array.nbytes] == array.tobytes()
        offset += array.nbytes
    assert offset == len(blob) == blob_bytes(spec, segment.counts)


@SMALL
@given(specs(), st.integers(1, 5), st.integers(1, 4), st.sampled_from([-1, 1]))
def test_a_header_with_another_T_is_refused_by_the_length_alone(spec: Spec, T: int, E: int, difference: int) -> None:
    counts = random_segment(spec, 1, T, E, 1).counts
    assume(T + difference > 0)
    assert blob_bytes(spec, dataclasses.replace(counts, T=T + difference)) != blob_bytes(spec, counts)


@SMALL
@given(specs(), st.integers(1, 5), st.integers(1, 4), st.integers(-130, 130))
def test_a_blob_of_any_other_length_is_refused(spec: Spec, T: int, E: int, difference: int) -> None:
    assume(difference)
    segment = random_segment(spec, 1, T, E, 1)
    blob = bytes(pack(spec, segment))
    wrong = blob[:difference] if difference < 0 else blob + bytes(difference)
    with pytest.raises(ProtocolError, match=f"has {len(blob)} bytes, not {len(wrong)}"):
        unpack(spec, segment.counts, wrong)
    with pytest.raises(ProtocolError):
        unpack(spec, segment.counts, b"")


@pytest.mark.parametrize("difference", [-1, 1])
def test_one_byte_more_or_less_is_refused(difference: int) -> None:
    segment = random_segment(PLAIN, 1, 3, 2, 1)
    blob = bytes(pack(PLAIN, segment))
    with pytest.raises(ProtocolError):
        unpack(PLAIN, segment.counts, blob[:-1] if difference < 0 else blob + b"\0")


@pytest.mark.parametrize("flag", ["terminated", "truncated", "valid"])
@pytest.mark.parametrize("value", [2, 3, 128, 255])
def test_a_flag_that_is_neither_0_nor_1_is_refused(flag: str, value: int) -> None:
    segment = random_segment(PLAIN, 1, 3, 2, 1)
    blob = pack(PLAIN, segment)
    order = list(arrays(segment))
    target = next(n for n, array in enumerate(order) if array is getattr(segment, flag))
    offset = sum(array.nbytes for array in order[:target])
    blob[offset + 5] = value
    with pytest.raises(ProtocolError, match=f"{flag} holds something else than 0 and 1"):
        unpack(PLAIN, segment.counts, blob)


def test_a_header_that_counts_other_truncations_than_the_flags_is_refused() -> None:
    T, E = 8, 4
    segment = random_segment(PLAIN, 1, T, E, 0)
    counts = segment.counts
    assert counts.finals > 1
    flags = list(arrays(segment))
    offset = sum(array.nbytes for array in flags[: next(n for n, a in enumerate(flags) if a is segment.truncated)])
    for change in (0, 1):
        blob = pack(PLAIN, segment)
        place = int(np.flatnonzero(segment.truncated.ravel() == (change == 0))[0])
        blob[offset + place] = change
        with pytest.raises(ProtocolError, match="truncated steps"):
            unpack(PLAIN, counts, blob)


def test_a_segment_counts_its_steps_without_resets() -> None:
    segment = random_segment(PLAIN, 3, 6, 3, 2)
    assert segment.counts == Counts(6, 3, sum(map(sum, segment.truncated.tolist())), 2)
    assert segment.steps == sum(map(sum, segment.valid.tolist()))


@pytest.mark.parametrize(
    "counts",
    [
        Counts(0, 1, 0, 0),
        Counts(1, 0, 0, 0),
        Counts(-1, -1, 0, 0),
        Counts(MAX_STEPS + 1, 1, 0, 0),
        Counts(1, MAX_STEPS + 1, 0, 0),
        Counts(2**13, 2**13, 0, 0),
        Counts(2**53, 2**53, 0, 0),
        Counts(2**32, 2**32, 0, 0),  # the product is 0 in 64 bits
        Counts(1, 1, 2, 0),
        Counts(1, 1, -1, 0),
        Counts(1, 1, 2**53, 0),
        Counts(1, 1, 0, -1),
        Counts(1, 1, 0, 2**53),
    ],
    ids=str,
)
def test_impossible_counts_are_refused_without_reserving_memory(counts: Counts) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="not allowed"):
            check_counts(counts)
        with pytest.raises(ProtocolError, match="not allowed"):
            unpack(PLAIN, counts, b"")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_the_largest_counts_that_are_allowed_are_refused_by_length_without_reserving_memory() -> None:
    wide = Spec((Leaf("observation", "<f8", (2**13, 2**13), "box"),), PLAIN.action)
    tracemalloc.start()
    try:
        for counts in (Counts(2**12, 2**12, 2**24, 2**20), Counts(MAX_STEPS, 1, 0, 0)):
            with pytest.raises(ProtocolError, match="bytes, not 64"):
                unpack(wide, counts, bytes(64))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_segment_that_does_not_fit_its_spec_is_not_packed() -> None:
    segment = random_segment(PLAIN, 1, 3, 2, 1)
    short = dataclasses.replace(segment, observations={"observation": segment.observations["observation"][:-2]})
    with pytest.raises(ValueError, match="broadcast"):
        pack(PLAIN, short)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.binary(min_size=64, max_size=1300), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_random_bytes_are_refused_or_are_a_segment(blob: bytes, T: int, E: int, finals: int) -> None:
    counts = Counts(T, E, finals, 1)
    blob = blob.ljust(blob_bytes(PLAIN, counts), b"\1")[: blob_bytes(PLAIN, counts)]
    try:
        segment = unpack(PLAIN, counts, blob)
    except ProtocolError:
        return
    assert segment.counts == counts
