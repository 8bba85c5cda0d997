"""Gradient norms, gaps and the best action's probability along a recorded path of parameters."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fracjax import evaluation, tree
from fracjax._types import PyTree
from fracjax.learning.paths.reading import Path

__all__ = ["RunSeries", "gaussian_best_probability", "run_series", "softmax_best_probability"]


class RunSeries(NamedTuple):
    """Numbers along a run, as `diagnose_well` takes them.

    Attributes:
        steps: Of training, (n,).
        gradient_norms: ‖∇J‖.
        gaps: Best return less return.
        best_probabilities: Of the best action; None where it was not asked for.
    """

    steps: Int[np.ndarray, " n"]
    gradient_norms: Float[np.ndarray, " n"]
    gaps: Float[np.ndarray, " n"]
    best_probabilities: Float[np.ndarray, " n"] | None


def run_series(
    path: Path,
    objective: Callable[[PyTree], Array],
    *,
    best: float,
    probability: Callable[[PyTree], Array] | None = None,
    like: PyTree | None = None,
    chunk_size: int = 16,
) -> RunSeries:
    """Evaluate an objective and its gradient at the snapshots of a path.

    Args:
        path: Recorded, of one seed, unprojected. `path.spread(n)` keeps fewer snapshots.
        objective: Return of parameters, differentiable: exact, or of fixed keys (the norm of an
            estimate then contains its noise).
        best: The best return there is.
        probability: Probability of the best action, of parameters; `softmax_best_probability` or
            `gaussian_best_probability` of a policy's outputs at a state that matters.
        like: A pytree whose structure the parameters shall have, see `Path.unravel`.
        chunk_size: Snapshots evaluated together.

    Raises:
        ValueError: If the path has an axis of seeds, or holds projections.
    """
    if path.num_seeds is not None:
        msg = f"Argument `path` must be of one seed (`path.seed(0)`), but has {path.num_seeds}."
        raise ValueError(msg)
    snapshots = [path.unravel(index, like) for index in range(len(path))]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *snapshots)

    def at(params: PyTree) -> tuple[Array, Array, Array]:
        value, slope = jax.value_and_grad(objective)(params)
        own = jnp.zeros_like(value) if probability is None else probability(params)
        return value, tree.norm(slope), own

    values, norms, own = evaluation.map_points(at, stacked, chunk_size=chunk_size)
    return RunSeries(path.steps, norms, best - values, None if probability is None else own)


def softmax_best_probability(
    logits: Float[Array, "*batch actions"], best: int | Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Probability of the best action under a softmax policy.

    Args:
        logits: Outputs of the policy.
        best: Index of the best action.
    """
    logs = jax.nn.log_softmax(logits, axis=-1)
    mark = jnp.arange(logits.shape[-1]) == jnp.asarray(best)[..., None]
    return jnp.exp(jnp.sum(jnp.where(mark, logs, 0), axis=-1))


def gaussian_best_probability(
    mean: Float[Array, "*batch action"],
    deviation: Float[Array, "*batch action"],
    best: Float[Array, "*batch action"],
    radius: float | Float[Array, ""],
) -> Float[Array, "*batch"]:
    """Probability that a Gaussian policy acts within a box around the best action.

    Product over components of P(|a - a*| ≤ radius). What counts as acting well is the radius,
    and so is the height of this probability; the escape law with its 1/x is that of softmax
    logits, and a mean that moves by η times its gradient obeys another one.

    Args:
        mean: Of the policy.
        deviation: Standard deviation, positive.
        best: The best action a*.
        radius: Half the side of the box.
    """
    near, far = (best - mean - radius) / deviation, (best - mean + radius) / deviation
    # On the side where both ends are in the lower tail, differences keep their digits.
    flip = near > 0
    low, high = jnp.where(flip, -far, near), jnp.where(flip, -near, far)
    inside = jax.scipy.special.ndtr(high) - jax.scipy.special.ndtr(low)
    return jnp.prod(inside, axis=-1)
