"""Blocks of updates that floss and do nothing else, and when to run them.

    block = flossing_block(loss, optax.adam(1e-3), mask=("recurrent", "input", "bias"))
    flossing = block.init(params)
    for updates, first, last in schedule.segments(num_epochs):
        params, flossing, log = block.run(params, flossing, key, num_updates=updates)
        params = train_as_you_do(params, first, last)

Flossing has an optimiser of its own, and the task's loss never contains it. Who wants the sum
instead passes the same loss as the penalty of
`exponent_regularization.closed_loops.regularized_loss`.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Key, PyTree, Status
from fracjax.estimators.settings import check_at_least
from fracjax.learning.exponent_regularization.penalties import ExponentPenalty

__all__ = [
    "FlossingBlock",
    "FlossingLog",
    "FlossingLoss",
    "FlossingSchedule",
    "FlossingState",
    "flossing_block",
]

FlossingLoss: TypeAlias = Callable[[PyTree, Key], ExponentPenalty]
Mask: TypeAlias = Collection[str] | PyTree


class FlossingState(NamedTuple):
    """What blocks hand on to the next: save it with the parameters.

    Attributes:
        moments: The flossing optimiser's state, for the flossed parameters alone.
        updates: Updates so far, skipped ones included. Update i gets `fold_in(key, i)`.
        skipped: How many changed nothing because their gradient was not finite.
    """

    moments: PyTree
    updates: Array
    skipped: Array


class FlossingLog(NamedTuple):
    """What each update found before its change; in a block with a leading axis of updates.

    Attributes:
        value: Loss.
        exponents: (k,), nats per step.
        gradient: Length of the gradient with respect to the flossed parameters.
        status: Worst status of the exponents; `NONFINITE_TANGENT` also where they are fine and
            the gradient or the change is not.
        skipped: Whether the update changed nothing.
    """

    value: Array
    exponents: Array
    gradient: Array
    status: Array
    skipped: Array


class FlossingBlock(NamedTuple):
    """Functions of one network; vmap them over seeds.

    Attributes:
        init: `params -> FlossingState`.
        run: `(params, state, key, *, num_updates) -> (params, state, log)`, compiled once per
            number of updates.
    """

    init: Callable[[PyTree], FlossingState]
    run: Callable[..., tuple[PyTree, FlossingState, FlossingLog]]


def flossing_block(
    loss: FlossingLoss, optimizer: optax.GradientTransformation, *, mask: Mask | None = None
) -> FlossingBlock:
    """Make updates by the gradient of a flossing loss alone, with an optimiser of their own.

    Parameters outside the mask are not given to the gradient or to the optimiser: they leave a
    block bit for bit as they came, weight decay or not. An update whose gradient, or whose
    change, is not finite is skipped: parameters and moments stay, the skip is counted and its
    status logged, and the next update gets its own key. Where the loss does not depend on the
    key, all later ones are skipped as well.

    Args:
        loss: `(params, key) -> ExponentPenalty`, such as `flossing_loss` of inputs that are
            drawn from the key. Give the frame a key that does not change.
        optimizer: Any Optax transformation. The paper's is Adam(W) of rate 1e-3 without clipping.
        mask: What is flossed: names of the flossed entries of a dict, or a pytree of booleans
            that is a prefix of the parameters. The paper's are recurrent and input weights and
            biases, and not the readout. None for everything.

    Raises:
        ValueError: (from `init` and `run`) if the mask names what is not there, or nothing.

    References:
        Engelken (2023), https://arxiv.org/abs/2312.17306, and the author's code.
    """

    def init(params: PyTree) -> FlossingState:
        chosen, _ = _split(params, mask)
        zero = jnp.zeros((), jnp.int32)
        return FlossingState(optimizer.init(chosen), zero, zero)

    def update(
        carry: tuple[PyTree, FlossingState], key: Key
    ) -> tuple[tuple[PyTree, FlossingState], FlossingLog]:
        params, state = carry
        chosen, rejoin = _split(params, mask)

        def value(chosen: list[Array]) -> tuple[Array, ExponentPenalty]:
            found = loss(rejoin(chosen), jax.random.fold_in(key, state.updates))
            return found.value, found

        gradient, found = jax.grad(value, has_aux=True)(chosen)
        change, moments = optimizer.update(gradient, state.moments, chosen)
        changed = optax.apply_updates(chosen, change)
        good = tree.all_finite(gradient) & tree.all_finite(changed)
        chosen, moments = tree.select(good, (changed, moments), (chosen, state.moments))
        status = jnp.max(found.status)
        blamed = jnp.where(status == Status.OK, Status.NONFINITE_TANGENT, status)
        log = FlossingLog(
            value=found.value,
            exponents=found.exponents,
            gradient=tree.norm(gradient),
            status=jnp.where(good, status, blamed),
            skipped=~good,
        )
        skipped = state.skipped + ~good
        return (rejoin(chosen), FlossingState(moments, state.updates + 1, skipped)), log

    @functools.partial(jax.jit, static_argnames=("num_updates",))
    def run(
        params: PyTree, state: FlossingState, key: Key, *, num_updates: int
    ) -> tuple[PyTree, FlossingState, FlossingLog]:
        def one(carry: tuple, _: None) -> tuple[tuple, FlossingLog]:
            return update(carry, key)

        params = jax.tree.map(jnp.asarray, params)
        (params, state), log = jax.lax.scan(one, (params, state), length=num_updates)
        return params, state, log

    return FlossingBlock(init, run)


@dataclasses.dataclass(frozen=True)
class FlossingSchedule:
    """When to floss: before training, and again at given epochs. Defaults are the paper code's.

    Attributes:
        pre_updates: Flossing updates before the first epoch. 0 for none.
        block_updates: Flossing updates of each later block.
        every: Epochs between blocks: they come before epochs `every`, `2·every`, ….
        num_blocks: How many later blocks. 0 for pre-flossing alone.
    """

    pre_updates: int = 500
    block_updates: int = 500
    every: int = 100
    num_blocks: int = 2

    def __post_init__(self) -> None:
        check_at_least(
            pre_updates=(self.pre_updates, 0),
            block_updates=(self.block_updates, 0),
            every=(self.every, 1),
            num_blocks=(self.num_blocks, 0),
        )

    def due(self, epoch: int) -> int:
        """Count the flossing updates that come before this epoch's first task update."""
        if epoch == 0:
            return self.pre_updates
        block, rest = divmod(epoch, self.every)
        return self.block_updates if rest == 0 and 1 <= block <= self.num_blocks else 0

    def segments(self, num_epochs: int) -> tuple[tuple[int, int, int], ...]:
        """List `(flossing updates, first epoch, epoch after the last)` that cover all epochs.

        For loops that scan the epochs between two blocks in one program.
        """
        check_at_least(num_epochs=(num_epochs, 0))
        begins = [0, *(epoch for epoch in range(1, num_epochs) if self.due(epoch))]
        ends = [*begins[1:], num_epochs]
        return tuple((self.due(a), a, b) for a, b in zip(begins, ends, strict=True))


def _split(params: PyTree, mask: Mask | None) -> tuple[list[Array], Callable[[list], PyTree]]:
    """Take out the flossed leaves, and make the function that puts others in their place."""
    leaves, structure = jax.tree.flatten(params)
    if mask is None:
        flags = [True] * len(leaves)
    elif isinstance(mask, tuple | list | set | frozenset) and all(
        isinstance(name, str) for name in mask
    ):
        flags = _named(params, mask)
    else:
        flags = jax.tree.leaves(
            jax.tree.map(lambda flag, part: jax.tree.map(lambda _: bool(flag), part), mask, params)
        )
    if not any(flags):
        msg = "Argument `mask` must leave something to floss, but leaves nothing."
        raise ValueError(msg)

    def rejoin(chosen: list[Array]) -> PyTree:
        remaining = iter(chosen)
        return jax.tree.unflatten(
            structure,
            [next(remaining) if flag else leaf for flag, leaf in zip(flags, leaves, strict=True)],
        )

    return [leaf for flag, leaf in zip(flags, leaves, strict=True) if flag], rejoin


def _named(params: PyTree, names: Collection[str]) -> list[bool]:
    missing = set(names) - set(params)
    if missing:
        msg = f"Argument `mask` must name entries of the parameters, but has {sorted(missing)}."
        raise ValueError(msg)
    return jax.tree.leaves(
        {name: jax.tree.map(lambda _, name=name: name in names, params[name]) for name in params}
    )
