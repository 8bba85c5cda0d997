"""Step sizes at which cycles of the balanced map are born and lose their stability.

Computed by Newton's method in float64 on the host, from derivatives along the orbit: no table.
"""

import itertools
import math
from typing import NamedTuple

from fracjax.systems.training_maps.balanced_map import critical_residual

__all__ = ["Cascade", "Cycle", "cycle_with_multiplier", "period_doublings", "superstable_step_size"]

_FEIGENBAUM = 4.669201609102990  # ratio of successive distances; only used to guess
_ITERATIONS = 60
_STAGES = 8  # from multiplier 0 to the one that is asked for
_TOLERANCE = 4e-14
_SAME = 1e-6  # points of a cycle of 1024 are 1e-4 apart where this is asked
_MOST = 10  # doublings: beyond, float64 no longer tells them apart


class Cycle(NamedTuple):
    """A cycle of the residual map.

    Attributes:
        step_size: μ at which it has its multiplier.
        residual: The point z of it that the critical point has continued to.
        period: Its length, in steps of z.
        multiplier: Slope of the map's `period`-th iterate along it.
    """

    step_size: float
    residual: float
    period: int
    multiplier: float


class Cascade(NamedTuple):
    """The period-doubling cascade.

    Attributes:
        superstable: μ of the cycles of periods 1, 2, 4, … through the critical point.
        doublings: μ at which those of periods 1, 2, 4, … lose their stability.
        ratios: Of the distances between successive doublings; they tend to 4.6692.
        accumulation: Their limit, extrapolated by the last ratio.
    """

    superstable: tuple[float, ...]
    doublings: tuple[float, ...]
    ratios: tuple[float, ...]
    accumulation: float


def superstable_step_size(period: int, near: float) -> float:
    """Find μ at which the critical point returns to itself after `period` steps.

    Args:
        period: Length of the cycle in steps of the residual z.
        near: Where to begin.

    Raises:
        ValueError: If Newton's method does not find one in [0, 2] of that period.
    """
    if period < 1:
        msg = f"Argument `period` must be at least 1, but is {period}."
        raise ValueError(msg)
    step_size = float(near)
    for _ in range(_ITERATIONS):
        z, by_size = float(critical_residual(step_size)), -2 / 3
        gap, slope = _returns(z, by_size, step_size, period)
        change = (gap - z) / (slope - by_size) if slope != by_size else math.inf
        step_size -= change
        if not 0 <= step_size <= 2:
            break
        if abs(change) < _TOLERANCE and _shortest(z, step_size, period) == period:
            return step_size
    msg = f"Argument `near` must lie near a superstable cycle of period {period}, but is {near}."
    raise ValueError(msg)


def cycle_with_multiplier(period: int, multiplier: float, near: float) -> Cycle:
    """Find μ at which a cycle has a multiplier: -1 where it doubles, 1 at a fold.

    The cycle through the critical point, of multiplier 0, is found first and then followed to the
    multiplier. At 1 this works for cycles born in pairs, as that of period 3, whose window
    opens at μ = 1.450441; a cycle born by doubling has no isolated solution there.

    Args:
        period: Length of the cycle in steps of z.
        multiplier: At least -1 and at most 1.
        near: A μ near that of the superstable cycle.

    Raises:
        ValueError: If the multiplier is out of range or nothing is found.
    """
    if not -1 <= multiplier <= 1:
        msg = f"Argument `multiplier` must lie in [-1, 1], but is {multiplier}."
        raise ValueError(msg)
    step_size = superstable_step_size(period, near)
    z = float(critical_residual(step_size))
    for stage in range(1, _STAGES + 1):
        z, step_size = _follow(z, step_size, period, multiplier * stage / _STAGES)
    if _shortest(z, step_size, period) != period:  # it has shrunk onto the cycle it was born from
        msg = f"Argument `multiplier` must be below 1 for a cycle of period {period} near {near}."
        raise ValueError(msg)
    return Cycle(step_size, z, period, multiplier)


def period_doublings(count: int = 7) -> Cascade:
    """Compute the first period doublings: at μ = 1, √5 - 1, 1.2880…, and so on.

    Accuracy is about 1e-13 for the first ones. Between successive doublings is a factor of
    4.669, so that 10 are as many as float64 can tell.

    Args:
        count: How many, 3 to 10.

    Raises:
        ValueError: If `count` is out of range.
    """
    if not 3 <= count <= _MOST:
        msg = f"Argument `count` must lie in [3, {_MOST}], but is {count}."
        raise ValueError(msg)
    superstable = [superstable_step_size(1, 0.5), superstable_step_size(2, 1.12)]
    doublings = []
    for index in range(count):
        last, here = superstable[-2:]
        doublings.append(cycle_with_multiplier(2**index, -1.0, superstable[index]).step_size)
        if index + 2 <= count:
            guess = here + (here - last) / _FEIGENBAUM
            superstable.append(superstable_step_size(2 ** (index + 2), guess))
    steps = [b - a for a, b in itertools.pairwise(doublings)]
    ratios = tuple(a / b for a, b in itertools.pairwise(steps))
    limit = doublings[-1] + steps[-1] / (ratios[-1] - 1)
    return Cascade(tuple(superstable[:count]), tuple(doublings), ratios, limit)


def _slopes(z: float, size: float) -> tuple[float, float, float, float, float]:
    """The map of z and its derivatives: by z, by μ, twice by z, by z and μ."""
    image = z * (z * (z + size - 2) + 1 - 2 * size)
    by_z = z * (3 * z + 2 * size - 4) + 1 - 2 * size
    return image, by_z, z * z - 2 * z, 6 * z + 2 * size - 4, 2 * z - 2


def _returns(z: float, z_by_size: float, size: float, period: int) -> tuple[float, float]:
    """Iterate, with the total derivative by μ."""
    for _ in range(period):
        image, by_z, by_size, _, _ = _slopes(z, size)
        z_by_size = by_z * z_by_size + by_size
        z = image
    return z, z_by_size


def _shortest(start: float, size: float, period: int) -> int:
    """Period of a cycle, among the divisors of `period`."""
    z = start
    for count in range(1, period + 1):
        z = _slopes(z, size)[0]
        if period % count == 0 and abs(z - start) < _SAME:
            return count
    return 0


def _follow(z: float, size: float, period: int, multiplier: float) -> tuple[float, float]:
    """Newton's method for f^n(z) = z and (f^n)'(z) = multiplier."""
    for _ in range(_ITERATIONS):
        point, by_z, by_size, twice, mixed = z, 1.0, 0.0, 0.0, 0.0
        for _ in range(period):
            image, f_z, f_size, f_zz, f_mixed = _slopes(point, size)
            mixed = (f_zz * by_size + f_mixed) * by_z + f_z * mixed
            twice = f_zz * by_z**2 + f_z * twice
            by_size = f_z * by_size + f_size
            by_z = f_z * by_z
            point = image
        gap, miss = point - z, by_z - multiplier
        determinant = (by_z - 1) * mixed - by_size * twice
        if determinant == 0 or not math.isfinite(determinant):
            break
        change_z = (gap * mixed - miss * by_size) / determinant
        change_size = ((by_z - 1) * miss - twice * gap) / determinant
        z, size = z - change_z, size - change_size
        # Far along the cascade rounding of the orbit bounds z, not μ.
        if abs(change_size) < _TOLERANCE:
            return z, size
    msg = (
        f"Argument `multiplier` must be one that the cycle of period {period} takes, but Newton's"
        f" method finds none for {multiplier:g}."
    )
    raise ValueError(msg)
