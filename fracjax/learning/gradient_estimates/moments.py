"""Squared lengths of mean gradients, freed of the noise in the means, and their errors."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Estimate, PyTree, Status
from fracjax.learning.gradient_estimates.blocks import GradientBlocks

__all__ = ["BlockMoments", "jackknife", "pick_status", "root_of_square", "with_margin"]


class BlockMoments:
    """Mean and variance of samples of which some blocks may be left out.

    Attributes:
        mean: Mean of the samples, (d,).
        variance: Trace of the covariance of one sample.
        number: How many samples.
    """

    def __init__(self, blocks: GradientBlocks, weights: Float[Array, " blocks"] | None = None):
        dtype = blocks.means.dtype
        if weights is None:
            weights = jnp.ones(len(blocks.means))
        weights = weights.astype(dtype)
        size, total = blocks.size[0].astype(dtype), weights.sum()
        origin = blocks.means[0]  # equal blocks then have exactly no scatter
        shifted = blocks.means - origin
        centre = weights @ shifted / total
        between = size * jnp.sum(weights[:, None] * (shifted - centre) ** 2)
        self.blocks = blocks
        self.number = size * total
        self.mean = origin + centre
        self.variance = (weights @ blocks.squares + between) / jnp.maximum(self.number - 1, 1)

    def without(self, weights: Float[Array, " blocks"]) -> "BlockMoments":
        """The same with other weights, 0 for blocks that are left out."""
        return BlockMoments(self.blocks, weights)

    def square(self) -> Float[Array, ""]:
        """|Eg|² without bias: |ḡ|² - V/n."""
        return self.mean @ self.mean - self.variance / self.number

    def distance(self, other: "BlockMoments") -> Float[Array, ""]:
        """|Eg - EG|² without bias, of two independent samples."""
        gap = self.mean - other.mean
        return gap @ gap - self.variance / self.number - other.variance / other.number

    def noise(self) -> Float[Array, ""]:
        """√(2 tr S²), S the covariance of the mean: the error of `square` without a signal."""
        count = len(self.blocks.means)
        pairs = count * (count - 1)
        centred = self.blocks.means - self.mean
        products = jnp.where(jnp.eye(count, dtype=bool), 0, centred @ centred.T)
        # Centring makes products of different blocks negative in the mean: taken out.
        squares = jnp.sum(products**2) / pairs - (jnp.sum(products) / pairs) ** 2
        return jnp.sqrt(2 * jnp.maximum(squares, 0)) / count

    def is_exact(self) -> Array:
        """Whether there is no scatter at all."""
        return self.variance == 0


def jackknife(statistic: Callable[[BlockMoments], PyTree], sample: BlockMoments) -> PyTree:
    """Squared errors of numbers that follow from a sample: every block is left out in turn."""
    count = len(sample.blocks.means)
    left = jax.vmap(lambda weights: statistic(sample.without(weights)))(1.0 - jnp.eye(count))
    return jax.tree.map(
        lambda leaf: (count - 1) / count * jnp.sum((leaf - leaf.mean(axis=0)) ** 2, axis=0), left
    )


def pick_status(failed: Array, unsettled: Array, unseen: Array) -> Array:
    """The worst of three."""
    status = jnp.where(unseen, int(Status.AT_NOISE_FLOOR), int(Status.OK))
    status = jnp.where(unsettled, int(Status.NOT_CONVERGED), status)
    return jnp.where(failed, int(Status.NONFINITE_TANGENT), status)


def with_margin(value: Array, stderr: Array, quantile: Array, status: Array) -> Estimate:
    """Put a symmetric interval around a value."""
    margin = quantile * stderr
    return Estimate(value, stderr, value - margin, value + margin, status)


def root_of_square(
    square: Array, error: Array, noise: Array, quantile: Array, status: Array
) -> Estimate:
    """Take an estimate of a square, which may be negative by chance, to its root.

    The lower end is the root of the square's. The upper end is the tangent's at the root, or at
    the noise where the square has fallen below it: from there the root of the square's would be
    too low, because a square that comes out small comes out with a small error.

    Args:
        square: Estimate of the square.
        error: Its standard error; the larger of this and `noise` counts.
        noise: Its standard error if the true square is 0.
        quantile: Of Student's distribution.
        status: Passed on; `AT_NOISE_FLOOR` is added where the lower end is 0.
    """
    error = jnp.maximum(error, noise)
    exact = error == 0
    value = jnp.sqrt(jnp.maximum(square, 0))
    foot = jnp.sqrt(jnp.maximum(jnp.maximum(square, noise), jnp.finfo(square.dtype).tiny))
    low = jnp.sqrt(jnp.maximum(square - quantile * error, 0))
    high = foot + quantile * error / (2 * foot)
    low, high = jnp.where(exact, value, low), jnp.where(exact, value, high)
    unseen = (low == 0) & (status == Status.OK)
    status = jnp.where(unseen, int(Status.AT_NOISE_FLOOR), status)
    return Estimate(value, (high - low) / (2 * quantile), low, high, status)
