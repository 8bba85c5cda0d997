"""Continual backprop: in every update, a few of the least useful mature units begin anew."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.interventions.intervene import Activations, Intervention
from fracjax.learning.interventions.layers import (
    UnitLayer,
    check_layers,
    input_rows,
    named_leaves,
    replace_leaves,
)
from fracjax.learning.interventions.redo import check_activations, recycle_units
from fracjax.learning.network_metrics.units import unit_samples
from fracjax.learning.policy_paths.batching import any_member

__all__ = ["UnitHistory", "continual_backprop", "unit_utility"]


class UnitHistory(NamedTuple):
    """What continual backprop remembers of the units of a layer.

    Attributes:
        utility: Moving average of the utility, begun at 0.
        activation: Moving average of the activation, begun at 0.
        age: Updates since a unit began.
        owed: Units to be replaced, less than one, that earlier updates left over.
    """

    utility: Float[Array, " units"]
    activation: Float[Array, " units"]
    age: Int[Array, " units"]
    owed: Float[Array, ""]


def continual_backprop(
    init: Callable[[Key], PyTree],
    layers: Sequence[UnitLayer],
    *,
    rate: float | Float[Array, ""] = 1e-4,
    maturity: int = 100,
    decay: float = 0.99,
) -> Intervention:
    """Make continual backprop for `intervene` with `every=1`.

    In every update and layer: ages grow by one; the running mean activation ĥ and the utility

        u <- d u + (1 - d) mean|h - ĥ/(1 - d^age)| · mean|w_out|/mean|w_in|

    are updated; of the e units older than the maturity, those of least u/(1 - d^age) are replaced,
    as many as whole units are in the running sum of rate · e. A replaced unit gets fresh incoming
    weights and zero outgoing ones, what it gave on average, w_out ĥ/(1 - d^age), goes to the
    biases that read it, its age and averages are 0 and its moments begin anew.

    The running sum makes the number of replacements exact and free of chance; the published code
    can do so too, and by default draws a random number instead. That code (`gnt.py` at commit
    bdfe0dd) clears ĥ before it moves the mean to the next bias, so that nothing is moved; here it
    is. Where no bias reads a unit (a norm follows, or `outgoing_biases` is left out) nothing is
    moved either. At the padded border of a convolution and for a flattened one, whose places have
    different means, the move is right on average only.

    Args:
        init: Draws fresh parameters of the whole network from a key; drawn only when a unit is
            replaced.
        layers: Hidden layers; `sequential_layers` finds those of an MLP or CNN.
        rate: Share of the mature units that is replaced per update, 1e-6 to 1e-4 in use.
        maturity: Updates before a unit may be replaced.
        decay: d.

    Raises:
        ValueError: If a setting is out of range; by `init` and `update`, if layers or activations
            do not fit the parameters.

    References:
        Dohare et al. (2024), https://doi.org/10.1038/s41586-024-07711-7.
    """
    check_at_least(maturity=(maturity, 0))
    if not 0 <= decay < 1:
        msg = f"Argument `decay` must lie in [0, 1), but is {decay}."
        raise ValueError(msg)

    def begin(params: PyTree) -> dict[str, UnitHistory]:
        check_layers(params, layers)
        leaves = named_leaves(params)
        state = {}
        for layer in layers:
            kernel = leaves[layer.kernel]
            zeros = jnp.zeros(kernel.shape[-1], kernel.dtype)
            age = jnp.zeros(kernel.shape[-1], jnp.int32)
            state[layer.name] = UnitHistory(zeros, zeros, age, jnp.zeros((), kernel.dtype))
        return state

    def apply(
        key: Key,
        params: PyTree,
        state: dict[str, UnitHistory],
        activations: Activations | None,
    ) -> tuple[PyTree, dict[str, UnitHistory], PyTree]:
        hidden = activations or {}
        check_activations(params, hidden, layers)
        leaves = named_leaves(params)
        after: dict[str, UnitHistory] = {}
        chosen, means = {}, {}
        for layer in layers:
            history = _observe(leaves, layer, hidden[layer.name], state[layer.name], decay)
            replaced, owed = _least_useful(history, rate, maturity, decay)
            chosen[layer.name] = replaced
            means[layer.name] = history.activation / (1 - decay**history.age)
            after[layer.name] = UnitHistory(
                jnp.where(replaced, 0, history.utility),
                jnp.where(replaced, 0, history.activation),
                jnp.where(replaced, 0, history.age),
                owed,
            )
        anything = jnp.stack([units.any() for units in chosen.values()]).any()

        def replace(params: PyTree) -> tuple[PyTree, PyTree]:
            moved = _move_means(params, layers, chosen, means)
            return recycle_units(moved, init(key), chosen, layers)

        def keep(params: PyTree) -> tuple[PyTree, PyTree]:
            return params, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, bool), params)

        # A member without a replacement chooses no unit, so it needs no `where` of its own.
        found, anew = jax.lax.cond(any_member(anything), replace, keep, params)
        return found, after, anew

    return Intervention(begin, apply, needs_activations=True)


def unit_utility(
    activations: Float[Array, "..."],
    centre: Float[Array, " units"],
    params: PyTree,
    layer: UnitLayer,
) -> Float[Array, " units"]:
    """Utility of every unit on a batch: mean|h - ĥ| · mean|w_out|/mean|w_in|.

    Means over samples and places, over all weights that read the unit, and over all that feed it
    (biases not counted).

    Args:
        activations: (samples, ..., units).
        centre: ĥ.
        params: Parameters.
        layer: Which layer.
    """
    return _utility(named_leaves(params), layer, unit_samples(activations), centre)


def _utility(
    leaves: dict[str, Array], layer: UnitLayer, samples: Array, centre: Array
) -> Float[Array, " units"]:
    units = samples.shape[-1]
    incoming = jnp.abs(leaves[layer.kernel]).reshape(-1, units).mean(axis=0)
    total, count = jnp.zeros(units, samples.dtype), 0
    for name in layer.outgoing:
        kernel = jnp.abs(leaves[name])
        by_row = kernel.sum(axis=(*range(kernel.ndim - 2), -1))
        shape = (-1, units) if layer.channels_last else (units, -1)
        total = total + by_row.reshape(shape).sum(axis=0 if layer.channels_last else 1)
        count += kernel.size // units
    contribution = jnp.mean(jnp.abs(samples - centre), axis=0) * total / max(count, 1)
    # A unit without incoming weights is constant and contributes nothing.
    return contribution / jnp.where(incoming == 0, 1, incoming)


def _observe(
    leaves: dict[str, Array], layer: UnitLayer, hidden: Array, history: UnitHistory, decay: float
) -> UnitHistory:
    samples = unit_samples(hidden)
    age = history.age + 1
    activation = decay * history.activation + (1 - decay) * samples.mean(axis=0)
    now = _utility(leaves, layer, samples, activation / (1 - decay**age))
    utility = decay * history.utility + (1 - decay) * now
    return UnitHistory(utility, activation, age, history.owed)


def _least_useful(
    history: UnitHistory, rate: float | Array, maturity: int, decay: float
) -> tuple[Bool[Array, " units"], Float[Array, ""]]:
    """Choose the units to be replaced, and say what is left over."""
    mature = history.age > maturity
    owed = history.owed + (rate * mature.sum()).astype(history.owed.dtype)
    number = jnp.floor(owed)
    corrected = jnp.where(mature, history.utility / (1 - decay**history.age), jnp.inf)
    place = jnp.argsort(jnp.argsort(corrected))
    return mature & (place < number), owed - number


def _move_means(
    params: PyTree,
    layers: Sequence[UnitLayer],
    chosen: dict[str, Bool[Array, " units"]],
    means: dict[str, Float[Array, " units"]],
) -> PyTree:
    """Add to the biases what the chosen units gave on average."""
    leaves = named_leaves(params)
    for layer in layers:
        given = jnp.where(chosen[layer.name], means[layer.name], 0)
        biases = layer.outgoing_biases or (None,) * len(layer.outgoing)
        for name, bias in zip(layer.outgoing, biases, strict=True):
            if bias is not None:
                kernel = leaves[name]
                rows = input_rows(given, kernel, channels_last=layer.channels_last)
                added = (kernel * rows).sum(axis=tuple(range(kernel.ndim - 1)))
                leaves[bias] = leaves[bias] + added
    return replace_leaves(params, leaves)
