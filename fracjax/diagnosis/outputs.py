"""Hölder exponents of several outputs: of all lines, and of those without jumps."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Float

from fracjax._types import Estimate
from fracjax.estimators.roughness.jumps import Jumps

__all__ = ["exponents_without_jumps", "one_output"]


def one_output(estimates: Estimate, index: int) -> Estimate:
    """Take one estimate, with its details, out of a batch."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], estimates)


def exponents_without_jumps(
    values: Float[np.ndarray, "lines levels points outputs"],
    jumps: Sequence[Jumps],
    exponents: Callable[[np.ndarray], Estimate],
) -> list[Estimate | None]:
    """Estimate again with the lines that hold jumps left out.

    Args:
        values: Returns along lines.
        jumps: What was found in each output.
        exponents: Estimates all outputs; lines of NaN do not count.

    Returns:
        One entry per output; None where no line holds a jump.
    """
    held = np.stack([found.lines for found in jumps], axis=-1)
    if not held.any():
        return [None] * len(jumps)
    estimates = exponents(np.where(held[:, None, None, :], np.nan, values))
    return [
        one_output(estimates, index) if found.lines.any() else None
        for index, found in enumerate(jumps)
    ]
