"""Scales that a finite horizon leaves rough."""

import math
from typing import NamedTuple

from fracjax.estimators.roughness.line_moments import LAGS

__all__ = ["Reach", "above_horizon"]

_SAFETY = 10.0  # smallest spacing over e^{-λT}
_DECADE = 10.0  # of spacings that an exponent needs


class Reach(NamedTuple):
    """How far down a Hölder exponent can be measured.

    Attributes:
        smallest: Smallest spacing of its lines.
        smooth_below: Scale e^{-λT} below which the horizon makes any return smooth; 0 without
            chaos.
        too_short: Whether that scale leaves less than a decade to measure in.
    """

    smallest: float
    smooth_below: float
    too_short: bool


def above_horizon(largest: float, smallest: float, *, rate: float, steps: float | int) -> Reach:
    """Keep the spacings above e^{-λT}, if that leaves them a decade below the largest, L/8.

    A change δ grows to δ e^{λT} over T steps. What does not reach the size of the landscape in
    that time is smooth, however rough the return of a longer horizon would be.

    Args:
        largest: Largest lag L.
        smallest: Smallest spacing that precision allows.
        rate: Largest Lyapunov exponent λ, nats per step.
        steps: T.

    Returns:
        The smallest spacing, raised unless `too_short`.
    """
    grown = rate * steps
    cut = math.exp(-grown) if math.isfinite(grown) and grown > 0 else 0.0
    wanted = max(smallest, _SAFETY * cut)
    too_short = cut > 0 and wanted > largest / max(LAGS) / _DECADE
    return Reach(smallest if too_short else wanted, cut, too_short)
