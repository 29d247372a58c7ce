"""Medians of the parts of every update: exact for thousands of updates, in bounded memory for any number."""

import math
from statistics import median

from dppo.learner.telemetry.timings import KEPT, PARTS, Timings


def add(timings: Timings, seconds: float) -> None:
    timings.add({"collect": seconds, "update": 2 * seconds, "stop": math.nan, "policy": seconds})


def test_the_medians_are_those_of_all_finite_values() -> None:
    timings = Timings()
    for seconds in (3.0, 1.0, 2.0, 10.0):
        add(timings, seconds)
    assert timings.medians() == {"collect": 2.5, "update": 5.0, "stop": None, "policy": 2.5}


def test_nothing_measured_is_none() -> None:
    assert Timings().medians() == dict.fromkeys(PARTS)


def test_memory_is_bounded_and_the_median_stays_near_that_of_all() -> None:
    timings = Timings()
    values = [float(i % 1000) + (500 if i > 20_000 else 0) for i in range(40_000)]
    for value in values:
        add(timings, value)
    assert all(len(sample.values) <= KEPT for sample in timings._samples.values())
    found = timings.medians()["collect"]
    assert found is not None
    assert abs(found - median(values)) < 50  # of a range of 1,500; an estimate from the newest ones would be off by 250
