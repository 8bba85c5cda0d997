"""A small DQN on toy MDPs: the object that plasticity is measured on."""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.plasticity.toy_mdps import NUM_LATENT, ToyMDP, ToyState, reset, step
from fracjax.learning.plasticity.toy_networks import ToyNetwork
from fracjax.learning.plasticity.value_heads import REGRESSION, ValueHead

__all__ = ["AgentRun", "Experience", "train_dqn"]

Experience = Literal["replay", "fresh"]


class AgentRun(NamedTuple):
    """A run, looked at when the target network is replaced.

    Attributes:
        params: Before the first update and after every period, (periods + 1, ...).
        opt_states: State of the optimiser at the same times.
        losses: Mean training loss in every period, (periods,).
        accuracies: Share of images whose greedy action is the best one, (periods + 1,).
        squared_lengths: Sum of the squared lengths of updates in every period, (periods,).
        states: Indices of images in the replay buffer at the end, (k,).
    """

    params: PyTree
    opt_states: PyTree
    losses: Float[Array, " periods"]
    accuracies: Float[Array, " points"]
    squared_lengths: Float[Array, " periods"]
    states: Int[Array, " k"]


class _Batch(NamedTuple):
    image: Array
    action: Array
    reward: Array
    later: Array


def train_dqn(
    network: ToyNetwork,
    mdp: ToyMDP,
    optimizer: optax.GradientTransformation,
    key: Key,
    *,
    params: PyTree | None = None,
    num_periods: int = 10,
    target_every: int = 1000,
    batch_size: int = 128,
    discount: float = 0.99,
    epsilon: float = 0.1,
    experience: Experience = "replay",
    replay_size: int = 10_000,
    num_actors: int = 1,
    head: ValueHead = REGRESSION,
) -> AgentRun:
    """Train Q by r + γ max Q' with a target network that is replaced every period.

    Jit it with all but `mdp`, `key` and `params` static; vmap it over keys for seeds. What the
    paper leaves open (discount, exploration, replay, learning rate) is a setting here, and to be
    reported with any number.

    Args:
        network: The network; its outputs are `head.width(10)`.
        mdp: The problem.
        optimizer: Any Optax one. Interventions that need activations get those of the batch, as
            the keyword argument `activations` of its update.
        key: Randomness of parameters, experience and batches.
        params: Where to start; drawn by the network if not given.
        num_periods: Replacements of the target network.
        target_every: Updates between them.
        batch_size: Transitions per update.
        discount: γ.
        epsilon: Share of random actions.
        experience: `"replay"`: `num_actors` environments take one step per update, ε-greedily,
            and batches come from the last `replay_size` transitions; the buffer begins full, of
            random actions. `"fresh"`: every batch is drawn anew, latent states uniform and
            actions ε-greedy; nothing is used twice.
        replay_size: Transitions that are kept.
        num_actors: Environments.
        head: What outputs mean: see `value_heads`.

    Raises:
        ValueError: If a setting is out of range, or the network has another number of outputs.

    References:
        Mnih et al. (2015), https://doi.org/10.1038/nature14236. Lyle et al. (2023),
        https://arxiv.org/abs/2303.01486, section 5.1.
    """
    _check(network, head, experience)
    check_at_least(
        num_periods=(num_periods, 1),
        target_every=(target_every, 1),
        batch_size=(batch_size, 1),
        replay_size=(replay_size, num_actors),
        num_actors=(num_actors, 1),
    )
    optimizer = optax.with_extra_args_support(optimizer)
    starts = jax.random.split(key, 4)
    start = network.init(starts[0]) if params is None else params

    def q(params: PyTree, image: Array) -> Array:
        return head.values(network.apply(params, mdp.images[image]))

    def act(params: PyTree, state: ToyState, own: Key) -> tuple[ToyState, _Batch]:
        drawn = jax.random.uniform(own, (2, *state.latent.shape))
        greedy = jnp.argmax(q(params, state.image), axis=-1)
        random = jnp.minimum((drawn[0] * NUM_LATENT).astype(greedy.dtype), NUM_LATENT - 1)
        action = jnp.where(drawn[1] < epsilon, random, greedy)
        after, reward = step(mdp, state, action, jax.random.fold_in(own, 1))
        return after, _Batch(state.image, action, reward, after.image)

    def experience_of(carry: tuple, own: Key, index: Array) -> tuple[tuple, _Batch]:
        params, state, buffer = carry
        if experience == "fresh":
            # A key of its own: with that of the actions these would name the latent states.
            drawn = reset(mdp, jax.random.fold_in(own, 3), (batch_size,))
            return (state, buffer), act(params, drawn, own)[1]
        state, seen = act(params, state, own)
        place = (index * num_actors + jnp.arange(num_actors)) % replay_size
        buffer = jax.tree.map(lambda old, new: old.at[place].set(new), buffer, seen)
        rows = jax.random.randint(jax.random.fold_in(own, 2), (batch_size,), 0, replay_size)
        return (state, buffer), jax.tree.map(lambda leaf: leaf[rows], buffer)

    def update(carry: tuple, index: Array) -> tuple[tuple, tuple[Array, Array]]:
        params, target, opt_state, state, buffer = carry
        own = jax.random.fold_in(starts[1], index)
        (state, buffer), batch = experience_of((params, state, buffer), own, index)
        bound = batch.reward + discount * jnp.max(q(target, batch.later), axis=-1)
        rows = jnp.arange(batch_size)

        def loss(params: PyTree) -> tuple[Array, dict[str, Array]]:
            outputs, seen = network.evaluate(params, mdp.images[batch.image])
            outputs = outputs.reshape(batch_size, NUM_LATENT, -1)[rows, batch.action]
            return head.losses(outputs, bound[:, None]).mean(), seen

        (value, seen), slope = jax.value_and_grad(loss, has_aux=True)(params)
        change, opt_state = optimizer.update(slope, opt_state, params, activations=seen)
        params = optax.apply_updates(params, change)
        return (params, target, opt_state, state, buffer), (value, tree.dot(change, change))

    def accuracy(params: PyTree) -> Array:
        return jnp.mean(jnp.argmax(q(params, jnp.arange(len(mdp.latent))), -1) == mdp.latent)

    def period(carry: tuple, number: Array) -> tuple[tuple, tuple]:
        params, opt_state, state, buffer = carry
        index = number * target_every + jnp.arange(target_every)
        inside = (params, params, opt_state, state, buffer)
        (params, _, opt_state, state, buffer), (losses, lengths) = jax.lax.scan(
            update, inside, index
        )
        seen = (params, opt_state, losses.mean(), accuracy(params), lengths.sum())
        return (params, opt_state, state, buffer), seen

    state = reset(mdp, starts[2], (num_actors,))
    buffer = _random_experience(mdp, starts[3], replay_size)
    begin = optimizer.init(start)
    (_, _, _, buffer), (points, opt_states, losses, accuracies, lengths) = jax.lax.scan(
        period, (start, begin, state, buffer), jnp.arange(num_periods)
    )

    def from_start(first: PyTree, later: PyTree) -> PyTree:
        return jax.tree.map(lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b]), first, later)

    return AgentRun(
        params=from_start(start, points),
        opt_states=from_start(begin, opt_states),
        losses=losses,
        accuracies=from_start(accuracy(start), accuracies),
        squared_lengths=lengths,
        states=buffer.image,
    )


def _random_experience(mdp: ToyMDP, key: Key, number: int) -> _Batch:
    keys = jax.random.split(key, 3)
    state = reset(mdp, keys[0], (number,))
    action = jax.random.randint(keys[1], (number,), 0, NUM_LATENT)
    after, reward = step(mdp, state, action, keys[2])
    return _Batch(state.image, action, reward, after.image)


def _check(network: ToyNetwork, head: ValueHead, experience: str) -> None:
    if experience not in get_args(Experience):
        msg = f"Argument `experience` must be one of {get_args(Experience)}, but is {experience!r}."
        raise ValueError(msg)
    if network.num_outputs != head.width(NUM_LATENT):
        msg = (
            f"Argument `network` must have {head.width(NUM_LATENT)} outputs for this head, but has"
            f" {network.num_outputs}."
        )
        raise ValueError(msg)
