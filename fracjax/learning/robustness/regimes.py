"""Stable, chaotic or unstable: reading the largest exponent and the sum of exponents."""

import enum
import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fracjax._types import Estimate, Status

__all__ = ["Regime", "classify", "neutral_growth"]


class Regime(enum.IntEnum):
    """What the closed loop does with a small perturbation.

    Attributes:
        UNDECIDED: The intervals do not tell.
        STABLE: λ_1 <= 0: perturbations die out or stay as they are.
        CHAOTIC: λ_1 > 0 and the sum of exponents < 0: they grow, inside a bounded attractor.
        UNSTABLE: λ_1 > 0 and the sum > 0: they grow and so does the volume of states.
        CONSERVATIVE: λ_1 > 0 and the sum is 0: they grow on a preserved volume, as in a
            frictionless simulator. The paper's table has no such row.
    """

    UNDECIDED = 0
    STABLE = 1
    CHAOTIC = 2
    UNSTABLE = 3
    CONSERVATIVE = 4

    @property
    def label(self) -> str:
        """Lower-case name."""
        return self.name.lower()


def neutral_growth(num_steps: int, dt: float = 1.0) -> float:
    """Exponent that an orbit without exponential growth shows over so many steps.

    Separations that grow in proportion to time, as they do along a shear or where a velocity is
    perturbed, read ln(T)/T per step: .0069 for T = 1000. It is the smallest exponent that can
    be told from zero.

    Args:
        num_steps: Steps of the orbit.
        dt: Time per step.

    Raises:
        ValueError: If there are fewer than two steps.
    """
    if num_steps < 2:
        msg = f"Argument `num_steps` must be at least 2, but is {num_steps}."
        raise ValueError(msg)
    return math.log(num_steps) / (num_steps * dt)


def classify(
    largest: Estimate, total: Estimate, *, tolerance: float | Float[Array, ""] = 0.0
) -> Int[Array, ""]:
    """Read Table 1 of the paper with intervals instead of bare signs.

    λ_1 counts as positive when its interval lies above `tolerance`, as not positive when it lies
    below it, and else the regime is undecided. The sum counts as negative or positive when its
    interval lies outside ±`tolerance`, and as zero when it lies inside. An orbit without
    exponential growth reads ln(T)/T: pass `neutral_growth` of its steps. Zero actions on DM
    Control read .002 to .005 per step, which a bare sign calls unstable or chaotic.

    A sum of status `AT_NOISE_FLOOR` is an upper bound: it can show contraction only. A largest
    exponent of that status decides nothing.

    Args:
        largest: Largest exponent.
        total: Sum of all exponents, in the same unit.
        tolerance: What counts as zero, in that unit.

    Returns:
        Codes of `Regime`; undecided where an interval is not finite. A loop that is stable
        needs no sum.
    """
    seen = largest.status != Status.AT_NOISE_FLOOR
    grows, decays = seen & (largest.low > tolerance), seen & (largest.high <= tolerance)
    lowest = jnp.where(total.status == Status.AT_NOISE_FLOOR, -jnp.inf, total.low)
    contracts, expands = total.high < -tolerance, lowest > tolerance
    preserves = (lowest >= -tolerance) & (total.high <= tolerance)
    growing = jnp.where(expands, int(Regime.UNSTABLE), int(Regime.UNDECIDED))
    growing = jnp.where(preserves, int(Regime.CONSERVATIVE), growing)
    growing = jnp.where(contracts, int(Regime.CHAOTIC), growing)
    regime = jnp.where(decays, int(Regime.STABLE), int(Regime.UNDECIDED))
    return jnp.where(grows, growing, regime)
