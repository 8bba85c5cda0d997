"""Exponents transversal to an invariant subspace: does a synchronised state survive?"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax import tangent
from fracjax._types import Estimate, Key, PyTree, Status, StepFunction
from fracjax.estimators.chaos.frames import coordinate_vector
from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum

__all__ = ["onto_span", "synchronised", "transversal_exponents"]

Projection = Callable[[PyTree], PyTree]
_CHECKED = 200  # steps along which the invariance of the subspace is checked


def synchronised(groups: Sequence[Sequence[int]]) -> Projection:
    """Make the projection onto states in which every group of entries is equal.

    Entries are those of the leading axis of a state that is one array: variables of a
    vector, or whole subsystems of a (subsystems, variables) array. Entries in no group stay
    free. A group of g entries has (g - 1) transversal directions per variable.

    Args:
        groups: Disjoint groups of indices, such as `[(0, 1, 2)]`.

    Raises:
        ValueError: If the groups overlap or hold fewer than two entries.
    """
    members = [tuple(group) for group in groups]
    flat = [index for group in members for index in group]
    if not members or min(map(len, members)) < 2 or len(set(flat)) < len(flat):
        msg = (
            f"Argument `groups` must hold disjoint groups of two or more indices, but is {members}."
        )
        raise ValueError(msg)

    def project(state: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        for group in members:
            chosen = np.asarray(group)
            state = state.at[chosen].set(state[chosen].mean(axis=0))
        return state

    return project


def onto_span(basis: Float[Array | np.ndarray, "m n"]) -> Projection:
    """Make the orthogonal projection of vectors of length n onto the span of m rows."""
    rows = jnp.linalg.qr(jnp.asarray(basis).T)[0].T

    def project(state: Float[Array, " n"]) -> Float[Array, " n"]:
        along = jnp.matmul(rows, state, precision="highest")
        return jnp.matmul(rows.T, along, precision="highest")

    return project


def transversal_exponents(
    step: StepFunction,
    state: PyTree,
    project: Projection,
    *,
    num_steps: int,
    num_exponents: int = 1,
    dt: float | Float[Array, ""] = 1.0,
    num_transient: int = 0,
    key: Key | None = None,
    qr_every: int = 1,
    num_blocks: int = 128,
) -> Estimate:
    """Estimate the exponents transversal to a linear invariant subspace.

    The orbit is kept on the subspace, and after every step tangents lose their part along
    it. What is left grows at the transversal exponents: if the first is negative, the
    subspace attracts its neighbourhood (identical systems synchronise); if it is positive,
    they drift apart, however chaotic both are. Without the projection rounding would leak
    into the faster growing directions along the subspace and the orbit would leave it.

    A negative exponent is a mean over one orbit: other orbits inside the subspace (periodic
    ones) may be unstable all the same, and then bursts away from it occur. The step must map
    the subspace into itself, which is checked along the first 200 steps.

    Args:
        step: One step of the whole system. Pass the same functions again rather than fresh
            closures: they are compiled once.
        state: Initial state; it is projected first.
        project: Orthogonal linear projection of states onto the subspace, such as
            `synchronised([(0, 1)])` or `onto_span(basis)`.
        num_steps: Steps to average over.
        num_exponents: How many transversal exponents; those beyond the number of
            transversal directions come out as −inf with status `NONFINITE_TANGENT`.
        dt: Time per step; exponents are divided by it.
        num_transient: Steps made first, unrecorded.
        key: Draws the initial frame; a fixed key by default.
        qr_every: Steps between orthonormalisations.
        num_blocks: The most block means behind the standard errors.

    Returns:
        As `lyapunov_spectrum`, in nats per unit of time. `NOT_CONVERGED` also when the
        subspace is not invariant: `details["departure"]` is the largest distance of a state
        after one step from the subspace, over its length.

    References:
        Pecora and Carroll (1998), https://doi.org/10.1103/PhysRevLett.80.2109.
        Ott and Sommerer (1994), https://doi.org/10.1016/0375-9601(94)90114-7.
    """
    state = project(jax.tree.map(jnp.asarray, state))
    try:
        across, outside = _across(step, project)
    except TypeError:  # one of them cannot key a cache
        across, outside = _across.__wrapped__(step, project)
    estimate = lyapunov_spectrum(
        across,
        state,
        num_steps=num_steps,
        num_exponents=num_exponents,
        dt=dt,
        num_transient=num_transient,
        key=key,
        coordinates=outside,
        qr_every=qr_every,
        num_blocks=num_blocks,
    )

    def depart(state: PyTree, _: None) -> tuple[PyTree, Array]:
        reached = step(state)
        gap = jnp.linalg.norm(outside(reached))
        length = jnp.linalg.norm(coordinate_vector(reached, None))
        return project(reached), gap / jnp.where(length > 0, length, 1)

    _, departures = jax.lax.scan(depart, state, length=min(num_steps, _CHECKED))
    departure = jnp.max(departures)
    invariant = ~(departure > jnp.finfo(departure.dtype).eps ** 0.5)
    ok = (estimate.status == Status.OK) & ~invariant
    return dataclasses.replace(
        estimate,
        status=jnp.where(ok, Status.NOT_CONVERGED, estimate.status),
        details={**estimate.details, "departure": departure},
    )


@functools.lru_cache(maxsize=16)
def _across(step: StepFunction, project: Projection) -> tuple[StepFunction, Callable]:
    """Make the step that keeps states on the subspace and tangents off it."""

    def outside(state: PyTree) -> Float[Array, " n"]:
        return coordinate_vector(state, None) - coordinate_vector(project(state), None)

    def across(state: PyTree) -> PyTree:
        moved, fixed = tangent.partition(step(state))
        onto, _ = tangent.partition(project(tangent.combine(moved, fixed)))
        # The value is `onto`, the derivative that of what is not.
        kept = jax.tree.map(
            lambda whole, part: (
                jax.lax.stop_gradient(part) + ((whole - part) - jax.lax.stop_gradient(whole - part))
            ),
            moved,
            onto,
        )
        return tangent.combine(kept, fixed)

    return across, outside
