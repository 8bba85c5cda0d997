"""Tails of gradient noise: coordinate by coordinate, and what stringing them together shows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate
from fracjax.estimators.heavy_tails.characteristic import characteristic_stability
from fracjax.estimators.heavy_tails.log_moments import block_sum_stability, flattened_stability

__all__ = ["NoiseTails", "gradient_noise_tails"]


class NoiseTails(NamedTuple):
    """Stability indices of gradient noise.

    Attributes:
        by_coordinate: Block sums of each coordinate along time, 1/α averaged.
        flattened: All coordinates strung into one sequence, as published; status
            NO_SCALING_REGION where unequal coordinates make its tails.
        characteristic: Per coordinate, from characteristic functions, a batch (m,).
    """

    by_coordinate: Estimate
    flattened: Estimate
    characteristic: Estimate


def gradient_noise_tails(noise: Float[Array | np.ndarray, "n m"]) -> NoiseTails:
    """Estimate the stability index of gradient noise in three ways.

    Noise is a minibatch's gradient minus the full one *at the same parameters*, for draws of
    independent minibatches: along a path of training the law changes, and its scale with it, which
    reads as heavy tails. 2 is Gaussian (or any finite variance, in the limit of large blocks).

    Nothing is subtracted: the noise has mean zero by what it is, and is skewed, so that its median
    is not its mean. Taken around medians, coordinates of a perceptron read 1.6, where their
    characteristic functions read 1.95.

    Coordinates that never move (weights from dead pixels) must be left out by the caller:
    they give status AT_NOISE_FLOOR.

    Args:
        noise: Draws along the rows, at least 100.

    References:
        Simsekli, Sagun and Gurbuzbalaban (2019), https://arxiv.org/abs/1901.06053.
    """
    noise = jnp.asarray(noise)
    return NoiseTails(
        by_coordinate=block_sum_stability(noise, centre="none"),
        flattened=flattened_stability(noise, centre="none"),
        characteristic=jax.vmap(characteristic_stability, in_axes=1)(noise),
    )
