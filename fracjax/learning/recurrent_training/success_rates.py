"""How often training succeeds: exact intervals, and differences between paired conditions."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.special import bdtr, betaincinv

from fracjax._types import Estimate, Status
from fracjax.estimators.settings import check_at_least

__all__ = ["paired_success", "succeeded", "success_rate"]

_NORMAL = 1.959963984540054


def succeeded(
    accuracies: Float[Array | np.ndarray, "*tasks seeds"], *, threshold: float = 0.9
) -> Bool[Array, "*tasks seeds"]:
    """Say which runs end above a threshold of bit accuracy. NaN, a diverged run, does not.

    Args:
        accuracies: Final accuracies on fresh sequences.
        threshold: What counts as success: a convention, to be stated with the rate.

    Raises:
        ValueError: If the threshold is not in [.5, 1).
    """
    if not 0.5 <= threshold < 1:
        msg = f"Argument `threshold` must lie in [.5, 1), chance and all right, but is {threshold}."
        raise ValueError(msg)
    return jnp.asarray(accuracies) > threshold


def success_rate(successes: Bool[Array | np.ndarray, "*tasks seeds"]) -> Estimate:
    """Share of seeds that succeed, with the interval of Clopper and Pearson.

    The interval holds the true rate in at least 95 % of experiments, for every rate and every
    number of seeds, and has a width also where no seed or every seed succeeds. It is wide:
    eight of eight are compatible with .63. Eight seeds cover 96.9 to 99.96 %.

    Args:
        successes: Of independent seeds, see `succeeded`; diverged runs belong in it.

    Returns:
        Rates of shape `tasks`, `details["successes"]` and `["seeds"]`. Seeds that were trained at
        several delays are independent within a delay only.

    Raises:
        ValueError: If there are no seeds.

    References:
        Clopper and Pearson (1934), https://doi.org/10.1093/biomet/26.4.404.
    """
    table = jnp.asarray(successes)
    count = table.shape[-1]
    check_at_least(seeds=(count, 1))
    number = table.sum(axis=-1)
    kind = jnp.result_type(float)
    lows, highs = (jnp.asarray(ends, kind) for ends in _clopper_pearson(count))
    value = number.astype(kind) / count
    return Estimate(
        value=value,
        stderr=jnp.sqrt(value * (1 - value) / count),
        low=lows[number],
        high=highs[number],
        status=jnp.full(number.shape, int(Status.OK)),
        details={"successes": number, "seeds": jnp.full(number.shape, count)},
    )


def paired_success(
    first: Bool[Array | np.ndarray, "*tasks seeds"],
    second: Bool[Array | np.ndarray, "*tasks seeds"],
) -> Estimate:
    """Difference of two success rates over the same seeds, second minus first.

    Interval of Bonett and Price, a Wald interval after adding one success to each kind of
    discordant pair. Over a grid of rates it holds the truth in at least 90 % (8 seeds) or 92 %
    (16 and 24), in 97 to 95.5 % at the median, and it is centred nearer to 0 than the value.
    `details["p_value"]` is McNemar's exact test that neither condition is favoured: with fewer
    than six discordant seeds it cannot be below .05.

    Args:
        first: Successes of one condition.
        second: Of the other, in the same order of seeds.

    Returns:
        Differences of shape `tasks`; `details` has also `only_first` and `only_second`, how many
        seeds succeed in one condition alone.

    Raises:
        ValueError: If shapes differ or there are no seeds.

    References:
        McNemar (1947), https://doi.org/10.1007/BF02295996; Bonett and Price (2012),
        https://doi.org/10.3102/1076998611411915.
    """
    one, two = jnp.asarray(first), jnp.asarray(second)
    if one.shape != two.shape or one.shape[-1] < 1:
        msg = (
            "Arguments `first` and `second` must be of the same seeds, at least one, but have"
            f" shapes {one.shape} and {two.shape}."
        )
        raise ValueError(msg)
    count, kind = one.shape[-1], jnp.result_type(float)
    lost, won = (one & ~two).sum(axis=-1), (two & ~one).sum(axis=-1)
    value = (won - lost).astype(kind) / count
    more, less = (won + 1) / (count + 2), (lost + 1) / (count + 2)
    centre = (more - less).astype(kind)
    stderr = jnp.sqrt((more + less - centre**2) / (count + 2)).astype(kind)
    return Estimate(
        value=value,
        stderr=stderr,
        low=jnp.maximum(centre - _NORMAL * stderr, -1),
        high=jnp.minimum(centre + _NORMAL * stderr, 1),
        status=jnp.full(value.shape, int(Status.OK)),
        details={
            "p_value": _mcnemar(count)[lost, won],
            "only_first": lost,
            "only_second": won,
        },
    )


@functools.lru_cache(maxsize=64)
def _clopper_pearson(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval for 0 to `count` successes."""
    number = np.arange(count + 1)
    low = np.where(number > 0, betaincinv(np.maximum(number, 1), count - number + 1, 0.025), 0.0)
    high = np.where(
        number < count, betaincinv(number + 1, np.maximum(count - number, 1), 0.975), 1.0
    )
    return low, high


def _mcnemar(count: int) -> Float[Array, "n n"]:
    """Two-sided exact p-values by the numbers of the two kinds of discordant pairs."""
    return jnp.asarray(_mcnemar_table(count), jnp.result_type(float))


@functools.lru_cache(maxsize=64)
def _mcnemar_table(count: int) -> Float[np.ndarray, "n n"]:
    one, two = np.indices((count + 1, count + 1))
    return np.minimum(2 * bdtr(np.minimum(one, two), one + two, 0.5), 1.0)
