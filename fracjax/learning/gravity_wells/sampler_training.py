"""A toy of learning with a learned sampler: what its start does to the model's quality.

A surrogate with arbitrary constants, no model of ASR or PADS: it asks whether a start far from the
useful pairs is enough for the published pattern (quality first falls where the start is "high",
and hardly moves where it is "low"), and whether mean or spread of the start decides.

What it shows (REINFORCE, 200 seeds, 400 updates): from normal high the quality falls to 0, and in
91 % of runs nothing useful is drawn at the end; normal low rises from .40 to .78; the mean decides
(share trapped 0 to .02 at mean .5, .91 at 1.6, whatever the spread), and a larger spread traps
less, not more. The late overtaking that ASR reports is *not* reproduced: one seed in 200 ends above
normal low. It needs a mechanism that is not in the toy.
"""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from fracjax._types import Key
from fracjax.estimators.settings import check_at_least
from fracjax.learning.gravity_wells.pair_samplers import MULTIPLIERS, NUM_BINS, bin_centres

__all__ = ["Learner", "SamplerRun", "SamplerTask", "train_sampler"]

Learner = Literal["reinforce", "exact"]
_LARGEST = 25 * np.log(10.0)  # PADS keeps weights in [1e-25, 1e25]
_BASELINE = 0.05
_RATE = 0.01
_HISTORY = 10
_FEATURES = 3


class SamplerTask(NamedTuple):
    """What pairs are useful, and what they do to the model.

    A bin at distance x helps by u = exp(-(x - c)²/(2 w²)) with c = `first` + `drift` q: as the
    quality q of the model grows, farther pairs become the useful ones. With U the mean help of
    the pairs drawn, an update changes q by gain U (1 - q) - loss (1 - U) q, plus noise.

    Attributes:
        first: c of a model without quality.
        drift: By how much c moves outward as q goes to 1.
        width: w.
        gain: Of useful pairs.
        loss: Of useless ones.
        noise: Standard deviation of the measured quality's change.
        start: q before the first update.
    """

    first: float = 0.5
    drift: float = 0.2
    width: float = 0.15
    gain: float = 0.05
    loss: float = 0.03
    noise: float = 0.002
    start: float = 0.4


class SamplerRun(NamedTuple):
    """Numbers along one run, one before every update and one at the end.

    Attributes:
        quality: q, in [0, 1].
        usefulness: U, the mean help of the pairs.
        probabilities: Of the bins at the end.
    """

    quality: Float[Array, " points"]
    usefulness: Float[Array, " points"]
    probabilities: Float[Array, " bins"]


def train_sampler(
    probabilities: Float[Array, " bins"],
    key: Key,
    *,
    task: SamplerTask | None = None,
    learner: Learner = "reinforce",
    num_updates: int = 400,
    step_size: float | Float[Array, ""] = 1.0,
) -> SamplerRun:
    """Train a model whose pairs a learned sampler draws.

    `"reinforce"`: per bin a softmax over the three multipliers .8, 1, 1.25, linear in (1, the
    bin's share, the change of quality over its last ten values), learns by REINFORCE with Adam
    (rate .01) and a moving baseline (.05) from the sign of the change of measured quality, as in
    PADS.
    `"exact"`: the logarithms of the weights climb U along its exact gradient p_b (u_b - U), the
    gravity well of softmax itself, without noise.

    Args:
        probabilities: Start of the sampler, `preset_sampler` or `pair_sampler`.
        key: Randomness.
        task: What is useful; the default constants if not given.
        learner: How the sampler learns.
        num_updates: Updates of the sampler.
        step_size: Of `"exact"`.

    Raises:
        ValueError: If a setting is out of range or shapes differ.
    """
    check_at_least(num_updates=(num_updates, 1))
    if learner not in get_args(Learner):
        msg = f"Argument `learner` must be one of {get_args(Learner)}, but is {learner!r}."
        raise ValueError(msg)
    if probabilities.shape != (NUM_BINS,):
        msg = (
            f"Argument `probabilities` must have shape ({NUM_BINS},), but has"
            f" {probabilities.shape}."
        )
        raise ValueError(msg)
    task = SamplerTask() if task is None else task
    dtype = probabilities.dtype
    places = jnp.asarray(bin_centres(), dtype)
    logs = jnp.log(jnp.asarray(MULTIPLIERS, dtype))
    optimizer = optax.adam(_RATE)

    def help_of(quality: Array) -> Float[Array, " bins"]:
        middle = task.first + task.drift * quality
        return jnp.exp(-((places - middle) ** 2) / (2 * task.width**2))

    def log_policy(weights: Array, features: Array) -> Float[Array, "bins 3"]:
        return jax.nn.log_softmax(jnp.einsum("bkf,bf->bk", weights, features), axis=-1)

    def score(weights: Array, features: Array, actions: Array) -> Array:
        chosen = jnp.take_along_axis(log_policy(weights, features), actions[:, None], axis=1)
        return jnp.mean(chosen)

    def update(carry: tuple, index: Array) -> tuple[tuple, tuple[Array, Array]]:
        weights, state, levels, baseline, history = carry
        quality = history[-1]
        shares = jax.nn.softmax(levels)
        helps = help_of(quality)
        use = jnp.sum(shares * helps)
        drawn = jax.random.uniform(jax.random.fold_in(key, index), (NUM_BINS + 1,), dtype)
        if learner == "exact":
            levels = levels + step_size * shares * (helps - use)
            after = _next_quality(quality, use, task)
        else:
            trend = jnp.broadcast_to(quality - history[0], (NUM_BINS,))
            features = jnp.stack([jnp.ones_like(shares), shares, trend], axis=1)
            below = jnp.cumsum(jnp.exp(log_policy(weights, features)), axis=1)[:, :-1]
            actions = jnp.sum(drawn[:NUM_BINS, None] >= below, axis=1)
            levels = jnp.clip(levels + logs[actions], -_LARGEST, _LARGEST)
            moved = jax.nn.softmax(levels)
            after = _next_quality(quality, jnp.sum(moved * help_of(quality)), task)
            jitter = jax.scipy.special.ndtri(jnp.clip(drawn[-1], 1e-6, 1 - 1e-6))
            reward = jnp.sign(after - quality + task.noise * jitter)
            advantage = reward - baseline
            baseline = baseline + _BASELINE * (reward - baseline)
            slope = -advantage * jax.grad(score)(weights, features, actions)
            change, state = optimizer.update(slope, state)
            weights = weights + change
        history = jnp.append(history[1:], after)
        return (weights, state, levels, baseline, history), (quality, use)

    weights = jnp.zeros((NUM_BINS, len(MULTIPLIERS), _FEATURES), dtype)
    start = jnp.log(probabilities)
    carry = (
        weights,
        optimizer.init(weights),
        jnp.clip(start - jnp.max(start), -_LARGEST, _LARGEST),
        jnp.zeros((), dtype),
        jnp.full(_HISTORY, task.start, dtype),
    )
    (_, _, levels, _, history), (quality, use) = jax.lax.scan(
        update, carry, jnp.arange(num_updates)
    )
    shares = jax.nn.softmax(levels)
    last = jnp.sum(shares * help_of(history[-1]))
    return SamplerRun(jnp.append(quality, history[-1]), jnp.append(use, last), shares)


def _next_quality(quality: Array, use: Array, task: SamplerTask) -> Array:
    change = task.gain * use * (1 - quality) - task.loss * (1 - use) * quality
    return jnp.clip(quality + change, 0, 1)
