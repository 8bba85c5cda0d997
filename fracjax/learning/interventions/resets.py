"""Begin layers anew, or the whole network a little: last-layer reset, shrink and perturb."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree
from fracjax.learning.interventions.intervene import Activations, Intervention, stateless
from fracjax.learning.interventions.layers import named_leaves, replace_leaves

__all__ = ["last_layer_reset", "reset_layers", "shrink_and_perturb", "shrinking"]


def reset_layers(params: PyTree, fresh: PyTree, names: Sequence[str]) -> tuple[PyTree, PyTree]:
    """Take some layers from fresh parameters.

    Args:
        params: Parameters.
        fresh: Newly drawn ones of the same structure.
        names: Nodes (`params/Dense_2`, or `Dense_2` for Flax) or leaves (`2/w`).

    Returns:
        The new parameters, and a pytree of them that is True where they are fresh.

    Raises:
        ValueError: If a name fits no leaf.
    """
    leaves = named_leaves(params)
    for name in names:
        if not any(_is_in(leaf, name) for leaf in leaves):
            msg = f"Argument `names` must fit the leaves {sorted(leaves)}, but has {name!r}."
            raise ValueError(msg)
    drawn = named_leaves(fresh)
    chosen = {leaf: any(_is_in(leaf, name) for name in names) for leaf in leaves}
    found = replace_leaves(params, {leaf: drawn[leaf] for leaf, yes in chosen.items() if yes})
    anew = [jnp.full(jnp.shape(leaf), chosen[name]) for name, leaf in leaves.items()]
    return found, jax.tree.unflatten(jax.tree.structure(params), anew)


def last_layer_reset(init: Callable[[Key], PyTree], layer: str | Sequence[str]) -> Intervention:
    """Make the reset of the last layer, for `intervene`.

    Lyle et al. reset it at each update of the target network. Pass `reset_moments=True` (the
    default) to `intervene` to reset its moments as well, which is what makes the layer a fresh
    one.

    Args:
        init: Draws fresh parameters of the whole network from a key: `lambda key:
            module.init(key, inputs)`, or `fresh_parameters(params)`.
        layer: Node of the last layer, or several nodes.

    References:
        Nikishin et al. (2022), https://arxiv.org/abs/2205.07802.
    """
    names = (layer,) if isinstance(layer, str) else tuple(layer)

    def apply(
        key: Key, params: PyTree, state: Any, activations: Activations | None
    ) -> tuple[PyTree, Any, PyTree]:
        del activations
        found, anew = reset_layers(params, init(key), names)
        return found, state, anew

    return Intervention(stateless, apply)


def shrink_and_perturb(
    params: PyTree,
    fresh: PyTree,
    *,
    shrink: float | Float[Array, ""],
    perturb: float | Float[Array, ""],
) -> PyTree:
    """Shrink parameters and add others: shrink · θ + perturb · φ.

    With φ freshly initialised this is the form in use in reinforcement learning; with φ standard
    normal (`fracjax.tree.random_normal`) it is Ash and Adams' own, λ θ + σ φ. Lyle et al. give
    neither number.

    Args:
        params: θ.
        fresh: φ.
        shrink: Factor of θ.
        perturb: Factor of φ.

    References:
        Ash and Adams (2020), https://arxiv.org/abs/1910.08475.
    """
    return jax.tree.map(
        lambda old, new: (shrink * old + perturb * new).astype(old.dtype), params, fresh
    )


def shrinking(
    init: Callable[[Key], PyTree],
    *,
    shrink: float | Float[Array, ""] = 0.8,
    perturb: float | Float[Array, ""] = 0.2,
) -> Intervention:
    """Make shrink-and-perturb for `intervene`.

    All entries count as begun anew: pass `reset_moments=False` to `intervene` to keep the
    optimiser's statistics.

    Args:
        init: Draws φ from a key.
        shrink: Factor of the parameters; no paper's, so state it with results.
        perturb: Factor of φ.
    """

    def apply(
        key: Key, params: PyTree, state: Any, activations: Activations | None
    ) -> tuple[PyTree, Any, PyTree]:
        del activations
        found = shrink_and_perturb(params, init(key), shrink=shrink, perturb=perturb)
        return found, state, jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), params)

    return Intervention(stateless, apply)


def _is_in(leaf: str, name: str) -> bool:
    """Whether a leaf has this name or lies in the node of this name."""
    return f"{leaf}/".startswith((f"{name}/", f"params/{name}/"))
