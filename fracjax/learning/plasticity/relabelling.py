"""Supervised training on labels that are drawn anew again and again."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.plasticity.toy_networks import ToyNetwork

__all__ = ["RelabelledRun", "train_on_relabelled"]


class RelabelledRun(NamedTuple):
    """A run over a sequence of tasks.

    Attributes:
        params: Before the first task and after every one, (tasks + 1, ...).
        opt_states: State of the optimiser at the same times.
        losses: Cross-entropy on all images at the end of every task, (tasks,).
        accuracies: Share of images classified right at the end of every task, (tasks,).
        largest_updates: Length of the longest update in every task, (tasks,).
    """

    params: PyTree
    opt_states: PyTree
    losses: Float[Array, " tasks"]
    accuracies: Float[Array, " tasks"]
    largest_updates: Float[Array, " tasks"]


def train_on_relabelled(
    network: ToyNetwork,
    images: Float[Array, "n h w"],
    optimizer: optax.GradientTransformation,
    key: Key,
    *,
    params: PyTree | None = None,
    num_tasks: int = 6,
    steps_per_task: int = 4000,
    batch_size: int = 128,
) -> RelabelledRun:
    """Learn random labels by cross-entropy; draw all of them anew for every task.

    Neither the network nor the optimiser is told of the change. Jit it with all but `images`,
    `key` and `params` static; vmap it over keys for seeds.

    Args:
        network: Its outputs are logits of as many classes.
        images: All images.
        optimizer: Any Optax one; see `train_dqn` for activations.
        key: Randomness of parameters, labels and batches (drawn with replacement).
        params: Where to start; drawn by the network if not given.
        num_tasks: How many times labels are drawn.
        steps_per_task: Updates on each.
        batch_size: Images per update.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Lyle et al. (2023), https://arxiv.org/abs/2303.01486, section 3.2: 5000 images of MNIST,
        15 000 steps per task, two layers of 1024 units.
    """
    check_at_least(
        num_tasks=(num_tasks, 1), steps_per_task=(steps_per_task, 1), batch_size=(batch_size, 1)
    )
    optimizer = optax.with_extra_args_support(optimizer)
    keys = jax.random.split(key, 3)
    start = network.init(keys[0]) if params is None else params
    number = len(images)

    def task(carry: tuple, which: Array) -> tuple[tuple, tuple]:
        own = jax.random.fold_in(keys[1], which)
        labels = jax.random.randint(own, (number,), 0, network.num_outputs)
        batches = jax.random.fold_in(keys[2], which)

        def update(carry: tuple, index: Array) -> tuple[tuple, Array]:
            params, opt_state = carry
            drawn = jax.random.fold_in(batches, index)
            rows = jax.random.randint(drawn, (batch_size,), 0, number)

            def loss(params: PyTree) -> tuple[Array, dict[str, Array]]:
                logits, seen = network.evaluate(params, images[rows])
                return _entropy(logits, labels[rows]), seen

            slope, seen = jax.grad(loss, has_aux=True)(params)
            change, opt_state = optimizer.update(slope, opt_state, params, activations=seen)
            return (optax.apply_updates(params, change), opt_state), tree.norm(change)

        (params, opt_state), lengths = jax.lax.scan(update, carry, jnp.arange(steps_per_task))
        logits = network.apply(params, images)
        right = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
        looked = (params, opt_state, _entropy(logits, labels), right, lengths.max())
        return (params, opt_state), looked

    begin = (start, optimizer.init(start))
    _, (points, opt_states, losses, right, lengths) = jax.lax.scan(
        task, begin, jnp.arange(num_tasks)
    )
    params, states = jax.tree.map(
        lambda first, later: jnp.concatenate([jnp.asarray(first)[None], later]),
        begin,
        (points, opt_states),
    )
    return RelabelledRun(params, states, losses, right, lengths)


def _entropy(logits: Float[Array, "n classes"], labels: Array) -> Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
