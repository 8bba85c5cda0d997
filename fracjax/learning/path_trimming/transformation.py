"""Policy path trimming and boosting, PPTB, as an Optax transformation.

    optimizer = optax.chain(optax.adam(3e-4), pptb(boost=0.5))

The paper's code was announced and not published; this follows its text.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from fracjax._types import PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.path_trimming.closed_form import check_sizes, snapshot_weights
from fracjax.learning.policy_paths.batching import any_member, in_float64
from fracjax.learning.policy_paths.path_gram import by_columns, in_blocks, joined, split
from fracjax.learning.policy_paths.path_matrix import Grouping, group_names
from fracjax.tree import select

__all__ = ["PathTrimmingState", "path_window", "pptb"]


class PathTrimmingState(NamedTuple):
    """State of `pptb`.

    Attributes:
        updates: How many there were so far.
        snapshots: Ring buffer of every group, (window, size). Snapshot j is in row j mod window;
            rows that were not reached are zero. One row ahead of the last snapshot holds the
            current parameters.
        products: Their inner products, (p, window, window), up to date at every trimming; see
            `path_gram.split`. The row of the newer of two snapshots counts.
        optimizer: State of the optimiser inside, if there is one.
    """

    updates: Int[Array, ""]
    snapshots: dict[str, Array]
    products: dict[str, Array]
    optimizer: Any


def pptb(
    *,
    num_kept: int | Array = 64,
    num_boosted: int | Array = 2,
    boost: int | float | Array = 0.1,
    sample_every: int = 25,
    trim_every: int = 1000,
    window: int = 2000,
    group: Grouping = "network",
    optimizer: optax.GradientTransformation | None = None,
    reset_optimizer: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Make a transformation that trims and boosts the path of the parameters from time to time.

    The parameters are recorded every t_s updates in a ring buffer of the last `window` ones.
    Every t_p updates they are replaced by θ' = P_{r_t} θ_n + p_b P_{r_b} (θ_n - θ_1), where P_r
    projects on the first r directions of the buffer, θ_1 is its oldest snapshot and θ_n its
    newest, the current parameters (see `trim_and_boost`). In between updates go through
    untouched, to the bit.

    Put it last in `optax.chain`: it has to see what is added to the parameters, and what it
    returns makes `optax.apply_updates` land on θ', to rounding. An optimiser beside it in the
    chain keeps its state over a trimming (its momentum belongs to where the parameters were).
    To begin its state anew at every trimming, give it as `optimizer` with
    `reset_optimizer=True` instead; its schedules then begin anew as well. For an actor that
    shares an optimiser with a critic use `optax.masked`.

    Between trimmings an update costs the memory traffic of one row and of the t_p/t_s new rows
    of inner products, masked. A trimming costs the inner products of
    the t_p/t_s new snapshots with all others, an eigendecomposition of window × window in
    float64 (also where JAX is in float32), and one weighted sum of the snapshots. The buffer is
    window × size numbers, 800 MB for 10^5 parameters in float32. Before the buffer is full the
    snapshots there are count, and as long as they are fewer than r_t trimming does nothing.

    Under `vmap` over seeds no member pays for a trimming that none of them needs: `lax.cond`
    with a condition that differs between members computes both branches, so that here the
    condition is whether any of them is due. Seeds in step cost a trimming each every t_p
    updates; seeds out of step cost more. `num_kept`, `num_boosted` and `boost` may be traced,
    for a grid of them under `vmap`.

    What the paper does not say is decided so: a window with a snapshot that is not finite is
    left alone, θ' does not replace θ_n in the buffer, and a target policy is the caller's.

    Args:
        num_kept: r_t, directions that are left; the paper searches {8, 16, 32, 64}.
        num_boosted: r_b ≤ r_t, directions that are boosted; 2 in all of the paper.
        boost: p_b; the paper searches {0.1, 0.5, 1}.
        sample_every: t_s, updates between snapshots; 25.
        trim_every: t_p, updates between trimmings, a multiple of t_s; "at least 1000".
        window: Snapshots that are kept; 2000 for TD3, 1000 for RAD.
        group: `"network"`, the paper's, `"layer"`, or what `path_matrices` takes besides: the
            groups are trimmed on their own.
        optimizer: An optimiser to put inside.
        reset_optimizer: Whether to begin its state anew at every trimming.

    Returns:
        Transformation with a `PathTrimmingState`; its `update` needs `params`.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Tang et al. (2024), The Ladder in Chaos, https://arxiv.org/abs/2303.01391.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from fracjax import learning
        >>> trimming = learning.pptb(
        ...     num_kept=2, num_boosted=1, sample_every=1, trim_every=5, window=10
        ... )
        >>> optimizer = optax.chain(optax.sgd(0.1), trimming)
        >>> params = jnp.arange(1.0, 7.0)
        >>> state = optimizer.init(params)
        >>> for _ in range(10):
        ...     gradient = jnp.arange(1.0, 7.0) * params
        ...     updates, state = optimizer.update(gradient, state, params)
        ...     params = optax.apply_updates(params, updates)
        >>> bool(jnp.isfinite(params).all())
        True
    """
    check_sizes(num_kept, num_boosted, boost)
    check_at_least(sample_every=(sample_every, 1), trim_every=(trim_every, 1), window=(window, 2))
    if trim_every % sample_every:
        msg = (
            f"Argument `trim_every` must be a multiple of `sample_every` = {sample_every},"
            f" but is {trim_every}."
        )
        raise ValueError(msg)
    if isinstance(num_kept, int) and num_kept > window:
        msg = f"Argument `num_kept` must be at most `window` = {window}, but is {num_kept}."
        raise ValueError(msg)
    if reset_optimizer and optimizer is None:
        msg = "Argument `optimizer` must be given for `reset_optimizer`, but is None."
        raise ValueError(msg)
    inner = optax.with_extra_args_support(optimizer if optimizer is not None else optax.identity())
    num_new = min(trim_every // sample_every, window)

    def init(params: PyTree) -> PathTrimmingState:
        flat = _flatten(params, group)
        snapshots = {
            name: jnp.zeros((window, one.size), one.dtype).at[0].set(one)
            for name, one in flat.items()
        }

        def square(vector: Array) -> Array:
            total = in_blocks(lambda block: block @ block.T, vector[None], jnp.float64)
            return split(jnp.zeros((window, window)).at[0, 0].set(total[0, 0]), vector.dtype)

        products = {name: in_float64(square)(one) for name, one in flat.items()}
        count = jnp.zeros((), jnp.int32)
        return PathTrimmingState(count, snapshots, products, inner.init(params))

    def update(
        updates: PyTree, state: PathTrimmingState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, PathTrimmingState]:
        if params is None:
            msg = "Argument `params` must be given to `update`, but is None."
            raise ValueError(msg)
        updates, optimizer_state = inner.update(updates, state.optimizer, params, **extra)
        moved = _flatten(optax.apply_updates(params, updates), group)
        count = state.updates + 1
        newest = -(-count // sample_every)  # of the snapshot that these parameters may become
        row = newest % window
        # Written at every update: a branch that writes would copy the buffer.
        snapshots = {name: state.snapshots[name].at[row].set(one) for name, one in moved.items()}
        due = count % trim_every == 0
        rows = (newest - jnp.arange(num_new)) % window
        oldest = jnp.maximum(newest - window + 1, 0) % window
        age = (row - jnp.arange(window)) % window
        settings = (rows, age, oldest, row, num_kept, num_boosted)

        def trim(snapshots: dict, products: dict) -> dict[str, tuple[Array, Array]]:
            return {
                name: _trim(path, products[name], *settings, jnp.asarray(boost, path.dtype))
                for name, path in snapshots.items()
            }

        def leave(snapshots: dict, products: dict) -> dict[str, tuple[Array, Array]]:
            del snapshots
            return {
                name: (one, jnp.zeros((products[name].shape[0], num_new, window), one.dtype))
                for name, one in moved.items()
            }

        found = jax.lax.cond(any_member(due), trim, leave, snapshots, state.products)
        products = {
            name: old.at[:, rows].set(jnp.where(due, found[name][1], old[:, rows]))
            for name, old in state.products.items()
        }
        usable = {name: jnp.isfinite(one).all() & due for name, (one, _) in found.items()}
        target = _unflatten({name: one for name, (one, _) in found.items()}, params, group)
        chosen = jax.tree.unflatten(
            jax.tree.structure(params), [usable[name] for name in group_names(params, group=group)]
        )
        updates = jax.tree.map(
            lambda use, there, here, by: jnp.where(use, there - here, by).astype(by.dtype),
            chosen,
            target,
            params,
            updates,
        )
        if reset_optimizer:
            fresh = inner.init(optax.apply_updates(params, updates))
            optimizer_state = select(due, fresh, optimizer_state)
        return updates, PathTrimmingState(count, snapshots, products, optimizer_state)

    return optax.GradientTransformationExtraArgs(init, update)


def path_window(state: PathTrimmingState, *, sample_every: int) -> dict[str, Array]:
    """Take the recorded snapshots out of a state, the oldest first.

    Args:
        state: State of one run, not traced; of a batch take a member.
        sample_every: As given to `pptb`.
    """
    newest = int(state.updates) // sample_every
    window = next(iter(state.snapshots.values())).shape[0]
    first = max(newest - window + 1, 0)
    if int(state.updates) % sample_every and newest >= window:
        first += 1  # its row holds the current parameters
    rows = jnp.arange(first, newest + 1) % window
    return {name: path[rows] for name, path in state.snapshots.items()}


def _trim(
    path: Float[Array, "n m"],
    products: Float[Array, "p n n"],
    rows: Int[Array, " new"],
    age: Int[Array, " n"],
    oldest: Array,
    newest: Array,
    num_kept: int | Array,
    num_boosted: int | Array,
    boost: Array,
) -> tuple[Float[Array, " m"], Float[Array, "p new n"]]:
    """Compute θ' and the inner products of the new snapshots."""
    dtype = path.dtype

    def wide(*arguments: Array) -> tuple[Array, Array]:
        path, products, rows, age, oldest, newest, num_kept, num_boosted, boost = arguments
        added = in_blocks(lambda block: block[rows] @ block.T, path, jnp.float64)
        gram = joined(products).at[rows].set(added)
        gram = jnp.where(age[:, None] <= age[None, :], gram, gram.T)
        weights = snapshot_weights(
            gram,
            first=oldest,
            last=newest,
            num_kept=num_kept,
            num_boosted=num_boosted,
            boost=boost,
        )
        found = by_columns(lambda block: (weights @ block)[None], path, jnp.float64)[0]
        return found.astype(dtype), split(added, dtype)

    sizes = (jnp.asarray(num_kept, jnp.int32), jnp.asarray(num_boosted, jnp.int32))
    return in_float64(wide)(path, products, rows, age, oldest, newest, *sizes, boost)


def _flatten(tree: PyTree, group: Grouping) -> dict[str, Array]:
    """Concatenate the leaves of every group."""
    parts: dict[str, list[Array]] = {}
    names = group_names(tree, group=group)
    for name, leaf in zip(names, jax.tree.leaves(tree), strict=True):
        parts.setdefault(name, []).append(jnp.ravel(leaf))
    return {name: jnp.concatenate(found) for name, found in parts.items()}


def _unflatten(flat: dict[str, Array], like: PyTree, group: Grouping) -> PyTree:
    """Undo `_flatten`."""
    start = dict.fromkeys(flat, 0)
    leaves = []
    names = group_names(like, group=group)
    for name, leaf in zip(names, jax.tree.leaves(like), strict=True):
        end = start[name] + leaf.size
        part = flat[name][start[name] : end]
        leaves.append(part.reshape(leaf.shape).astype(leaf.dtype))
        start[name] = end
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
