"""Mean squared displacement of a path that is read, or still grows, piece by piece."""

from collections.abc import Iterable, Iterator

import jax
import numpy as np
from jaxtyping import Array

from fracjax.estimators.diffusion.displacements import mean_squared_displacement
from fracjax.estimators.settings import check_at_least

__all__ = ["stream_displacements"]


def stream_displacements(
    chunks: Iterable[np.ndarray | Array],
    *,
    segment_length: int = 1000,
    max_lag: int | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Give the mean squared displacement of every segment as soon as it is complete.

    For paths that do not fit into memory or are still growing: no more than one segment and one
    chunk are held. Equal to `segment_displacements` of the whole path, whatever the chunks.

    Args:
        chunks: Consecutive rows of one path, matrices (any, m).
        segment_length: Points of a segment.
        max_lag: Largest lag; `segment_length - 1` by default.

    Yields:
        Waiting time t_w, and values at the lags 1 … max_lag.
    """
    check_at_least(segment_length=(segment_length, 2))
    measure = jax.jit(lambda part: mean_squared_displacement(part, max_lag=max_lag))
    kept: list[np.ndarray] = []
    held, waiting_time = 0, 0
    for chunk in chunks:
        rows = np.asarray(chunk)
        while len(rows):
            part, rows = np.split(rows, [segment_length - held])
            kept.append(part)
            held += len(part)
            if held == segment_length:
                yield waiting_time, np.asarray(measure(np.concatenate(kept)))
                waiting_time += segment_length
                kept, held = [], 0
