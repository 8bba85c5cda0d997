"""Agents of the robustness experiment: trained from many seeds, analysed in float64."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.reproduce.experiments import Size
from fracjax.rl import envs
from fracjax.rl.environment import Environment
from fracjax.rl.many_seeds import TrainedSeeds, available_library, train_seeds
from fracjax.rl.networks import PolicyNetwork

__all__ = ["RECIPES", "Agents", "Recipe", "train"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How agents are trained on a task.

    Attributes:
        episode: Steps of an episode.
        steps: Environment steps per seed and algorithm, at the default size.
        settings: Settings per algorithm, by rejax's names.
        full: Environment steps per seed and algorithm at the full size.
    """

    episode: int
    steps: Mapping[str, int]
    full: Mapping[str, int]
    settings: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


_LONG = {"ppo": 20_000_000, "sac": 1_000_000, "td3": 1_000_000}
_OFF_POLICY = {"num_epochs": 4}  # one update per environment step
_SETTINGS = {"sac": _OFF_POLICY, "td3": _OFF_POLICY}
# rejax's defaults are in `fracjax.rl.rejax_training`; these are what tasks need beyond them.
RECIPES: Mapping[str, Recipe] = {
    # Without the large entropy bonus the policy stays hanging or learns to spin.
    "pendulum": Recipe(
        200,
        {"ppo": 1_500_000, "sac": 60_000, "td3": 60_000},
        _LONG,
        {**_SETTINGS, "ppo": {"ent_coef": 0.05}},
    ),
    "cartpole_swingup": Recipe(
        400, {"ppo": 1_000_000, "sac": 40_000, "td3": 40_000}, _LONG, _SETTINGS
    ),
    "acrobot": Recipe(400, {"ppo": 1_500_000, "sac": 40_000, "td3": 40_000}, _LONG, _SETTINGS),
    "double_pendulum": Recipe(
        400, {"ppo": 1_500_000, "sac": 40_000, "td3": 40_000}, _LONG, _SETTINGS
    ),
    **{
        name: Recipe(1000, {"sac": 50_000, "ppo": 500_000, "td3": 50_000}, _LONG, _SETTINGS)
        for name in ("dmc_cartpole_balance", "dmc_cartpole_swingup", "dmc_point_mass")
    },
    **{
        name: Recipe(1000, {}, {"ppo": 50_000_000, "sac": 5_000_000, "td3": 5_000_000}, _SETTINGS)
        for name in ("dmc_walker_stand", "dmc_walker_walk", "dmc_walker_run", "dmc_cheetah_run")
    },
}
_SEEDS = {"quick": 3, "default": 5, "full": 5}
_SNAPSHOTS = {"quick": 2, "default": 5, "full": 10}
_QUICK = 10  # times fewer steps


@dataclasses.dataclass(frozen=True)
class Agents:
    """Trained agents of one task, and the simulator in float64 that they are analysed in.

    Attributes:
        environment: The simulator.
        seeds: What was trained.
        episode: Steps of an episode.
    """

    environment: Environment
    seeds: TrainedSeeds
    episode: int

    @property
    def actor(self) -> "_Pair":
        """What acts by a pair of parameters and normaliser."""
        return _Pair(self.seeds.network)

    def at(self, snapshots: slice | int) -> PyTree:
        """Pairs of all seeds at one snapshot, or (seeds × snapshots) at several, stacked."""
        pair = (self.seeds.params, self.seeds.normalizer)
        chosen = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, snapshots], pair)
        if isinstance(snapshots, slice):
            chosen = jax.tree.map(lambda leaf: leaf.reshape((-1, *leaf.shape[2:])), chosen)
        return tree.astype(chosen, jnp.float64)


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A policy whose parameters and normaliser both are arguments."""

    network: PolicyNetwork

    def act(self, params: PyTree, observation: Array, key: Key | None = None) -> Array:
        """Act by (parameters, normaliser)."""
        weights, normalizer = params
        return self.network.act(weights, normalizer, observation, key)


def train(task: str, algorithm: str, key: Key, size: Size) -> Agents:
    """Train agents; in float32, whatever is enabled around it.

    Raises:
        ValueError: If the algorithm needs rejax and it is not installed.
    """
    recipe = RECIPES[task]
    steps = recipe.full[algorithm] if size == "full" else recipe.steps[algorithm]
    library = available_library()
    settings = recipe.settings.get(algorithm, {}) if library == "rejax" else {}
    with jax.enable_x64(False):
        seeds = train_seeds(
            envs.make(task),
            algorithm=algorithm,
            num_seeds=_SEEDS[size],
            num_timesteps=steps // _QUICK if size == "quick" else steps,
            num_snapshots=_SNAPSHOTS[size],
            episode_length=recipe.episode,
            seed=int(jax.random.bits(key) >> 2),
            settings=settings,
            library=library,
        )
    return Agents(envs.make(task, dtype="float64"), seeds, recipe.episode)
