"""Interventions on the parameters, inside any Optax optimiser.

optimizer = intervene(optax.adam(1e-3), redo(init, layers), every=1000, key=key)
updates, state = optimizer.update(gradient, state, params, activations=hidden)
params = optax.apply_updates(params, updates)
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.policy_paths.batching import any_member

__all__ = ["Activations", "Intervention", "InterventionState", "intervene", "stateless"]

Activations = Mapping[str, Array]


class Intervention(NamedTuple):
    """What is done to the parameters when it is due. Both functions are pure.

    Attributes:
        init: Makes its state from the parameters.
        apply: Takes a key, the parameters, the state and the activations by layer (None if the
            intervention needs none), and gives new parameters, the new state, and a pytree like
            the parameters that is True where an entry begins anew.
        needs_activations: Whether `update` must be given `activations`.
    """

    init: Callable[[PyTree], Any]
    apply: Callable[[Key, PyTree, Any, Activations | None], tuple[PyTree, Any, PyTree]]
    needs_activations: bool = False


class InterventionState(NamedTuple):
    """State of `intervene`.

    Attributes:
        updates: How many there were so far.
        key: Of the intervention; update t uses `fold_in(key, t)`.
        optimizer: State of the optimiser.
        intervention: State of the intervention.
    """

    updates: Int[Array, ""]
    key: Key
    optimizer: Any
    intervention: Any


def stateless(params: PyTree) -> tuple[()]:
    """State of an intervention that remembers nothing."""
    del params
    return ()


def intervene(
    optimizer: optax.GradientTransformation,
    intervention: Intervention,
    *,
    every: int,
    key: Key,
    first: int | None = None,
    reset_moments: bool = True,
    reset_count: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Put an intervention into an optimiser: from time to time, after the optimiser's own step.

    It acts on the parameters that the update leads to, on updates number `first`, `first + every`,
    …; in between, and for entries that it leaves alone, updates go through to the bit. What is
    returned makes `optax.apply_updates` land on the new parameters, to the rounding of the old ones
    where these are larger, and on zeros exactly.
    Interventions nest.

    Statistics that the optimiser keeps for every entry (Adam's moments, also under `optax.masked`)
    begin anew where the intervention says that the entry does; factored ones (Adafactor's) do
    not. A count of steps is one for all parameters in Optax. Left alone, Adam divides fresh
    moments by 1 - b^t ≈ 1 instead of 1 - b, and the first step of an entry that begins anew is
    (1 - b1)/√(1 - b2) times a fresh Adam's, 3.2 for the usual numbers. With `reset_count` the
    count begins anew for all parameters, whose old moments it then divides by 1 - b as well, and
    learning-rate schedules begin anew with it. Neither is right where only some parameters begin
    anew; Dopamine keeps the count, others reset it.

    Under `vmap` no member computes an intervention while none of them is due.

    Args:
        optimizer: The optimiser, whole: what it returns is added to the parameters.
        intervention: What to do.
        every: Updates between interventions; 1 for `continual_backprop`.
        key: Draws what the intervention needs.
        first: Update number of the first; `every` if not given.
        reset_moments: Whether per-parameter statistics begin anew where the parameters do.
        reset_count: Whether counts of steps begin anew whenever anything does.

    Returns:
        A transformation whose `update` needs `params`, and `activations` by layer where the
        intervention does.

    Raises:
        ValueError: If a setting is out of range, or `update` lacks parameters or activations.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from fracjax import learning
        >>> def init(key):
        ...     return {"w": jax.random.normal(key, (3,))}
        >>> shrinking = learning.shrinking(init, shrink=0.5, perturb=0.0)
        >>> key = jax.random.key(0)
        >>> optimizer = learning.intervene(optax.sgd(0.0), shrinking, every=2, key=key)
        >>> params = {"w": jnp.ones(3)}
        >>> state = optimizer.init(params)
        >>> for _ in range(4):
        ...     updates, state = optimizer.update({"w": jnp.ones(3)}, state, params)
        ...     params = optax.apply_updates(params, updates)
        ...     print(params["w"])
        [1. 1. 1.]
        [0.5 0.5 0.5]
        [0.5 0.5 0.5]
        [0.25 0.25 0.25]
    """
    check_at_least(every=(every, 1), first=(first, 1))
    begin = every if first is None else first
    inner = optax.with_extra_args_support(optimizer)

    def init(params: PyTree) -> InterventionState:
        count = jnp.zeros((), jnp.int32)
        return InterventionState(count, key, inner.init(params), intervention.init(params))

    def update(
        updates: PyTree,
        state: InterventionState,
        params: PyTree | None = None,
        *,
        activations: Activations | None = None,
        **extra: Any,
    ) -> tuple[PyTree, InterventionState]:
        if params is None:
            msg = "Argument `params` must be given to `update`, but is None."
            raise ValueError(msg)
        if intervention.needs_activations and activations is None:
            msg = (
                "Argument `activations` must be given to `update` for this intervention, but is"
                " None."
            )
            raise ValueError(msg)
        if activations is not None:  # an optimiser inside may be another intervention
            extra["activations"] = activations
        updates, moments = inner.update(updates, state.optimizer, params, **extra)
        moved = optax.apply_updates(params, updates)
        count = state.updates + 1
        due = (count >= begin) & ((count - begin) % every == 0)
        step_key = jax.random.fold_in(state.key, count)

        def act(moved: PyTree, inner_state: Any) -> tuple[PyTree, Any, PyTree]:
            found, after, anew = intervention.apply(step_key, moved, inner_state, activations)
            anew = jax.tree.map(
                lambda flag, leaf: jnp.broadcast_to(flag & due, leaf.shape), anew, found
            )
            found, after = (
                jax.tree.map(lambda new, old: jnp.where(due, new, old).astype(old.dtype), *pair)
                for pair in ((found, moved), (after, inner_state))
            )
            return found, after, anew

        def leave(moved: PyTree, inner_state: Any) -> tuple[PyTree, Any, PyTree]:
            never = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, bool), moved)
            return moved, inner_state, never

        found, after, anew = jax.lax.cond(any_member(due), act, leave, moved, state.intervention)
        updates = jax.tree.map(
            lambda new, old, here, by: jnp.where(new == old, by, new - here).astype(by.dtype),
            found,
            moved,
            params,
            updates,
        )
        if reset_moments or reset_count:
            fresh = inner.init(found)
            moments = _begin_anew(
                moments, fresh, found, anew, moments=reset_moments, count=reset_count
            )
        return updates, InterventionState(count, state.key, moments, after)

    return optax.GradientTransformationExtraArgs(init, update)


def _begin_anew(
    old: Any, fresh: Any, params: PyTree, anew: PyTree, *, moments: bool, count: bool
) -> Any:
    """Take statistics of what begins anew from a fresh state of the optimiser.

    A part of the state that is built like the parameters, to the shapes, holds one statistic for
    each; entries that `optax.masked` left out count as fitting. Integer scalars are counts.
    """
    structure: Any = jax.tree.structure(params)
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(params)]
    anything = jnp.stack([flag.any() for flag in jax.tree.leaves(anew)]).any()

    def is_like_params(node: Any) -> bool:
        built: Any = jax.tree.structure(node, is_leaf=_is_masked)
        if built != structure:
            return False
        leaves = jax.tree.leaves(node, is_leaf=_is_masked)
        return all(
            _is_masked(leaf) or jnp.shape(leaf) == shape
            for leaf, shape in zip(leaves, shapes, strict=True)
        )

    def is_whole(node: Any) -> bool:
        return isinstance(node, InterventionState) or is_like_params(node)

    def pick(flag: Array, new: Any, old: Any) -> Any:
        return old if _is_masked(old) else jnp.where(flag, new, old)

    def choose(old: Any, new: Any) -> Any:
        if isinstance(old, InterventionState):  # another one has a clock of its own
            inner = jax.tree.map(choose, old.optimizer, new.optimizer, is_leaf=is_whole)
            return old._replace(optimizer=inner)
        if is_like_params(old):
            return jax.tree.map(pick, anew, new, old) if moments else old
        is_count = jnp.ndim(old) == 0 and jnp.issubdtype(jnp.result_type(old), jnp.integer)
        return jnp.where(anything, new, old) if count and is_count else old

    return jax.tree.map(choose, old, fresh, is_leaf=is_whole)


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)
