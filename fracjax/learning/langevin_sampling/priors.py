"""Priors over parameters: what a sampler's gradient needs of them."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import PyTree
from fracjax.learning.langevin_sampling.layers import fan_in

__all__ = ["Prior", "conjugate_prior", "gaussian_prior"]


@dataclasses.dataclass(frozen=True)
class Prior:
    """A prior, as functions of the parameters.

    Attributes:
        log_density: ln π up to a constant.
        score: ∇ ln π, shaped like the parameters.
        precision: Scale of its curvature, one non-negative number per leaf: the share of the prior
            in a metric that is in units of curvature.
    """

    log_density: Callable[[PyTree], Float[Array, ""]]
    score: Callable[[PyTree], PyTree]
    precision: Callable[[PyTree], PyTree]


def gaussian_prior(
    *,
    kernel_variance: float | Float[Array, ""] | None = None,
    variance: float | Float[Array, ""] = 1.0,
    mean: float = 0.0,
) -> Prior:
    """Make independent Gaussians.

    Args:
        kernel_variance: Variance of the kernels' elements; 1/fan-in of the layer if not given, so
            that every unit's input has a variance of about the mean square of the layer's inputs.
        variance: Variance of all other leaves, such as biases. Both may be traced.
        mean: Mean of all parameters.

    Raises:
        ValueError: If a variance is not positive.
    """
    _check(kernel_variance=kernel_variance, variance=variance)

    def precision(params: PyTree) -> PyTree:
        leaves, structure = jax.tree.flatten(params)
        numbers = [
            1 / variance
            if count is None
            else count
            if kernel_variance is None
            else 1 / kernel_variance
            for count in fan_in(params)
        ]
        scales = [
            jnp.asarray(number, leaf.dtype) for number, leaf in zip(numbers, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, scales)

    def score(params: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf, scale: scale * (mean - leaf), params, precision(params))

    def log_density(params: PyTree) -> Float[Array, ""]:
        terms = jax.tree.map(
            lambda leaf, scale: -0.5 * scale * jnp.sum((leaf - mean) ** 2),
            params,
            precision(params),
        )
        return jax.tree.reduce(jnp.add, terms)

    return Prior(log_density, score, precision)


def conjugate_prior(*, shape: float = 1.0, scale: float | None = None, mean: float = 0.0) -> Prior:
    """Make Gaussians whose precision has been integrated out, leaf by leaf.

    The n elements of a leaf share a precision τ ~ Gamma(shape α, rate β), which leaves
    π(θ) ∝ (β + S/2)^{-(α + n/2)} with S = Σ (θ_i - mean)²: the prior learns its width from the
    parameters. The score is (n/2 + α)/(β + S/2) (mean - θ).

    Args:
        shape: α.
        scale: β, in units of variance; if not given α/fan-in for kernels, so that the mean
            precision is that of `gaussian_prior`, and α for other leaves.
        mean: Mean of all parameters.

    Raises:
        ValueError: If `shape` or `scale` is not positive. With both at 0 the density is infinite
            at the mean, where a sampler ends.
    """
    _check(shape=shape, scale=scale)

    def parts(params: PyTree) -> list[tuple[Array, float, Array]]:
        found = []
        for leaf, count in zip(jax.tree.leaves(params), fan_in(params), strict=True):
            rate = shape / (count or 1) if scale is None else scale
            found.append((leaf, shape + leaf.size / 2, rate + jnp.sum((leaf - mean) ** 2) / 2))
        return found

    def precision(params: PyTree) -> PyTree:
        scales = [(power / width).astype(leaf.dtype) for leaf, power, width in parts(params)]
        return jax.tree.unflatten(jax.tree.structure(params), scales)

    def score(params: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf, scale: scale * (mean - leaf), params, precision(params))

    def log_density(params: PyTree) -> Float[Array, ""]:
        terms = [-power * jnp.log(width) for _, power, width in parts(params)]
        return jnp.sum(jnp.stack(terms))

    return Prior(log_density, score, precision)


def _check(**settings: float | Array | None) -> None:
    """Check numbers that are not traced."""
    for name, value in settings.items():
        if isinstance(value, int | float) and not 0 < value < math.inf:
            msg = f"Argument `{name}` must be positive and finite, but is {value}."
            raise ValueError(msg)
