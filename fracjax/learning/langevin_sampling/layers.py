"""Find the layers of a parameter tree: which bias belongs to which kernel."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fracjax._types import PyTree

__all__ = ["Layer", "fan_in", "find_layers"]


class Layer(NamedTuple):
    """Places of one layer's leaves in the flattened tree.

    Attributes:
        kernel: Index of the kernel.
        bias: Index of its bias; None if it has none.
    """

    kernel: int
    bias: int | None


def find_layers(params: PyTree) -> list[Layer]:
    """Pair leaves named `kernel` with the leaf `bias` of the same node.

    Dictionaries, named tuples and dataclasses all do; this is Flax's layout. A unit is an
    element of the bias, and the kernel's trailing axes are the bias's: (inputs, units) for dense
    layers, (height, width, inputs, units) for convolutions.

    Raises:
        ValueError: If a bias does not fit the trailing axes of its kernel.
    """
    places: dict[tuple[str, ...], dict[str, int]] = {}
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    for index, (path, _) in enumerate(leaves):
        names = [jax.tree_util.keystr((entry,), simple=True) for entry in path]
        if names and names[-1] in ("kernel", "bias"):
            places.setdefault(tuple(names[:-1]), {})[names[-1]] = index
    layers = []
    for place, node in places.items():
        if "kernel" not in node:
            continue
        kernel, bias = node["kernel"], node.get("bias")
        if bias is not None:
            shape, units = (jnp.shape(leaves[index][1]) for index in (kernel, bias))
            if len(units) >= len(shape) or shape[len(shape) - len(units) :] != units:
                msg = (
                    f"Argument `params` must have biases of their kernels' trailing shape, but"
                    f" {'/'.join(place)} has a kernel of {shape} and a bias of {units}."
                )
                raise ValueError(msg)
        layers.append(Layer(kernel, bias))
    return layers


def fan_in(params: PyTree) -> list[int | None]:
    """Count the inputs of a unit for every leaf that is a kernel; None for the others."""
    leaves = jax.tree.leaves(params)
    found: list[int | None] = [None] * len(leaves)
    for layer in find_layers(params):
        size = jnp.size(leaves[layer.kernel])
        units = jnp.shape(leaves[layer.kernel])[-1]
        if layer.bias is not None:
            units = jnp.size(leaves[layer.bias])
        found[layer.kernel] = size // units
    return found
