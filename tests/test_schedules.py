import pytest

from dppo.learner.ppo.schedule_curves import kl_adapted_rate, linear, progress


def test_a_linear_schedule_falls_to_zero_at_the_end_and_stays_there() -> None:
    assert [linear(2.0, progress(steps, 100)) for steps in (0, 25, 100, 150)] == [2.0, 1.5, 0.0, 0.0]


def test_a_run_of_no_steps_has_no_progress() -> None:
    with pytest.raises(ValueError, match="total_steps"):
        progress(0, 0)


def test_the_rate_falls_when_the_policy_moved_too_far_and_rises_when_it_hardly_moved() -> None:
    assert kl_adapted_rate(3e-4, 0.021, 0.01) == pytest.approx(2e-4)
    assert kl_adapted_rate(3e-4, 0.004, 0.01) == pytest.approx(4.5e-4)
    assert kl_adapted_rate(3e-4, 0.012, 0.01) == 3e-4


def test_the_adaptive_rate_stays_in_its_range() -> None:
    assert kl_adapted_rate(1e-2, 0.0, 0.01) == 1e-2
    assert kl_adapted_rate(1e-6, 1.0, 0.01) == 1e-6
    assert kl_adapted_rate(8e-3, 0.0, 0.01) == 1e-2


def test_a_rate_set_outside_the_range_is_not_dragged_into_it() -> None:
    assert kl_adapted_rate(5e-2, 0.0, 0.01) == 5e-2
    assert kl_adapted_rate(1e-7, 1.0, 0.01) == 1e-7
