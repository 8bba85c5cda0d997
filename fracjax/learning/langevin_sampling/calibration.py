"""How good, and how honest, class probabilities are."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fracjax._types import Estimate, Status
from fracjax.estimators.settings import check_at_least
from fracjax.learning.share_intervals import wilson_interval

__all__ = ["Calibration", "calibration"]


class Calibration(NamedTuple):
    """Scores of a classifier.

    Attributes:
        accuracy: Share of samples whose most probable class is theirs, with Wilson's interval.
        nll: Mean negative log-likelihood, in nats.
        brier: Mean squared distance between the probabilities and the one-hot label, summed over
            classes: between 0 and 2.
        ece: Expected calibration error of the most probable class; biased upwards, see
            `calibration`.
    """

    accuracy: Estimate
    nll: Estimate
    brier: Estimate
    ece: Estimate


def calibration(
    log_probabilities: Float[Array, "samples classes"],
    labels: Int[Array, " samples"],
    *,
    num_bins: int = 15,
) -> Calibration:
    """Score class probabilities on held-out data.

    Standard errors are over samples, taken as independent; they do not hold the scatter between
    seeds of training. Accuracy, log-likelihood and Brier score are unbiased means.

    The calibration error Σ_b n_b/n |accuracy_b - confidence_b| over bins of equal width is what
    practitioners report, and is biased upwards: a perfectly calibrated forecaster scores about
    Σ_b √(2/π Σ_{i in b} c_i (1 - c_i))/n, which is given as `details["floor"]`. Where the value is
    within the scatter of that, its status is `AT_NOISE_FLOOR`: no miscalibration is seen. The
    interval reaches below the value by the floor besides the error. It is for the calibration
    error of these bins, which falls short of that of infinitely fine ones. Over 400 sets of 400
    honest forecasts of three classes it held the truth in 99 %, over sets that were three times
    too sure in 98 %; honest sets scored .053 on average, their floor was .052. `details` also has
    the bins' `members`, mean `confidence` and `accuracy`, NaN where empty: the reliability diagram.

    Args:
        log_probabilities: Normalised log-probabilities.
        labels: Classes, 0 to classes - 1.
        num_bins: Bins of confidence.

    Returns:
        Estimates; values that are not finite give NaN and `DIVERGED`, except that a probability of
        zero for the true class gives an infinite NLL alone.

    Raises:
        ValueError: If there are fewer than two samples or no bins.

    References:
        Guo et al. (2017), https://arxiv.org/abs/1706.04599, for the bins; Brown, Cai and DasGupta
        (2001), https://doi.org/10.1214/ss/1009213286, for Wilson's interval.
    """
    check_at_least(num_bins=(num_bins, 1), samples=(len(labels), 2))
    log_probabilities = jnp.asarray(log_probabilities)
    bad = jnp.isnan(log_probabilities).any() | jnp.isposinf(log_probabilities).any()
    probabilities = jnp.exp(log_probabilities)
    labels = jnp.asarray(labels)
    right = (jnp.argmax(log_probabilities, axis=1) == labels).astype(probabilities.dtype)
    truth = jax.nn.one_hot(labels, probabilities.shape[1], dtype=probabilities.dtype)
    losses = -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]
    squares = jnp.sum((probabilities - truth) ** 2, axis=1)
    return Calibration(
        _share(right, bad),
        _mean(losses, bad),
        _mean(squares, bad),
        _calibration_error(jnp.max(probabilities, axis=1), right, bad, num_bins),
    )


def _mean(values: Float[Array, " n"], bad: Array) -> Estimate:
    error = jnp.std(values, ddof=1) / np.sqrt(len(values))
    return _estimate(jnp.mean(values), error, 1.96 * error, 1.96 * error, bad)


def _share(right: Float[Array, " n"], bad: Array) -> Estimate:
    share = right.mean()
    error = jnp.sqrt(share * (1 - share) / len(right))
    low, high = wilson_interval(share, len(right))
    return _estimate(share, error, share - low, high - share, bad)


def _calibration_error(
    confidence: Float[Array, " n"], right: Float[Array, " n"], bad: Array, num_bins: int
) -> Estimate:
    count = len(right)
    place = jnp.clip(jnp.ceil(confidence * num_bins).astype(jnp.int32) - 1, 0, num_bins - 1)

    def per_bin(values: Array) -> Array:
        return jnp.zeros(num_bins, values.dtype).at[place].add(values)

    gap = right - confidence
    members, total, squares = per_bin(jnp.ones_like(gap)), per_bin(gap), per_bin(gap**2)
    value = jnp.abs(total).sum() / count
    scatter = squares - total**2 / jnp.maximum(members, 1)  # of gaps within bins
    error = jnp.sqrt(scatter.sum()) / count
    # Sums of a calibrated forecaster's gaps: normal, of mean zero and this variance.
    variance = per_bin(confidence * (1 - confidence))
    floor = jnp.sqrt(2 / np.pi * variance).sum() / count
    floor_error = jnp.sqrt((1 - 2 / np.pi) * variance.sum()) / count
    found = _estimate(value, error, jnp.minimum(1.96 * error + floor, value), 1.96 * error, bad)
    silent = (found.status == Status.OK) & (value < floor + 1.96 * floor_error)
    filled = jnp.where(members > 0, members, jnp.nan)
    details = {
        "floor": floor,
        "floor_stderr": floor_error,
        "members": members,
        "confidence": per_bin(confidence) / filled,
        "accuracy": per_bin(right) / filled,
    }
    status = jnp.where(silent, Status.AT_NOISE_FLOOR, found.status)
    return Estimate(found.value, found.stderr, found.low, found.high, status, details)


def _estimate(value: Array, error: Array, below: Array, above: Array, bad: Array) -> Estimate:
    value, error, low, high = (
        jnp.where(bad, jnp.nan, part) for part in (value, error, value - below, value + above)
    )
    status = jnp.where(bad, Status.DIVERGED, Status.OK)
    return Estimate(value, error, low, high, status)
