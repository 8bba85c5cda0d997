"""Mean squared and absolute increments of every line, cleaned of noise.

The only part of the Hölder estimator that sees function values.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax.estimators.roughness.scaling import mean_increments

__all__ = ["LAGS", "LineMoments", "line_moments", "line_weights"]

LAGS = (1, 2, 3, 4, 6, 8)
_AMPLITUDE_RATIO = 32.0
_SILENT_LEVEL = 1e-3
_SILENT_LINE = 1e-6


class LineMoments(NamedTuple):
    """Increments averaged along each line.

    Attributes:
        total: Mean squared increments as observed, (directions, levels, lags).
        signal: The same without the part that differs between replicates; it may be
            negative. Equal to `total` without replicates.
        absolute: Mean absolute increments as observed.
        used: 1 for lines whose values are all finite, else 0.
    """

    total: Float[Array, "d k l"]
    signal: Float[Array, "d k l"]
    absolute: Float[Array, "d k l"]
    used: Float[Array, " d"]


def line_moments(values: Float[Array, "d k p *replicates"], order: int) -> LineMoments:
    """Average increments along lines.

    With replicates Δ_1 … Δ_R of one increment, whose noise is independent between
    replicates, the product of different ones averages to the squared increment of the mean
    function: the mean of ((ΣΔ)² - ΣΔ²) / (R (R - 1)).

    Args:
        values: Function values; with a trailing axis of replicates, if there are any.
        order: Order of the increments.
    """
    finite = jnp.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    used = finite.astype(values.dtype)
    clean = jnp.where(finite.reshape((-1,) + (1,) * (values.ndim - 1)), values, 0.0)
    mean = clean if values.ndim == 3 else clean.mean(axis=-1)
    total = mean_increments(mean, LAGS, order=order, power=2.0)
    absolute = mean_increments(mean, LAGS, order=order, power=1.0)
    signal = total
    if values.ndim == 4:
        count = values.shape[-1]
        each = mean_increments(jnp.moveaxis(clean, -1, 0), LAGS, order=order, power=2.0)
        signal = (count * total - each.mean(axis=0)) / (count - 1)
    return LineMoments(total, signal, absolute, used)


def line_weights(
    squares: Float[Array, "d k l"], heard: Bool[Array, " k"], used: Float[Array, " d"]
) -> tuple[Float[Array, " d"], Bool[Array, ""]]:
    """Weigh each line by its inverse typical size, so that no few loud lines carry the fit.

    The sizes differ by a factor that is common to all scales, hence harmless to the
    slope. Where some line falls a thousandfold below what its other scales and the other
    lines suggest, or is a millionfold quieter than another, the function is intermittent
    (jumps, kinks): there loud and silent lines are the finding, and all weights are 1.

    Args:
        squares: Mean squared increments.
        heard: Levels above the noise.
        used: 1 for lines that count.

    Returns:
        Weights, and whether the function is intermittent.
    """
    finite = used > 0
    counted = used[:, None] * heard
    tiny = jnp.finfo(squares.dtype).tiny
    # A dropped line takes the first kept line's place, so that the median ignores it.
    clean = jnp.where(finite[:, None, None], squares, squares[jnp.argmax(finite)])
    log_size = jnp.log(jnp.maximum(clean, tiny)).mean(axis=2)
    line = (log_size * heard).sum(axis=1) / jnp.maximum(heard.sum(), 1)
    level = (used @ log_size) / jnp.maximum(used.sum(), 1)
    typical = (level * heard).sum() / jnp.maximum(heard.sum(), 1)
    surprise = log_size - line[:, None] - level + typical
    silent = line < jnp.max(jnp.where(finite, line, -jnp.inf)) + math.log(_SILENT_LINE)
    intermittent = ((counted > 0) & (surprise < math.log(_SILENT_LEVEL))).any() | silent.any()
    limit = math.log(_AMPLITUDE_RATIO)
    weights = jnp.exp(-jnp.clip(line - jnp.median(line), -limit, limit))
    return jnp.where(intermittent, jnp.ones_like(weights), weights), intermittent
