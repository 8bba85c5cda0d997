"""Recurrent networks as steps `(params, state, input) -> state`, inputs from outside."""

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.systems.recurrent import gaussian_coupling, orthogonal_coupling, saturate

__all__ = ["FlaxCell", "RecurrentStep", "cell_step", "driven_tanh_step", "initial_tanh_network"]

RecurrentStep: TypeAlias = Callable[[PyTree, PyTree, Any], PyTree]
_dot = functools.partial(jnp.matmul, precision="highest")  # never TF32


@runtime_checkable
class FlaxCell(Protocol):
    """What is used of a Flax cell: `apply(variables, carry, inputs) -> (carry, output)`."""

    def apply(self, variables: Any, carry: Any, inputs: Any) -> tuple[Any, Any]:
        """Advance by one step."""


def driven_tanh_step(params: PyTree, state: Array, given: Array | None) -> Array:
    """Advance x' = J tanh(x) + W s + b, the network of the flossing paper.

    The state x is what enters the nonlinearity. The Jacobian J diag(1/cosh² x) has the
    exponents of diag(1/cosh² x') J, which belongs to the same network in h = tanh(x).

    Args:
        params: `{"recurrent": (n, n), "input": (n, m), "bias": (n,)}` and whatever else, which
            is left alone.
        state: x, (n,).
        given: s, (m,), or None for no input.
    """
    moved = _dot(params["recurrent"], saturate(state)) + params["bias"]
    return moved if given is None else moved + _dot(params["input"], given)


def initial_tanh_network(
    key: Key,
    size: int,
    num_inputs: int,
    gain: float = 1.0,
    orthogonal: bool = False,
    input_scale: float = 1.0,
    largest_bias: float = 0.1,
) -> dict[str, Array]:
    """Draw the parameters of `driven_tanh_step`, in JAX's default dtype.

    Args:
        key: Randomness.
        size: n, units.
        num_inputs: m, channels of input.
        gain: Entries of J are N(0, gain²/n), or J is `gain` times a random orthogonal matrix.
        orthogonal: Which of the two. An orthogonal J of gain 1 has all exponents at 0 for as
            long as the units are near 0.
        input_scale: Standard deviation of the input weights.
        largest_bias: Biases are uniform between 0 and this.

    Raises:
        ValueError: If there are no units or a negative number of inputs.

    References:
        Engelken (2023), https://arxiv.org/abs/2312.17306. The defaults are those of the
        author's code.
    """
    check_at_least(size=(size, 1), num_inputs=(num_inputs, 0))
    couple, drive, shift = jax.random.split(key, 3)
    draw = orthogonal_coupling if orthogonal else gaussian_coupling
    dtype = jnp.result_type(float)
    return {
        "recurrent": draw(couple, size, gain).astype(dtype),
        "input": input_scale * jax.random.normal(drive, (size, num_inputs), dtype),
        "bias": largest_bias * jax.random.uniform(shift, (size,), dtype),
    }


def cell_step(cell: FlaxCell) -> RecurrentStep:
    """Make the step of a Flax cell: SimpleCell, GRUCell, LSTMCell, OptimizedLSTMCell or your own.

    Parameters are the variables that `cell.init` returns, the state is the carry: for an LSTM
    the pair (c, h), so that it has 2n exponents for n units. The cell's output is dropped, since
    in these cells it is part of the carry.

    Args:
        cell: A `flax.linen` module with `apply(variables, carry, inputs) -> (carry, output)`.
    """

    def step(params: PyTree, state: PyTree, given: Any) -> PyTree:
        return cell.apply(params, state, given)[0]

    return step
