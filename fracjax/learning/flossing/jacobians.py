"""Singular values of the product of all Jacobians along a sequence, however long."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax import tangent, tree
from fracjax._types import PyTree, Status
from fracjax.estimators.chaos.frames import advance_frame
from fracjax.estimators.chaos.graded import graded_product, graded_singular_values
from fracjax.estimators.settings import check_num_coordinates
from fracjax.learning.flossing.cells import RecurrentStep

__all__ = ["LongTermJacobian", "long_term_jacobian"]


class LongTermJacobian(NamedTuple):
    """How a perturbation of the first state arrives at the last.

    Attributes:
        log_singular_values: ln σ_1 ≥ … ≥ ln σ_m, (m,): −inf for a direction that vanished.
        log10_condition: log10(σ_1/σ_m).
        status: `NONFINITE_TANGENT` where a wanted direction vanished or overflowed, `DIVERGED`
            where the state did.
        state: The last state.
    """

    log_singular_values: Array
    log10_condition: Array
    status: Array
    state: PyTree


def long_term_jacobian(
    step: RecurrentStep,
    params: PyTree,
    state: PyTree,
    inputs: PyTree | int,
    num_directions: int | None = None,
) -> LongTermJacobian:
    """Find the leading singular values of T = D_T ⋯ D_2 D_1, as logarithms.

    D_t is the Jacobian of step t. All n coordinates are pushed and made orthonormal at every
    step, the triangular factors multiplied with their scales apart, and the product's
    singular values found by rotations that keep small ones accurate: neither overflow at 300
    steps nor the rounding of the largest value touches the smallest. One matrix of n × n is held
    per step.

    Condition numbers grow as exp((λ_1 − λ_m) · steps) along an orbit, which is what flossing
    several exponents together prevents.

    Not differentiable at equal singular values; the flossing loss is what to differentiate.

    Args:
        step: See `cells`.
        params: Parameters.
        state: First state; all its floating leaves are coordinates (2n for an LSTM).
        inputs: Pytree with a leading axis of time, or how many steps without input.
        num_directions: m, all n by default.

    Raises:
        ValueError: If there are no steps, or more directions than coordinates.

    References:
        Engelken (2023), https://arxiv.org/abs/2312.17306, for the condition number of the
        leading directions.
    """
    count = check_num_coordinates("num_directions", num_directions, state, None)
    length = inputs if isinstance(inputs, int) else len(jax.tree.leaves(inputs)[0])
    if length < 1:
        msg = f"Argument `inputs` must have at least one step, but has {length}."
        raise ValueError(msg)
    given = None if isinstance(inputs, int) else inputs
    state = tangent.combine(*tangent.partition(state))
    moving, _ = tangent.partition(state)
    frame = _axes(moving)

    def one(carry: tuple, part: PyTree) -> tuple[tuple, Float[Array, "n n"]]:
        at, frame = carry
        at, frame, lower = advance_frame(lambda at: step(params, at, part), at, frame)
        return (at, frame), lower

    (last, _), lowers = jax.lax.scan(one, (state, frame), given, length=length)
    logs = graded_singular_values(*graded_product(lowers))[0][:count]
    finite = tree.all_finite(tangent.partition(last)[0])
    status = jnp.where(jnp.isfinite(logs).all(), Status.OK, Status.NONFINITE_TANGENT)
    return LongTermJacobian(
        log_singular_values=logs,
        log10_condition=(logs[0] - logs[-1]) / math.log(10),
        status=jnp.where(finite, status, Status.DIVERGED),
        state=last,
    )


def _axes(moving: PyTree) -> PyTree:
    """Make a frame of all coordinate axes."""
    leaves, structure = jax.tree.flatten(moving)
    size, start, parts = tree.size(moving), 0, []
    for leaf in leaves:
        rows = jnp.eye(size, leaf.size, -start, leaf.dtype)
        parts.append(rows.reshape(size, *leaf.shape))
        start += leaf.size
    return jax.tree.unflatten(structure, parts)
