"""Objectives over planes of hyperparameters, for `fracjax.landscapes.scan` and its zooms."""

import math
from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array

from fracjax._types import Key, Objective, PyTree
from fracjax.learning.trainability.problems import RegressionProblem
from fracjax.learning.trainability.runs import RunSettings, speed_function

__all__ = [
    "HyperparameterPlane",
    "hyperparameter_plane",
    "learning_rates",
    "trainability_objective",
]

HyperparameterPlane = Literal["rates", "offset"]
_NAMES: dict[HyperparameterPlane, tuple[str, str]] = {
    "rates": ("log_first_rate", "log_second_rate"),
    "offset": ("offset", "log_rate"),
}


def trainability_objective(
    problem: RegressionProblem,
    *,
    plane: HyperparameterPlane = "rates",
    num_steps: int = 500,
    batch_size: int | None = None,
    offset_drifts: bool = True,
) -> Objective:
    """Make `objective(hyperparameters, key)`: how fast a network converges or diverges.

    The number is -Σ v_t if training converged and Σ 1/v_t if it did not, of relative losses
    v_t = loss_t / loss_0, see `convergence_speed`; its sign is the label. Boundaries are where it
    crosses 0: `level=0` of `picture_dimension` and `zoom_frames`.

    Hyperparameters are a dict of two numbers, `log_first_rate` and `log_second_rate`: log10 of
    the learning rates of hidden layer and readout; in the plane `"offset"`, `offset`, added to
    all of W₀, and `log_rate`, of both layers. `hyperparameter_plane` makes a centre and
    directions. Their dtype is that of the training.

    Under `jax.vmap` all runs share one loop, see `convergence_speeds`. Scan with
    `evaluator="plain"`: no weights lie on the plane that an affine evaluator could use.

    Args:
        problem: Data and initial weights, the same at every point.
        plane: Which hyperparameters.
        num_steps: Steps of gradient descent; published figures have 500 or 1000.
        batch_size: Data in a step, drawn with replacement (published: 16); all if None. The
            loss is that of all data either way. The objective's key draws them; with one key
            for all points (the default of `scan`) all see the same mini-batches.
        offset_drifts: The published code adds the offset to W₀ again before every step,
            so that it adds up to num_steps times as much: true replicates this. False adds it
            once to the initial weights.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Sohl-Dickstein (2024), arXiv 2402.06184.
    """
    _check(plane)
    if num_steps < 1 or (batch_size is not None and batch_size < 1):
        msg = (
            "Arguments `num_steps` and `batch_size` must be positive, but are"
            f" {num_steps} and {batch_size}."
        )
        raise ValueError(msg)
    speed = speed_function(problem, RunSettings(num_steps, batch_size, offset_drifts))
    arrange = _of_rates if plane == "rates" else _of_offset

    def objective(hyperparameters: PyTree, key: Key) -> Array:
        return speed(*arrange(hyperparameters), key)

    return objective


def learning_rates(hyperparameters: PyTree) -> tuple[Array, Array]:
    """Give both learning rates of a point of the plane `"rates"`."""
    first, second = (_power_of_ten(hyperparameters[name]) for name in _NAMES["rates"])
    return first, second


def _of_rates(hyperparameters: PyTree) -> tuple[Array, Array, Array]:
    first, second = learning_rates(hyperparameters)
    return first, second, jnp.zeros_like(first)


def _of_offset(hyperparameters: PyTree) -> tuple[Array, Array, Array]:
    offset, log_rate = (jnp.asarray(hyperparameters[name]) for name in _NAMES["offset"])
    rate = _power_of_ten(log_rate)
    return rate, rate, offset


def _power_of_ten(exponent: Array) -> Array:
    return jnp.exp(math.log(10) * jnp.asarray(exponent))


def hyperparameter_plane(
    plane: HyperparameterPlane = "rates", *, centre: tuple[float, float] = (1.5, 1.5)
) -> tuple[PyTree, PyTree]:
    """Give a centre and the directions of a plane, in the default float.

    `fracjax.landscapes.along(directions, span=4.5, num_points=512)` is then a grid around it.

    Args:
        plane: Which hyperparameters, see `trainability_objective`.
        centre: Of the first and the second. The default and a span of 4.5 is the published first
            view of `"rates"`, ten to the power of -3 to 6.

    Raises:
        ValueError: If there is no such plane.
    """
    _check(plane)
    first, second = _NAMES[plane]
    middle = {name: jnp.asarray(x) for name, x in zip((first, second), centre, strict=True)}
    return middle, {first: jnp.asarray([1.0, 0.0]), second: jnp.asarray([0.0, 1.0])}


def _check(plane: str) -> None:
    if plane not in get_args(HyperparameterPlane):
        msg = f"Argument `plane` must be one of {get_args(HyperparameterPlane)}, but is {plane!r}."
        raise ValueError(msg)
