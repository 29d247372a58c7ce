"""Lines about what happens again and again: rare by number, rare by time, and never without end."""

import pytest

from dppo.protocol.log_throttle import OTHERS, LogThrottle


@pytest.mark.parametrize(("growth", "due"), [(1, [1, 2, 3, 4, 5]), (2, [1, 2, 4, 8, 16]), (10, [1, 10, 100, 1000])])
def test_a_kind_is_due_at_growing_numbers(growth: int, due: list[int]) -> None:
    throttle = LogThrottle(growth=growth)
    counted = [throttle.count("a") for _ in range(due[-1])]
    assert [times for times in counted if times] == due
    assert [number for number, times in enumerate(counted, 1) if times] == due
    assert throttle.count("b") == 1


def test_a_kind_that_is_forgotten_begins_anew() -> None:
    throttle = LogThrottle(growth=2)
    assert [throttle.count("a") for _ in range(3)] == [1, 2, 0]
    assert throttle.forget("a") == 3
    assert throttle.forget("a") == 0
    assert throttle.count("a") == 1


def test_one_line_at_a_time_and_the_others_are_summed_up_once() -> None:
    throttle = LogThrottle(growth=1, least_seconds=1.0)
    assert throttle.count("a", 5.0) == 1
    assert [throttle.count(kind, 5.5) for kind in "abbbc"] == [0] * 5
    assert throttle.take_held(5.9) == {}
    assert list(throttle.take_held(6.0).items()) == [("b", 3), ("a", 1), ("c", 1)]
    assert throttle.count("d", 6.5) == 0  # a summary is a line, too
    assert throttle.take_held(7.0) == {"d": 1}
    assert throttle.take_held(9.0) == {}
    assert throttle.count("a", 9.0) == 1


def test_a_line_that_was_due_too_early_comes_with_the_next_event() -> None:
    throttle = LogThrottle(growth=2, least_seconds=1.0)
    assert [throttle.count("a", at) for at in (0.0, 0.1, 0.2, 1.0, 2.0)] == [1, 0, 0, 4, 0]


def test_kinds_without_end_are_counted_together() -> None:
    throttle = LogThrottle(growth=10, max_kinds=3)
    counted = [throttle.count(f"kind {number}") for number in range(200)]
    assert [number for number, times in enumerate(counted) if times] == [0, 1, 2, 3, 12, 102]
    assert throttle.forget(OTHERS) == 197
