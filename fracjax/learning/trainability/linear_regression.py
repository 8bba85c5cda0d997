"""Linear regression with two learning rates: a boundary of trainability that is smooth."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key, Objective, PyTree
from fracjax.learning.trainability.planes import learning_rates
from fracjax.learning.trainability.problems import RegressionProblem
from fracjax.learning.trainability.speeds import TAIL, LossSums, convergence_speed

__all__ = ["linear_regression_converges", "linear_regression_objective"]


def linear_regression_objective(problem: RegressionProblem, *, num_steps: int = 500) -> Objective:
    """Make `objective(hyperparameters, key)`: how fast linear regression converges or diverges.

    The control of `trainability_objective`, with the same hyperparameters and the same number: the
    model is wᵀx / √n on the data of `problem`, from w = its readout; `log_first_rate` belongs to
    the first half of the weights, `log_second_rate` to the others. The loss is convex. Descent
    converges where I - diag(rates) H has no eigenvalue outside the unit circle, whose boundary is
    smooth but for corners: dimension 1.

    Args:
        problem: Data and the weights that training starts from.
        num_steps: Steps of gradient descent.

    Raises:
        ValueError: If `num_steps` is below 1.
    """
    if num_steps < 1:
        msg = f"Argument `num_steps` must be positive, but is {num_steps}."
        raise ValueError(msg)

    def objective(hyperparameters: PyTree, key: Key) -> Array:
        del key
        first, second = learning_rates(hyperparameters)
        inputs, targets, start = (
            jnp.asarray(leaf, first.dtype)
            for leaf in (problem.inputs, problem.targets, problem.second)
        )
        inputs = inputs / problem.width**0.5
        rates = jnp.where(jnp.arange(problem.width) < problem.width // 2, first, second)

        def step(carry: tuple, index: Array) -> tuple[tuple, None]:
            weights, sums, first_loss = carry
            errors = inputs @ weights - targets
            loss = jnp.mean(errors**2)
            first_loss = jnp.where(index == 0, loss, first_loss)
            sums = sums.add(loss / first_loss, index >= num_steps - TAIL)
            gradient = errors @ inputs * (2 / len(targets))
            return (weights - rates * gradient, sums, first_loss), None

        carry = start, LossSums.zeros((), start.dtype), jnp.ones((), start.dtype)
        sums = jax.lax.scan(step, carry, jnp.arange(num_steps))[0][1]
        return convergence_speed(sums, num_steps)

    return objective


def linear_regression_converges(
    problem: RegressionProblem,
    first_rate: float | Float[np.ndarray, ""],
    second_rate: float | Float[np.ndarray, ""],
) -> bool:
    """Say whether descent converges in the end, from eigenvalues.

    Args:
        problem: Data.
        first_rate: Learning rate of the first half of the weights.
        second_rate: Of the others.
    """
    inputs = np.asarray(problem.inputs, float) / problem.width**0.5
    hessian = 2 * inputs.T @ inputs / len(inputs)
    half = problem.width // 2
    rates = np.r_[np.full(half, first_rate), np.full(problem.width - half, second_rate)]
    roots = np.sqrt(rates)
    return bool(np.linalg.eigvalsh(roots[:, None] * hessian * roots)[-1] < 2)
