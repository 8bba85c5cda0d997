"""Training runs of many seeds side by side: their policies and returns at every snapshot."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import special

from fracjax import safe_files
from fracjax._types import Estimate, Key, PyTree, Status
from fracjax.rl.environment import Environment
from fracjax.rl.networks import Normalizer, PolicyNetwork
from fracjax.rl.policies import Policy, PolicyFileError, PolicyInfo
from fracjax.rl.rollouts import discounted_returns, initial_states

__all__ = ["Snapshot", "TrainedSeeds", "measure_returns", "read_arrays", "stack", "write_arrays"]

_ROOM = 2**20  # bytes for JSON values and for headers of arrays


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """All seeds at one moment of training.

    Attributes:
        steps: Environment steps done by each seed.
        params: Parameters, a leading axis of seeds on every leaf.
        normalizer: Observation statistics, likewise, or `None`.
        returns: Undiscounted and discounted returns, (seeds, states, 2).
    """

    steps: int
    params: PyTree
    normalizer: Normalizer | None
    returns: np.ndarray


@dataclasses.dataclass(frozen=True)
class TrainedSeeds:
    """Policies of many seeds at every snapshot of their training, the untrained ones first.

    Attributes:
        network: The static part, common to all.
        params: Parameters, with axes (seeds, snapshots) before those of every leaf.
        normalizer: Observation statistics, likewise, or `None`.
        steps: Environment steps done by each seed, (snapshots,).
        state_returns: Returns of the deterministic policy, Σ r_t over an episode, from every
            initial state, (seeds, snapshots, states). States are common to all seeds and
            snapshots, so that differences are paired. NaN where a rollout diverged.
        state_discounted: Likewise Σ γ^t r_t with the discount of training.
        environment: Name.
        backend: Physics backend.
        training: Library, algorithm, settings, seed.
    """

    network: PolicyNetwork
    params: PyTree
    normalizer: Normalizer | None
    steps: Int[np.ndarray, " snapshots"]
    state_returns: Float[np.ndarray, "seeds snapshots states"]
    state_discounted: Float[np.ndarray, "seeds snapshots states"]
    environment: str
    backend: str
    training: Mapping[str, Any]

    @property
    def num_seeds(self) -> int:
        """Number of seeds."""
        return self.state_returns.shape[0]

    @property
    def num_snapshots(self) -> int:
        """Number of snapshots, the one before training included."""
        return self.state_returns.shape[1]

    @property
    def returns(self) -> Estimate:
        """Mean undiscounted returns, (seeds, snapshots), with intervals over initial states."""
        return _mean(self.state_returns)

    @property
    def discounted(self) -> Estimate:
        """Mean discounted returns, likewise."""
        return _mean(self.state_discounted)

    def policy(self, seed: int, snapshot: int = -1) -> Policy:
        """Make the policy of one seed (counted from 0) at one snapshot."""
        params, normalizer = jax.tree.map(
            lambda leaf: jnp.asarray(leaf[seed, snapshot]), (self.params, self.normalizer)
        )
        training = {
            **self.training,
            "member": seed,
            "steps": int(self.steps[snapshot]),
            "return": float(self.state_returns[seed, snapshot].mean()),
        }
        info = PolicyInfo(self.environment, self.backend, "trained", training)
        return Policy(self.network, params, normalizer, info)


def _mean(values: np.ndarray) -> Estimate:
    """Average over the last axis, with a Student interval."""
    values = np.asarray(values, float)
    count = values.shape[-1]
    mean = values.mean(axis=-1)
    error = values.std(axis=-1, ddof=1) / count**0.5
    margin = special.stdtrit(count - 1, 0.975) * error
    codes = np.where(np.isfinite(mean), int(Status.OK), int(Status.DIVERGED))
    parts: dict[str, Any] = {  # of NumPy, in float64 whatever JAX holds
        "value": mean,
        "stderr": error,
        "low": mean - margin,
        "high": mean + margin,
        "status": codes,
    }
    return Estimate(**parts, details={"num_states": count})


def stack(snapshots: list[Snapshot], network: PolicyNetwork, **about: Any) -> TrainedSeeds:
    """Join snapshots, in their order, into one record."""

    def join(*leaves: Array | np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(leaf) for leaf in leaves], axis=1)

    params = jax.tree.map(join, *(one.params for one in snapshots))
    normalizer = jax.tree.map(join, *(one.normalizer for one in snapshots))
    returns = join(*(one.returns for one in snapshots))
    return TrainedSeeds(
        network=network,
        params=params,
        normalizer=normalizer,
        steps=np.array([one.steps for one in snapshots]),
        state_returns=returns[..., 0],
        state_discounted=returns[..., 1],
        **about,
    )


def measure_returns(
    environment: Environment,
    network: PolicyNetwork,
    params: PyTree,
    normalizer: Normalizer | None,
    key: Key,
    *,
    num_states: int,
    horizon: int,
    discount: float,
) -> np.ndarray:
    """Returns of many deterministic policies, undiscounted and discounted.

    Args:
        environment: The simulator.
        network: The static part of the policies.
        params: Their parameters, stacked.
        normalizer: Their normalisers, stacked, or `None`.
        key: Draws the initial states, common to all.
        num_states: Initial states.
        horizon: Steps of an episode.
        discount: Discount of the second number.

    Returns:
        Array (policies, states, 2); NaN for a rollout that diverged.
    """
    run = _measured(environment, network, num_states, horizon, discount)
    return np.asarray(run((params, normalizer), key))


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A policy whose parameters and normaliser both are arguments."""

    network: PolicyNetwork

    def act(self, params: PyTree, observation: Array, key: Key | None = None) -> Array:
        """Act by (parameters, normaliser)."""
        weights, normalizer = params
        return self.network.act(weights, normalizer, observation, key)


@functools.lru_cache(maxsize=16)
def _measured(
    environment: Environment, network: PolicyNetwork, num_states: int, horizon: int, discount: float
) -> Any:
    returns = discounted_returns(
        environment, _Pair(network), horizon=horizon, discounts=(1.0, discount)
    )

    @jax.jit
    def run(pairs: PyTree, key: Key) -> Array:
        states = initial_states(environment, key, num_states)

        def from_state(pair: PyTree, state: PyTree) -> Array:
            return returns(pair, jax.tree.map(lambda leaf: leaf[None], state), key)

        return jax.vmap(lambda pair: jax.vmap(lambda state: from_state(pair, state))(states))(pairs)

    return run


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write arrays and JSON values to an `.npz`, which appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with safe_files.written_whole(path) as file:
        safe_files.write_npz(file, {**arrays, "about": np.array(json.dumps(about))})


def read_arrays(
    path: Path, expected: Mapping[str, jax.ShapeDtypeStruct]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_arrays` wrote.

    Args:
        path: The file.
        expected: Shapes and dtypes of the arrays that it must hold; no larger file is read.

    Raises:
        PolicyFileError: If the file is damaged, or holds something else.
    """
    most = _ROOM + sum(array.size * array.dtype.itemsize for array in expected.values())
    try:
        arrays = safe_files.read_npz(safe_files.read_bytes(path, most=most), most=most)
        about = dict(json.loads(str(arrays.pop("about"))))
        _refuse_others(arrays, expected)
    except Exception as error:  # damaged files fail in many ways inside the parsers
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        msg = f"File `{path}` of a training run is damaged ({reason}): remove it."
        raise PolicyFileError(msg) from error
    return arrays, about


def _refuse_others(
    arrays: Mapping[str, np.ndarray], expected: Mapping[str, jax.ShapeDtypeStruct]
) -> None:
    found = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    wanted = {name: (array.shape, array.dtype) for name, array in expected.items()}
    if found != wanted:
        odd = min(name for name, _ in found.items() ^ wanted.items())
        msg = f"`{odd}` is {found.get(odd, 'missing')}, not {wanted.get(odd, 'expected')}"
        raise ValueError(msg)
