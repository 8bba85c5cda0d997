"""Tell jumps from roughness by walking up to them.

Along a line, an increment that outweighs all others may be a jump or a steep but
continuous stretch. Bisection decides: halve the interval again and again, always keeping
the half with the larger change. Across a jump the change persists; across an α-Hölder
stretch it falls by 2^-α per halving.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

__all__ = ["Jumps", "find_jumps"]

_DOMINANT_SHARE = 0.5
_HALVINGS = 20
_PERSISTENT = 0.5


@dataclasses.dataclass(frozen=True)
class Jumps:
    """Jumps found along lines.

    Attributes:
        suspects: Number of lines and levels where one increment held more than half of
            the squared variation and which were walked up to.
        confirmed: How many of them kept at least half of their change while the interval
            shrank by 2^20.
        lines: Whether each line has a confirmed jump at some level, boolean per line.
        largest: Largest confirmed jump, in units of the objective; 0 without one.
        narrowest: Length of the shortest interval over which a suspect that is no jump
            still held half its change: the width of the steepest cliff; NaN without one.
    """

    suspects: int
    confirmed: int
    lines: np.ndarray
    largest: float
    narrowest: float


def find_jumps(
    values: np.ndarray,
    spacings: np.ndarray,
    evaluate: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    noise_variance: float = 0.0,
    max_suspects: int = 64,
) -> Jumps:
    """Look for jumps along lines and confirm them by bisection.

    Args:
        values: Array (lines, levels, points), as sampled by a `LineSampler`.
        spacings: Spacing per level.
        evaluate: `evaluate(line_indices, offsets)` for flat arrays, the same points as
            those of `values`.
        noise_variance: Variance of one value; changes below five standard deviations
            are never suspects.
        max_suspects: At most so many are walked up to, largest change first; each
            costs 20 evaluations, all suspects together.

    Returns:
        What was found. Lines with nonfinite values are passed over.
    """
    num_lines, _, num_points = values.shape
    offsets = spacings[:, None] * (np.arange(num_points) - (num_points - 1) / 2)
    # A smooth trend is no suspect: what counts is the change beyond the line's mean slope.
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.diff(values, axis=-1)
        squared = (steps - np.median(steps, axis=-1, keepdims=True)) ** 2
        total = squared.sum(axis=-1)
        place = np.argmax(np.nan_to_num(squared), axis=-1)
        largest = np.take_along_axis(squared, place[..., None], axis=-1)[..., 0]
        suspect = (largest > _DOMINANT_SHARE * total) & (largest > 25 * 2 * noise_variance)
    suspect &= np.isfinite(values).all(axis=-1)
    line, level = np.nonzero(suspect)
    order = np.argsort(-largest[line, level])[:max_suspects]
    line, level = line[order], level[order]
    confirmed_lines = np.zeros(num_lines, bool)
    if len(line) == 0:
        return Jumps(0, 0, confirmed_lines, 0.0, np.nan)

    point = place[line, level]
    left, right = offsets[level, point], offsets[level, point + 1]
    low, high = values[line, level, point], values[line, level, point + 1]
    change = np.abs(high - low)
    width = right - left
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        value = evaluate(line, middle).astype(values.dtype)
        go_left = np.abs(value - low) >= np.abs(high - value)
        right, high = np.where(go_left, middle, right), np.where(go_left, value, high)
        left, low = np.where(go_left, left, middle), np.where(go_left, low, value)
        width = np.where(np.abs(high - low) >= _PERSISTENT * change, right - left, width)
    remaining = np.abs(high - low)
    confirmed = np.isfinite(remaining) & (remaining >= _PERSISTENT * change)
    confirmed_lines[line[confirmed]] = True
    return Jumps(
        suspects=len(line),
        confirmed=int(confirmed.sum()),
        lines=confirmed_lines,
        largest=float(remaining[confirmed].max(initial=0.0)),
        narrowest=float(width[~confirmed].min(initial=np.inf)) if (~confirmed).any() else np.nan,
    )
