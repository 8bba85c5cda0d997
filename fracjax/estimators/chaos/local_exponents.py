"""Fields of finite-time (local) exponents: how much a neighbourhood of each state stretches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fracjax import tangent
from fracjax._types import Estimate, Key, Leaf, PyTree, Status, StepFunction
from fracjax.estimators.chaos.frames import advance_frame, coordinate_vector, frame_rows
from fracjax.estimators.chaos.graded import graded_product, graded_singular_values
from fracjax.estimators.estimates import symmetric_estimate
from fracjax.estimators.intervals import masked_mean, student_quantile
from fracjax.estimators.settings import (
    check_at_least,
    check_multiple,
    check_num_coordinates,
    check_time_step,
)
from fracjax.tangent import Coordinates, Lift

__all__ = ["LocalExponents", "local_exponents"]

_METHODS = ("stretching", "tangent")
_FAILED = 0.1  # share of states that may fail before the mean's status says so


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LocalExponents:
    """Finite-time exponents at many states.

    Attributes:
        value: Exponents over `num_steps` steps, (points, k), in nats per unit of time. They
            are properties of the states and have no statistical error.
        status: One code per state, (points,): `DIVERGED` (NaN) when its orbit stops being
            finite, `NONFINITE_TANGENT` when a tangent overflows (NaN) or vanishes (−inf).
        states: Coordinates of the states to which the values belong, (points, n).
        directions: Unit vectors at those states, (points, k, n). With `"stretching"` the
            directions that grow by the values; with `"tangent"` those of the frame.
        mean: Average over the states without failure, (k,), its error that of independent
            states, its status that of a failure when more than a tenth of them fail. Of a
            grid it is the average over the grid, nothing more.
    """

    value: Leaf
    status: Leaf
    states: Leaf
    directions: Leaf
    mean: Estimate


def local_exponents(
    step: StepFunction,
    states: PyTree,
    *,
    num_steps: int,
    num_exponents: int = 1,
    method: str = "stretching",
    dt: float | Float[Array, ""] = 1.0,
    num_transient: int = 0,
    key: Key | None = None,
    coordinates: Coordinates | None = None,
    lift: Lift | None = None,
    qr_every: int = 1,
    chunk_size: int = 1024,
) -> LocalExponents:
    """Compute finite-time exponents at every state of a batch.

    `"stretching"` gives ln σ_i / (num_steps · dt), with σ_i the singular values of the
    derivative of the whole orbit: the finite-time exponents of fluid dynamics, whose ridges
    separate what moves apart. They are exact, need all n tangents, and never fall below
    those of any single direction. `"tangent"` gives the growth of a frame of k tangents that
    `num_transient` steps have turned towards the leading directions: what a perturbation
    that lives on the attractor does. Means of `"tangent"` over the attractor equal the
    Lyapunov exponents for every `num_steps`, after a transient that is long enough; means of
    `"stretching"` exceed the leading one by a term of order 1 / (num_steps · dt).

    The singular values are computed from logarithms and do not overflow. A value of a
    finite time is no limit: it tells about this state and this time.

    Args:
        step: One step of the system, for a single unbatched state.
        states: States, with a leading axis on every leaf.
        num_steps: Steps over which growth is measured.
        num_exponents: Number k of exponents, largest first.
        method: See above.
        dt: Time per step; exponents are divided by it.
        num_transient: Steps made first. The values belong to the states reached by them.
        key: Draws the initial frame, the same for all states; a fixed key by default.
        coordinates: Maps a state to the vector in which tangents are measured.
        lift: Makes a state from coordinates, see `tangent.random_frame`. Needed with
            `coordinates` when a state holds more than them.
        qr_every: Steps between orthonormalisations.
        chunk_size: States evaluated together: bounds memory, and is part of the result of a
            chaotic system, whose rounding depends on it.

    Returns:
        The record.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Haller (2001), https://doi.org/10.1016/S0167-2789(01)00199-8.
        Abarbanel, Brown and Kennel (1991), https://doi.org/10.1007/BF01209065.
    """
    states = tangent.combine(*tangent.partition(states))
    one = jax.tree.map(lambda leaf: leaf[0], states)
    available = tangent.num_coordinates(one, coordinates)
    if method not in _METHODS:
        msg = f"Argument `method` must be one of {_METHODS}, but is {method!r}."
        raise ValueError(msg)
    check_num_coordinates("num_exponents", num_exponents, one, coordinates)
    check_multiple(num_steps, qr_every)
    check_at_least(num_transient=(num_transient, 0), chunk_size=(chunk_size, 1))
    check_time_step(dt)
    key = jax.random.key(0) if key is None else key
    evaluate = functools.partial(
        _local_exponents,
        step,
        num_steps=num_steps,
        count=num_exponents,
        width=available if method == "stretching" else num_exponents,
        stretching=method == "stretching",
        num_transient=num_transient,
        key=key,
        coordinates=coordinates,
        lift=lift,
        qr_every=qr_every,
    )
    growth, finite, start, directions = _in_chunks(evaluate, states, chunk_size)
    value, status, average = _rates(growth, finite, num_steps * dt)
    return LocalExponents(value, status, start, directions, average)


# Compiled as a whole: op by op the first call takes several times as long to compile.
@jax.jit
def _rates(
    growth: Float[Array, "points k"],
    finite: Bool[Array, " points"],
    time: float | Float[Array, ""],
) -> tuple[Float[Array, "points k"], Int[Array, " points"], Estimate]:
    """Divide by the time, tell what failed, and average over the rest."""
    value = jnp.where(finite[:, None], growth / time, jnp.nan)
    sound = jnp.all(jnp.isfinite(value), axis=1)
    status = jnp.where(sound, Status.OK, Status.NONFINITE_TANGENT)
    status = jnp.where(finite, status, Status.DIVERGED)
    return value, status, _average(value, status)


def _local_exponents(
    step: StepFunction,
    state: PyTree,
    *,
    num_steps: int,
    count: int,
    width: int,
    stretching: bool,
    num_transient: int,
    key: Key,
    coordinates: Coordinates | None,
    lift: Lift | None,
    qr_every: int,
) -> tuple[Array, Array, Array, Array]:
    """Measure the growth of one state's neighbourhood, in nats over the whole time."""

    def interval(carry: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], Array]:
        moved, turned, lower = advance_frame(step, *carry, coordinates, qr_every)
        return (moved, turned), lower

    start = state, tangent.random_frame(key, state, width, coordinates, lift)
    if num_transient:
        start, _ = jax.lax.scan(interval, start, length=-(-num_transient // qr_every))
    here = coordinate_vector(start[0], coordinates)
    rows = frame_rows(*start, coordinates)
    end, lowers = jax.lax.scan(interval, start, length=num_steps // qr_every)
    finite = jnp.all(jnp.isfinite(coordinate_vector(end[0], coordinates)))
    if not stretching:
        return jnp.log(jnp.diagonal(lowers, axis1=1, axis2=2)).sum(axis=0), finite, here, rows
    logs, vectors = graded_singular_values(*graded_product(lowers))
    directions = jnp.matmul(vectors.T[:count], rows, precision="highest")
    return logs[:count], finite, here, directions


def _in_chunks(evaluate: functools.partial, states: PyTree, chunk_size: int) -> PyTree:
    """Map over the leading axis, a bounded number at a time; the last chunk is filled up."""
    points = len(jax.tree.leaves(states)[0])
    width = min(chunk_size, points)
    index = np.minimum(np.arange(-(-points // width) * width), points - 1).reshape(-1, width)
    chunks = jax.tree.map(lambda leaf: leaf[index], states)
    results = jax.lax.map(jax.vmap(evaluate), chunks)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:points], results)


def _average(value: Float[Array, "points k"], status: Array) -> Estimate:
    """Average over the states without failure, as if they were independent."""
    points = len(value)
    keep = status == Status.OK
    mean, stderr, counts = masked_mean(value, keep[:, None])
    count = counts[0]
    quantile = student_quantile(count - 1, points).astype(value.dtype)
    failed = points - count
    code = jnp.where(count > 1, Status.OK, Status.TOO_FEW_POINTS)
    code = jnp.where(failed > _FAILED * points, jnp.max(status), code)
    details = {"num_points": count, "num_failed": failed}
    return symmetric_estimate(mean, stderr, quantile, jnp.broadcast_to(code, mean.shape), details)
