"""The stability index from how sums grow, and what pooling unequal coordinates does to it."""

import dataclasses
import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import stdtrit

from fracjax._types import Estimate, Status
from fracjax.estimators.heavy_tails.draws import estimate_of_inverse
from fracjax.estimators.settings import check_at_least

__all__ = ["Centre", "block_sum_stability", "flattened_stability"]

Centre = Literal["median", "mean", "none"]

_MIN_SAMPLES = 64
_MIN_BLOCKS = 8
_SCALE_GAP = 3.0


def block_sum_stability(
    samples: Float[Array | np.ndarray, "n coordinates"] | Float[Array | np.ndarray, " n"],
    *,
    block_size: int | None = None,
    centre: Centre = "median",
) -> Estimate:
    """Estimate the stability index α of a symmetric stable law by how sums of its draws grow.

    Sums Y of K consecutive draws X of such a law are distributed as K^{1/α} X, so that

        1/α = (mean ln|Y| - mean ln|X|) / ln K,

    the estimator of Mohammadi et al. that Simsekli et al. use for gradient noise. Every
    coordinate is summed by itself, along time, which drops its scale from the difference; the
    values 1/α of all coordinates are averaged. Error and interval come from the spread between
    blocks of time, in each of which the coordinates may depend on each other, and α is inverted
    from 1/α: intervals are not symmetric, and reach above 2 for Gaussian noise. Values above 2
    are not cut off: cutting would bias.

    It measures α of the law to which sums are attracted, at a block size: Student's t with 3
    degrees of freedom has α = 2 in the limit and reads about 1.7 at K = 100. Draws that are
    correlated in time read as persistence (α too small) or antipersistence (too large, as
    momentum-free minibatches without replacement do); permute them in time to see.

    Measured (400 stable samples of n = 10 000, one coordinate): standard deviation .025, .042,
    .061, .082 and .10 at α = .8, 1.2, 1.5, 1.8 and 2, bias at most .017 (α = 2), coverage 95 to
    97 %.

    Args:
        samples: (n, coordinates) or (n,), at least 64 independent draws.
        block_size: K; by default √n rounded down (the reference takes the largest divisor of n
            that is not above √n, which is 1 for primes; equal where n is a square). Draws beyond
            the last full block are left out.
        centre: What is subtracted from every coordinate: its `"median"`, right for symmetric laws
            of any α; its `"mean"`, the reference's, for skewed laws with α well above 1 (below
            1.5 the mean is ruled by the largest draws: α = .8 then reads .95); or `"none"`.

    Returns:
        α with a 95 % interval. `details`: `block_size`, `inverse` (1/α), `inverse_stderr`,
        `per_coordinate` (α of each), `scale_spread` (standard deviation of the mean ln|X| between
        coordinates, see `flattened_stability`). Status DIVERGED for draws that are not finite,
        AT_NOISE_FLOOR where a coordinate is constant, NOT_CONVERGED where 1/α is not positive.

    Raises:
        ValueError: If there are too few draws or blocks.

    References:
        Mohammadi, Mohammadpour and Ogata (2015), https://doi.org/10.1007/s00184-014-0515-7.
        Simsekli, Sagun and Gurbuzbalaban (2019), https://arxiv.org/abs/1901.06053.
    """
    if centre not in get_args(Centre):
        msg = f"Argument `centre` must be one of {get_args(Centre)}, but is {centre!r}."
        raise ValueError(msg)
    samples = _checked(samples)
    size = int(len(samples) ** 0.5) if block_size is None else block_size
    check_at_least(block_size=(size, 2))
    count = len(samples) // size
    if count < _MIN_BLOCKS:
        msg = (
            f"Argument `block_size` must leave at least {_MIN_BLOCKS} blocks of {len(samples)}"
            f" draws, but is {size}."
        )
        raise ValueError(msg)
    return _fit(samples, size, count, centre)


def _checked(
    samples: Float[Array | np.ndarray, "n coordinates"] | Float[Array | np.ndarray, " n"],
) -> Float[Array, "n coordinates"]:
    samples = jnp.asarray(samples)
    samples = samples[:, None] if samples.ndim == 1 else samples
    if samples.ndim != 2 or len(samples) < _MIN_SAMPLES or samples.shape[1] == 0:
        msg = (
            f"Argument `samples` must have at least {_MIN_SAMPLES} rows, one draw each, but has"
            f" shape {samples.shape}."
        )
        raise ValueError(msg)
    return samples.astype(jnp.result_type(samples.dtype, jnp.float32))


# Compiled as a whole: op by op the first call takes several times as long to compile.
@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _fit(samples: Float[Array, "n coordinates"], size: int, count: int, centre: Centre) -> Estimate:
    finite = jnp.isfinite(samples).all()
    clean = jnp.where(jnp.isfinite(samples), samples, 0)
    moves = (clean.max(axis=0) > clean.min(axis=0)).all()
    if centre != "none":
        clean -= jnp.median(clean, axis=0) if centre == "median" else clean.mean(axis=0)
    tiny = jnp.finfo(clean.dtype).tiny
    blocks = clean[: size * count].reshape(count, size, -1)
    single = jnp.log(jnp.maximum(jnp.abs(blocks), tiny)).mean(axis=1)
    together = jnp.log(jnp.maximum(jnp.abs(blocks.sum(axis=1)), tiny))
    inverses = (together - single) / float(np.log(size))
    per_time = inverses.mean(axis=1)
    inverse = per_time.mean()
    error = per_time.std(ddof=1) / count**0.5
    quantile = float(stdtrit(count - 1, 0.975))
    positive = inverse > 0
    blank = jnp.where(finite & moves & positive, 0, jnp.nan).astype(clean.dtype)
    status = jnp.select(
        [~finite, ~moves, ~positive],
        [int(Status.DIVERGED), int(Status.AT_NOISE_FLOOR), int(Status.NOT_CONVERGED)],
        int(Status.OK),
    )
    level = single.mean(axis=0)
    details = {
        "block_size": jnp.asarray(size),
        "inverse": inverse + blank,
        "inverse_stderr": error + blank,
        "per_coordinate": 1 / inverses.mean(axis=0) + blank,
        "scale_spread": level.std() + blank,
    }
    return estimate_of_inverse(inverse, error, quantile, finite & moves, status, details)


def flattened_stability(
    samples: Float[Array | np.ndarray, "n coordinates"], *, centre: Centre = "median"
) -> Estimate:
    """Estimate α as the published code does: all coordinates strung into one sequence.

    Wrong where coordinates differ in scale, as gradients of networks always do: sums then run
    over many coordinates and are ruled by the largest, as those of a heavy-tailed law. Independent
    Gaussian coordinates with log-normal scales (standard deviation 2 of the logarithm) read
    about .85 instead of 2. Coordinates that cancel do the opposite: the gradient of a softmax
    layer adds up to zero over classes, and Gaussian noise of it read 4.2. The function is here to
    be set beside `block_sum_stability`, which has no such fault. The status is NO_SCALING_REGION
    where coordinates differ in scale by more than three errors and the two values differ by more
    than their intervals.

    Args:
        samples: (n, coordinates): draws, for example differences of minibatch and full gradients.
        centre: See `block_sum_stability`.

    Returns:
        As `block_sum_stability`. `details` has `by_coordinate` (its value) and `scale_spread`
        besides.

    Raises:
        ValueError: If there are too few draws.

    References:
        Simsekli, Sagun and Gurbuzbalaban (2019), https://arxiv.org/abs/1901.06053.
    """
    samples = _checked(samples)
    proper = block_sum_stability(samples, centre=centre)
    sequence = samples.reshape(-1, 1)
    flat = block_sum_stability(sequence, centre=centre)
    # ln|X| of a Gaussian has standard deviation 1.11, of other laws not very different.
    spread = proper.details["scale_spread"]
    unequal = spread > _SCALE_GAP * 1.11 / len(samples) ** 0.5
    apart = (flat.high < proper.low) | (flat.low > proper.high)
    trapped = unequal & apart & (flat.status == Status.OK)
    return dataclasses.replace(
        flat,
        status=jnp.where(trapped, int(Status.NO_SCALING_REGION), flat.status),
        details={**flat.details, "by_coordinate": proper.value, "scale_spread": spread},
    )
