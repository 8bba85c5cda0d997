"""Block MDPs of ten latent states that are seen as images: the toy problems of Lyle et al."""

import dataclasses
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fracjax._types import Key, Label, Leaf
from fracjax.learning.digits import load_digits

__all__ = [
    "NUM_LATENT",
    "Observations",
    "Reward",
    "ToyMDP",
    "ToyState",
    "digit_observations",
    "observe",
    "prototype_observations",
    "reset",
    "step",
    "tables",
    "toy_mdp",
]

Reward = Literal["true-label", "random-label", "sparse-reward"]
NUM_LATENT = 10


class Observations(NamedTuple):
    """Images and their classes.

    Attributes:
        images: In [0, 1], (n, height, width).
        labels: Classes 0 to 9, each of which occurs, (n,).
    """

    images: Float[Array | np.ndarray, "n h w"]
    labels: Int[Array | np.ndarray, " n"]


class ToyState(NamedTuple):
    """Where a toy MDP is.

    Attributes:
        latent: Latent state, 0 to 9.
        image: Index of the image that is seen.
    """

    latent: Int[Array, "*batch"]
    image: Int[Array, "*batch"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ToyMDP:
    """A toy MDP: images, the latent states that they show, and tables.

    Attributes:
        images: (n, height, width).
        latent: Latent state of every image, (n,). The best action in every one of the MDPs.
        transitions: Probability of the next latent state, by state and action, (10, 10, 10).
        rewards: By latent state and action, (10, 10).
        order: Indices of images sorted by latent state, (n,).
        first: Place in `order` where each latent state begins, (10,).
        count: Images of each latent state, (10,).
        reward: Which of the MDPs.
    """

    images: Leaf
    latent: Leaf
    transitions: Leaf
    rewards: Leaf
    order: Leaf
    first: Leaf
    count: Leaf
    reward: Label


def tables(reward: Reward) -> tuple[Float[np.ndarray, "10 10 10"], Float[np.ndarray, "10 10"]]:
    """Probabilities of the next latent state, and rewards, by latent state s and action a.

    - `"true-label"`, `"random-label"`: reward 1 where a = s, the next state uniform over all ten.
    - `"sparse-reward"`: reward 1 where a = s = 9; the next state is s + 1 where a = s, and
      uniform over all ten where not. After 9 comes 0: the paper does not say what follows the
      last state, and the wrap is that of a public reproduction.

    Raises:
        ValueError: If there is no such MDP.
    """
    if reward not in get_args(Reward):
        msg = f"Argument `reward` must be one of {get_args(Reward)}, but is {reward!r}."
        raise ValueError(msg)
    same = np.eye(NUM_LATENT)
    uniform = np.full((NUM_LATENT,) * 3, 1 / NUM_LATENT)
    if reward != "sparse-reward":
        return uniform, same
    advance = np.roll(same, 1, axis=1)  # row s has its one at s + 1
    transitions = np.where(same[:, :, None] > 0, advance[:, None], uniform)
    rewards = np.zeros((NUM_LATENT, NUM_LATENT))
    rewards[-1, -1] = 1.0
    return transitions, rewards


def toy_mdp(reward: Reward, observations: Observations, key: Key | None = None) -> ToyMDP:
    """Make one of the three block MDPs.

    Args:
        reward: `"true-label"` (the paper's easy MDP), `"random-label"` (its hard one: every image
            gets a random label once, which is its latent state from then on) or
            `"sparse-reward"`, see `tables`.
        observations: Images and classes.
        key: Draws the labels of `"random-label"`; without it they come from key 0.

    Raises:
        ValueError: If there is no such MDP, or a class has no image.

    References:
        Lyle et al. (2023), Understanding Plasticity in Neural Networks,
        https://arxiv.org/abs/2303.01486, section 5.1. Its images are those of MNIST or CIFAR-10.
    """
    transitions, rewards = tables(reward)
    images = jnp.asarray(observations.images)
    latent = jnp.asarray(observations.labels, int)
    traced = isinstance(latent, jax.core.Tracer)
    seen = set(range(NUM_LATENT)) if traced else set(np.unique(latent).tolist())
    if seen != set(range(NUM_LATENT)) or latent.shape != images.shape[:1]:
        msg = (
            "Argument `observations` must hold one label of 0 to 9 for every image, each at least"
            f" once, but has labels {sorted(seen)} of shape {latent.shape} for {len(images)}"
            " images."
        )
        raise ValueError(msg)
    if reward == "random-label":
        key = jax.random.key(0) if key is None else key
        # As many images per label as there are, shuffled: no label is left without an image.
        latent = jax.random.permutation(key, jnp.arange(len(images)) % NUM_LATENT)
    count = jnp.bincount(latent, length=NUM_LATENT)
    return ToyMDP(
        images=images,
        latent=latent,
        transitions=jnp.asarray(transitions, images.dtype),
        rewards=jnp.asarray(rewards, images.dtype),
        order=jnp.argsort(latent),
        first=jnp.cumsum(count) - count,
        count=count,
        reward=Label(reward),
    )


def reset(mdp: ToyMDP, key: Key, shape: tuple[int, ...] = ()) -> ToyState:
    """Draw uniform latent states and an image of each."""
    drawn = jax.random.uniform(key, (2, *shape), mdp.images.dtype)
    latent = jnp.minimum((drawn[0] * NUM_LATENT).astype(int), NUM_LATENT - 1)
    return ToyState(latent, _image(mdp, latent, drawn[1]))


def step(
    mdp: ToyMDP, state: ToyState, action: Int[Array, "*batch"], key: Key
) -> tuple[ToyState, Float[Array, "*batch"]]:
    """Take actions; return the next states and the rewards.

    Works on one state or on a batch of them; all draws come from the one key. Every visit shows
    an image drawn afresh from those of the latent state.
    """
    drawn = jax.random.uniform(key, (2, *jnp.shape(state.latent)), mdp.images.dtype)
    below = jnp.cumsum(mdp.transitions[state.latent, action], axis=-1)[..., :-1]
    latent = jnp.sum(drawn[0][..., None] >= below, axis=-1)
    after = ToyState(latent, _image(mdp, latent, drawn[1]))
    return after, mdp.rewards[state.latent, action]


def observe(mdp: ToyMDP, state: ToyState) -> Float[Array, "*batch h w"]:
    """Look: the image or images of a state."""
    return mdp.images[state.image]


def _image(mdp: ToyMDP, latent: Array, uniform: Array) -> Array:
    count = mdp.count[latent]
    place = jnp.minimum((uniform * count).astype(int), count - 1)
    return mdp.order[mdp.first[latent] + place]


def digit_observations(num_images: int | None = None) -> Observations:
    """Take scikit-learn's digits, 8 × 8 pixels; the first `num_images` of a fixed order.

    Raises:
        ImportError: If scikit-learn is missing; the extra `digits` brings it.
    """
    digits = load_digits(num_test=0)
    return Observations(digits.images[:num_images], digits.labels[:num_images])


def prototype_observations(
    key: Key,
    *,
    num_per_class: int = 100,
    side: int = 8,
    share: float = 0.3,
    noise: float = 0.15,
) -> Observations:
    """Generate images: ten random prototypes, with noise. Needs no data set.

    A pixel of a prototype is uniform on [0, 1] with probability `share` and else 0; an image is
    a prototype plus normal noise, clipped to [0, 1].

    Args:
        key: Randomness.
        num_per_class: Images of every class.
        side: Pixels along each axis.
        share: Of pixels that are not 0.
        noise: Standard deviation of the noise.
    """
    drawn = jax.random.uniform(key, (2, NUM_LATENT, side, side))
    prototypes = drawn[0] * (drawn[1] < share)
    labels = jnp.repeat(jnp.arange(NUM_LATENT), num_per_class)
    shape = (NUM_LATENT * num_per_class, side, side)
    images = prototypes[labels] + noise * jax.random.normal(jax.random.fold_in(key, 1), shape)
    return Observations(jnp.clip(images, 0, 1), labels)
