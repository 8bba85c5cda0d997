"""Estimates with their uncertainty, and the codes that say how far to trust them."""

import dataclasses
import enum
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
from jaxtyping import Array, PRNGKeyArray

__all__ = [
    "Estimate",
    "Invariants",
    "Key",
    "Label",
    "Leaf",
    "Objective",
    "PyTree",
    "Status",
    "StepFunction",
    "significant_digits",
]

PyTree: TypeAlias = Any
Key: TypeAlias = PRNGKeyArray | Array
Objective: TypeAlias = Callable[[PyTree, Key], Array]
# A field of a record that is a pytree. Tree operations put placeholders and NumPy arrays
# there, so that nothing may be checked at run time.
if TYPE_CHECKING:
    Leaf: TypeAlias = Array
else:
    Leaf = Any
StepFunction: TypeAlias = Callable[[PyTree], PyTree]


@jax.tree_util.register_static
class Label(str):
    """A name inside a result that is a pytree: not an array, never traced or batched."""

    __slots__ = ()


class Status(enum.IntEnum):
    """What happened to one estimate.

    Inside a batch nothing raises: a failed member carries one of these codes and
    NaN, so that one diverged rollout does not lose ten thousand good ones.
    """

    OK = 0
    DIVERGED = 1
    NONFINITE_TANGENT = 2
    TOO_FEW_POINTS = 3
    NO_SCALING_REGION = 4
    AT_NOISE_FLOOR = 5
    NOT_CONVERGED = 6

    @property
    def label(self) -> str:
        """Lower-case name, as printed and stored."""
        return self.name.lower()


@dataclasses.dataclass(frozen=True)
class Invariants:
    """What theory says of a system's Lyapunov exponents, for checks of an estimate.

    Attributes:
        volume_growth: Growth of the logarithm of volume, per unit of time for flows (the
            divergence of the vector field) and per step for maps (ln|det Df|): a number, or
            a function of the state before the step. The exponents add up to its mean.
        num_neutral: How many exponents are zero: 1 for an autonomous flow that does not
            rest, 2 with one more continuous symmetry or conserved quantity.
        symplectic: Whether exponents come in pairs ±λ.
    """

    volume_growth: float | Callable[[PyTree], Array] | None = None
    num_neutral: int = 0
    symplectic: bool = False


def significant_digits(value: float, stderr: float) -> int:
    """Digits that show two of the standard error; three at least."""
    if not (math.isfinite(value) and 0 < stderr < math.inf and value != 0):
        return 3
    return min(max(3, math.ceil(math.log10(abs(value) / stderr)) + 1), 15)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number, its uncertainty, whether to trust it, and where it came from.

    Attributes:
        value: The estimate.
        stderr: Its standard error, in the same unit and shape.
        low: Lower end of the interval (nominal 95 %).
        high: Upper end of the interval.
        status: A `Status` code per estimate.
        details: What the number was computed from: scales used, samples, p-value of
            the fit, convergence trace. Each estimator documents its own entries.

    Example:
        >>> import fracjax
        >>> print(fracjax.Estimate(value=0.4192, stderr=0.001, low=0.4172, high=0.4212, status=0))
        0.4192 [0.4172, 0.4212]
        >>> print(fracjax.Estimate(0.4192, 0.001, 0.4172, 0.4212, fracjax.Status.NOT_CONVERGED))
        0.4192 [0.4172, 0.4212] (not_converged)
    """

    value: Leaf
    stderr: Leaf
    low: Leaf
    high: Leaf
    status: Leaf
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def ok(self) -> Leaf:
        """Whether each estimate can be used."""
        return self.status == Status.OK

    def __str__(self) -> str:
        """Print `value [low, high] (status, at the cap)`, or the status codes of a batch."""
        if getattr(self.value, "ndim", 0):
            return f"Estimate(shape={self.value.shape}, ok={int(self.ok.sum())}/{self.ok.size})"
        label = Status(int(self.status)).label
        notes = [] if label == "ok" else [label]
        if bool(self.details.get("at_cap", False)):  # see `holder_exponent`: no more was to be seen
            notes.append("at the cap")
        suffix = f" ({', '.join(notes)})" if notes else ""
        value = float(self.value)
        digits = significant_digits(value, float(self.stderr))
        low, high = float(self.low), float(self.high)
        return f"{value:.{digits}g} [{low:.{digits}g}, {high:.{digits}g}]{suffix}"
