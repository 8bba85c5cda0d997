"""Put estimates together: an interval, a status, and NaN where a number may not be read."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax._types import Estimate, Status

__all__ = ["status_of", "symmetric_estimate"]


def symmetric_estimate(
    value: Array,
    stderr: Array,
    quantile: float | Array,
    status: Array,
    details: dict[str, Any],
    *,
    blank: float | Array = 0.0,
) -> Estimate:
    """Make an estimate whose interval is `value ± quantile · stderr`.

    Args:
        value: The estimate.
        stderr: Its standard error.
        quantile: Of the law of the error, two-sided 95 %.
        status: `Status` codes.
        details: What the number was computed from.
        blank: 0 where the numbers may be read, NaN where they may not: it is added to them.
    """
    margin = quantile * stderr
    return Estimate(
        value=value + blank,
        stderr=stderr + blank,
        low=value - margin + blank,
        high=value + margin + blank,
        status=status,
        details=details,
    )


def status_of(
    finite: Bool[Array, ""], heard: Array, inside: Array | bool, dtype: Any
) -> tuple[Array, Float[Array, ""]]:
    """Give the status, and what blanks every number that is not to be read: 0 or NaN.

    Args:
        finite: Whether the data are; DIVERGED if not.
        heard: Whether they rise above what rounding makes of silence; AT_NOISE_FLOOR if not.
        inside: Whether the model holds; NO_SCALING_REGION if not.
        dtype: Of the numbers.
    """
    status = jnp.where(inside, int(Status.OK), int(Status.NO_SCALING_REGION))
    status = jnp.where(heard, status, int(Status.AT_NOISE_FLOOR))
    status = jnp.where(finite, status, int(Status.DIVERGED))
    return status, jnp.where(status == Status.OK, 0.0, jnp.nan).astype(dtype)
