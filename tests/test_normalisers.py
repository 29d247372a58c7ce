import numpy as np
import pytest

from dppo.learner.ppo.running_moments import RunningMoments


def test_merged_batches_give_the_moments_of_all_samples() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(3.0, [0.1, 1.0, 50.0], size=(1000, 3))
    moments = RunningMoments((3,))
    for part in np.split(samples, [1, 2, 50, 51, 900]):
        moments.update(part)
    assert moments.count == 1000
    np.testing.assert_allclose(moments.mean, samples.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, samples.var(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.scale(1e-8), 1 / np.sqrt(samples.var(axis=0) + 1e-8), rtol=1e-12)


def test_a_large_offset_does_not_eat_the_variance() -> None:
    moments = RunningMoments(())
    for _ in range(10):
        moments.update(np.array([1e8 - 1, 1e8 + 1]))
    assert moments.variance == pytest.approx(1.0)


def test_before_the_first_sample_nothing_is_shifted_or_scaled() -> None:
    moments = RunningMoments((2,))
    moments.update(np.zeros((0, 2)))
    assert moments.count == 0
    np.testing.assert_array_equal(moments.mean, 0)
    np.testing.assert_array_equal(moments.variance, 1)


def test_the_count_is_exact_beyond_the_integers_of_float32() -> None:
    moments = RunningMoments(())
    moments.count = 2**24
    moments.update(np.zeros(1))
    assert moments.count == 2**24 + 1


def test_moments_come_back_from_their_arrays_bit_for_bit() -> None:
    moments = RunningMoments((2,))
    moments.update(np.random.default_rng(1).normal(size=(7, 2)))
    again = RunningMoments.from_arrays(moments.arrays())
    for either in (moments, again):
        either.update(np.ones((3, 2), np.float32))
    assert again.count == moments.count
    np.testing.assert_array_equal(again.mean, moments.mean)
    np.testing.assert_array_equal(again.variance, moments.variance)


def test_samples_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        RunningMoments((2,)).update(np.zeros((4, 3)))
