"""Train many seeds at once: one program for all of them, with snapshots along the way.

Brax cannot train seeds side by side, rejax can: its whole training is a function that is
vmapped over keys here. Where rejax is not installed, Brax's PPO trains one seed after another
and the result has the same form; the numbers are others, as the two differ in everything but
the name of the algorithm.
"""

import dataclasses
import importlib.util
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Key, PyTree
from fracjax.rl.environment import Environment
from fracjax.rl.networks import ACTIVATIONS, Normalizer, PolicyNetwork
from fracjax.rl.rejax_training import RejaxTraining, default_settings
from fracjax.rl.snapshots import TrainingProgress, read_policies
from fracjax.rl.trained_seeds import (
    Snapshot,
    TrainedSeeds,
    measure_returns,
    read_arrays,
    stack,
    write_arrays,
)

__all__ = ["Library", "TrainedSeeds", "available_library", "train_seeds"]

# Who trains; see `train_seeds`.
Library = Literal["rejax", "brax"]
_RUN = "run.npz"


def available_library() -> Library:
    """Name the library to train seeds with: rejax, or Brax where rejax is not installed."""
    return "rejax" if importlib.util.find_spec("rejax") is not None else "brax"


def train_seeds(
    environment: Environment,
    *,
    algorithm: str = "ppo",
    num_seeds: int = 8,
    num_timesteps: int = 1_000_000,
    num_snapshots: int = 10,
    discount: float = 0.99,
    episode_length: int = 400,
    hidden: tuple[int, ...] = (32, 32),
    activation: str = "tanh",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    num_eval_states: int = 16,
    library: Library = "rejax",
    on_progress: Callable[[TrainingProgress], None] | None = None,
    folder: str | os.PathLike | None = None,
) -> TrainedSeeds:
    """Train policies from many seeds, and keep them along the way.

    The run is cut into `num_snapshots` equal stretches of whole iterations, and rounded up to
    them. Before the first and after each, the deterministic policies of all seeds are rolled
    out by `fracjax.rl.rollouts` from common initial states, with rewards masked after
    termination. It trains and measures in float32, whatever `jax_enable_x64` says.

    With rejax a time limit counts as an end like any other, see `rejax_training`. Its PPO
    acts by tanh of a Gaussian whose width does not depend on the observation, SAC by its own
    tanh of a Gaussian, TD3 by a tanh; the mode, which is what is returned, is in all three the
    tanh of a multilayer perceptron, equal to rejax's own to rounding. SAC and TD3 draw every
    minibatch without replacement by sorting the whole buffer: keep `buffer_size` small on a CPU.
    Members of a vmapped batch are computed together, so that the last bit of one seed depends
    on how many there are.

    Args:
        environment: What to train on, in float32.
        algorithm: `"ppo"`, `"sac"` or `"td3"`; Brax trains `"ppo"` only.
        num_seeds: Training runs.
        num_timesteps: Environment steps of each.
        num_snapshots: Snapshots after the one before training.
        discount: γ of the returns that are maximised.
        episode_length: Steps of an episode, in training and for the returns.
        hidden: Widths of the policy's hidden layers.
        activation: Name in `networks.ACTIVATIONS`.
        seed: Seed; seeds of different calls do not overlap.
        settings: Settings by rejax's names over those of `rejax_training.default_settings`,
            or fields of Brax's `TrainingSettings` over those of the environment.
        num_eval_states: Initial states behind each return, at least 2.
        library: `"rejax"` or `"brax"`; `available_library()` names the better one there is.
        on_progress: Called at every snapshot with the mean return over seeds; Brax's calls
            come seed by seed.
        folder: Keep snapshots and the state of the training here, files written whole or not
            at all. A later call with equal arguments goes on from there, with rejax at the
            last snapshot and to the same bits, with Brax at the last finished seed.

    Raises:
        ValueError: If an argument does not fit, the library is not installed, or `folder`
            holds a run with other arguments.
    """
    _check(
        num_seeds=(num_seeds, 1),
        num_timesteps=(num_timesteps, 1),
        num_snapshots=(num_snapshots, 1),
        episode_length=(episode_length, 1),
        num_eval_states=(num_eval_states, 2),
    )
    if not 0 <= discount < 1:
        msg = f"Argument `discount` must lie in [0, 1), but is {discount}."
        raise ValueError(msg)
    for name, value, choices in (
        ("library", library, get_args(Library)),
        ("activation", activation, tuple(ACTIVATIONS)),
        ("algorithm", algorithm, ("ppo", "sac", "td3") if library == "rejax" else ("ppo",)),
    ):
        if value not in choices:
            msg = f"Argument `{name}` must be one of {', '.join(choices)}, but is {value!r}."
            raise ValueError(msg)
    defaults = default_settings(algorithm) if library == "rejax" else {}
    identity = {
        "library": library,
        "algorithm": algorithm,
        "num_seeds": num_seeds,
        "num_timesteps": num_timesteps,
        "num_snapshots": num_snapshots,
        "discount": discount,
        "episode_length": episode_length,
        "hidden": list(hidden),
        "activation": activation,
        "seed": seed,
        "settings": {**defaults, **(settings or {})},
        "num_eval_states": num_eval_states,
        "environment": environment.name,
        "backend": environment.backend,
    }
    place = None if folder is None else Path(folder)
    with jax.enable_x64(False):
        run = _Run(environment, identity, place, on_progress)
        return run.by_rejax() if library == "rejax" else run.by_brax()


@dataclasses.dataclass
class _Run:
    """One call of `train_seeds`."""

    environment: Environment
    identity: dict[str, Any]
    folder: Path | None
    on_progress: Callable[[TrainingProgress], None] | None

    def __post_init__(self) -> None:
        if self.folder is None:
            return
        path = self.folder / _RUN
        if not path.exists():
            write_arrays(path, {}, self.identity)
        before = read_arrays(path, {})[1]
        now = json.loads(json.dumps(self.identity))  # what was a tuple is a list there
        changed = [
            f"{name} {before.get(name)!r} there, {value!r} now"
            for name, value in now.items()
            if before.get(name) != value
        ]
        if changed:
            msg = f"Argument `folder` holds another run ({'; '.join(changed)}): choose another."
            raise ValueError(msg)

    def by_rejax(self) -> TrainedSeeds:
        """Train all seeds in one program."""
        about = self.identity
        training = RejaxTraining(
            self.environment,
            algorithm=about["algorithm"],
            discount=about["discount"],
            episode_length=about["episode_length"],
            hidden=tuple(about["hidden"]),
            activation=about["activation"],
            settings=about["settings"],
        )
        per_snapshot = training.steps_per_iteration * about["num_snapshots"]
        iterations = -(-about["num_timesteps"] // per_snapshot)
        stretch = iterations * training.steps_per_iteration
        advance = jax.jit(jax.vmap(lambda leaves: training.advance(leaves, iterations)))
        take = jax.jit(jax.vmap(training.policy))

        def snapshot(number: int, leaves: tuple) -> Snapshot:
            params, normalizer = take(leaves)
            returns = self._returns(training.network, params, normalizer)
            return Snapshot(number * stretch, params, normalizer, returns)

        start = jax.jit(jax.vmap(training.start))
        keys = jax.random.split(jax.random.PRNGKey(about["seed"]), about["num_seeds"])
        done, leaves = self._resume(jax.eval_shape(start, keys), take)
        if not done:
            leaves = start(keys)
            done = [snapshot(0, leaves)]
            self._keep(done, leaves)
            self._report(done[-1], stretch, 0.0)
        for number in range(len(done), about["num_snapshots"] + 1):
            started = time.monotonic()
            leaves = jax.block_until_ready(advance(leaves))
            done.append(snapshot(number, leaves))
            self._keep(done, leaves)
            self._report(done[-1], stretch, stretch / (time.monotonic() - started))
        return self._join(done, training.network)

    def by_brax(self) -> TrainedSeeds:
        """Train one seed after the other, each with its own path of snapshots."""
        if self.folder is not None:
            return self._by_brax(self.folder)
        with tempfile.TemporaryDirectory() as folder:
            return self._by_brax(Path(folder))

    def _by_brax(self, folder: Path) -> TrainedSeeds:
        from fracjax.rl.training import train
        from fracjax.rl.training_settings import default_settings as brax_settings

        about = self.identity
        settings = dataclasses.replace(
            brax_settings(self.environment.name),
            **{
                "num_timesteps": about["num_timesteps"],
                "episode_length": about["episode_length"],
                "discount": about["discount"],
                "hidden": tuple(about["hidden"]),
                "activation": about["activation"],
                **about["settings"],
            },
        )
        updates = -(-settings.num_timesteps // (settings.steps_per_update * about["num_snapshots"]))
        paths = []
        for member in range(about["num_seeds"]):
            path = folder / f"seed_{member:04d}"
            if not path.exists():
                unfinished = folder / f"seed_{member:04d}.unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)
                train(
                    self.environment,
                    settings=settings,
                    seed=_brax_seed(about["seed"], member),
                    path_folder=unfinished,
                    path_every=updates,
                    on_progress=self.on_progress,
                )
                unfinished.rename(path)
            paths.append(read_policies(path))
        snapshots = []
        for moment in zip(*paths, strict=True):
            params, normalizer = (
                jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
                for parts in zip(*((one.params, one.normalizer) for one in moment), strict=True)
            )
            returns = self._returns(moment[0].network, params, normalizer)
            steps = int(moment[0].info.training["steps"])
            snapshots.append(Snapshot(steps, params, normalizer, returns))
        return self._join(snapshots, paths[0][0].network)

    def _returns(
        self, network: PolicyNetwork, params: PyTree, normalizer: Normalizer | None
    ) -> np.ndarray:
        about = self.identity
        return measure_returns(
            self.environment,
            network,
            params,
            normalizer,
            _evaluation_key(about["seed"]),
            num_states=about["num_eval_states"],
            horizon=about["episode_length"],
            discount=about["discount"],
        )

    def _join(self, snapshots: list[Snapshot], network: PolicyNetwork) -> TrainedSeeds:
        return stack(
            snapshots,
            network,
            environment=self.environment.name,
            backend=self.environment.backend,
            training=self.identity,
        )

    def _report(self, last: Snapshot, stretch: int, speed: float) -> None:
        if self.on_progress is not None:
            total = stretch * self.identity["num_snapshots"]
            mean = float(last.returns[..., 0].mean())
            speed *= self.identity["num_seeds"]
            self.on_progress(TrainingProgress(last.steps, total, mean, speed))

    def _keep(self, done: list[Snapshot], leaves: tuple) -> None:
        """Write the last snapshot, then the state that follows from it."""
        if self.folder is None:
            return
        number = len(done) - 1
        last = done[-1]
        policies = jax.tree.map(np.asarray, (last.params, last.normalizer))
        arrays = {**_numbered(policies), "returns": last.returns}
        write_arrays(self.folder / f"snapshot_{number:05d}.npz", arrays, {"steps": last.steps})
        state = _numbered(jax.tree.map(np.asarray, leaves))
        write_arrays(self.folder / "state.npz", state, {"snapshot": number})

    def _resume(self, state: tuple, take: Callable) -> tuple[list[Snapshot], tuple]:
        """Read what an earlier call kept.

        Args:
            state: Shapes and dtypes of the state of the training.
            take: Takes the policies out of it.
        """
        if self.folder is None or not (self.folder / "state.npz").exists():
            return [], ()
        arrays, about = read_arrays(self.folder / "state.npz", _numbered(state))
        policies = jax.eval_shape(take, state)
        states = (self.identity["num_seeds"], self.identity["num_eval_states"])
        returns = jax.ShapeDtypeStruct((*states, 2), np.dtype(np.float32))
        expected = {**_numbered(policies), "returns": returns}
        done = []
        for number in range(about["snapshot"] + 1):
            parts, own = read_arrays(self.folder / f"snapshot_{number:05d}.npz", expected)
            leaves = [parts[name] for name in _numbered(policies)]
            params, normalizer = jax.tree.unflatten(jax.tree.structure(policies), leaves)
            done.append(Snapshot(own["steps"], params, normalizer, parts["returns"]))
        return done, tuple(jnp.asarray(arrays[name]) for name in _numbered(state))


def _numbered(tree: PyTree) -> dict[str, Any]:
    """Name the leaves of a tree by their order."""
    return {f"leaf_{index}": leaf for index, leaf in enumerate(jax.tree.leaves(tree))}


def _evaluation_key(seed: int) -> Key:
    return jax.random.fold_in(jax.random.key(seed), 0x5EED)


def _brax_seed(seed: int, member: int) -> int:
    """Make a seed for Brax that no other pair of numbers has, as far as 31 bits allow."""
    return int(jax.random.bits(jax.random.fold_in(jax.random.key(seed), member)) >> 1)


def _check(**settings: tuple[int, int]) -> None:
    for name, (value, smallest) in settings.items():
        if value < smallest:
            msg = f"Argument `{name}` must be at least {smallest}, but is {value}."
            raise ValueError(msg)
