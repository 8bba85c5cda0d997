"""Which leaf brings signals to a hidden unit, which is its bias, and which carry its signal on.

    layers = sequential_layers(params)                       # an MLP or CNN, in order
    layers = (UnitLayer("first", "0/w", "0/b", ("1/w",), ("1/b",)),)       # anything else

Kernels have their units on the last axis and their inputs on the one before: (inputs, units) or
(height, width, inputs, units), as in Flax.
"""

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fracjax._types import Key, PyTree
from fracjax.learning.network_metrics.metrics import leaf_names

__all__ = [
    "Scheme",
    "UnitLayer",
    "check_layers",
    "fresh_parameters",
    "input_rows",
    "named_leaves",
    "replace_leaves",
    "sequential_layers",
]

Scheme = Literal["torch_uniform", "lecun_normal", "he_normal"]
_COLLECTION = "params/"  # Flax's own, which is no layer


class UnitLayer(NamedTuple):
    """A layer of hidden units, by names of leaves (keys joined by slashes).

    Attributes:
        name: Name of its activations.
        kernel: Leaf with the incoming weights, (..., inputs, units).
        bias: Leaf with the biases, (units,); None if there is none.
        outgoing: Kernels that read the units on their axis of inputs. Where a convolution is
            flattened for a dense layer, that axis has a row for every place and channel.
        outgoing_biases: Their biases, in the same order; None or left out where there is none.
        channels_last: Whether a flattened convolution has neighbouring channels side by side, as
            in JAX, and not neighbouring places, as in PyTorch.
        per_unit: Further leaves with one entry for each unit, such as scale and bias of a norm,
            which begin anew with it.
    """

    name: str
    kernel: str
    bias: str | None
    outgoing: tuple[str, ...]
    outgoing_biases: tuple[str | None, ...] = ()
    channels_last: bool = True
    per_unit: tuple[str, ...] = ()


def sequential_layers(params: PyTree, order: Sequence[str] | None = None) -> tuple[UnitLayer, ...]:
    """Describe the hidden layers of a network of dense and convolutional layers in a row.

    A node of the pytree with one leaf of two axes or more is a layer; a vector of its number of
    units beside it is the bias. The last layer is the output and not among the results. Norms
    have no kernel and are passed over: name them in `per_unit` where units are recycled.

    Args:
        params: Parameters, such as Flax's `{"params": {"Dense_0": {"kernel", "bias"}, ...}}`, whose
            other collections are passed over, or `[{"w", "b"}, ...]`.
        order: Nodes in the order of the network; by default sorted by their names with numbers as
            numbers, convolutions first, which is the order of `Conv_0, Conv_1, Dense_0, Dense_1`.

    Returns:
        One entry for every layer but the last; `name` is the node, without Flax's `params/`.

    Raises:
        ValueError: If the layers do not chain: the inputs of one must be the units of the one
            before, or a multiple where a convolution is flattened.
    """
    leaves = named_leaves(params)
    if any(name.startswith(_COLLECTION) for name in leaves):  # statistics are no layers
        leaves = {name: leaf for name, leaf in leaves.items() if name.startswith(_COLLECTION)}
    nodes: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, leaf in leaves.items():
        nodes.setdefault(name.rpartition("/")[0], {})[name] = jnp.shape(leaf)
    kernels: dict[str, str] = {}
    biases: dict[str, str | None] = {}
    for node, shapes in nodes.items():
        found = [name for name, shape in shapes.items() if len(shape) >= 2]
        if len(found) > 1:
            msg = (
                f"Argument `params` must have one kernel in a node, but {node!r} has {found}:"
                " describe the layers by `UnitLayer`."
            )
            raise ValueError(msg)
        if found:
            units = shapes[found[0]][-1]
            beside = [name for name, shape in shapes.items() if shape == (units,)]
            short = node.removeprefix(_COLLECTION)
            kernels[short], biases[short] = found[0], beside[0] if len(beside) == 1 else None
    if order is None:
        order = sorted(kernels, key=lambda node: _place(node, leaves[kernels[node]]))
    names = [node.removeprefix(_COLLECTION) for node in order]
    if sorted(names) != sorted(kernels):
        msg = f"Argument `order` must name the layers {sorted(kernels)}, but is {list(order)}."
        raise ValueError(msg)
    layers = tuple(
        UnitLayer(here, kernels[here], biases[here], (kernels[after],), (biases[after],))
        for here, after in itertools.pairwise(names)
    )
    check_layers(params, layers)
    return layers


def check_layers(params: PyTree, layers: Sequence[UnitLayer]) -> None:
    """Check that the leaves are there and that their shapes fit one another.

    Raises:
        ValueError: If they do not, or there is no layer.
    """
    shapes = {name: jnp.shape(leaf) for name, leaf in named_leaves(params).items()}
    if not layers:
        msg = "Argument `layers` must hold a hidden layer, but is empty."
        raise ValueError(msg)
    for layer in layers:
        if layer.kernel not in shapes or len(shapes[layer.kernel]) < 2:
            _refuse(layer, f"{layer.kernel!r} is no kernel of {sorted(shapes)}")
        units = shapes[layer.kernel][-1]
        vectors = (layer.bias, *layer.per_unit)
        for name in vectors:
            if name is not None and shapes.get(name) != (units,):
                _refuse(layer, f"{name!r} has shape {shapes.get(name)} for {units} units")
        for name in layer.outgoing:
            rows = shapes.get(name, ())[-2:-1]
            if not rows or rows[0] % units:
                _refuse(layer, f"{name!r} has shape {shapes.get(name)} and reads {units} units")
        if layer.outgoing_biases and len(layer.outgoing_biases) != len(layer.outgoing):
            _refuse(layer, "it has not as many outgoing biases as kernels")


def named_leaves(params: PyTree) -> dict[str, Array]:
    """Leaves of a pytree by name."""
    return dict(zip(leaf_names(params), jax.tree.leaves(params), strict=True))


def replace_leaves(params: PyTree, found: Mapping[str, Array]) -> PyTree:
    """Put leaves in the place of those of the same name, in their dtypes."""
    return jax.tree.unflatten(
        jax.tree.structure(params),
        [
            found[name].astype(leaf.dtype) if name in found else leaf
            for name, leaf in named_leaves(params).items()
        ],
    )


def input_rows(
    of_units: Bool[Array, " units"] | Float[Array, " units"], kernel: Array, *, channels_last: bool
) -> Array:
    """Give every input of an outgoing kernel what its unit has, as a column (inputs, 1).

    Between convolution and dense layer a channel has a row for every place: with channels last
    the rows are channels of place 0, channels of place 1, ….
    """
    places = kernel.shape[-2] // of_units.shape[0]
    rows = jnp.tile(of_units, places) if channels_last else jnp.repeat(of_units, places)
    return rows[:, None]


def fresh_parameters(params: PyTree, scheme: Scheme = "torch_uniform") -> Callable[[Key], PyTree]:
    """Make an initialiser for a plain pytree; for Flax modules use `module.init`.

    `"torch_uniform"` draws kernels and biases from ±1/√fan_in, PyTorch's default;
    `"lecun_normal"` and `"he_normal"` draw kernels of variance 1/fan_in and 2/fan_in, and biases
    are 0. Vectors without a kernel beside them are 1 if they are called `scale`, otherwise 0.

    Args:
        params: Of the network, for shapes and names; no collections of statistics.
        scheme: The law.

    Raises:
        ValueError: If there is no such law.
    """
    if scheme not in get_args(Scheme):
        msg = f"Argument `scheme` must be one of {get_args(Scheme)}, but is {scheme!r}."
        raise ValueError(msg)
    leaves = named_leaves(params)
    fan_in = {
        name.rpartition("/")[0]: math.prod(jnp.shape(leaf)[:-1])
        for name, leaf in leaves.items()
        if jnp.ndim(leaf) >= 2
    }
    scales, offsets = {}, {}
    for name, leaf in leaves.items():
        inputs = fan_in.get(name.rpartition("/")[0])
        drawn = inputs is not None and (jnp.ndim(leaf) >= 2 or scheme == "torch_uniform")
        variance = 2.0 if scheme == "he_normal" else 1.0
        scales[name] = math.sqrt(variance / inputs) if inputs and drawn else 0.0
        offsets[name] = float(not inputs and name.rpartition("/")[2] == "scale")
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), leaves)
    structure = jax.tree.structure(params)
    ends = np.cumsum([leaf.size for leaf in shapes.values()])

    def initialize(key: Key) -> PyTree:
        draw = jax.random.normal if scheme != "torch_uniform" else _symmetric
        parts = jnp.split(draw(key, (int(ends[-1]),)), ends[:-1])
        return jax.tree.unflatten(
            structure,
            [
                (scales[name] * part.reshape(shape.shape) + offsets[name]).astype(shape.dtype)
                for part, (name, shape) in zip(parts, shapes.items(), strict=True)
            ],
        )

    return initialize


def _symmetric(key: Key, shape: tuple[int, ...]) -> Float[Array, " n"]:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def _place(node: str, kernel: Array) -> tuple:
    """Sort by kind of layer, then by name with its numbers as numbers."""
    parts = re.split(r"(\d+)", node)
    return (jnp.ndim(kernel) == 2, [(int(p), "") if p.isdigit() else (-1, p) for p in parts])


def _refuse(layer: UnitLayer, reason: str) -> None:
    msg = f"Argument `layers` must describe the parameters, but in {layer.name!r} {reason}."
    raise ValueError(msg)
