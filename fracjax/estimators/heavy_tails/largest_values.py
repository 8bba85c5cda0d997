"""The tail index from the largest values: Hill's estimator and the moment estimator."""

import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate, Status
from fracjax.estimators.heavy_tails.draws import checked_draws, estimate_of_inverse

__all__ = ["TailMethod", "hill_tail_index"]

TailMethod = Literal["hill", "moment"]
_MIN_SAMPLES = 200
_SMALLEST = {"hill": 25, "moment": 100}  # largest values that an estimate needs
_CHOICE = 1.3  # measured: spread with a chosen number of values over that with a given one
_LARGEST_SHARE = 0.25
_PER_OCTAVE = 3
_THRESHOLD = 1.8  # errors that two estimates on the plateau may differ by
_QUANTILE = 1.96


def hill_tail_index(
    samples: Float[Array | np.ndarray, " n"],
    *,
    method: TailMethod = "hill",
    num_largest: int | None = None,
) -> Estimate:
    """Estimate the index α of a power-law tail, P(|X| > x) ~ x^{-α}, from the largest values.

    `"hill"`: 1/α is the mean of ln(X_i / X_{k+1}) over the k largest |X|. `"moment"` (Dekkers,
    Einmahl and de Haan) estimates the extreme-value index γ = 1/α where there is such a tail, and
    γ near zero for Gaussian and exponential ones, where Hill's gives a number that
    only rises with n. The number of largest values, unless given, is half of the plateau's: the
    most for which the estimate still agrees with those of all smaller numbers, within 1.8 of
    their errors, looked for from 25 (moment: 100) to n/4, and then halved, as its end is where bias
    sets in. Errors are 1.3 times those of a given number, which is what the choice adds.

    The tail index is not the stability index: for stable laws of α < 2 they agree in the limit,
    but from α = 1.5 on Hill's lies above α at any sample size one has, and a Gaussian has none.

    Measured (300 stable samples of 10 000, plateau), Hill's: bias .05, .11 and .19 with standard
    deviation .18, .28 and .41 at α = 1, 1.5 and 1.8, coverage 97, 90 and 86 %; moment: .02, .12 and
    .24 with .11, .24 and .46, coverage 97, 94 and 92 %. Both are tested for coverage on exact
    Pareto tails.

    Args:
        samples: (n,), at least 200 independent draws; absolute values are taken.
        method: `"hill"` or `"moment"`.
        num_largest: k; chosen if not given.

    Returns:
        α with a 95 % interval, inverted from γ. `details`: `num_largest`, `inverse` (γ),
        `inverse_stderr`, `candidates` and `candidate_inverses` (the Hill plot). Status
        DIVERGED for draws that are not finite, AT_NOISE_FLOOR where the largest values are equal
        or zero, NO_SCALING_REGION where γ is not positive by two errors: no power-law tail.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Hill (1975), https://doi.org/10.1214/aos/1176343247.
        Dekkers, Einmahl and de Haan (1989), https://doi.org/10.1214/aos/1176347397.
        Drees and Kaufmann (1998), https://doi.org/10.1016/S0304-4149(98)00017-9, for the plateau.
    """
    if method not in get_args(TailMethod):
        msg = f"Argument `method` must be one of {get_args(TailMethod)}, but is {method!r}."
        raise ValueError(msg)
    samples = checked_draws(samples, _MIN_SAMPLES)
    count = len(samples)
    if num_largest is None:
        fewest = min(_SMALLEST[method], count // 8)
        octaves = np.log2(_LARGEST_SHARE * count / fewest)
        spaced = fewest * 2.0 ** (np.arange(int(_PER_OCTAVE * octaves) + 1) / _PER_OCTAVE)
        numbers = np.unique(np.round(spaced).astype(int))
    elif 2 <= num_largest < count:
        numbers = np.array([num_largest])
    else:
        msg = f"Argument `num_largest` must lie in [2, {count - 1}], but is {num_largest}."
        raise ValueError(msg)
    return _fit(samples, method, tuple(numbers.tolist()), num_largest is None)


# Compiled as a whole: op by op the first call takes several times as long to compile.
@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _fit(
    samples: Float[Array, " n"], method: TailMethod, candidates: tuple[int, ...], chooses: bool
) -> Estimate:
    dtype, numbers = samples.dtype, np.array(candidates)
    finite = jnp.isfinite(samples).all()
    size = jnp.abs(jnp.where(jnp.isfinite(samples), samples, 0))
    descending = -jnp.sort(-size)[: numbers[-1] + 1]
    heard = descending[numbers[-1]] > 0
    logs = jnp.log(jnp.maximum(descending, jnp.finfo(dtype).tiny))
    heard &= logs[0] > logs[numbers[-1]]
    logs = logs - logs[0]  # sums of squares of small numbers
    sums, squares = jnp.cumsum(logs)[numbers - 1], jnp.cumsum(logs**2)[numbers - 1]
    k = jnp.asarray(numbers, dtype)
    threshold = logs[numbers]
    first = sums / k - threshold
    if method == "hill":
        inverses, noise = first, first**2
    else:
        second = squares / k - 2 * threshold * sums / k + threshold**2
        ratio = first**2 / jnp.where(second > 0, second, 1)
        inverses = first + 1 - 0.5 / (1 - jnp.minimum(ratio, 0.999))
        noise = jnp.where(inverses >= 0, 1 + inverses**2, 1.0)
    # Nested samples: the variance of a difference is the difference of the variances.
    gap = jnp.abs(inverses[:, None] - inverses)
    allowed = noise[None, :] * jnp.maximum(1 / k[None, :] - 1 / k[:, None], 0)
    smaller = np.tril(np.ones((len(numbers),) * 2, bool), -1)
    agrees = jnp.where(smaller, gap <= _THRESHOLD * jnp.sqrt(allowed), True).all(axis=1)
    end = jnp.sum(jnp.cumprod(agrees.astype(int))) - 1
    # The end of the plateau is where the bias begins to show: half as many are free of it.
    chosen = jnp.maximum(end - _PER_OCTAVE, 0)
    inverse, error = inverses[chosen], jnp.sqrt(noise[chosen] / k[chosen])
    error = _CHOICE * error if chooses else error
    positive = inverse > 2 * error
    status = jnp.select(
        [~finite, ~heard, ~positive],
        [int(Status.DIVERGED), int(Status.AT_NOISE_FLOOR), int(Status.NO_SCALING_REGION)],
        int(Status.OK),
    )
    details = {
        "num_largest": jnp.asarray(numbers)[chosen],
        "inverse": inverse,
        "inverse_stderr": error,
        "candidates": jnp.asarray(numbers),
        "candidate_inverses": inverses,
    }
    return estimate_of_inverse(inverse, error, _QUANTILE, finite & heard, status, details)
