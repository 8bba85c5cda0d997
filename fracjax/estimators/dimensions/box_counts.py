"""How many points fall into the boxes of shifted grids, at all scales from one sort per grid.

Points are sorted along a Morton curve: the bits of their grid coordinates interleaved,
coarse before fine. The points of any box of any level are then neighbours, and the first bit
in which two neighbours differ says at which levels a box ends between them.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt
from scipy import special

from fracjax.estimators.dimensions.pair_counts import ScalingCurve

__all__ = ["box_curve", "occupation_numbers"]

_HEAD = 4  # bits per coordinate above the coarsest level: 2 · 4 extents and one shift, below 16
_LARGEST_VARIANCE = 1 / 30
# Share of points that must not be alone in their box. Corrected counts of boxes stay right
# further down than corrected entropies; sums of order 2 and above need no such limit.
_SMALLEST_COVERAGE = {0.0: 0.7, 1.0: 0.6}
_CORRECTION_SHARE = 0.5
_GRID_ERROR = 0.008  # of a log measure: what 32 grids leave instead of all


def _morton_words(
    coordinates: Int[Array, "points dim"], num_bits: int
) -> list[UInt[Array, " points"]]:
    """Interleave the bits of the coordinates into 32-bit words, the most significant first."""
    dim = coordinates.shape[1]
    words = []
    for first in range(0, num_bits * dim, 32):
        places = np.arange(first, min(first + 32, num_bits * dim))
        bits = (coordinates[:, places % dim] >> jnp.asarray(num_bits - 1 - places // dim)) & 1
        shifts = jnp.asarray(31 - (places - first), jnp.uint32)
        words.append((bits.astype(jnp.uint32) << shifts).sum(axis=1, dtype=jnp.uint32))
    return words


def _split_levels(words: list[UInt[Array, " points"]], dim: int) -> Int[Array, " between"]:
    """Level at which each sorted point parts from the one before: the first differing bit."""
    place = jnp.full(len(words[0]) - 1, 32 * len(words), jnp.int32)
    for index in range(len(words) - 1, -1, -1):
        differ = words[index][1:] ^ words[index][:-1]
        here = 32 * index + jax.lax.clz(differ).astype(jnp.int32)
        place = jnp.where(differ > 0, here, place)
    return place // dim


def occupation_numbers(
    unit_points: Float[Array, "points dim"], num_levels: int
) -> tuple[Int[Array, " points"], Int[Array, "levels points"]]:
    """Count the points in the box of every point, for boxes of size 1, ½, ¼ and so on.

    Args:
        unit_points: Points with coordinates in [0, 16).
        num_levels: How many levels, at most 20.

    Returns:
        The order in which the points were sorted, and for every level the number of points
        in the box of each point, in that order.
    """
    num_points, dim = unit_points.shape
    num_bits = _HEAD + num_levels - 1
    grid = (unit_points * 2.0 ** (num_levels - 1)).astype(jnp.int32)
    words = _morton_words(grid, num_bits)
    index = jnp.arange(num_points, dtype=jnp.int32)
    *words, order = jax.lax.sort((*words, index), num_keys=len(words))
    split = jnp.concatenate([jnp.full(1, -1, jnp.int32), _split_levels(words, dim)])

    def at(level: Array) -> Array:
        box = jnp.cumsum(split <= level + _HEAD - 1) - 1
        return jax.ops.segment_sum(jnp.ones_like(box), box, num_points, indices_are_sorted=True)[
            box
        ]

    return order, jax.lax.map(at, jnp.arange(num_levels))


@functools.lru_cache(maxsize=16)
def _tables(order: float, num_points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per point of a box with n points: share of each sum over boxes, jackknife, pair term.

    For a sum Σ_b F(n_b): F(n)/n; F(n) - F(n-1), what the sum loses with the point; and
    (n-1)/2 · [F(n) - 2F(n-1) + F(n-2)]², what pairs of points alone add to its variance. Rows
    are statistics: for q = 0 the boxes, those with one point and those with two.
    """
    n = np.arange(num_points + 1, dtype=float)
    if order == 0:
        functions = np.stack([n > 0, n == 1, n == 2]).astype(float)
    elif order == 1:
        # Grassberger's entropy: n ln n with the bias of few points taken out.
        half = special.digamma((n + 1) / 2) - special.digamma(np.maximum(n, 1) / 2)
        sign = np.where(n % 2 == 0, 1, -1)
        corrected = n * (special.digamma(np.maximum(n, 1)) + sign * half / 2)
        functions = np.stack([corrected, special.xlogy(n, n)]) / num_points
    else:
        rest = n + 1 - order
        logs = special.gammaln(n + 1) - special.gammaln(np.where(rest > 0, rest, 1))
        logs -= special.gammaln(num_points + 1) - special.gammaln(num_points + 1 - order)
        functions = (np.exp(logs) * ((rest > 0) & (n > 0)))[None]
    before = np.pad(functions, ((0, 0), (1, 0)))[:, :-1]
    earlier = np.pad(functions, ((0, 0), (2, 0)))[:, :-2]
    pairs = (n - 1) / 2 * (functions - 2 * before + earlier) ** 2
    pairs[:, :2] = 0
    return functions / np.maximum(n, 1), functions - before, pairs


def _shifts(num_grids: int, dim: int) -> np.ndarray:
    """Spread shifts of grids evenly over the unit cube, also jointly with their number."""
    golden = 2.0
    for _ in range(60):
        golden = (1 + golden) ** (1 / (dim + 1))
    return (0.5 + np.outer(np.arange(num_grids), golden ** -(1.0 + np.arange(dim)))) % 1


def _log_measure(order: float, sums: Array, num_points: int) -> tuple[Array, Array, Array]:
    """Map the sums over boxes to the log measure, its gradient, and what was corrected."""
    if order == 0:
        boxes, single, double = sums
        chao = (num_points - 1) / num_points / 2
        total = boxes + chao * single * (single - 1) / (double + 1)
        slope = jnp.stack(
            [
                jnp.ones_like(boxes),
                chao * (2 * single - 1) / (double + 1),
                -chao * single * (single - 1) / (double + 1) ** 2,
            ]
        )
        return -jnp.log(total), -slope / total, jnp.log(boxes / total)
    if order == 1:
        measure = sums[0] - math.log(num_points)
        return (
            measure,
            jnp.stack([jnp.ones_like(measure), jnp.zeros_like(measure)]),
            sums[1] - sums[0],
        )
    total = jnp.maximum(sums, jnp.finfo(sums.dtype).tiny)
    return jnp.log(total[0]) / (order - 1), 1 / (total * (order - 1)), jnp.zeros_like(total[0])


@functools.partial(jax.jit, static_argnames=("order", "num_levels", "num_grids", "num_blocks"))
def box_curve(
    points: Float[Array, "points dim"],
    *,
    order: float,
    num_levels: int = 16,
    num_grids: int = 32,
    num_blocks: int = 100,
) -> ScalingCurve:
    """Logarithm of the generalised box sum of order q against box size, octave by octave.

    Each level is a mean over grids that are shifted against each other and whose box sizes
    fill the octave evenly, from a quarter of the extent of the sample downwards. The
    covariance is a jackknife over points, summed within blocks of neighbouring points in time.
    """
    num_points, dim = points.shape
    dtype = points.dtype
    low = points.min(axis=0)
    extent = (points.max(axis=0) - low).max()
    unit = (points - low) / jnp.where(extent > 0, extent, 1)
    share, loss, pair = (jnp.asarray(table, dtype) for table in _tables(order, num_points))
    per_block = num_points // num_blocks
    phases = np.arange(num_grids) / num_grids
    shifts = _shifts(num_grids, dim)

    def on_grid(grid: tuple[Array, Array]) -> tuple[Array, ...]:
        shift, phase = grid
        placed = 4 * unit * 2**phase + shift
        order_of, counts = occupation_numbers(placed, num_levels)
        block = order_of // per_block

        def at(count: Array) -> tuple[Array, ...]:
            sums = share[:, count].sum(axis=1)
            measure, gradient, corrected = _log_measure(order, sums, num_points)
            lost = gradient @ loss[:, count]
            # Points beyond the last whole block count for the value, not for its error.
            influence = jax.ops.segment_sum(lost, block, num_blocks)
            pairs = (gradient**2 @ pair[:, count]).sum()
            coverage = 1 - (count == 1).sum() / num_points
            return measure, influence, pairs, coverage, corrected

        return jax.lax.map(at, counts)

    grids = (jnp.asarray(shifts, dtype), jnp.asarray(phases, dtype))
    measure, influence, pairs, coverage, corrected = jax.lax.map(on_grid, grids)
    spread = num_blocks * jnp.var(influence, axis=2, ddof=1)
    keep = jnp.sqrt(jnp.clip(1 - pairs / jnp.where(spread > 0, spread, 1), 0.5, 1))
    covariance = num_blocks * jnp.cov((influence * keep[:, :, None]).mean(axis=0))
    doubt = _CORRECTION_SHARE * corrected.mean(axis=0)
    covariance += doubt[:, None] * doubt + _GRID_ERROR**2 * jnp.eye(num_levels, dtype=dtype)
    least = _SMALLEST_COVERAGE.get(order, 0.95 if order < 2 else 0.0)
    usable = (coverage > least).all(axis=0)
    if order not in (0, 1):
        variance = spread * keep**2 * (order - 1) ** 2
        usable &= (variance < _LARGEST_VARIANCE).all(axis=0)
        bias = jnp.where(variance < 1, variance, 0) / 2 / (order - 1)
        measure = measure + bias
    log_scale = jnp.log(jnp.where(extent > 0, extent, 1) / 4) - math.log(2) * (
        jnp.arange(num_levels, dtype=dtype) + float(phases.mean())
    )
    return ScalingCurve(log_scale, measure.mean(axis=0), covariance, usable)
