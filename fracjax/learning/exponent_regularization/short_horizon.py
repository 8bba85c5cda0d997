"""Training by analytic policy gradients over short windows, with an exponent penalty beside.

The return is differentiated through the environment. Windows of a few dozen steps keep that
gradient small where the loop is chaotic; a learned value stands for what comes after a window.
Penalised and plain runs, and all seeds, are two batch axes of one program that share starts,
frames and initial weights, so that their differences are paired.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.exponent_regularization.closed_loops import closed_loop_penalty
from fracjax.rl import policies
from fracjax.rl.environment import Environment
from fracjax.rl.policies import Policy
from fracjax.rl.rollouts import Tracked, initial_states, track, tracked_loop

__all__ = ["Learner", "Log", "TrainingSettings", "Updating", "make_updates"]


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How to train. Everything that selects a compiled program.

    Attributes:
        num_updates: Updates of the policy.
        horizon: Steps of a window.
        num_environments: Windows per update.
        episode_length: Steps after which an environment starts anew. With `start_spread` keep
            it to a few windows: policies that still do nothing rest soon, and what could be
            learned is near the starts (pendulum: 3 of 6 seeds swing up within 300 updates with
            windows of 16 and episodes of 48 steps, 2 of 6 within 800 with 32 and 200).
        discount: γ per step.
        learning_rate: Of Adam for the policy, decayed to a tenth by a cosine.
        critic_learning_rate: Of Adam for the value.
        critic_updates: Steps of the value per update.
        target_rate: How fast the value's slow copy, which ends windows, follows it.
        max_gradient_norm: Gradients of the policy are scaled down to this length.
        start_spread: Standard deviations of Gaussian offsets of the coordinates in which half
            of all episodes start, so that a swing-up need not be discovered from rest: one per
            coordinate. The other half starts as `environment.reset` says. None for all.
        warmup: Updates of the value alone, first: for a policy that is already trained.
        anchor: Weight of the mean squared difference from the first policy's actions. It keeps
            what a trained policy does where its return gives no useful gradient.
        task: Weight of the return.
        effort: Weight of the mean squared output before squashing. Without it policies saturate
            early, where a tanh has no gradient, and stay there.
        hidden: Widths of the value's network.
        penalty_steps: Steps over which the penalised exponents are taken.
        penalty_transient: Steps before them, from a random frame.
        penalty_states: States per update from which they start, drawn from the windows.
        num_exponents: How many exponents are penalised.
        target: Nats per step above which they are.
        through_state: See `exponent_penalty`. On chaotic double pendulums (λ = .055, 48 steps)
            gradients through the orbit were up to 1e3 times as long as those without, and of
            three policies one kept its exponent at weight 1000; without, all three lost it.
    """

    num_updates: int = 1000
    horizon: int = 32
    num_environments: int = 64
    episode_length: int = 200
    discount: float = 0.99
    learning_rate: float = 3e-3
    critic_learning_rate: float = 3e-3
    critic_updates: int = 4
    target_rate: float = 0.1
    max_gradient_norm: float = 1.0
    start_spread: tuple[float, ...] | None = None
    warmup: int = 0
    anchor: float = 0.0
    task: float = 1.0
    effort: float = 1e-2
    hidden: tuple[int, ...] = (64, 64)
    penalty_steps: int = 32
    penalty_transient: int = 8
    penalty_states: int = 32
    num_exponents: int = 1
    target: float = 0.0
    through_state: bool = False

    def __post_init__(self) -> None:
        check_at_least(
            num_updates=(self.num_updates, 1),
            horizon=(self.horizon, 1),
            num_environments=(self.num_environments, 2),
            episode_length=(self.episode_length, self.horizon),
            warmup=(self.warmup, 0),
            penalty_states=(self.penalty_states, 1),
        )
        if not 0 < self.discount <= 1:
            msg = f"Argument `discount` must lie in (0, 1], but is {self.discount}."
            raise ValueError(msg)


class Learner(NamedTuple):
    """Everything that training carries on: save it, and a later run goes on from it.

    Attributes:
        params: Policy.
        first: Policy that training began with.
        moments: Adam's state for the policy.
        critic: Value.
        critic_moments: Adam's state for the value.
        slow: Slow copy of the value.
        tracked: States of the environments.
        age: Steps of their episodes.
        update: Updates made.
        key: Randomness; update i uses `fold_in(key, i)`.
    """

    params: PyTree
    first: PyTree
    moments: PyTree
    critic: PyTree
    critic_moments: PyTree
    slow: PyTree
    tracked: Tracked
    age: Array
    update: Array
    key: Key


class Log(NamedTuple):
    """What one update reports.

    Attributes:
        reward: Mean reward per step of the windows.
        penalty: Penalty before its weight.
        exponent: Mean of the first exponent over the penalised windows, nats per step.
        gradient: Length of the policy's gradient before clipping.
        critic: Loss of the value.
    """

    reward: Array
    penalty: Array
    exponent: Array
    gradient: Array
    critic: Array


class Updating(NamedTuple):
    """Functions of one learner; vmap them.

    Attributes:
        begin: `(params, key) -> Learner`.
        update: `(learner, weight) -> (learner, Log)`.
    """

    begin: Callable[[PyTree, Key], Learner]
    update: Callable[[Learner, Float[Array, ""]], tuple[Learner, Log]]


def make_updates(environment: Environment, policy: Policy, settings: TrainingSettings) -> Updating:
    """Make the update of a policy by the gradient through short windows.

        loss = −task · (Σ_{t<H} γ^t r_t + γ^H V(s_H))/H + weight · penalty
               + anchor · mean (a − a₀)² + effort · mean z²,        a = tanh z

    The window goes on where the last one ended; no gradient passes from one to the next. The
    value is fitted to the same windows. An update whose gradient is not finite changes nothing
    but the environments.

    Args:
        environment: Differentiable, with `from_coordinates` if `settings.start_spread` is given.
        policy: Acts without noise; its normaliser is kept. Only structure and normaliser matter.
        settings: How to train.

    Raises:
        ValueError: If the environment cannot make the starts that are asked for.

    References:
        Xu et al. (2022), Accelerated policy learning with parallel differentiable simulation,
        https://arxiv.org/abs/2204.07137, for windows that end in a value.
    """
    _check_starts(environment, settings)
    critic = policies.initialize(
        jax.random.key(0), policy.observation_size, 1, hidden=settings.hidden, head="deterministic"
    ).replace(normalizer=policy.normalizer)
    trained = settings.num_updates - settings.warmup
    schedule = optax.cosine_decay_schedule(settings.learning_rate, max(trained, 1), 0.1)
    optimizer = optax.chain(
        optax.clip_by_global_norm(settings.max_gradient_norm), optax.adam(schedule)
    )
    critic_optimizer = optax.adam(settings.critic_learning_rate)
    penalty_of = closed_loop_penalty(
        environment,
        policy,
        num_steps=settings.penalty_steps,
        num_transient=settings.penalty_transient,
        num_exponents=settings.num_exponents,
        target=settings.target,
        through_state=settings.through_state,
    )
    powers = settings.discount ** np.arange(settings.horizon + 1)

    # Values are of the size of this many rewards, and a network's outputs of the size of 1.
    memory = 1 / max(1 - settings.discount, 1 / settings.episode_length)

    def value(params: PyTree, state: PyTree) -> Array:
        return memory * critic.logits(params, environment.observe(state))[0]

    def effort(params: PyTree, observation: Array) -> Array:
        outputs = policy.logits(params, observation)[: policy.action_size]  # no scales
        return jnp.sum(outputs**2)

    def starts(key: Key) -> Tracked:
        first, second = jax.random.split(key)
        states = initial_states(environment, first, settings.num_environments)
        if settings.start_spread is not None:
            states = _spread(environment, states, settings.start_spread, second)
        return jax.vmap(track)(states)

    def begin(params: PyTree, key: Key) -> Learner:
        weights, place = jax.random.split(jax.random.fold_in(key, 2**31))
        first = critic.network.init(weights)
        first = tree.astype(first, jnp.result_type(*jax.tree.leaves(params)))
        # Ages differ, so that not all episodes end at once.
        age = np.arange(settings.num_environments) * settings.episode_length
        return Learner(
            params=params,
            first=params,
            moments=optimizer.init(params),
            critic=first,
            critic_moments=critic_optimizer.init(first),
            slow=first,
            tracked=starts(place),
            age=jnp.asarray(age // settings.num_environments),
            update=jnp.zeros((), int),
            key=key,
        )

    def loss(
        params: PyTree, learner: Learner, weight: Array, key: Key
    ) -> tuple[Array, tuple[Log, Tracked, tuple]]:
        step = tracked_loop(environment, policy, params)

        def window(tracked: Tracked) -> tuple[Tracked, tuple[Tracked, Tracked]]:
            def advance(tracked: Tracked, _: None) -> tuple[Tracked, tuple[Tracked, Tracked]]:
                following = step(tracked)
                return following, (tracked, following)

            return jax.lax.scan(advance, tracked, length=settings.horizon)

        end, (before, after) = jax.vmap(window)(learner.tracked)
        rewards = after.reward  # (environments, steps)
        last = jnp.where(end.alive, jax.vmap(value, (None, 0))(learner.slow, end.state), 0)
        weights = jnp.asarray(powers, rewards.dtype)
        returns = rewards @ weights[:-1] + weights[-1] * last
        objective = settings.task * returns.mean() / settings.horizon
        places, frames = jax.random.split(key)
        chosen = jax.random.randint(places, (settings.penalty_states,), 0, before.alive.size)
        picked = jax.tree.map(
            lambda leaf: leaf.reshape((-1, *leaf.shape[2:]))[chosen], (before.state, before.alive)
        )
        states, alive = jax.lax.stop_gradient(picked)
        found = penalty_of(params, states, frames, alive)
        total = weight * found.value - objective
        seen = jax.vmap(environment.observe)(states)
        total += settings.effort * jnp.mean(jax.vmap(effort, (None, 0))(params, seen))
        if settings.anchor:
            old, new = (
                jax.vmap(policy.act, (None, 0))(one, seen) for one in (learner.first, params)
            )
            total += settings.anchor * jnp.mean((new - old) ** 2)
        zero = jnp.zeros_like(total)
        log = Log(rewards.mean(), found.value, found.exponents[0], zero, zero)
        return total, (log, end, (before, rewards, last))

    def fit(learner: Learner, windows: tuple) -> tuple[PyTree, PyTree, Array]:
        before, rewards, last = jax.lax.stop_gradient(windows)

        def back(later: Array, reward: Array) -> tuple[Array, Array]:
            later = reward + settings.discount * later
            return later, later

        _, targets = jax.lax.scan(back, last, rewards.T, reverse=True)

        def error(params: PyTree) -> Array:
            every = jax.vmap(jax.vmap(value, (None, 0)), (None, 0))(params, before.state)
            return jnp.sum(
                jnp.where(before.alive, ((every - targets.T) / memory) ** 2, 0)
            ) / jnp.maximum(before.alive.sum(), 1)

        def improve(carry: tuple, _: None) -> tuple[tuple, Array]:
            params, moments = carry
            wrong, gradient = jax.value_and_grad(error)(params)
            change, moments = critic_optimizer.update(gradient, moments, params)
            return (optax.apply_updates(params, change), moments), wrong

        (params, moments), wrong = jax.lax.scan(
            improve, (learner.critic, learner.critic_moments), length=settings.critic_updates
        )
        return params, moments, wrong[0]

    def update(learner: Learner, weight: Float[Array, ""]) -> tuple[Learner, Log]:
        places, fresh = jax.random.split(jax.random.fold_in(learner.key, learner.update))
        gradient, (log, end, windows) = jax.grad(loss, has_aux=True)(
            learner.params, learner, weight, places
        )
        size = tree.norm(gradient)
        change, moments = optimizer.update(gradient, learner.moments, learner.params)
        moves = jnp.isfinite(size) & (learner.update >= settings.warmup)
        params, moments = tree.select(
            moves,
            (optax.apply_updates(learner.params, change), moments),
            (learner.params, learner.moments),
        )
        critic_params, critic_moments, wrong = fit(learner, windows)
        good = jnp.isfinite(wrong)
        critic_params, critic_moments = tree.select(
            good,
            (critic_params, critic_moments),
            (learner.critic, learner.critic_moments),
        )
        slow = optax.incremental_update(critic_params, learner.slow, settings.target_rate)
        age = learner.age + settings.horizon
        sound = jax.vmap(lambda state: jnp.isfinite(environment.coordinates(state)).all())
        over = ~end.alive | (age >= settings.episode_length) | ~sound(end.state)
        tracked = jax.vmap(tree.select)(over, starts(fresh), end)
        following = learner._replace(
            params=params,
            moments=moments,
            critic=critic_params,
            critic_moments=critic_moments,
            slow=slow,
            tracked=tracked,
            age=jnp.where(over, 0, age),
            update=learner.update + 1,
        )
        return following, log._replace(gradient=size, critic=wrong)

    return Updating(begin, update)


def _spread(
    environment: Environment, states: PyTree, spread: tuple[float, ...], key: Key
) -> PyTree:
    """Move every other state by Gaussian offsets of its coordinates."""
    place = jax.vmap(environment.coordinates)(states)
    offsets = jax.random.normal(key, place.shape, place.dtype) * jnp.asarray(spread, place.dtype)
    moved = jnp.arange(len(place))[:, None] % 2 == 0
    rebuild = environment.from_coordinates
    assert rebuild is not None  # checked when the updates were made
    return jax.vmap(rebuild)(place + jnp.where(moved, offsets, 0), states)


def _check_starts(environment: Environment, settings: TrainingSettings) -> None:
    if settings.start_spread is None:
        return
    if environment.from_coordinates is None:
        msg = (
            "Argument `start_spread` must be None here, but is given, and"
            f" `{environment.name}` offers no `from_coordinates`."
        )
        raise ValueError(msg)
    if len(settings.start_spread) != environment.state_size:
        msg = (
            f"Argument `start_spread` must have {environment.state_size} entries,"
            f" but has {len(settings.start_spread)}."
        )
        raise ValueError(msg)
