"""The window of training episodes."""

import json
import math

import numpy as np
import pytest

from dppo.learner.telemetry.episode_stats import EpisodeWindow

NAN = math.nan


def test_there_is_no_mean_before_the_first_episode() -> None:
    window = EpisodeWindow(3)
    assert window.mean_return is None
    assert window.mean_length is None
    assert not window.is_full


def test_the_mean_is_over_what_is_there_until_the_window_is_full() -> None:
    window = EpisodeWindow(3)
    window.add([1.0, 2.0], [10, 20], [NAN, NAN])
    assert (window.mean_return, window.mean_length, window.is_full) == (1.5, 15.0, False)
    window.add([6.0], [30], [NAN])
    assert (window.mean_return, window.mean_length, window.is_full) == (3.0, 20.0, True)


def test_only_the_newest_episodes_count_but_all_are_counted() -> None:
    window = EpisodeWindow(2)
    window.add([100.0, 1.0, 2.0], [1, 1, 3], [NAN] * 3)
    assert window.mean_return == 1.5
    assert window.mean_length == 2.0
    assert window.total == 3


def test_the_success_rate_is_of_the_episodes_that_report_it() -> None:
    window = EpisodeWindow(4)
    window.add([1.0], [1], [NAN])
    assert window.success_rate is None
    window.add([1.0, 1.0, 1.0], [1, 1, 1], [1.0, 0.0, 1.0])
    assert window.success_rate == pytest.approx(2 / 3)
    window.add([1.0, 1.0, 1.0], [1, 1, 1], [0.0, 0.0, 0.0])
    assert window.success_rate == 0.25


def test_a_window_saved_before_successes_were_kept_can_be_read() -> None:
    window = EpisodeWindow.from_dict(2, {"total": 1, "diverged": 0, "episodes": [[5.0, 3]]})
    assert (window.mean_return, window.success_rate) == (5.0, None)


def test_arrays_of_a_rollout_can_be_added() -> None:
    window = EpisodeWindow(2)
    window.add(np.array([1, 2], np.float32), np.array([5, 7], np.int32), np.array([1, NAN], np.float32))
    assert (window.mean_return, window.mean_length) == (1.5, 6.0)


def test_an_episode_that_diverged_is_counted_and_kept_out_of_the_mean() -> None:
    window = EpisodeWindow(3)
    window.add([1.0, math.nan, -math.inf, 3.0], [1, 1, 1, 1], [1, 1, 1, 0])
    assert (window.mean_return, window.total, window.diverged) == (2.0, 4, 2)


def test_a_return_without_a_length_leaves_the_window_as_it_was() -> None:
    window = EpisodeWindow(3)
    with pytest.raises(ValueError, match="shorter"):
        window.add([1.0, 2.0], [1], [NAN, NAN])
    assert (window.mean_return, window.total) == (None, 0)


def test_a_window_survives_json() -> None:
    window = EpisodeWindow(3)
    window.add([0.1, np.float32(0.2), math.inf, 1e300, -3.0], [1, 2, 3, 4, 5], [0, 1, NAN, 1, 0])
    restored = EpisodeWindow.from_dict(3, json.loads(json.dumps(window.to_dict(), allow_nan=False)))
    assert restored.to_dict() == window.to_dict()
    assert restored.success_rate == window.success_rate
    assert (restored.mean_return, restored.total, restored.diverged) == (window.mean_return, 5, 1)


def test_a_smaller_window_takes_the_newest_of_a_larger_one() -> None:
    window = EpisodeWindow(3)
    window.add([1.0, 2.0, 4.0], [1, 1, 1], [NAN] * 3)
    assert EpisodeWindow.from_dict(2, window.to_dict()).mean_return == 3.0


def test_a_window_of_no_episodes_is_refused() -> None:
    with pytest.raises(ValueError, match="size=0"):
        EpisodeWindow(0)


def window_of(returns: list[float], size: int = 100) -> EpisodeWindow:
    window = EpisodeWindow(size)
    window.add(returns, [1] * len(returns), [math.nan] * len(returns))
    return window


@pytest.mark.parametrize("absurd", [1e6, 1e9, -1e6, 3e38])
@pytest.mark.parametrize(
    "usual",
    [[20.0 + 10 * (i % 5) for i in range(99)], [500.0] * 99, [-1200.0 + 7 * i for i in range(99)], [0.0] * 99],
    ids=["spread", "all the same", "negative", "all zero"],
)
def test_one_absurd_return_is_left_out_of_the_mean_and_counted(usual: list[float], absurd: float) -> None:
    clean, window = window_of(usual), window_of([*usual[:50], absurd, *usual[50:]])
    assert window.mean_return == clean.mean_return
    assert (window.outliers, clean.outliers) == (1, 0)
    assert window.median_return is not None
    assert clean.median_return is not None
    assert abs(window.median_return - clean.median_return) <= 10


def test_returns_that_more_than_one_in_twenty_have_are_no_outliers() -> None:
    window = window_of([*[-100.0] * 94, *[1e4] * 6])
    assert window.outliers == 0
    assert window.mean_return == pytest.approx(506.0)


def test_glitches_in_several_episodes_do_not_make_the_mean() -> None:
    """One in 10,000 steps, in episodes of 300: this run was "solved" when one episode in 50 could be an outlier."""
    usual = [200.0 + 3 * i for i in range(97)]
    window = window_of([*usual, 1e6, 1e6, 1e9])
    assert window.outliers == 3
    assert window.mean_return == pytest.approx(sum(usual) / 97)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_usual_spread_of_returns_is_left_alone_in_every_unit(scale: float) -> None:
    returns = [scale * value for value in np.random.default_rng(0).standard_t(3, 100).tolist()]
    window = window_of(returns)
    assert window.outliers == 0
    assert window.mean_return == pytest.approx(math.fsum(returns) / 100)


def test_an_outlier_leaves_with_the_window_and_survives_a_checkpoint() -> None:
    window = window_of([1.0, 2.0, 3.0, 1e9, 2.0], size=5)
    assert EpisodeWindow.from_dict(5, window.to_dict()).outliers == window.outliers == 1
    window.add([2.0] * 4, [1] * 4, [math.nan] * 4)
    assert window.outliers == 0
