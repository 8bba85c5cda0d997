"""Means with standard errors and Student intervals, from few and possibly failed blocks."""

import types
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.special import stdtrit

from fracjax._types import Estimate, Status

__all__ = ["masked_mean", "student_mean", "student_quantile", "welch_statistic"]


def student_quantile(degrees: int | Int[Array, "*n"], largest: int) -> Float[Array, "*n"]:
    """Two-sided 95 % quantile of Student's t, for degrees of freedom known at run time.

    Args:
        degrees: Degrees of freedom; NaN results below 1.
        largest: Static bound of `degrees`.
    """
    table = np.full(largest + 1, np.nan)
    table[1:] = stdtrit(np.arange(1, largest + 1), 0.975)
    return jnp.asarray(table, jnp.result_type(float))[jnp.clip(degrees, 0, largest)]


def masked_mean(
    values: Float[Array, "n ..."], keep: Bool[Array, "n ..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."], Int[Array, "..."]]:
    """Average the kept values; return the mean, its standard error and how many there are.

    Along the leading axis. The values are taken as independent. The mean of none and the
    error of one are NaN.
    """
    count = jnp.sum(keep, axis=0)
    mean = jnp.sum(jnp.where(keep, values, 0), axis=0) / count
    squares = jnp.sum(jnp.where(keep, (values - mean) ** 2, 0), axis=0)
    error = jnp.sqrt(squares / (count * jnp.maximum(count - 1, 1)))
    return mean, jnp.where(count > 1, error, jnp.nan), count


def student_mean(
    values: Float[Array, "n ..."],
    keep: Bool[Array, "n ..."],
    details: Mapping[str, Any] = types.MappingProxyType({}),
) -> Estimate:
    """Average the kept values with Student's interval; TOO_FEW_POINTS where there are not two.

    Along the leading axis, see `masked_mean`.
    """
    value, stderr, count = masked_mean(values, keep)
    margin = student_quantile(count - 1, len(values)).astype(value.dtype) * stderr
    status = jnp.where(count < 2, Status.TOO_FEW_POINTS, Status.OK)
    return Estimate(value, stderr, value - margin, value + margin, status, dict(details))


def welch_statistic(blocks: Float[Array, "blocks ..."]) -> Float[Array, "..."]:
    """Compare the means of the first and the second half of a sequence of block means.

    Args:
        blocks: Four block means or more, along the leading axis.

    Returns:
        Their distance over its standard error, the error taken inside the halves so that
        a drift does not hide itself. Differences of the size of rounding count as none.
    """
    half = len(blocks) // 2
    first, second = blocks[:half], blocks[-half:]
    rounding = 32 * jnp.finfo(blocks.dtype).eps * jnp.max(jnp.abs(blocks), axis=0)
    variance = (jnp.var(first, axis=0, ddof=1) + jnp.var(second, axis=0, ddof=1)) / half
    gap = jnp.abs(first.mean(axis=0) - second.mean(axis=0))
    return gap / jnp.sqrt(variance + rounding**2)
