"""Learning rates at which descent of one number converges, counted at all resolutions."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.special import stdtrit

from fracjax import evaluation
from fracjax._types import Estimate, Key, Objective, Status

__all__ = [
    "BoundaryCounts",
    "Perturbation",
    "boundary_counts",
    "count_dimension",
    "label_change_counts",
    "rate_objective",
    "roughness_threshold",
]

Perturbation = Literal["additive", "multiplicative"]
_LARGEST_LOSS = 1e8


class BoundaryCounts(NamedTuple):
    """Label changes between neighbours on nested grids of learning rates.

    Attributes:
        levels: n = 0, 1, …: the grid has 2^n + 1 points.
        counts: N_n, how often the label changes along it.
        diverged: Labels on the finest grid.
    """

    levels: Int[np.ndarray, " levels"]
    counts: Int[np.ndarray, " levels"]
    diverged: Bool[np.ndarray, " points"]


def rate_objective(
    perturbation: Perturbation,
    *,
    amplitude: float | int = 0.2,
    wavelength: float | int = 0.1,
    start: float | int = 1.0,
    num_steps: int = 1000,
) -> Objective:
    """Make `objective(rate, key)`: 1 if descent at this rate diverges, -1 if not.

    The loss is x² + ε cos(2πx/l) (`"additive"`) or x² (1 + ε cos(2πx/l)) (`"multiplicative"`), ε =
    `amplitude`, l = `wavelength`; it has diverged as soon as a loss exceeds 10⁸. The loop ends
    there, and where a step changes nothing, which is exact.

    Args:
        perturbation: Of x².
        amplitude: ε; 0 leaves a parabola, which converges at rates below 1.
        wavelength: l.
        start: x before the first step.
        num_steps: Steps of gradient descent.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Liu (2024), arXiv 2406.13971.
    """
    if perturbation not in get_args(Perturbation):
        msg = (
            f"Argument `perturbation` must be one of {get_args(Perturbation)},"
            f" but is {perturbation!r}."
        )
        raise ValueError(msg)
    if num_steps < 1 or not wavelength > 0:
        msg = (
            "Arguments `num_steps` and `wavelength` must be positive, but are"
            f" {num_steps} and {wavelength}."
        )
        raise ValueError(msg)
    loss_and_slope = _additive if perturbation == "additive" else _multiplicative

    def objective(rate: Array, key: Key) -> Array:
        del key
        rate = jnp.asarray(rate)

        def step(carry: tuple) -> tuple:
            index, place, slope, _, _ = carry
            moved = place - rate * slope
            loss, slope = loss_and_slope(moved, amplitude, wavelength)
            # NaN has diverged.
            return index + 1, moved, slope, ~(loss <= _LARGEST_LOSS), moved == place

        def going(carry: tuple) -> Array:
            index, _, _, diverged, rests = carry
            return (index < num_steps) & ~diverged & ~rests

        first = jnp.asarray(start, rate.dtype)
        no = jnp.zeros((), bool)
        _, slope = loss_and_slope(first, amplitude, wavelength)
        carry = jnp.zeros((), jnp.int32), first, slope, no, no
        diverged = jax.lax.while_loop(going, step, carry)[3]
        return jnp.where(diverged, 1, -1).astype(rate.dtype)

    return objective


# Orders of operations are those of the published programs: chaos shows the last bit.
def _additive(place: Array, amplitude: float, wavelength: float) -> tuple[Array, Array]:
    angle = 2 * math.pi * place / wavelength
    loss = place**2 + amplitude * jnp.cos(angle)
    return loss, 2 * place - 2 * math.pi * amplitude * jnp.sin(angle) / wavelength


def _multiplicative(place: Array, amplitude: float, wavelength: float) -> tuple[Array, Array]:
    angle = 2 * math.pi * place / wavelength
    factor = 1 + amplitude * jnp.cos(angle)
    bend = 2 * math.pi * place**2 * amplitude * jnp.sin(angle) / wavelength
    return place**2 * factor, 2 * place * factor - bend


def roughness_threshold() -> float:
    """Value of ε/l² above which the additive loss is not convex: 1 / (2π²)."""
    return 1 / (2 * math.pi**2)


def boundary_counts(
    objective: Objective,
    key: Key,
    *,
    num_levels: int = 17,
    rates: tuple[float, float] = (0.0, 1.5),
    chunk_size: int = 1024,
    on_progress: Callable[[int], None] | None = None,
) -> BoundaryCounts:
    """Count label changes along 2^n + 1 evenly spaced learning rates, for n from 0 on.

    Coarser grids are parts of the finest one. The dtype is the default float.

    Chaos makes the labels of single rates depend on the last bit. Over starts that differ in it,
    counts of the default multiplicative loss scatter by 1 to 2 % where they are below 1000
    (57 to 61 at n = 10, 681 to 695 at n = 14); those of the additive one, few and all at rates
    just above 1, by half (9 to 17 at n = 15).

    Args:
        objective: Such as `rate_objective`; a rate belongs to the boundary between signs.
        key: The objective's key.
        num_levels: The finest n.
        rates: First and last learning rate.
        chunk_size: Rates evaluated together.
        on_progress: Called with the number of rates finished so far.

    Raises:
        ValueError: If `num_levels` is below 0 or `rates` does not increase.
    """
    if num_levels < 0 or not rates[0] < rates[1]:
        msg = (
            "Arguments `num_levels` and `rates` must be at least 0 and increase, but are"
            f" {num_levels} and {rates}."
        )
        raise ValueError(msg)
    grid = np.linspace(*rates, 2**num_levels + 1).astype(jnp.result_type(float))
    size = min(chunk_size, len(grid))
    values = evaluation.map_points(objective, grid, key, chunk_size=size, on_progress=on_progress)
    diverged = np.asarray(values) > 0
    return BoundaryCounts(np.arange(num_levels + 1), label_change_counts(diverged), diverged)


def label_change_counts(labels: Bool[np.ndarray, " points"]) -> Int[np.ndarray, " levels"]:
    """Count changes between neighbours among every 2^k-th of 2^n + 1 labels, coarsest first.

    Args:
        labels: Labels at 2^n + 1 places.

    Raises:
        ValueError: If their number is of another form.
    """
    levels = (len(labels) - 1).bit_length() - 1
    if len(labels) < 2 or 2**levels + 1 != len(labels):
        msg = f"Argument `labels` must have 2^n + 1 entries, but has {len(labels)}."
        raise ValueError(msg)
    strides = 2 ** np.arange(levels, -1, -1)
    return np.array([np.count_nonzero(np.diff(labels[::stride])) for stride in strides.tolist()])


def count_dimension(
    counts: Int[np.ndarray, " levels"] | Float[np.ndarray, " levels"],
    *,
    first: int = 0,
    last: int | None = None,
) -> Estimate:
    """Estimate the box-counting dimension from numbers of boxes at levels n, each twice as fine.

    The least-squares slope of log2 N_n over n. Its standard error is from the scatter of the ratios
    log2 N_{n+1} / N_n, as if they were independent, over the square root of their number; it is
    larger than that of the residuals of the line, which are a sum of ratios and not
    independent. The interval is Student's.

    Args:
        counts: N_n.
        first: First level used.
        last: Last level used; the last there is if not given.

    Returns:
        Slope. Status TOO_FEW_POINTS with fewer than three levels, AT_NOISE_FLOOR where a count is
        zero. Counts that are all equal give 0 and an interval of no width.
    """
    used = np.asarray(counts, float)[first : None if last is None else last + 1]
    blank = jnp.asarray(np.nan)
    bad = Status.TOO_FEW_POINTS if len(used) < 3 else Status.AT_NOISE_FLOOR
    if len(used) < 3 or not used.min() > 0:
        return Estimate(blank, blank, blank, blank, jnp.asarray(int(bad)))
    levels = np.arange(len(used)) - (len(used) - 1) / 2
    logs = np.log2(used)
    ratios = np.diff(logs)
    value = float(levels @ logs / (levels @ levels))
    error = float(ratios.std(ddof=1)) / math.sqrt(len(ratios))
    margin = error * float(stdtrit(len(ratios) - 1, 0.975))
    middle, stderr, low, high = map(jnp.asarray, (value, error, value - margin, value + margin))
    details = {"levels": first + np.arange(len(used)), "counts": used, "log2_ratios": ratios}
    return Estimate(middle, stderr, low, high, jnp.asarray(int(Status.OK)), details)
