"""Covariant Lyapunov vectors: the directions that the dynamics map onto themselves."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax import tangent
from fracjax._types import Estimate, Key, Leaf, PyTree, Status, StepFunction
from fracjax.estimators.chaos.frames import advance_frame, coordinate_vector, frame_rows
from fracjax.estimators.chaos.orbit_average import time_average
from fracjax.estimators.settings import (
    check_at_least,
    check_multiple,
    check_num_coordinates,
    check_time_step,
)
from fracjax.orthonormal import solve_lower
from fracjax.tangent import Coordinates

__all__ = ["CovariantVectors", "covariant_vectors"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CovariantVectors:
    """Covariant vectors along one orbit, at m times that are `qr_every` steps apart.

    Attributes:
        exponents: Mean growth rates of the vectors, (k,), in nats per unit of time.
        growth: Logarithm of the growth of each vector from its time to the next, (m, k), in
            nats; the last row leads beyond the record.
        states: Coordinates of the states, (m, n).
        vectors: Unit vectors in coordinates, (m, k, n). Pushing one gives a positive
            multiple of the next one.
        basis: Orthonormal basis of the same nested subspaces, (m, k, n): the backward
            Lyapunov vectors, after the forward transient.
        measured: What `measure` returned, with a leading axis m. Then `states`, `vectors`
            and `basis` are `None`.
        backward_error: How far the vectors at the end of the record still depend on the
            matrix that the backward iteration started from, (k,): the distance between unit
            vectors from two of them. It falls exponentially from the end towards the start.
        replay_error: Largest distance between a coordinate of the orbit and of its second
            run, over its size; 0 with one segment.
    """

    exponents: Estimate
    growth: Leaf
    states: Leaf | None
    vectors: Leaf | None
    basis: Leaf | None
    measured: PyTree
    backward_error: Leaf
    replay_error: Leaf


def covariant_vectors(
    step: StepFunction,
    state: PyTree,
    *,
    num_steps: int,
    num_exponents: int | None = None,
    num_transient: int = 0,
    num_backward_transient: int = 0,
    dt: float | Float[Array, ""] = 1.0,
    key: Key | None = None,
    coordinates: Coordinates | None = None,
    qr_every: int = 1,
    num_blocks: int = 128,
    num_segments: int = 1,
    measure: Callable[[Float[Array, " n"], Float[Array, "k n"]], PyTree] | None = None,
) -> CovariantVectors:
    """Compute the leading k covariant Lyapunov vectors of one orbit (Ginelli's method).

    Forwards, an orthonormal frame B is pushed and restored, B_t Dfᵀ = L_t B_{t+1} in rows,
    and every L_t is stored. Backwards, the triangular coefficients C with V_t = C_t B_t obey
    C_t L_t = growth · C_{t+1}: the iteration C_{t+1} L_t⁻¹ with rows of unit length
    converges, and its rows make vectors that one step of the dynamics maps onto the next
    ones. They grow at the Lyapunov exponents in both directions of time, and unlike B they
    do not depend on the choice of scalar product.

    Convergence takes 1/(λ_i - λ_{i+1}) units of time at either end. Vectors of equal
    exponents span a subspace that is covariant as a whole, but are not unique in it.
    Where multipliers are complex (a focus at rest, some periodic orbits), pairs of vectors
    rotate and never settle.

    Memory is (num_steps / qr_every) · k · (n + k) numbers for the pass and as much again for
    the record of `vectors` and `basis`. With s = `num_segments` the pass takes 1/s of that
    and s frames, and every piece is run forwards twice; with a `measure` of a few numbers,
    such as an angle, that is all, and s near √(num_steps / qr_every) is best. The second
    run must retrace the first one, which `replay_error` checks.

    Args:
        step: One step of the system, for a single unbatched state.
        state: Initial state; only floating leaves carry tangents.
        num_steps: Steps of the record, a multiple of `qr_every`.
        num_exponents: Number k of vectors; by default as many as coordinates.
        num_transient: At least so many steps are made first, for the frame to converge.
        num_backward_transient: At least so many steps are made beyond the record, for the
            coefficients to converge. Without them the last vectors are those of the frame.
        dt: Time per step; exponents are divided by it.
        key: Draws the initial frame; a fixed key by default.
        coordinates: Maps a state to the vector in which tangents are measured.
        qr_every: Steps between orthonormalisations, and between recorded vectors.
        num_blocks: The most block means behind the standard errors.
        num_segments: Pieces of the record; must divide num_steps / qr_every.
        measure: What to record at each time instead of the vectors: a function of the
            coordinates of the state and of the vectors there, such as
            `lambda _, vectors: subspace_angles(vectors, 1)`.

    Returns:
        The record. The exponents agree with `lyapunov_spectrum` on the same orbit up to a
        difference of order 1 / (num_steps · dt), the change of angles between both ends.
        Their status is `DIVERGED` when the state stops being finite, `NONFINITE_TANGENT`
        when a tangent does or vanishes, and `NOT_CONVERGED` when the halves of the orbit
        differ by more than 4 standard errors or the second run went astray.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Ginelli et al. (2007), https://doi.org/10.1103/PhysRevLett.99.130601.
        Kuptsov and Parlitz (2012), https://doi.org/10.1007/s00332-012-9126-5.
    """
    count = check_num_coordinates("num_exponents", num_exponents, state, coordinates)
    check_multiple(num_steps, qr_every)
    check_at_least(
        num_transient=(num_transient, 0),
        num_backward_transient=(num_backward_transient, 0),
        num_blocks=(num_blocks, 2),
    )
    check_time_step(dt)
    times = num_steps // qr_every
    if num_segments < 1 or times % num_segments:
        msg = (
            f"Argument `num_segments` must divide {times}, the number of recorded times,"
            f" but is {num_segments}."
        )
        raise ValueError(msg)
    state = tangent.combine(*tangent.partition(state))
    key = jax.random.key(0) if key is None else key
    frame = tangent.random_frame(key, state, count, coordinates)

    def interval(carry: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], Array]:
        moved, turned, lower = advance_frame(step, *carry, coordinates, qr_every)
        return (moved, turned), lower

    def recorded(carry: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], tuple]:
        here = coordinate_vector(carry[0], coordinates), frame_rows(*carry, coordinates)
        after, lower = interval(carry, None)
        return after, (*here, lower)

    def forwards(carry: tuple[PyTree, PyTree]) -> tuple[tuple[PyTree, PyTree], tuple]:
        return jax.lax.scan(recorded, carry, length=times // num_segments)

    def backwards(coefficients: Array, record: tuple) -> tuple[Array, tuple]:
        here, basis, lower = record
        before, growth = _step_back(coefficients, lower)
        vectors = jnp.matmul(before, basis, precision="highest")
        finite = jnp.all(jnp.isfinite(here))
        if measure is None:
            return before, (growth, finite, here, vectors, basis, None)
        return before, (growth, finite, None, None, None, measure(here, vectors))

    def segment(carry: tuple[Array, Array], start: tuple) -> tuple[tuple, tuple]:
        coefficients, following = carry
        end, record = forwards(start)
        reached, here = (coordinate_vector(s[0], coordinates) for s in (end, start))
        size = jnp.max(jnp.abs(following))
        gap = jnp.max(jnp.abs(reached - following)) / jnp.where(size == 0, 1, size)
        coefficients, results = jax.lax.scan(backwards, coefficients, record, reverse=True)
        return (coefficients, here), (gap, results)

    start, _ = jax.lax.scan(interval, (state, frame), length=-(-num_transient // qr_every))
    if num_segments == 1:
        end, whole = forwards(start)
    else:
        end, starts = jax.lax.scan(
            lambda carry, _: (forwards(carry)[0], carry), start, length=num_segments
        )
    final, beyond = jax.lax.scan(interval, end, length=-(-num_backward_transient // qr_every))
    coefficients, backward_error = _settle(beyond, count)
    if num_segments == 1:
        _, results = jax.lax.scan(backwards, coefficients, whole, reverse=True)
        replay_error = jnp.zeros((), beyond.dtype)
    else:
        carry = coefficients, coordinate_vector(end[0], coordinates)
        _, (gaps, results) = jax.lax.scan(segment, carry, starts, reverse=True)
        results = jax.tree.map(lambda leaf: leaf.reshape(times, *leaf.shape[2:]), results)
        replay_error = jnp.max(gaps)
    growth, finite, states, vectors, basis, measured = results
    finite = jnp.all(finite) & jnp.all(jnp.isfinite(coordinate_vector(final[0], coordinates)))
    exponents = time_average(growth / (qr_every * dt), num_blocks=num_blocks, finite=finite)
    astray = finite & (replay_error > jnp.finfo(growth.dtype).eps ** 0.5)
    status = jnp.where(astray, Status.NOT_CONVERGED, exponents.status)
    exponents = dataclasses.replace(exponents, status=status)
    return CovariantVectors(
        exponents, growth, states, vectors, basis, measured, backward_error, replay_error
    )


def _step_back(
    coefficients: Float[Array, "k k"], lower: Float[Array, "k k"]
) -> tuple[Float[Array, "k k"], Float[Array, " k"]]:
    """Solve `before @ lower = growth · coefficients` for rows of unit length.

    A zero on the diagonal (a tangent that vanishes) is read as one, so that the vectors
    before it are not lost with it, and its growth is −inf.
    """
    flipped = lower.T[::-1, ::-1]
    solved = solve_lower(flipped, coefficients.T[::-1])[::-1].T
    length = jnp.sqrt(jnp.sum(solved**2, axis=1))
    growth = jnp.where(jnp.diagonal(lower) == 0, -jnp.inf, -jnp.log(length))
    return solved / length[:, None], growth


# Compiled as a whole: op by op the first call takes several times as long to compile.
@functools.partial(jax.jit, static_argnames="count")
def _settle(
    lowers: Float[Array, "times k k"], count: int
) -> tuple[Float[Array, "k k"], Float[Array, " k"]]:
    """Iterate two triangular matrices backwards and compare what they become."""
    full = jnp.tril(jnp.ones((count, count), lowers.dtype))
    full = full / jnp.sqrt(jnp.sum(full**2, axis=1, keepdims=True))
    pair = jnp.stack([jnp.eye(count, dtype=lowers.dtype), full])

    def back(pair: Array, lower: Array) -> tuple[Array, None]:
        return jax.vmap(lambda one: _step_back(one, lower)[0])(pair), None

    (first, second), _ = jax.lax.scan(back, pair, lowers, reverse=True)
    return first, jnp.sqrt(jnp.sum((first - second) ** 2, axis=1))
