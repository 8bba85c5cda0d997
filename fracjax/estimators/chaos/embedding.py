"""Delay embedding of a recorded series, and the usual choices of delay and dimension.

Host functions on NumPy arrays: neighbour search is SciPy's k-d tree, outside `jit`.
"""

import numpy as np
from jaxtyping import Array, Float
from scipy.spatial import cKDTree

from fracjax.estimators.settings import check_at_least

__all__ = [
    "choose_delay",
    "choose_dimension",
    "delay_embedding",
    "mean_period",
    "nearest",
    "spread_out",
]

_FALSE_RATIO = 10.0  # a neighbour that leaves by this factor was false
_FALSE_SHARE = 0.01  # of false neighbours, below which the dimension suffices
_MOST_REFERENCES = 2000


def delay_embedding(
    series: Float[Array | np.ndarray, " points"], dimension: int, delay: int
) -> Float[np.ndarray, "vectors dimension"]:
    """Stack x_i, x_{i + delay}, …, x_{i + (dimension - 1) delay} for every i that has them all.

    Raises:
        ValueError: If a setting is out of range or the series is too short.
    """
    series = np.asarray(series)
    check_at_least(dimension=(dimension, 1), delay=(delay, 1))
    count = len(series) - (dimension - 1) * delay
    if count < 1:
        msg = (
            f"Argument `series` must be longer than {(dimension - 1) * delay}, the span of a"
            f" delay vector, but has {len(series)} samples."
        )
        raise ValueError(msg)
    return np.stack([series[k * delay : k * delay + count] for k in range(dimension)], axis=1)


def choose_delay(series: Float[Array | np.ndarray, " points"], *, largest: int = 200) -> int:
    """Choose the first minimum of the average mutual information, or 1 for maps.

    Mutual information from a histogram of equally filled bins; a minimum is at most what
    comes before it and up to half as far after it. If there is none up to `largest`, the
    delay is where the autocorrelation falls below 1/e, or `largest`. It is 1 if neighbours
    are correlated by less than 1/e. A periodic series without noise repeats its few values
    so exactly that its histogram says nothing: give the delay.

    References:
        Fraser and Swinney (1986), https://doi.org/10.1103/PhysRevA.33.1134.
    """
    series = np.asarray(series, float)
    largest = max(min(largest, len(series) // 10), 1)
    bins = int(np.clip(np.sqrt(len(series) / 5), 4, 32))
    label = np.argsort(np.argsort(series, kind="stable"), kind="stable") * bins // len(series)

    def information(lag: int) -> float:
        joint = np.bincount(label[:-lag] * bins + label[lag:], minlength=bins**2)
        joint = joint.reshape(bins, bins) / joint.sum()
        alone = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        full = joint > 0
        return float(np.sum(joint[full] * np.log(joint[full] / alone[full])))

    centred = series - series.mean()
    neighbours = centred[1:] @ centred[:-1] / max(centred @ centred, np.finfo(float).tiny)
    if neighbours < np.exp(-1):
        return 1
    known = np.array([information(lag) for lag in range(1, largest + 1)])
    for lag in range(2, 2 * largest // 3 + 1):
        # Beyond the next lag as well: estimates of mutual information fluctuate.
        if known[lag - 1] <= known[: lag + max(lag // 2, 2)].min():
            return lag
    for lag in range(1, largest + 1):
        if centred[lag:] @ centred[:-lag] < np.exp(-1) * (centred @ centred):
            return lag
    return largest


def choose_dimension(
    series: Float[Array | np.ndarray, " points"],
    delay: int,
    *,
    theiler: int = 1,
    largest: int = 10,
) -> int:
    """Choose the smallest dimension with at most 1 % of false nearest neighbours.

    A neighbour is false if one more delay coordinate moves it away by 10 times its distance,
    and also if that distance is beyond the spread of the series: noise never gets below
    1 %, and the answer is then `largest`.

    References:
        Kennel, Brown and Abarbanel (1992), https://doi.org/10.1103/PhysRevA.45.3403.
    """
    series = np.asarray(series, float)
    spread = series.std()
    for dimension in range(1, largest):
        if len(series) <= dimension * delay + 2 * theiler + 2:
            return dimension
        vectors = delay_embedding(series, dimension, delay)[: len(series) - dimension * delay]
        chosen = spread_out(len(vectors), _MOST_REFERENCES)
        distance, neighbour = nearest(vectors, chosen, theiler, 1)
        ahead = np.abs(
            series[chosen + dimension * delay] - series[neighbour[:, 0] + dimension * delay]
        )
        distance = distance[:, 0]
        usable = np.isfinite(distance) & (distance > 0)
        if not usable.any():
            return dimension
        false = (ahead > _FALSE_RATIO * distance) | (np.hypot(ahead, distance) > 2 * spread)
        if false[usable].mean() <= _FALSE_SHARE:
            return dimension
    return largest


def mean_period(series: Float[Array | np.ndarray, " points"]) -> float:
    """Period of the mean frequency of the power spectrum, in samples: a usual Theiler window."""
    series = np.asarray(series, float)
    power = np.abs(np.fft.rfft(series - series.mean())) ** 2
    return float(power.sum() / max(power @ np.fft.rfftfreq(len(series)), np.finfo(float).tiny))


def nearest(
    vectors: Float[np.ndarray, "points dimension"],
    chosen: np.ndarray,
    theiler: int,
    count: int,
) -> tuple[Float[np.ndarray, "chosen count"], np.ndarray]:
    """Find nearest neighbours that are more than `theiler` samples away in time.

    Identical vectors do not count as neighbours.

    Args:
        vectors: All points, in the order of time.
        chosen: Indices of the points whose neighbours are sought.
        theiler: Half-width of the excluded window of time, at least 0.
        count: Neighbours per point.

    Returns:
        Distances, infinite where there are not enough neighbours, and indices.
    """
    tried = min(count + 2 * theiler + 1, len(vectors))
    distance, index = cKDTree(vectors).query(vectors[chosen], k=tried)
    distance, index = distance.reshape(len(chosen), -1), index.reshape(len(chosen), -1)
    far = (np.abs(index - chosen[:, None]) > theiler) & (distance > 0)
    distance = np.where(far, distance, np.inf)
    order = np.argsort(distance, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(distance, order, axis=1), np.take_along_axis(index, order, axis=1)


def spread_out(points: int, most: int) -> np.ndarray:
    """Choose at most so many indices below `points`, evenly."""
    return np.unique(np.linspace(0, points - 1, min(points, most)).astype(int))
