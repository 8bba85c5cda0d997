"""Random probes of an operator, and what their mean is worth."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from scipy.special import stdtrit

from fracjax._types import Estimate, Key, Status

__all__ = ["Probe", "check_count", "check_probe", "draw_probe", "mean_of_draws", "probes_at_once"]

# Distributions of random vectors: signs, normal numbers, or points of a sphere.
Probe = Literal["rademacher", "normal", "sphere"]
_MOST_PROBES = (64, 2**22)  # at once; numbers in them


def draw_probe(key: Key, size: int, dtype: Any, probe: Probe) -> Float[Array, " n"]:
    """Draw a vector of independent entries of variance 1, or uniform on the sphere of radius √n."""
    if probe == "rademacher":
        return jax.random.rademacher(key, (size,), dtype)
    vector = jax.random.normal(key, (size,), dtype)
    if probe == "sphere":
        vector = vector * (size**0.5 / jnp.linalg.norm(vector))
    return vector


def mean_of_draws(
    draws: Float[Array, "draws ..."],
    finite: Bool[Array, ""] | None = None,
    details: dict[str, Any] | None = None,
    *,
    inflation: float = 1.0,
) -> Estimate:
    """Average draws along the leading axis, with a Student interval.

    The standard error is that of independent draws times `inflation`.

    A single draw has a value but neither error nor interval, and status `TOO_FEW_POINTS`.
    """
    count = len(draws)
    value = draws.mean(axis=0)
    good = jnp.isfinite(value)
    if finite is not None:
        good = good & finite
    missing = jnp.full_like(value, jnp.nan)
    if count > 1:
        error = jnp.std(draws, axis=0, ddof=1) * (inflation / count**0.5)
        width = jnp.asarray(stdtrit(count - 1, 0.975), value.dtype) * error
        status = Status.OK
    else:
        error = width = missing
        status = Status.TOO_FEW_POINTS
    value, error = jnp.where(good, value, missing), jnp.where(good, error, missing)
    codes = jnp.where(good, int(status), int(Status.NONFINITE_TANGENT))
    return Estimate(value, error, value - width, value + width, codes, details or {})


def probes_at_once(chunk_size: int | None, num_probes: int, size: int, numbers: int = 1) -> int:
    """How many probes are taken together: as told, or as many as are worth it, at most all.

    Args:
        chunk_size: What was asked for, or None.
        num_probes: All probes.
        size: Numbers in a vector.
        numbers: Vectors that a probe keeps.

    Raises:
        ValueError: If `chunk_size` is not positive.
    """
    if chunk_size is None:
        most, total = _MOST_PROBES
        chunk_size = max(1, min(most, total // (size * numbers)))
    check_count("chunk_size", chunk_size, 1)
    return min(chunk_size, num_probes)


def check_probe(probe: str) -> None:
    """Raise ValueError for an unknown kind of probe."""
    if probe not in get_args(Probe):
        msg = f"Argument `probe` must be one of {get_args(Probe)}, but is {probe!r}."
        raise ValueError(msg)


def check_count(name: str, value: int, least: int, most: int | None = None) -> None:
    """Raise ValueError for a number out of range."""
    if value < least or (most is not None and value > most):
        bound = f"at least {least}" if most is None else f"from {least} to {most}"
        msg = f"Argument `{name}` must be {bound}, but is {value}."
        raise ValueError(msg)
