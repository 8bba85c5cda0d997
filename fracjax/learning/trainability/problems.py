"""Small regression problems: one hidden layer, no biases, as many data as parameters."""

import dataclasses
import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Key, Leaf

__all__ = ["DataSize", "Nonlinearity", "RegressionProblem", "hidden_units", "regression_problem"]

Nonlinearity = Literal["tanh", "relu", "identity"]
DataSize = Literal["full", "width", "single"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RegressionProblem:
    """Data, and the weights that training starts from.

    Attributes:
        inputs: x (data, width).
        targets: y (data,).
        first: Weights of the hidden layer, (width, width), inputs first.
        second: Weights of the readout, (width,).
        nonlinearity: Of the hidden units.
    """

    inputs: Leaf
    targets: Leaf
    first: Leaf
    second: Leaf
    nonlinearity: Nonlinearity = dataclasses.field(default="tanh", metadata={"static": True})

    @property
    def width(self) -> int:
        """Number of inputs and of hidden units."""
        return int(self.inputs.shape[1])

    @property
    def input_scale(self) -> float:
        """What the products W₀ᵀx are multiplied with before the nonlinearity."""
        gain = 1.0 if self.nonlinearity == "identity" else math.sqrt(2)
        return gain / math.sqrt(self.width)

    def loss(self, first: Float[Array, "n n"], second: Float[Array, " n"]) -> Float[Array, ""]:
        """Mean squared error over the data at other weights."""
        hidden = hidden_units(self.nonlinearity, self.inputs @ first * self.input_scale)
        return jnp.mean((hidden @ second / self.width - self.targets) ** 2)


def hidden_units(nonlinearity: Nonlinearity, inputs: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Apply a nonlinearity."""
    if nonlinearity == "tanh":
        return jnp.tanh(inputs)
    return jnp.maximum(inputs, 0) if nonlinearity == "relu" else inputs


def regression_problem(
    key: Key,
    *,
    width: int = 16,
    nonlinearity: Nonlinearity = "tanh",
    data: DataSize | None = None,
) -> RegressionProblem:
    """Draw data and initial weights of the published experiments, all N(0, 1).

    The network is, with n = `width` and without biases,

        h = tanh(√2 W₀ᵀx / √n)  or  √2 max(W₀ᵀx / √n, 0)  or  W₀ᵀx / √n,    f(x) = W₁ᵀh / n,

    and its loss the mean of (f(x) - y)². The readout is divided by n, not √n: the published
    code divides every layer by √n and the output by √n once more. Draws come in its order (weights
    of both layers, inputs, targets), but are not its numbers: JAX has changed its generator
    since. The default float decides the dtype; zooms of ten decades need float64.

    Args:
        key: Draws everything.
        width: n. Published figures have 16.
        nonlinearity: Of the hidden units.
        data: `"full"`: n² + n points, as many as parameters. `"width"`: n points. `"single"`:
            one point. If not given, `"width"` for `"identity"`, as published, else `"full"`.

    Raises:
        ValueError: If a name is unknown or the width is below 1.

    References:
        Sohl-Dickstein (2024), arXiv 2402.06184, and the notebook that comes with it.
    """
    if nonlinearity not in get_args(Nonlinearity):
        msg = (
            f"Argument `nonlinearity` must be one of {get_args(Nonlinearity)},"
            f" but is {nonlinearity!r}."
        )
        raise ValueError(msg)
    data = data or ("width" if nonlinearity == "identity" else "full")
    if data not in get_args(DataSize):
        msg = f"Argument `data` must be one of {get_args(DataSize)}, but is {data!r}."
        raise ValueError(msg)
    if width < 1:
        msg = f"Argument `width` must be positive, but is {width}."
        raise ValueError(msg)
    size = {"full": width * width + width, "width": width, "single": 1}[data]
    first_key, second_key, input_key, target_key = jax.random.split(key, 4)
    return RegressionProblem(
        jax.random.normal(input_key, (size, width)),
        jax.random.normal(target_key, (size,)),
        jax.random.normal(first_key, (width, width)),
        jax.random.normal(second_key, (width,)),
        nonlinearity,
    )
