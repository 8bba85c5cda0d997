"""Box counts of label boundaries as they were published, and the dimension read off them.

For comparison with published numbers. `fracjax.landscapes.refinement` has two estimators that are
calibrated: `boundary_dimension` of one picture, `refined_boundary_dimension`.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import stdtrit

from fracjax._types import Estimate, Status

__all__ = ["label_edges", "published_box_counts", "published_dimension"]

_SIZES = 10
_SMALLEST = 10  # pixels


def label_edges(values: Float[np.ndarray, "n m"]) -> Bool[np.ndarray, "k l"]:
    """Say of every 2 × 2 neighbourhood whether it holds values of both signs.

    Zeros and NaN belong to neither sign.

    Args:
        values: Such as `trainability_objective` gives, below 0 where training converged.
    """
    quads = values[1:, 1:], values[:-1, 1:], values[1:, :-1], values[:-1, :-1]
    below = np.logical_or.reduce([part < 0 for part in quads])
    above = np.logical_or.reduce([part > 0 for part in quads])
    known = np.logical_and.reduce([~np.isnan(part) for part in quads])
    return below & above & known


def published_box_counts(
    edges: Bool[np.ndarray, "n m"],
) -> tuple[Int[np.ndarray, " sizes"], Int[np.ndarray, " sizes"]]:
    """Count boxes that hold an edge pixel and are not all edge pixels.

    What `porespy.metrics.boxcount` does: up to ten sizes from 10 pixels to the shorter side,
    geometrically spaced and rounded down, boxes on one grid from the first pixel on, those
    at the far sides cut off.

    Args:
        edges: Edge pixels.

    Returns:
        Sizes in pixels and counts.

    Raises:
        ValueError: If the picture is smaller than 10 pixels.
    """
    side = min(edges.shape)
    if side < _SMALLEST:
        msg = f"Argument `edges` must have 10 pixels or more along each axis, but has {side}."
        raise ValueError(msg)
    spaced = np.logspace(math.log10(_SMALLEST), math.log10(side), _SIZES)
    sizes = np.unique(spaced.astype(int))
    counts = []
    for size in sizes:
        starts = [np.arange(0, length, size) for length in edges.shape]
        rows = np.add.reduceat(edges, starts[0], axis=0, dtype=np.int64)
        held = np.add.reduceat(rows, starts[1], axis=1)
        lengths = (
            np.diff([*first, length]) for first, length in zip(starts, edges.shape, strict=True)
        )
        counts.append(np.count_nonzero(held) - np.count_nonzero(held == np.outer(*lengths)))
    return sizes, np.array(counts)


def published_dimension(frames: Sequence[Bool[np.ndarray, "_n _m"]]) -> Estimate:
    """Give the median of all local slopes of `published_box_counts`, over frames of a zoom.

    The slopes are central differences of ln count by ln size, of every size in every frame.

    **Biased** where a boundary has spikes thinner than a pixel: at a coarse scale the picture's
    fine pixels see a larger share of them than at a fine scale there are, and boxes full of edges
    are left out. At 1024² pixels Koch's curve, which has none, reads 1.264 (1.262 is exact, mean of
    8 windows) and ellipses 1.02; but where regularised factorisation converges, a boundary whose
    number of edge pixels grows with the exponent 1.25 when the resolution is doubled, one picture
    of 4096² reads 1.12 to 1.18. It is also a median over places that were chosen for being
    rich. Use it to compare with published numbers and for nothing else.

    Args:
        frames: Edge pixels of each.

    Returns:
        Median. The standard error is 1.25 SD / √frames of the frames' own medians and the interval
        Student's, as if frames were independent, which those of one zoom are not; NaN with one
        frame. Details: `sizes`, `counts` and `slopes`, a list with an entry for each frame
        that holds an edge. Status AT_NOISE_FLOOR without such a frame; TOO_FEW_POINTS where
        a frame has fewer than two sizes; NO_SCALING_REGION where a count is zero.
    """
    blank = jnp.asarray(np.nan)
    some = [edges for edges in frames if edges.any()]
    if not some:
        return Estimate(blank, blank, blank, blank, jnp.asarray(int(Status.AT_NOISE_FLOOR)))
    found = [published_box_counts(edges) for edges in some]
    details: dict[str, list[np.ndarray]] = {
        "sizes": [sizes for sizes, _ in found],
        "counts": [counts for _, counts in found],
        "slopes": [],
    }
    for sizes, counts in found:
        bad = Status.TOO_FEW_POINTS if len(sizes) < 2 else Status.NO_SCALING_REGION
        if len(sizes) < 2 or not counts.min() > 0:
            return Estimate(blank, blank, blank, blank, jnp.asarray(int(bad)), details)
        details["slopes"].append(-np.gradient(np.log(counts), np.log(sizes)))
    value = float(np.median(np.concatenate(details["slopes"])))
    medians = np.array([np.median(slopes) for slopes in details["slopes"]])
    error = margin = math.nan
    if len(medians) > 1:
        error = math.sqrt(math.pi / 2 / len(medians)) * float(medians.std(ddof=1))
        margin = error * float(stdtrit(len(medians) - 1, 0.975))
    middle, stderr, low, high = map(jnp.asarray, (value, error, value - margin, value + margin))
    return Estimate(middle, stderr, low, high, jnp.asarray(int(Status.OK)), details)
