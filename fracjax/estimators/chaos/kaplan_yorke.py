"""Dimension and entropy from a Lyapunov spectrum, with the spectrum's errors carried over."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Estimate, Status
from fracjax.estimators.chaos.spectral_error import degrees_of_freedom, standard_error
from fracjax.estimators.intervals import student_quantile

__all__ = ["entropy_bound", "kaplan_yorke_dimension"]


@functools.partial(jax.jit, static_argnames="num_coordinates")
def kaplan_yorke_dimension(spectrum: Estimate, num_coordinates: int | None = None) -> Estimate:
    """Compute the Kaplan–Yorke dimension D = j + (λ_1 + … + λ_j)/|λ_{j+1}|.

    j is the last index at which the sum is not negative. D is 0 when λ_1 < 0, and n when the
    sum of all n exponents is not negative. It is conjectured to equal the information
    dimension of the attractor of a typical system, and bounds it from above for smooth maps.

    The error is that of the linearised formula, from the blocks of the spectrum, so that
    correlations between exponents count (they matter: the sum is often exact). It is not
    reliable within an error of an integer dimension, where j changes. The neutral exponent
    of a flow makes no difference: on either side of zero it adds nothing.

    Args:
        spectrum: `lyapunov_spectrum`, of shape (k,), with its `blocks`.
        num_coordinates: Number n of exponents of the complete spectrum; k by default.

    Returns:
        D with a 95 % Student interval, clipped to [0, n]. `NOT_CONVERGED` (NaN) when the sum of the
        k < n given exponents is not negative: ask for more of them; otherwise the worst
        status of the exponents that enter. Details: `index`, the j.

    References:
        Kaplan and Yorke (1979), https://doi.org/10.1007/BFb0064319.
        Frederickson, Kaplan, Yorke and Yorke (1983),
        https://doi.org/10.1016/0022-0396(83)90011-6.

    Example:
        >>> from fracjax import estimators, systems
        >>> henon = systems.catalogue.get("henon")
        >>> spectrum = estimators.lyapunov_spectrum(
        ...     henon.step, henon.state, num_steps=20_000, num_transient=100
        ... )
        >>> dimension = estimators.kaplan_yorke_dimension(spectrum)
        >>> bool(abs(dimension.value - 1.258) < 0.01)
        True
    """
    order = jnp.argsort(-spectrum.value)
    value, blocks = spectrum.value[order], spectrum.details["blocks"][:, order]
    size = len(value)
    total = size if num_coordinates is None else num_coordinates
    sums = jnp.cumsum(value)
    index = jnp.sum(jnp.cumprod(sums >= 0))
    inside = index < size
    following = value[jnp.minimum(index, size - 1)]
    before = jnp.where(index > 0, sums[jnp.maximum(index - 1, 0)], 0)
    fraction = jnp.where(index > 0, before / jnp.abs(following), 0)
    places = jnp.arange(size)
    gradient = jnp.where(places < index, 1.0, jnp.where(places == index, fraction, 0.0))
    gradient = jnp.where(inside & (index > 0), gradient / jnp.abs(following), 0)
    dimension = jnp.where(inside, index + fraction, jnp.where(size == total, total, jnp.nan))
    used = places <= index
    status = jnp.max(jnp.where(used, spectrum.status[order], Status.OK))
    status = jnp.where(~inside & (size < total), Status.NOT_CONVERGED, status)
    bad = ~jnp.isfinite(jnp.where(used & jnp.isfinite(gradient), value, 0)).all()
    vanished = inside & jnp.isneginf(following)  # infinitely strong contraction adds nothing
    dimension = jnp.where(bad & ~vanished, jnp.nan, dimension)
    return _linearised(dimension, gradient, blocks, status, (0.0, float(total)), {"index": index})


@jax.jit
def entropy_bound(spectrum: Estimate) -> Estimate:
    """Add up the positive exponents: an upper bound of the metric entropy, in their unit.

    It is the Kolmogorov–Sinai entropy for systems with a smooth or physical (SRB) measure
    (Pesin's formula). An exponent that is zero in truth adds half of its positive noise: pass
    long orbits of flows.

    Args:
        spectrum: `lyapunov_spectrum`, with all positive exponents.

    Returns:
        The sum with a 95 % Student interval. `NOT_CONVERGED` when the last exponent given is
        still positive and may not be the last positive one (nothing to worry about when the
        spectrum is complete). Details: `num_positive`.

    References:
        Ruelle (1978), https://doi.org/10.1007/BF02584795.
        Pesin (1977), https://doi.org/10.1070/RM1977v032n04ABEH001639.
    """
    value = spectrum.value
    positive = value > 0
    gradient = jnp.where(positive, 1.0, 0.0)
    status = jnp.max(jnp.where(positive, spectrum.status, Status.OK))
    status = jnp.where(jnp.isnan(value).any(), jnp.max(spectrum.status), status)
    status = jnp.where(positive[-1] & (status == Status.OK), Status.NOT_CONVERGED, status)
    entropy = jnp.where(positive, value, 0).sum()
    entropy = jnp.where(jnp.isnan(value).any(), jnp.nan, entropy)
    blocks, count = spectrum.details["blocks"], positive.sum()
    bounds = (0.0, float("inf"))
    return _linearised(entropy, gradient, blocks, status, bounds, {"num_positive": count})


def _linearised(
    value: Float[Array, ""],
    gradient: Float[Array, " k"],
    blocks: Float[Array, "blocks k"],
    status: Array,
    bounds: tuple[float, float],
    details: dict,
) -> Estimate:
    """Carry the error of block means through a linearised function of the exponents."""
    # Blocks that an adaptive run left empty are NaN at the end: the rest is averaged in full.
    weighted = jnp.where(gradient != 0, blocks * gradient, 0).sum(axis=1)
    count = len(blocks)
    part = 3 * count // 4
    empty = jnp.isnan(weighted[-1]) & ~jnp.isnan(weighted[:part]).any()
    stderr = jnp.where(empty, standard_error(weighted[:part]), standard_error(weighted))
    degrees = jnp.where(empty, degrees_of_freedom(part), degrees_of_freedom(count))
    quantile = student_quantile(degrees, count).astype(value.dtype)
    low, high = bounds
    return Estimate(
        value=value,
        stderr=jnp.where(jnp.isnan(value), jnp.nan, stderr),
        low=jnp.clip(value - quantile * stderr, low, high),
        high=jnp.clip(value + quantile * stderr, low, high),
        status=status,
        details=details,
    )
