"""Alignment of deviation vectors (SALI, GALI): a quick test of chaos in conservative systems."""

import dataclasses
import enum
import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fracjax import tangent
from fracjax._types import Estimate, Key, Leaf, PyTree, StepFunction
from fracjax.estimators.chaos.frames import advance_frame, coordinate_vector
from fracjax.estimators.chaos.orbit_average import time_average
from fracjax.estimators.settings import check_at_least, check_num_coordinates, check_time_step
from fracjax.tangent import Coordinates

__all__ = ["Alignment", "Motion", "alignment_index", "smaller_alignment_index"]

_ALIGNED = math.log(1e-12)
_SLACK = 2.0  # what the steepest power law of regular motion may be exceeded by


class Motion(enum.IntEnum):
    """What an alignment index says about an orbit."""

    REGULAR = 0
    CHAOTIC = 1
    UNDECIDED = 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Alignment:
    """Generalised alignment index along one orbit.

    Attributes:
        log_index: ln GALI_k after each step, (steps,), at most 0; never underflows. NaN if
            the state does not stay finite, and from where a tangent does not.
        leading_growth: Logarithm of the growth of the leading tangent up to each step,
            (steps,), in nats.
        decay_rate: Mean decay of ln GALI_k over the last three quarters of the steps, in
            nats per unit of time, with the status of an exponent.
        predicted_rate: Σ_{j=2…k} (λ_1 - λ_j) from the exponents of the same steps.
        slope: d ln GALI_k / d ln t, from its means over the second quarter and over
            the second half of the time: minus the power of regular motion.
        motion: A `Motion` code.
    """

    log_index: Leaf
    leading_growth: Leaf
    decay_rate: Estimate
    predicted_rate: Leaf
    slope: Leaf
    motion: Leaf


def alignment_index(
    step: StepFunction,
    state: PyTree,
    *,
    num_steps: int,
    num_vectors: int = 2,
    dt: float | Float[Array, ""] = 1.0,
    key: Key | None = None,
    coordinates: Coordinates | None = None,
    num_blocks: int = 128,
) -> Alignment:
    """Follow the volume spanned by k deviation vectors that are kept at unit length.

    GALI_k = |w_1 ∧ … ∧ w_k|, the product of the singular values of the matrix of unit
    vectors, which start orthonormal and are never orthogonalised. For chaotic orbits it falls
    as exp(-Σ_{j=2…k} (λ_1 - λ_j) t), for regular ones as a power of time or not at all: on an
    N-torus of a system of 2N dimensions it stays of order one up to k = N and falls as
    t^(-2 (k - N)) beyond. An orbit is told to be chaotic much earlier than an exponent would
    converge.

    The volume of the unit vectors is the volume of an orthonormalised frame over the product
    of their lengths, both known as logarithms: the index follows its law far below the
    1e-16 at which a computation with unit vectors stops.

    The verdict is `CHAOTIC` if GALI_k is below 1e-12 and of late fell faster than t^(-2 k),
    while the leading tangent grew faster than t²; `REGULAR` if neither did; else `UNDECIDED`:
    take more steps. Regular motion does at most t^(-2 (k - 1)) and t. Sticky orbits look
    regular for a long time.

    For conservative systems only. Vectors also align on a limit cycle and at a stable fixed
    point with unequal rates: the growth of the leading tangent keeps these from being called
    chaotic, they end as `UNDECIDED`.

    Args:
        step: One step of the system, for a single unbatched state.
        state: Initial state.
        num_steps: Steps, at least 16.
        num_vectors: Number k of vectors, at least 2.
        dt: Time per step.
        key: Draws the initial vectors; a fixed key by default.
        coordinates: Maps a state to the vector in which tangents are measured.
        num_blocks: The most block means behind the error of the decay rate.

    Returns:
        The record, with memory of two numbers per step.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Skokos (2001), https://doi.org/10.1088/0305-4470/34/47/309.
        Skokos, Bountis and Antonopoulos (2007), https://doi.org/10.1016/j.physd.2007.04.004.
    """
    check_num_coordinates("num_vectors", num_vectors, state, coordinates, smallest=2)
    check_at_least(num_steps=(num_steps, 16), num_blocks=(num_blocks, 2))
    check_time_step(dt)
    state = tangent.combine(*tangent.partition(state))
    key = jax.random.key(0) if key is None else key
    frame = tangent.random_frame(key, state, num_vectors, coordinates)

    def advance(carry: tuple, _: None) -> tuple[tuple, tuple]:
        state, frame, vectors = carry
        state, frame, lower = advance_frame(step, state, frame, coordinates)
        # The unit vectors in terms of the frame: w = vectors @ frame.
        pushed = jnp.matmul(vectors, lower, precision="highest")
        length = jnp.sqrt(jnp.sum(pushed**2, axis=1))
        finite = jnp.all(jnp.isfinite(coordinate_vector(state, coordinates)))
        carry = state, frame, pushed / length[:, None]
        return carry, (jnp.log(jnp.diagonal(lower)), jnp.sum(jnp.log(length)), finite)

    vectors = jnp.eye(num_vectors, dtype=_dtype(state, coordinates))
    _, (growth, lengths, finite) = jax.lax.scan(advance, (state, frame, vectors), length=num_steps)
    return _summary(growth, lengths, finite, dt, num_blocks)


# Compiled as a whole: op by op the first call takes several times as long to compile.
@functools.partial(jax.jit, static_argnums=4)
def _summary(
    growth: Float[Array, "steps k"],
    lengths: Float[Array, " steps"],
    finite: Bool[Array, " steps"],
    dt: float | Float[Array, ""],
    num_blocks: int,
) -> Alignment:
    """Index, rates and verdict of one recorded orbit."""
    num_steps, num_vectors = growth.shape
    finite = jnp.all(finite)
    growth = jnp.where(finite, growth, jnp.nan)
    fall = jnp.sum(growth, axis=1) - lengths
    log_index, leading = jnp.cumsum(fall), jnp.cumsum(growth[:, 0])
    late = slice(num_steps // 4, None)
    rate = time_average(-fall[late, None] / dt, num_blocks=num_blocks, finite=finite)
    decay_rate = jax.tree.map(lambda leaf: leaf[..., 0], rate)
    gaps = growth[late, :1] - growth[late]
    predicted_rate = jnp.sum(gaps, axis=1).mean() / dt
    slope = _log_slope(log_index)
    motion = _verdict(log_index[-1], slope, _log_slope(leading), num_vectors)
    return Alignment(log_index, leading, decay_rate, predicted_rate, slope, motion)


def _log_slope(values: Float[Array, " times"]) -> Float[Array, ""]:
    """Slope over the logarithm of time: a power of time makes these two means differ by ln 2."""
    quarter, half = len(values) // 4, len(values) // 2
    return (values[half:].mean() - values[quarter:half].mean()) / math.log(2)


def _dtype(state: PyTree, coordinates: Coordinates | None) -> jnp.dtype:
    return jax.eval_shape(lambda s: coordinate_vector(s, coordinates), state).dtype


def _verdict(
    last: Float[Array, ""], slope: Float[Array, ""], climb: Float[Array, ""], num_vectors: int
) -> Int[Array, ""]:
    """Compare with the fastest powers of time that regular motion is capable of."""
    steep = slope < -(2 * (num_vectors - 1) + _SLACK)
    growing = climb > 1 + _SLACK / 2
    motion = jnp.where(steep & growing & (last < _ALIGNED), Motion.CHAOTIC, Motion.UNDECIDED)
    return jnp.where(~steep & ~growing & jnp.isfinite(last), Motion.REGULAR, motion)


def smaller_alignment_index(log_index: Float[Array, "*times"]) -> Float[Array, "*times"]:
    """Turn ln GALI_2 into ln SALI, SALI = min(|w_1 + w_2|, |w_1 - w_2|).

    GALI_2 is the sine of the angle of the two vectors and SALI twice the sine of half of it.
    """
    cosine = jnp.sqrt(-jnp.expm1(2 * jnp.minimum(log_index, 0)))
    return log_index + (math.log(2) - jnp.log1p(cosine)) / 2
