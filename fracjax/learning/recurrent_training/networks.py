"""Recurrent networks with a linear readout of one bit, and whose parameters are whose.

    network = tanh_classifier(80)
    params = network.init(key)                 # {"network", "readout", "initial"}
    logits = network.logits(params, bits)      # (steps,)

The task trains all of it. Flossing trains `params["network"]` alone: input weights, recurrent
weights and biases, and neither the readout nor the initial state.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.flossing.cells import (
    RecurrentStep,
    cell_step,
    driven_tanh_step,
    initial_tanh_network,
)

__all__ = ["FLOSSED", "RecurrentClassifier", "cell_classifier", "tanh_classifier"]

FLOSSED = ("network",)
_OFFSET = 1e-3  # of the author's code
_RELAXATION = 100


@dataclasses.dataclass(frozen=True)
class RecurrentClassifier:
    """A recurrent network that reads bits and gives logits; hashable by its functions.

    Attributes:
        step: `(params["network"], state, input) -> state`, for one sample; the input is (1,).
        start: `key -> (params["network"], params["initial"])`.
        read: `state -> vector` that the readout sees.
        readout_scale: Standard deviation of the readout's first weights. The author's code has
            1, so that first logits are of size √n and the first part of training takes them down;
            None is 1/√n.
    """

    step: RecurrentStep
    start: Callable[[Key], tuple[PyTree, PyTree]]
    read: Callable[[PyTree], Float[Array, " n"]]
    readout_scale: float | None = None

    def init(self, key: Key) -> dict[str, Any]:
        """Draw all parameters."""
        first, second = jax.random.split(key)
        network, initial = self.start(first)
        seen = jax.eval_shape(self.read, initial)
        scale = seen.size**-0.5 if self.readout_scale is None else self.readout_scale
        weights = scale * jax.random.normal(second, (seen.size,), seen.dtype)
        readout = {"weights": weights, "offset": jnp.asarray(_OFFSET, seen.dtype)}
        return {"network": network, "readout": readout, "initial": initial}

    def logits(self, params: PyTree, bits: Float[Array, " steps"]) -> Float[Array, " steps"]:
        """Logits after every step of one sequence of 0 and 1; vmap it over a batch."""

        def one(state: PyTree, bit: Array) -> tuple[PyTree, Array]:
            state = self.step(params["network"], state, bit[None])
            readout = params["readout"]
            return state, jnp.sum(readout["weights"] * self.read(state)) + readout["offset"]

        return jax.lax.scan(one, params["initial"], bits)[1]


def tanh_classifier(
    size: int,
    *,
    gain: float = 1.0,
    orthogonal: bool = False,
    readout_scale: float | None = None,
) -> RecurrentClassifier:
    """Make the tanh network of the flossing paper with a readout of its state x.

    x' = J tanh(x) + W s + b, logit = w·x + offset. It starts where a hundred steps without input
    lead from a random state, as in the author's code; there every member of a batch has a
    trainable initial state of its own, here all share one.

    Args:
        size: n, units.
        gain: See `initial_tanh_network`.
        orthogonal: See `initial_tanh_network`.
        readout_scale: See `RecurrentClassifier`.

    Raises:
        ValueError: If there are no units.
    """
    check_at_least(size=(size, 1))

    def start(key: Key) -> tuple[PyTree, PyTree]:
        own, drawn = jax.random.split(key)
        network = initial_tanh_network(own, size, 1, gain, orthogonal)
        state = jax.random.normal(drawn, (size,), jnp.result_type(float))

        def rest(state: Array, _: None) -> tuple[Array, None]:
            return driven_tanh_step(network, state, None), None

        return network, jax.lax.scan(rest, state, length=_RELAXATION)[0]

    return RecurrentClassifier(driven_tanh_step, start, _itself, readout_scale)


def cell_classifier(cell: Any, *, readout_scale: float | None = None) -> RecurrentClassifier:
    """Make a classifier of any Flax cell: GRUCell, LSTMCell, your own.

    The readout sees h, the last part of the carry. The state starts at the cell's own initial
    carry, zeros in Flax, and is trained from there.

    Args:
        cell: A `flax.linen` cell, unbound: `init`, `apply` and `initialize_carry` are used.
        readout_scale: See `RecurrentClassifier`.
    """

    def start(key: Key) -> tuple[PyTree, PyTree]:
        own, carrying = jax.random.split(key)
        given = jnp.zeros(1, jnp.result_type(float))
        carry = cell.initialize_carry(carrying, given.shape)
        carry = jax.tree.map(lambda leaf: leaf.astype(given.dtype), carry)
        return cell.init(own, carry, given), carry

    return RecurrentClassifier(cell_step(cell), start, _hidden, readout_scale)


def _itself(state: Array) -> Array:
    return state


def _hidden(carry: PyTree) -> Array:
    return jax.tree.leaves(carry)[-1]
