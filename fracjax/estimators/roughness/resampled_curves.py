"""Log-log curves of lines and of all resamples of them, with the noise taken off."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fracjax.estimators.roughness.line_moments import LineMoments
from fracjax.estimators.roughness.resampling import jackknife_variance, resampling_rows

__all__ = ["ResampledCurves", "heard_levels", "resampled_curves"]

_NOISE_SHARE = 0.75
_KNOWN_NOISE_SHARE = 0.9
_SIGNAL_TO_ERROR = 4.0
_SMALLEST_SIGNAL = 1e-3


class ResampledCurves(NamedTuple):
    """Mean increments of every resample of the lines; rows as in `averaging.LevelNumbers`.

    Attributes:
        logs: ln of the mean squared increments without the noise, ln of those observed, and ln
            of the squared mean absolute increments, less as much as the noise is in the squared
            ones, (3, rows, levels, lags).
        mean: exp of the first, (rows, levels, lags).
        lines: What every line adds to `mean`, (directions, levels, lags).
        picked: Share of each line in each row, (rows, directions).
        size: Lines in each row, (rows,).
        left: The rows in which one line is left out.
        drawn: The rows drawn by the bootstrap.
    """

    logs: Float[Array, "three r k l"]
    mean: Float[Array, "r k l"]
    lines: Float[Array, "d k l"]
    picked: Float[Array, "r d"]
    size: Float[Array, " r"]
    left: slice
    drawn: slice


def resampled_curves(
    moments: LineMoments,
    weight: Float[Array, " d"],
    noise: Float[Array, ""],
    *,
    noise_is_known: bool,
    num_bootstrap: int,
) -> ResampledCurves:
    """Average the increments of all resamples.

    Args:
        moments: Increments of every line.
        weight: Weight of every line.
        noise: Mean squared increment of the noise. All of it is subtracted where it is known,
            else half, and in two rows of their own nothing and all.
        noise_is_known: Whether that is exact rather than a bound.
        num_bootstrap: Draws with replacement, 0 for none.
    """
    used, dtype = moments.used, moments.used.dtype
    tiny = jnp.finfo(dtype).tiny
    num_lines = len(used)
    # Means of all resamples; then without and with all of the noise taken off; then lines alone.
    table = resampling_rows(num_lines, num_bootstrap)
    rows = np.concatenate([table, table[:1], table[:1], np.eye(num_lines)])
    shares = np.full(len(rows), 1.0 if noise_is_known else 0.5)
    shares[len(table) : len(table) + 2] = 1.0 if noise_is_known else (0.0, 1.0)
    picked = jnp.asarray(rows, dtype) * used
    size = jnp.maximum(picked.sum(axis=1), 1)
    picked, loud = picked / size[:, None], weight[:, None, None]
    parts = jnp.stack([loud * moments.total, loud * moments.signal, loud**0.5 * moments.absolute])
    observed, mean, absolute = jnp.einsum("rd,mdkl->mrkl", picked, parts) + tiny
    passed = (picked @ weight * jnp.asarray(shares, dtype))[:, None, None] * noise
    mean = jnp.maximum(mean - passed, _SMALLEST_SIGNAL * observed + tiny)
    logs = jnp.log(jnp.stack([mean, observed, absolute]))
    return ResampledCurves(
        logs=logs.at[2].set(2 * logs[2] + logs[0] - logs[1]),
        mean=mean,
        lines=loud * (moments.signal - float(shares[0]) * noise),
        picked=picked,
        size=size,
        left=slice(1, 1 + num_lines),
        drawn=slice(1 + num_lines, len(table)),
    )


def heard_levels(
    moments: LineMoments, noise: Float[Array, ""], *, noise_is_known: bool, subtracted: bool
) -> tuple[Float[Array, "k l"], Bool[Array, " k"], Float[Array, " k"]]:
    """Find the levels whose smallest increments stand clear of the noise.

    Args:
        moments: Increments of every line.
        noise: Mean squared increment of the noise.
        noise_is_known: Whether that is exact rather than a bound.
        subtracted: Whether all of it is taken off, so that what is left must exceed its error.

    Returns:
        Mean variogram as observed, whether each level is heard, and the noise's share of it.
    """
    used = moments.used
    kept = jnp.maximum(used.sum(), 1)
    tiny = jnp.finfo(used.dtype).tiny
    raw = jnp.einsum("d,dkl->kl", used, moments.total) / kept
    share = noise / jnp.maximum(raw[:, 0], tiny)
    limit = _KNOWN_NOISE_SHARE if noise_is_known else _NOISE_SHARE
    heard = (raw[:, 0] > 0) & (share <= limit)
    if subtracted:
        lines = moments.signal[:, :, 0]
        total = used @ lines
        left_out = (total - used[:, None] * lines) / jnp.maximum(kept - used, 1)[:, None]
        error = jnp.sqrt(jackknife_variance(left_out, used))
        removed = noise if noise_is_known else 0.0
        heard &= total / kept - removed > _SIGNAL_TO_ERROR * error
    return raw, heard, share
