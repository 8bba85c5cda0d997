"""What the outputs of a value network mean, and the loss that trains them."""

import dataclasses
from typing import TypeAlias

from jaxtyping import Array, Float

from fracjax.learning.interventions.two_hot import (
    CategoricalSupport,
    categorical_loss,
    decode,
    linear_support,
)

__all__ = ["REGRESSION", "Regression", "TwoHot", "ValueHead", "two_hot"]


@dataclasses.dataclass(frozen=True)
class Regression:
    """Outputs are values; the loss is the squared error."""

    def width(self, num_values: int) -> int:
        """Outputs that a network needs for so many values."""
        return num_values

    def values(self, outputs: Float[Array, "n outputs"]) -> Float[Array, "n values"]:
        """Read the values off the outputs."""
        return outputs

    def losses(
        self, outputs: Float[Array, "n outputs"], targets: Float[Array, "n values"]
    ) -> Float[Array, "n values"]:
        """Compare every value with a target."""
        return (outputs - targets) ** 2


@dataclasses.dataclass(frozen=True, eq=False)
class TwoHot:
    """Outputs are logits over a support; the loss is the cross-entropy with two-hot targets.

    Attributes:
        support: Values of the bins.
    """

    support: CategoricalSupport

    def width(self, num_values: int) -> int:
        """Outputs that a network needs for so many values."""
        return num_values * self.support.size

    def values(self, outputs: Float[Array, "n outputs"]) -> Float[Array, "n values"]:
        """Read the values off the outputs."""
        return decode(self.support, self._logits(outputs))

    def losses(
        self, outputs: Float[Array, "n outputs"], targets: Float[Array, "n values"]
    ) -> Float[Array, "n values"]:
        """Compare every value with a target."""
        return categorical_loss(self.support, self._logits(outputs), targets)

    def _logits(self, outputs: Array) -> Array:
        return outputs.reshape(len(outputs), -1, self.support.size)


ValueHead: TypeAlias = Regression | TwoHot
REGRESSION = Regression()


def two_hot(low: float, high: float, number: int = 51) -> TwoHot:
    """Make a two-hot head with evenly spaced bins.

    The support of Lyle et al. is not published; name yours.

    Args:
        low: Value of the first bin.
        high: Value of the last.
        number: Bins.
    """
    return TwoHot(linear_support(low, high, number))
