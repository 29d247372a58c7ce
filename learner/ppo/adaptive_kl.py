"""The coefficient of the KL penalty, after every update. A pure function of plain numbers."""


def adapted_coefficient(
    coefficient: float,
    kl: float,
    *,
    target: float,
    factor: float,
    band_low: float,
    band_high: float,
    minimum: float,
    maximum: float,
) -> float:
    """The next coefficient: x factor where the update's kl was above band_high * target, / factor where below
    band_low * target, never outside minimum..maximum.

    Schulman et al. 2017 (arXiv 1707.06347, section 4) have factor 2 and a band of 1/1.5..1.5; Heess et al. 2017
    (arXiv 1707.02286) leave the numbers open, and those who built it took 1.5 and 0.5..2.
    """
    if kl > band_high * target:
        coefficient *= factor
    elif kl < band_low * target:
        coefficient /= factor
    return min(max(coefficient, minimum), maximum)
