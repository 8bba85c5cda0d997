"""Training many seeds at once, resumable at chunk boundaries.

    trainer = Trainer(environment, agent, TrainingSettings())
    run = train(trainer, key, num_seeds=5, num_updates=2000, path=folder / "plain.npz")
    run.state.params                       # one leading axis of seeds

All seeds are one batch of one compiled program; a loop over seeds gives the same numbers up to
rounding, which a chaotic training amplifies.
"""

import dataclasses
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key
from fracjax.estimators.settings import check_at_least
from fracjax.learning.world_models.settings import TrainingSettings
from fracjax.learning.world_models.storage import (
    RunFileError,
    describe_settings,
    load_tree,
    read_metadata,
    save_tree,
)
from fracjax.learning.world_models.updates import TrainingState, start, update
from fracjax.rl.environment import Environment
from fracjax.rl.rollouts import discounted_returns, initial_states
from fracjax.rl.world_models.agent import Agent
from fracjax.rl.world_models.memory import FilteringPolicy, with_memory

__all__ = ["Progress", "Run", "Trainer", "train"]

_EPISODES = 8


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        updates: Updates done, per seed.
        total: Updates to do.
        environment_steps: Environment steps collected, per seed.
        returns: Mean return of the deterministic policy, (seeds,).
        metrics: Parts of the losses, averaged over the chunk and over seeds.
        seconds: Time that the chunk took; the first holds compilation.
    """

    updates: int
    total: int
    environment_steps: int
    returns: np.ndarray
    metrics: dict[str, float]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run of several seeds.

    Attributes:
        state: States, with a leading axis of seeds.
        updates: Updates at which the policy was evaluated, (points,).
        environment_steps: Environment steps collected by then, per seed, (points,).
        returns: Returns of the deterministic policy, (points, seeds): means over 8 episodes of
            `episode_length` steps from initial states that are the same throughout.
    """

    state: TrainingState
    updates: np.ndarray
    environment_steps: np.ndarray
    returns: np.ndarray


@dataclasses.dataclass(frozen=True)
class Trainer:
    """What is trained, where and how: the static part of a run.

    Attributes:
        environment: The simulator.
        agent: The agent.
        settings: How it is trained.
    """

    environment: Environment
    agent: Agent
    settings: TrainingSettings = dataclasses.field(default_factory=TrainingSettings)

    def start(self, key: Key, num_seeds: int) -> TrainingState:
        """Start seeds; seed i draws from `fold_in(key, i)`."""
        return self._start(key, jnp.arange(num_seeds))

    def advance(
        self, states: TrainingState, num_updates: int
    ) -> tuple[TrainingState, dict[str, Float[Array, " seeds"]]]:
        """Update all seeds a number of times; every number compiles a program of its own."""
        return self._advance(states, num_updates)

    def evaluate(self, states: TrainingState, key: Key) -> Float[Array, " seeds"]:
        """Mean return of the deterministic policy over 8 episodes."""
        return self._evaluate(states.params, key)

    def environment_steps(self, updates: int) -> int:
        """Environment steps that a seed has collected after so many updates.

        Resets count: the record of a last state takes the place of a step.
        """
        settings = self.settings
        calls = -(-settings.prefill // settings.collected)
        return (calls + updates) * settings.collected * settings.environments

    @functools.cached_property
    def _start(self) -> Callable:
        def one(key: Key, seed: Array) -> TrainingState:
            own = jax.random.fold_in(key, seed)
            return start(self.environment, self.agent, self.settings, own)

        return jax.jit(jax.vmap(one, (None, 0)))

    @functools.cached_property
    def _advance(self) -> Callable:
        def advance(states: TrainingState, num_updates: int) -> tuple[TrainingState, Any]:
            def one(state: TrainingState) -> tuple[TrainingState, Any]:
                def body(state: TrainingState, _: None) -> tuple[TrainingState, Any]:
                    return update(self.environment, self.agent, self.settings, state)

                state, metrics = jax.lax.scan(body, state, length=num_updates)
                return state, jax.tree.map(jnp.mean, metrics)

            return jax.vmap(one)(states)

        return jax.jit(advance, static_argnums=1)

    @functools.cached_property
    def _evaluate(self) -> Callable:
        loop = with_memory(self.environment, self.agent)
        returns = discounted_returns(
            loop,
            FilteringPolicy(self.agent),
            horizon=self.settings.episode_length,
            discounts=(1.0,),
        )

        def evaluate(params: Any, key: Key) -> Array:
            states = initial_states(loop, key, _EPISODES)
            return jax.vmap(lambda own: returns(own, states, key)[0])(params)

        return jax.jit(evaluate)


def train(
    trainer: Trainer,
    key: Key,
    *,
    num_seeds: int = 5,
    num_updates: int = 2000,
    chunk: int = 250,
    path: str | os.PathLike | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train several seeds, evaluating between chunks of updates.

    Args:
        trainer: What is trained.
        key: Seed i draws from `fold_in(key, i)`.
        num_seeds: How many.
        num_updates: Updates of each, a multiple of `chunk`.
        chunk: Updates per call of the compiled program, between evaluations.
        path: File (`.npz`) that holds the run after every chunk. If there is one, of the same
            settings, key and number of seeds, the run goes on from there, to the same bytes. A run
            with more updates continues one with fewer; one with fewer than it finds returns
            what it finds.
        on_progress: Called after every chunk.

    Raises:
        ValueError: If a number is out of range, or the file holds another run.
    """
    check_at_least(num_seeds=(num_seeds, 1), chunk=(chunk, 1), num_updates=(num_updates, 1))
    if num_updates % chunk:
        msg = f"Argument `num_updates` must be a multiple of `chunk` = {chunk}, not {num_updates}."
        raise ValueError(msg)
    evaluation = jax.random.fold_in(key, num_seeds)
    drawn = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    identity = describe_settings(
        environment=trainer.environment.name,
        agent=trainer.agent,
        settings=trainer.settings,
        seeds=num_seeds,
        chunk=chunk,
        key=np.asarray(drawn).tolist(),
    )
    run = _resume(trainer, key, num_seeds, chunk, path, identity)
    for done in range(len(run.updates) * chunk, num_updates, chunk):
        began = time.perf_counter()
        state, metrics = trainer.advance(run.state, chunk)
        found = np.asarray(trainer.evaluate(state, evaluation))[None]
        steps = trainer.environment_steps(done + chunk)
        run = Run(
            state,
            np.append(run.updates, done + chunk),
            np.append(run.environment_steps, steps),
            np.concatenate([run.returns, found]),
        )
        if path is not None:
            save_tree((state, run.returns), path, {**identity, "updates": done + chunk})
        if on_progress is not None:
            means = {name: float(np.mean(part)) for name, part in metrics.items()}
            taken = time.perf_counter() - began
            on_progress(Progress(done + chunk, num_updates, steps, found[0], means, taken))
    return run


def _resume(
    trainer: Trainer,
    key: Key,
    num_seeds: int,
    chunk: int,
    path: str | os.PathLike | None,
    identity: dict[str, Any],
) -> Run:
    """Start, or read what there is."""
    if path is None or not Path(path).exists():
        nothing = np.zeros((0, num_seeds), np.float32)
        return Run(trainer.start(key, num_seeds), np.zeros(0, int), np.zeros(0, int), nothing)
    state = jax.eval_shape(lambda key: trainer.start(key, num_seeds), key)
    done = read_metadata(path, state).get("updates")
    if type(done) is not int or not 0 <= done <= np.iinfo(np.int32).max:
        msg = f"File `{path}` is of {done!r} updates, which is no number of them."
        raise RunFileError(msg)
    returns = jax.ShapeDtypeStruct((done // chunk, num_seeds), np.float32)
    state, returns = load_tree((state, returns), path, {**identity, "updates": done})
    updates = chunk * np.arange(1, done // chunk + 1)
    steps = np.array([trainer.environment_steps(int(number)) for number in updates])
    return Run(state, updates, steps, np.asarray(returns))
