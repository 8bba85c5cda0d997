"""How fast training converged or diverged, in one number whose sign says which."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax._types import Leaf

__all__ = ["TAIL", "LossSums", "convergence_speed"]

_LARGEST_LOSS = 1e6  # in units of the first loss
TAIL = 20  # steps that decide


class LossSums(NamedTuple):
    """What of a run's relative losses v_t = loss_t / loss_0 its label and colour need.

    Attributes:
        total: Σ v_t.
        inverse: Σ 1 / v_t.
        tail: Σ v_t over the last 20 steps.
    """

    total: Leaf
    inverse: Leaf
    tail: Leaf

    @classmethod
    def zeros(cls, shape: tuple[int, ...], dtype: Any) -> "LossSums":
        """Before the first step."""
        return cls(*(jnp.zeros(shape, dtype) for _ in range(3)))

    def add(self, relative: Leaf, is_tail: Bool[Array, "*n"]) -> "LossSums":
        """Add one step."""
        capped = _capped(relative)
        return LossSums(
            self.total + capped,
            self.inverse + 1 / capped,
            self.tail + jnp.where(is_tail, capped, 0),
        )

    def fill(self, missing: Leaf, missing_tail: Leaf) -> "LossSums":
        """Add `missing` steps with the largest loss, `missing_tail` of them among the last 20."""
        return LossSums(
            self.total + _LARGEST_LOSS * missing,
            self.inverse + missing / _LARGEST_LOSS,
            self.tail + _LARGEST_LOSS * missing_tail,
        )


def convergence_speed(sums: LossSums, num_steps: int) -> Float[Array, "*n"]:
    """Give -Σ v_t where training converged, else Σ 1 / v_t.

    It converged if the mean of v_t over the last 20 steps is below 1. The fewer steps a loss
    took to fall the nearer to 0 the number is, and likewise the fewer it took to grow; 0 itself
    does not occur.

    Args:
        sums: Over a run.
        num_steps: How many steps it had.

    References:
        Sohl-Dickstein (2024), arXiv 2402.06184. The notebook replaces a loss that is not finite by
        10⁶ before it divides by the first one and caps; here it counts as 10⁶ afterwards. Labels
        are the same.
    """
    return jnp.where(sums.tail < min(TAIL, num_steps), -sums.total, sums.inverse)


def _capped(relative: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Replace what is not finite or above 10⁶ by 10⁶."""
    fine = relative <= _LARGEST_LOSS  # false for NaN
    return jnp.where(fine, relative, _LARGEST_LOSS)
