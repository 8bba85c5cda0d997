"""Variance, signal and bias of a gradient estimator, with errors."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax._types import Estimate, Key, Leaf, PyTree, Status
from fracjax.estimators.intervals import student_quantile
from fracjax.learning.gradient_estimates.blocks import (
    GradientBlocks,
    gradient_blocks,
)
from fracjax.learning.gradient_estimates.moments import (
    BlockMoments,
    jackknife,
    pick_status,
    root_of_square,
    with_margin,
)
from fracjax.learning.gradient_estimates.samplers import GradientSampler

__all__ = ["GradientQuality", "gradient_quality", "summarize_gradients"]

_MOST_ERROR = 0.5  # of the variance, relative: beyond, a few samples carry it all


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GradientQuality:
    """What samples of a gradient are worth.

    g is one sample and G the wanted gradient, in d dimensions.

    Attributes:
        mean: Mean of the samples, (d,), in the order of `ravel_pytree`.
        variance: E|g - Eg|², the trace of the covariance of one sample.
        norm: |Eg|.
        signal_to_noise: |Eg|/√variance, of one sample.
        samples_needed: variance/|Eg|²: how many samples have a mean whose error is as long as
            the gradient itself. Infinite at the high end where the gradient cannot be told
            from zero.
        bias: |Eg - G|/|G|; `None` without a reference, like the rest.
        projection: Eg · G/|G|²: 1 for an unbiased estimator, 0 for one that vanishes or is
            perpendicular, negative for one that points the wrong way.
        cosine: Cosine of the angle between Eg and G.
    """

    mean: Leaf
    variance: Estimate
    norm: Estimate
    signal_to_noise: Estimate
    samples_needed: Estimate
    bias: Estimate | None = None
    projection: Estimate | None = None
    cosine: Estimate | None = None


def gradient_quality(
    sampler: GradientSampler,
    params: PyTree,
    key: Key,
    *,
    num_samples: int,
    num_blocks: int = 32,
    batch_size: int = 1,
    reference: GradientBlocks | None = None,
) -> GradientQuality:
    """Sample a gradient and judge it: `summarize_gradients` of `gradient_blocks`.

    May be jitted, and vmapped over whatever the sampler closes over (σ, policies):

        jax.vmap(lambda s: gradient_quality(smoothed_gradient(f, s), params, key, ...))(sigmas)

    Args:
        sampler: Draws one sample of the gradient.
        params: Where to sample.
        key: Seeds the samples; take another one for the reference.
        num_samples: Multiple of `num_blocks` · `batch_size`.
        num_blocks: Blocks, from whose scatter errors are taken.
        batch_size: Samples of a block that are drawn together.
        reference: Samples of an unbiased estimator of the wanted gradient, drawn with another
            key (`gradient_blocks`), or the gradient itself (`exact_gradient`).

    Raises:
        ValueError: If the numbers do not divide.
    """
    blocks = gradient_blocks(
        sampler, params, key, num_samples=num_samples, num_blocks=num_blocks, batch_size=batch_size
    )
    return summarize_gradients(blocks, reference)


def summarize_gradients(
    blocks: GradientBlocks, reference: GradientBlocks | None = None
) -> GradientQuality:
    """Estimate variance, signal and bias from block means.

    Squared lengths are freed of the noise in the means: |ḡ|² - V/n for |Eg|², and the same for
    |Eg - G|². Their errors are jackknives over the blocks of both samples, never less than
    √(2 tr S²), S the covariance of the mean, which is their error where there is no signal.
    Intervals are Student's, and the ends are taken to roots and reciprocals.

    Measured coverage of the nominal 95 % (Gaussian samples, 1 to 100 dimensions, signal-to-noise
    .03 to 1 per sample, 1024 samples, 1000 seeds, ± 1.4 %): variance 94 to 97 %, norm, ratio and
    samples needed 94 % where the signal is clear and up to 100 % where it is not, bias 96 % where
    there is one and 98 to 100 % where there is none, projection 94 to 98 %, cosine 90 to 100 %
    (least where 1 - cosine is of the size of the noise). Of Student's t with 5 degrees of
    freedom in one dimension: variance 92 %.

    `projection` and the square of `bias` divide by |EG|² as estimated: with a relative error e of
    that they read too high by a share of about e².

    Where few samples carry the variance, as they do for pathwise gradients of chaotic loops,
    the sample variance lies below the true one more often than above, and no interval helps.
    A relative standard error of the variance above one half has status `NOT_CONVERGED`, and so
    does all that rests on it.

    Args:
        blocks: Samples of the estimator, (blocks, d).
        reference: Independent samples of the wanted gradient, see `gradient_quality`.

    Returns:
        Everything `NONFINITE_TANGENT` and NaN if one sample is not finite. `norm`,
        `signal_to_noise` and `samples_needed` have `AT_NOISE_FLOOR` where the interval of |Eg|
        reaches zero: the samples show no gradient, and `samples_needed` is bounded from below
        only. `bias` has it where no bias is seen, which is what an unbiased estimator should
        get. `projection` has it where the reference itself cannot be told from zero (so do
        `bias` and `cosine`), and the cosine, then between -1 and 1, where either cannot.
    """
    own, count = BlockMoments(blocks), len(blocks.means)
    failed = blocks.failed.sum() > 0
    error = jax.tree.map(jnp.sqrt, jackknife(_alone, own))
    (variance, square, ratio), noise = _alone(own), own.noise()
    spread = jnp.where(variance > 0, error[0] / variance, 0)
    status = pick_status(failed, ~(spread <= _MOST_ERROR), jnp.zeros((), bool))
    quantile = student_quantile(count - 1, count).astype(variance.dtype)
    factor = jnp.exp(quantile * spread)
    norm = root_of_square(square, error[1], noise, quantile, status)
    scale = jnp.where(variance > 0, variance, 1)
    ratio_error = jnp.where(variance > 0, error[2], 0)
    to_noise = root_of_square(ratio, ratio_error, noise / scale, quantile, norm.status)
    needed, fewest, most = (1 / part**2 for part in (to_noise.value, to_noise.high, to_noise.low))
    needed_error = jnp.where(jnp.isfinite(most), (most - fewest) / (2 * quantile), jnp.nan)
    against: tuple[Estimate, ...] = ()
    if reference is not None:
        against = _compare(own, BlockMoments(reference), status, norm.status)
        failed |= reference.failed.sum() > 0
    found = GradientQuality(
        own.mean,
        Estimate(variance, error[0], variance / factor, variance * factor, status),
        norm,
        to_noise,
        Estimate(needed, needed_error, fewest, most, to_noise.status),
        *against,
    )
    return jax.tree.map(
        lambda leaf: (
            jnp.where(failed, jnp.nan, leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
        ),
        found,
    )


def _alone(sample: BlockMoments) -> tuple[Array, Array, Array]:
    """Variance, |Eg|² and their ratio; 0 for a gradient of zeros, infinite without noise."""
    variance, square = sample.variance, sample.square()
    ratio = square / jnp.where(variance > 0, variance, 1)
    silent = jnp.where(square > 0, jnp.inf, 0).astype(ratio.dtype)
    return variance, square, jnp.where(variance > 0, ratio, silent)


def _together(sample: BlockMoments, wanted: BlockMoments) -> tuple[Array, Array, Array, Array]:
    """Relative squared bias, projection, cosine, and the reference's |EG|²."""
    square, length = sample.square(), wanted.square()
    product = sample.mean @ wanted.mean
    cosine = product / jnp.sqrt(jnp.maximum(square, 0) * jnp.maximum(length, 0))
    return sample.distance(wanted) / length, product / length, cosine, length


def _compare(
    own: BlockMoments, wanted: BlockMoments, status: Array, signal: Array
) -> tuple[Estimate, Estimate, Estimate]:
    """Bias, projection and cosine."""
    first = jackknife(lambda sample: _together(sample, wanted), own)
    second = jackknife(lambda sample: _together(own, sample), wanted)
    error = jax.tree.map(lambda a, b: jnp.sqrt(a + b), first, second)
    gap, projection, cosine, length = _together(own, wanted)
    few, many = len(own.blocks.means), len(wanted.blocks.means)
    # An exact reference has no scatter, and no say in the degrees of freedom.
    degrees = jnp.where(wanted.is_exact(), few, min(few, many)) - 1
    quantile = student_quantile(degrees, few).astype(gap.dtype)
    unknown = length - quantile * jnp.maximum(error[3], wanted.noise()) <= 0
    base = jnp.where(unknown & (status == Status.OK), int(Status.AT_NOISE_FLOOR), status)
    noise = (own.noise() + wanted.noise()) / length
    bias = root_of_square(gap, error[0], noise, quantile, base)
    aligned = with_margin(projection, error[1], quantile, base)
    unseen = unknown | (signal != Status.OK)
    angle = with_margin(cosine, error[2], quantile, jnp.where(unknown, base, signal))
    angle = dataclasses.replace(
        angle,
        value=jnp.clip(angle.value, -1, 1),
        low=jnp.where(unseen, -1, jnp.clip(angle.low, -1, 1)),
        high=jnp.where(unseen, 1, jnp.clip(angle.high, -1, 1)),
    )
    return bias, aligned, angle
