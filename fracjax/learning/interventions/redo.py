"""ReDo: recycle dormant units. Incoming weights begin anew, outgoing ones at zero."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax._types import Key, PyTree
from fracjax.learning.interventions.intervene import Activations, Intervention, stateless
from fracjax.learning.interventions.layers import (
    UnitLayer,
    check_layers,
    input_rows,
    named_leaves,
    replace_leaves,
)
from fracjax.learning.network_metrics.units import dormant_scores

__all__ = ["check_activations", "recycle_dormant", "recycle_units", "redo"]


def redo(
    init: Callable[[Key], PyTree],
    layers: Sequence[UnitLayer],
    *,
    tau: float | Float[Array, ""] = 0.025,
) -> Intervention:
    """Make ReDo for `intervene`, whose `update` is to be given the activations of a batch.

    See `recycle_dormant`. The moments of incoming, bias and outgoing entries begin anew. Sokar et
    al. act every 1000 updates with τ = .1, or .025 at the default replay ratio.

    Args:
        init: Draws fresh parameters of the whole network from a key.
        layers: Hidden layers; `sequential_layers` finds those of an MLP or CNN.
        tau: Threshold τ of `dormant_units`.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from fracjax import learning
        >>> def init(key):
        ...     first, last = jax.random.split(key)
        ...     return {
        ...         "hidden": {"kernel": jax.random.normal(first, (2, 3)), "bias": jnp.zeros(3)},
        ...         "output": {"kernel": jax.random.normal(last, (3, 1)), "bias": jnp.zeros(1)},
        ...     }
        >>> params = init(jax.random.key(0))
        >>> params["hidden"]["bias"] = jnp.array([1.0, 1.0, -100.0])  # the last unit is dead
        >>> recycling = learning.redo(init, learning.sequential_layers(params), tau=0.025)
        >>> key = jax.random.key(1)
        >>> optimizer = learning.intervene(optax.sgd(0.0), recycling, every=1, key=key)
        >>> inputs = jax.random.normal(jax.random.key(2), (64, 2))
        >>> hidden = params["hidden"]
        >>> activations = {"hidden": jax.nn.relu(inputs @ hidden["kernel"] + hidden["bias"])}
        >>> gradient = jax.tree.map(jnp.zeros_like, params)
        >>> updates, _ = optimizer.update(
        ...     gradient, optimizer.init(params), params, activations=activations
        ... )
        >>> params = optax.apply_updates(params, updates)
        >>> print(params["hidden"]["bias"], params["output"]["kernel"][2])
        [1. 1. 0.] [0.]
    """

    def apply(
        key: Key, params: PyTree, state: Any, activations: Activations | None
    ) -> tuple[PyTree, Any, PyTree]:
        found, anew, _ = recycle_dormant(params, init(key), activations or {}, layers, tau=tau)
        return found, state, anew

    return Intervention(stateless, apply, needs_activations=True)


def recycle_dormant(
    params: PyTree,
    fresh: PyTree,
    activations: Mapping[str, Array],
    layers: Sequence[UnitLayer],
    *,
    tau: float | Float[Array, ""],
) -> tuple[PyTree, PyTree, dict[str, Bool[Array, " units"]]]:
    """Give dormant units fresh incoming weights and no outgoing ones.

    At τ = 0 the outputs on the batch do not change, to the bit: such a unit is 0 on it, and the
    new one is not read. A norm over the units of a layer breaks this, because the new unit
    changes the statistics of the others. A layer that is silent altogether is dormant altogether.
    Activations that are not finite recycle nothing.

    Where a dormant unit feeds a dormant unit of the next layer, the weight between them is zero.

    Args:
        params: Parameters.
        fresh: Newly drawn ones of the same structure.
        activations: After the activation function, (samples, ..., units) by `UnitLayer.name`.
        layers: Hidden layers.
        tau: Threshold τ of `dormant_units`.

    Returns:
        The new parameters, a pytree of them that is True where they begin anew, and the units
        that were dormant by layer.

    Raises:
        ValueError: If leaves or activations are missing or do not fit.

    References:
        Sokar et al. (2023), https://arxiv.org/abs/2302.12902.
    """
    check_layers(params, layers)
    check_activations(params, activations, layers)
    chosen = {layer.name: dormant_scores(activations[layer.name]) <= tau for layer in layers}
    found, anew = recycle_units(params, fresh, chosen, layers)
    return found, anew, chosen


def recycle_units(
    params: PyTree,
    fresh: PyTree,
    chosen: Mapping[str, Bool[Array, " units"]],
    layers: Sequence[UnitLayer],
) -> tuple[PyTree, PyTree]:
    """Take incoming weights and biases of the chosen units from `fresh`; zero what reads them.

    Returns:
        The new parameters, and a pytree of them that is True where they begin anew.
    """
    leaves, drawn = named_leaves(params), named_leaves(fresh)
    anew = {name: jnp.zeros(jnp.shape(leaf), bool) for name, leaf in leaves.items()}
    for layer in layers:
        for name in (layer.kernel, layer.bias, *layer.per_unit):
            if name is not None:  # units are the last axis of all of them
                leaves[name] = jnp.where(chosen[layer.name], drawn[name], leaves[name])
                anew[name] |= chosen[layer.name]
    for layer in layers:  # last, so that zero stands where both ends of a weight begin anew
        for name in layer.outgoing:
            rows = input_rows(chosen[layer.name], leaves[name], channels_last=layer.channels_last)
            leaves[name] = jnp.where(rows, 0, leaves[name])
            anew[name] |= rows
    flags = jax.tree.unflatten(jax.tree.structure(params), list(anew.values()))
    return replace_leaves(params, leaves), flags


def check_activations(
    params: PyTree, activations: Mapping[str, Array], layers: Sequence[UnitLayer]
) -> None:
    """Check that there are activations of every layer, of its number of units.

    Raises:
        ValueError: If there are not.
    """
    leaves = named_leaves(params)
    for layer in layers:
        units = jnp.shape(leaves[layer.kernel])[-1]
        if layer.name not in activations or jnp.shape(activations[layer.name])[-1] != units:
            there = {name: jnp.shape(one) for name, one in activations.items()}
            msg = (
                f"Argument `activations` must have {units} units of {layer.name!r} on the last"
                f" axis, but is of {there}."
            )
            raise ValueError(msg)
