"""One absurd number in a run's moments: believed in part, named; real shifts of any unit are followed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo.learner.ppo.outliers import merge_clipped, outliers_of, scale_of
from dppo.learner.ppo.running_moments import RunningMoments

ABSURD = (1e6, 1e12, 3e38, -1e9)


def merged(*batches: np.ndarray) -> RunningMoments:
    moments = RunningMoments(batches[0].shape[1:])
    for batch in batches:
        merge_clipped(moments, batch, scale_of(moments, batch))
    return moments


def normal(seed: int, n: int = 2048, f: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, f))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    first=st.booleans(),
    value=st.sampled_from(ABSURD),
    scale=st.sampled_from([1e-6, 1.0, 1e7]),
    offset=st.sampled_from([0.0, 1.0, -30.0]),
)
def test_one_absurd_number_moves_the_moments_little(
    seed: int, first: bool, value: float, scale: float, offset: float
) -> None:
    """In any unit of what is observed; the glitch is absurd in that unit."""
    batches = [(normal(seed + i) + offset) * scale for i in range(4)]
    glitched = [batch.copy() for batch in batches]
    glitched[0 if first else 2][17, 1] = value * scale
    clean, with_glitch = merged(*batches), merged(*glitched)
    # 150 deviations (first batch: nothing is known yet), 20 later
    bound = 2.2 if first else 1.05
    assert (np.sqrt(with_glitch.variance / clean.variance) < bound).all()
    assert (np.abs(with_glitch.mean - clean.mean) < 0.03 * scale).all()
    np.testing.assert_array_equal(with_glitch.mean[[0, 2]], clean.mean[[0, 2]])


def test_one_in_1e5_for_ever_moves_them_little_too() -> None:
    rng = np.random.default_rng(0)
    moments = RunningMoments((1,))
    for _ in range(500):  # a million steps
        batch = rng.normal(size=(2048, 1))
        batch[rng.random(2048) < 1e-5] = 1e12
        merge_clipped(moments, batch, scale_of(moments, batch))
    assert np.sqrt(moments.variance[0]) < 1.05


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(-9, 9), offset=st.floats(-5, 5))
def test_clean_samples_are_merged_as_they_are_in_every_unit(seed: int, scale: float, offset: float) -> None:
    batches = [(normal(seed + i, n=256) + offset) * 10**scale for i in range(3)]
    plain = RunningMoments((3,))
    for batch in batches:
        plain.update(batch)
    robust = merged(*batches)
    np.testing.assert_array_equal(robust.mean, plain.mean)
    np.testing.assert_array_equal(robust.variance, plain.variance)


@pytest.mark.parametrize("factor", [100.0, 1e4, 1e7])
def test_a_real_shift_is_followed(factor: float) -> None:
    """An environment that changes: after 50,000 steps everything is `factor` times as large and elsewhere."""
    moments = merged(*(normal(i) for i in range(24)))
    for update in range(40):
        batch = factor * (normal(100 + update) + 3.0)
        merge_clipped(moments, batch, scale_of(moments, batch))
    shifted = np.concatenate([factor * (normal(100 + update) + 3.0) for update in range(40)])
    assert (np.abs(np.sqrt(moments.variance) / shifted.std(axis=0)) > 0.5).all()
    assert (np.abs(moments.mean / shifted.mean(axis=0)) > 0.3).all()


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e7])
def test_what_never_changed_and_then_does_is_followed(unit: float) -> None:
    moments = merged(np.zeros((512, 1)))
    for update in range(20):
        batch = unit * normal(update, n=512, f=1)
        merge_clipped(moments, batch, scale_of(moments, batch))
    assert 0.5 * unit < np.sqrt(moments.variance[0]) < 2 * unit


def test_a_rare_feature_is_believed_up_to_the_limit() -> None:
    """A contact that happens in one step of 2,000: beyond 20 deviations its size does not count, its sign does."""
    batches = []
    for update in range(50):
        batch = np.zeros((2048, 1))
        batch[update] = 1.0
        batches.append(batch)
    assert 0 < np.sqrt(merged(*batches).variance[0]) < 1


@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize("first", [True, False])
def test_an_absurd_number_is_found_with_its_place(value: float, first: bool) -> None:
    moments = RunningMoments((3,))
    if not first:
        moments.update(normal(1))
    batch = normal(2)
    batch[55, 2] = value
    (outlier,) = outliers_of(batch, scale_of(moments, batch))
    assert (outlier.row, outlier.element, outlier.value) == (55, 2, value)
    assert outlier.deviations > 1e5


def test_nothing_is_found_among_usual_numbers_or_where_all_are_unusual() -> None:
    moments = merged(normal(1))
    assert outliers_of(normal(2), scale_of(moments, normal(2))) == []
    shifted = 1e5 * normal(3)
    assert outliers_of(shifted, scale_of(moments, shifted)) == []
    assert outliers_of(np.zeros((0, 3)), scale_of(moments, np.zeros((0, 3)))) == []


def test_single_samples_can_begin_the_moments() -> None:
    moments = merged(*(row[None] for row in 1e3 * normal(4, n=300)))
    assert (np.sqrt(moments.variance) > 300).all()
