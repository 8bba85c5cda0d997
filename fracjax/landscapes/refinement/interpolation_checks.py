"""How wrong an interpolated picture is, from values at points drawn at random."""

import dataclasses
import math

import numpy as np

__all__ = ["Draw", "InterpolationCheck", "check_interpolation", "draw_unknown"]

_FEWEST_IN_BIN = 64
_MOST_BINS = 10
_EVENLY = 0.5  # share of draws that do not care where errors are expected


@dataclasses.dataclass(frozen=True)
class Draw:
    """Points drawn from those that are not known, with replacement.

    Attributes:
        points: Flat indices, each once, rising.
        times: How often each was drawn.
        weights: One over (probability times number of points drawn from).
    """

    points: np.ndarray
    times: np.ndarray
    weights: np.ndarray


@dataclasses.dataclass(frozen=True)
class InterpolationCheck:
    """Interpolation errors over the points that were not evaluated.

    Attributes:
        error: Root mean square of the errors that are finite.
        stderr: Its standard error.
        mistaken: Share of points that are finite in the picture and not in truth, or the
            other way round.
        calibrated: Errors expected over the picture, brought to the level of those found.
    """

    error: float
    stderr: float
    mistaken: float
    calibrated: np.ndarray


def draw_unknown(known: np.ndarray, expected: np.ndarray, number: int) -> Draw:
    """Draw points that are not known, always the same ones.

    Half of the draws are even, half in proportion to the error expected, so that errors in few
    places are met too; the weights make up for it.

    Args:
        known: Which points are known.
        expected: Expected root-mean-square error over the picture.
        number: How many draws.
    """
    unknown = np.flatnonzero(~known.ravel())
    if not len(unknown) or number < 1:
        nothing = np.zeros(0)
        return Draw(nothing.astype(int), nothing.astype(int), nothing)
    errors = expected.ravel()[unknown].astype(float)
    finite = np.isfinite(errors)
    if not finite.all():
        most = errors[finite].max() if finite.any() else 1.0
        errors = np.where(finite, errors, most)
    total = errors.sum()
    even = np.full(len(unknown), 1 / len(unknown))
    sure = _EVENLY if total > 0 else 1.0
    chance = sure * even + ((1 - sure) * errors / total if total > 0 else 0)
    places = np.cumsum(chance)
    # Systematic in steps of equal probability, each at a random place in its step.
    steps = (np.arange(number) + np.random.default_rng(0).random(number)) / number
    drawn = np.minimum(np.searchsorted(places, steps * places[-1]), len(unknown) - 1)
    which, times = np.unique(drawn, return_counts=True)
    return Draw(unknown[which], times, 1 / (chance[which] * len(unknown)))


def check_interpolation(
    expected: np.ndarray, draw: Draw, interpolated: np.ndarray, found: np.ndarray
) -> InterpolationCheck:
    """Compare interpolated values with those found, and calibrate the expected errors.

    Points are sorted into up to 10 bins of equally many by the error expected there. In each
    bin expected errors are multiplied so that their mean square is the one found. What was
    expected is too small where cells were left alone because their few values happened to fit.

    Args:
        expected: Expected root-mean-square error over the picture.
        draw: The points.
        interpolated: Values of the picture there.
        found: Values of the objective there.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        square = (found.astype(float) - interpolated.astype(float)) ** 2
    good = np.isfinite(square)
    number = int(draw.times.sum())
    mistaken = np.isfinite(found) != np.isfinite(interpolated)
    share = float((draw.times * draw.weights * mistaken).sum()) / max(number, 1)
    count = int(draw.times[good].sum())
    if count < 2:
        error = math.nan if number else 0.0
        return InterpolationCheck(error, error, share, expected)
    weighted, times = (draw.weights * square)[good], draw.times[good]
    whole = float((times * draw.weights[good]).sum()) / count
    mean = float((times * weighted).sum()) / count
    # A ratio, because with nonfinite values the weights do not add up to the number.
    residual = weighted - draw.weights[good] * mean / whole
    variance = float((times * residual**2).sum()) / (count - 1) / count / whole**2
    error = math.sqrt(mean / whole)
    stderr = math.sqrt(variance) / (2 * error) if error else 0.0
    places = expected.ravel()[draw.points][good]
    calibrated = _calibrated(expected, places, square[good], (times * draw.weights[good]))
    return InterpolationCheck(error, stderr, share, calibrated)


def _calibrated(
    expected: np.ndarray, at_points: np.ndarray, square: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    bins = int(np.clip(len(square) // _FEWEST_IN_BIN, 1, _MOST_BINS))
    edges = np.unique(np.quantile(at_points, np.arange(1, bins) / bins, method="lower"))
    place = np.searchsorted(edges, at_points, side="left")
    size = len(edges) + 1
    number = np.bincount(place, weights, minlength=size)
    number = np.where(number > 0, number, 1.0)
    found = np.bincount(place, weights * square, minlength=size) / number
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.where(np.isfinite(at_points), at_points, np.nan).astype(float) ** 2
        said = np.bincount(place, weights * squares, minlength=size) / number
        # Where nothing or everything was expected there is no shape to keep.
        shaped = np.isfinite(said) & (said > 0)
        factor = np.sqrt(np.where(shaped, found / np.where(shaped, said, 1.0), 0.0))
    everywhere = np.searchsorted(edges, expected.ravel(), side="left").reshape(expected.shape)
    factor, flat = factor.astype(np.float32), np.sqrt(found).astype(np.float32)
    finite = np.where(np.isfinite(expected), expected, 0)
    kept = shaped[everywhere] & np.isfinite(expected)
    return np.where(kept, finite * factor[everywhere], flat[everywhere])
