"""Curvature of the probe along a run: sharpness and condition number of the Hessian."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Estimate, Key, Objective, PyTree, Status
from fracjax.curvature import top_hessian_eigenvectors
from fracjax.learning.plasticity.gradient_cosines import ProbeNoise, probe_noise
from fracjax.learning.plasticity.probes import Apply

__all__ = ["condition_number", "geometry_probe", "sharpness_along_run"]

_MOST_DENSE = 4096


def geometry_probe(apply: Apply, inputs: Array, *, noise: ProbeNoise = "independent") -> Objective:
    """Make the loss whose geometry is measured: |f(x) - sg(f(x) + ε)|², ε ~ N(0, 1).

    The targets are the network's own outputs at whatever parameters the loss is taken, shifted by
    noise; `sg` stops the gradient. Summed over outputs and averaged over inputs. It is never the
    training loss, so that it can be compared along a run whose task changes. Its value is that of
    |ε|² everywhere: only derivatives say something.

    Args:
        apply: `apply(params, inputs)`, (n, outputs).
        inputs: Inputs.
        noise: `"independent"` for every input, or one vector `"shared"` by all.

    Returns:
        `objective(params, key)`; the key draws ε.

    References:
        Lyle et al. (2023), https://arxiv.org/abs/2303.01486, section 4.
    """

    def objective(params: PyTree, key: Key) -> Array:
        outputs = apply(params, inputs)
        targets = jax.lax.stop_gradient(outputs + probe_noise(key, outputs, noise))
        return jnp.sum((outputs - targets) ** 2, axis=-1).mean()

    return objective


def sharpness_along_run(
    objective: Objective, points: PyTree, key: Key, *, num_iterations: int = 40
) -> Estimate:
    """Find the largest eigenvalue λ_1 of the Hessian at every snapshot of a run.

    The interval is λ_1 ± the residual |H v - λ v|, within which an eigenvalue lies: an error of
    the computation, not of a sample. It says nothing of other draws of inputs and noise; for
    those, vmap over keys. ReLU networks have no second derivative at their kinks; what is
    returned holds in between.

    Args:
        objective: `objective(params, key)`, of `geometry_probe` or any other.
        points: Parameters along the run, a leading axis on every leaf.
        key: The objective's, the same at all snapshots.
        num_iterations: Hessian-vector products per snapshot.

    Returns:
        λ_1 at every snapshot, (points,). `NOT_CONVERGED` where the residual is large against
        λ_1, `NONFINITE_TANGENT` where the Hessian is not finite.
    """
    first = jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], points)
    number = min(num_iterations, tree.size(first))

    def one(params: PyTree) -> tuple[Array, Array, Array]:
        pairs = top_hessian_eigenvectors(
            objective, params, key, num_eigenvectors=1, which="largest", num_iterations=number
        )
        return pairs.values[0], pairs.residuals[0], pairs.status[0]

    value, residual, status = jax.lax.map(one, points)
    return Estimate(value, residual, value - residual, value + residual, status)


def condition_number(objective: Objective, params: PyTree, key: Key) -> Estimate:
    """Divide the largest |eigenvalue| of the Hessian by the smallest, from the dense matrix.

    Lanczos finds the large end only: the smallest eigenvalue of a network's Hessian lies in a
    crowd around zero. So this is for small networks, and often even there the answer is a bound:
    dead units, and any symmetry of the parametrisation, make exact zeros.

    Args:
        objective: `objective(params, key)`.
        params: Where; at most 4096 parameters.
        key: The objective's.

    Returns:
        |λ|_max / |λ|_min, without an error of its own. `AT_NOISE_FLOOR` where |λ|_min is below
        the rounding of |λ|_max: the value is NaN, `low` the bound by rounding and `high` infinite.
        `NONFINITE_TANGENT` where the Hessian is not finite.

    Raises:
        ValueError: If there are too many parameters.
    """
    flat, unravel = ravel_pytree(params)
    if flat.size > _MOST_DENSE:
        msg = (
            f"Argument `params` must have at most {_MOST_DENSE} parameters for a dense Hessian,"
            f" but has {flat.size}."
        )
        raise ValueError(msg)
    hessian = jax.hessian(lambda vector: objective(unravel(vector), key))(flat)
    # A constant NaN has a derivative, of zero.
    finite = jnp.isfinite(hessian).all() & jnp.isfinite(objective(params, key))
    sizes = jnp.abs(jnp.linalg.eigvalsh(jnp.where(finite, hessian, 0)))
    largest, smallest = sizes.max(), sizes.min()
    floor = flat.size * jnp.finfo(flat.dtype).eps * largest
    seen = finite & (smallest > floor)
    ratio = jnp.where(seen, largest / jnp.where(seen, smallest, 1), jnp.nan)
    unseen = jnp.where(finite, largest / jnp.where(floor > 0, floor, 1), jnp.nan)
    status = jnp.select(
        [~finite, ~seen], [int(Status.NONFINITE_TANGENT), int(Status.AT_NOISE_FLOOR)], 0
    )
    return Estimate(
        value=ratio,
        stderr=jnp.where(seen, 0, jnp.nan).astype(flat.dtype),
        low=jnp.where(seen, ratio, unseen),
        high=jnp.where(seen, ratio, jnp.where(finite, jnp.inf, jnp.nan)),
        status=status,
        details={"largest": largest, "smallest": smallest},
    )
