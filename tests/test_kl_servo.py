import math

import pytest

from dppo.learner.ppo.adaptive_kl import adapted_coefficient

TUTORIAL = {"factor": 2.0, "band_low": 1 / 1.5, "band_high": 1.5, "minimum": 1e-4, "maximum": 10.0}
DEEPMIND = {"factor": 1.5, "band_low": 0.5, "band_high": 2.0, "minimum": 1e-4, "maximum": 35.0}
TARGET = 0.01

# (KL of an update, the coefficient after it), worked out by hand
BY_THE_TUTORIAL = [
    (0.0066, 0.25),  # below 0.01 / 1.5 = 0.00667
    (0.0067, 0.25),
    (0.0149, 0.25),
    (0.0151, 0.5),  # above 0.015
    (0.5, 1.0),
    (0.5, 2.0),
    (0.5, 4.0),
    (0.5, 8.0),
    (0.5, 10.0),  # 16 is too much
    (0.5, 10.0),
    (0.0, 5.0),
    (0.0, 2.5),
    (0.0, 1.25),
]
BY_DEEPMIND = [
    (0.004, 2 / 3),  # below 0.005
    (0.006, 2 / 3),
    (0.019, 2 / 3),
    (0.021, 1.0),  # above 0.02
    (0.021, 1.5),
    (0.021, 2.25),
    (0.01, 2.25),
    (0.0, 1.5),
]

# every coefficient that three runs of the tutorial's program held at the end of any of their 3000 episodes
RECORDED = [
    *(0.0001, 0.000152587890625, 0.0002, 0.000244140625, 0.00030517578125, 0.0004, 0.0006103515625, 0.0008),
    *(0.001220703125, 0.0016, 0.0032, 0.00390625, 0.0064, 0.0078125, 0.009765625, 0.0128, 0.01953125, 0.0256, 0.03125),
    *(0.0512, 0.078125, 0.1024, 0.15625, 0.2048, 0.4096, 0.8192, 1.25, 1.6384, 5.0, 6.5536, 10.0),
]


def followed(start: float, kls: list[float], rule: dict[str, float]) -> list[float]:
    coefficients = [start]
    for kl in kls:
        coefficients.append(adapted_coefficient(coefficients[-1], kl, target=TARGET, **rule))
    return coefficients[1:]


def test_the_tutorials_rule_doubles_and_halves_outside_its_band() -> None:
    kls, expected = zip(*BY_THE_TUTORIAL, strict=True)
    assert followed(0.5, list(kls), TUTORIAL) == list(expected)


def test_deepminds_rule_moves_by_half_outside_a_wider_band() -> None:
    kls, expected = zip(*BY_DEEPMIND, strict=True)
    assert followed(1.0, list(kls), DEEPMIND) == pytest.approx(list(expected))


def test_the_recorded_coefficients_are_reached_bit_for_bit() -> None:
    reached, edge = {0.5}, [0.5]
    while edge:
        coefficient = edge.pop()
        moved = {adapted_coefficient(coefficient, kl, target=TARGET, **TUTORIAL) for kl in (0.0, 1.0)}
        edge += moved - reached
        reached |= moved
    assert set(RECORDED) <= reached
    assert (min(reached), max(reached)) == (1e-4, 10.0)


def test_a_fall_to_the_floor_and_back_is_a_descent_from_the_start_and_an_ascent_from_the_floor() -> None:
    descent = [0.5 / 2**n for n in range(1, 13)]
    ascent = [1e-4 * 2**n for n in range(1, 17)]
    assert followed(0.5, [0.0] * 14 + [1.0] * 18, TUTORIAL) == [*descent, 1e-4, 1e-4, *ascent, 10.0, 10.0]


def test_inside_the_band_and_on_its_borders_the_coefficient_stays() -> None:
    for kl in (TARGET / 1.5, TARGET, 1.5 * TARGET):
        assert adapted_coefficient(0.3, kl, target=TARGET, **TUTORIAL) == 0.3


def test_a_factor_of_one_keeps_the_coefficient_whatever_happens() -> None:
    for kl in (0.0, 1.0, math.inf):
        assert adapted_coefficient(3.0, kl, target=TARGET, **{**TUTORIAL, "factor": 1.0}) == 3.0
