"""Returns as text, with as many digits as tell them apart: 0.0123 is not 0.0. Pure."""

import math
from collections.abc import Sequence

SIGNIFICANT = 4
SPREAD_SIGNIFICANT = 2  # digits of a std
MOST_SIGNIFICANT = 7  # float32 rewards have no more
LARGEST = 1e9  # beyond these, powers of ten
SMALLEST = 1e-6


def return_number(value: float) -> str:
    """Return a mean return as text: 500.0, 21.53, -0.0123, 3,510, 1.234e-09."""
    return numbers([value])[0]


def numbers(values: Sequence[float], spread: float = 0.0) -> list[str]:
    """Return values that stand side by side, all with the same decimals: four digits of the largest.

    spread: their standard deviation; where it is small, as many more decimals as show two digits of it.
    """
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if not largest:
        return [f"{value:.1f}" for value in values]
    if not SMALLEST <= largest < LARGEST:
        return [f"{value:.4g}" for value in values]
    order = _order(largest)
    decimals = max(SIGNIFICANT - 1 - order, 0)
    if spread > 0:
        decimals = max(decimals, min(SPREAD_SIGNIFICANT - 1 - _order(spread), MOST_SIGNIFICANT - 1 - order))
    texts = [f"{value:,.{decimals}f}" for value in values]
    while decimals > 1 and all(text.endswith("0") for text in texts):  # 500.0, not 500.000
        texts, decimals = [text[:-1] for text in texts], decimals - 1
    return texts


def mean_and_spread(*, mean: float, std: float, low: float, high: float) -> str:
    """Return `21.53 +- 4.12 (12.00 to 30.00)`."""
    mean_text, std_text, low_text, high_text = numbers([mean, std, low, high], spread=std)
    return f"{mean_text} +- {std_text} ({low_text} to {high_text})"


def _order(value: float) -> int:
    """Return the power of ten of the first digit that is shown: 0 for 9.2, and 1 for 9.9996, which rounds to 10.00."""
    return math.floor(math.log10(float(f"{value:.{SIGNIFICANT - 1}e}")))


def absurd_text(outliers: int, steps_left_out: int) -> str:
    """Return how many absurd numbers a run has met and how many steps it left out for them; "" if there were none."""
    bounded = f"{outliers:,} absurd number{'s' if outliers != 1 else ''} bounded" if outliers else ""
    left_out = f"{steps_left_out:,} steps left out of training" if steps_left_out else ""
    return ", ".join(text for text in (bounded, left_out) if text)
