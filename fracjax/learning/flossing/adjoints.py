"""The growth of a frame with its own reverse rule: one dual frame, swept back along the orbit.

Automatic differentiation goes back through every orthonormalisation. It need not. Replace a frame
A by U A, with U lower triangular: the growth rates add up to what they were plus ln U_ii, whatever
orthonormalisations follow. Hence

    tril(Ā Aᵀ) = diag(g)        for the cotangent Ā of any frame A before a counted factorisation

(0 before one that is not counted), with g the cotangents of the growth rates. For A = L B this
turns the reverse rule of the factorisation into Ā = L⁻ᵀ W, W the cotangent of B with its lower
triangle in the basis set to diag(g): all terms that mirror triangles cancel. Setting it, rather
than trusting it, is what keeps the sweep stable, since errors in it grow as e^{(λ_i − λ_j) t}.

The sweep is one product with a transposed Jacobian per step and tangent, one triangular solve
and two products in the frame; it stores states, frames and factors.
"""

import functools

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from fracjax import tangent
from fracjax._types import PyTree
from fracjax.learning.flossing.cells import RecurrentStep
from fracjax.orthonormal import orthonormalize, solve_lower

__all__ = ["frame_growth"]

_FEW = 8  # up to here Gram–Schmidt is as fast
_LOST = 0.1  # of a squared pivot, before one pass of Cholesky is not enough
_dot = functools.partial(jnp.matmul, precision="highest")  # never TF32


def frame_growth(
    step: RecurrentStep,
    params: PyTree,
    state: PyTree,
    inputs: PyTree | None,
    frame: Float[Array, "k n"],
    *,
    num_intervals: int,
    interval: int,
    skipped: int = 0,
    checkpoint_every: int | None = None,
    through_state: bool = True,
) -> tuple[Float[Array, " k"], PyTree]:
    """Sum the logarithmic growth of k tangents over counted intervals.

    Differentiable in reverse mode with respect to parameters, state and inputs, and whatever
    `step` closes over; not in forward mode. Nothing flows to the first frame.

    Args:
        step: `(params, state, input) -> state`.
        params: Parameters.
        state: First state; tangents live in all its floating leaves.
        inputs: Pytree with a leading axis of `num_intervals * interval`, or None.
        frame: Orthonormal rows.
        num_intervals: Orthonormalisations.
        interval: Steps between them.
        skipped: Intervals at the start that are not counted.
        checkpoint_every: Intervals between stored frames; it divides their number. By default
            every step's state and frame are stored.
        through_state: Whether the orbit's own sensitivity is part of the gradient.

    Returns:
        Growth in nats, −inf for a tangent that vanished, and the last state.
    """
    moving, fixed = tangent.partition(state)
    vector, rebuild = ravel_pytree(moving)
    given = None if inputs is None else jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], inputs)
    step, hoisted = jax.closure_convert(step, params, state, given)
    every = checkpoint_every or num_intervals
    shape = (num_intervals // every, every, interval)
    parts = jax.tree.map(
        lambda leaf: leaf.reshape((*shape, *leaf.shape[1:])), tangent.partition(inputs)
    )
    numbers = jnp.arange(num_intervals).reshape(shape[:2])
    counted = (numbers >= skipped).astype(vector.dtype)
    precise = (numbers == skipped - 1) | (numbers == num_intervals - 1)
    learned, constant = tangent.partition((params, hoisted))

    def push(learned: PyTree, at: tuple, given: tuple, rest: PyTree) -> tuple[tuple, PyTree]:
        """Advance a state and a frame, `at`; what has no tangent is `rest`."""
        constant, fixed = rest
        params, hoisted = tangent.combine(learned, constant)
        there = tangent.combine(*given)

        def move(vector: Array) -> tuple[Array, PyTree]:
            following = step(params, tangent.combine(rebuild(vector), fixed), there, *hoisted)
            moving, fixed_next = tangent.partition(following)
            return ravel_pytree(moving)[0], fixed_next

        def along(direction: Array) -> tuple[Array, Array, PyTree]:
            return jax.jvp(move, (at[0],), (direction,), has_aux=True)

        vector, frame, fixed = jax.vmap(along, out_axes=(None, 0, None))(at[1])
        return (vector, frame), fixed

    def segment(
        learned: PyTree, constant: PyTree, start: tuple, part: tuple, precise: Array
    ) -> tuple:
        """Go through some intervals: the end, the factors, and what each step started from."""

        def one(carry: tuple, given: tuple) -> tuple[tuple, tuple]:
            at, fixed = carry
            return push(learned, at, given, (constant, fixed)), carry

        def window(carry: tuple, given: tuple) -> tuple[tuple, tuple]:
            part, precisely = given
            ((vector, frame), fixed), seen = jax.lax.scan(one, carry, part, length=interval)
            basis, lower = _factor(frame, precisely)
            return ((vector, basis), fixed), (lower, seen)

        end, (lowers, seen) = jax.lax.scan(window, start, (part, precise), length=every)
        return end, lowers, seen

    def sweep(
        learned: PyTree, constant: PyTree, back: tuple, trail: tuple, part: tuple, rates: Array
    ) -> tuple[tuple, PyTree]:
        """Carry the cotangents of state, frame and parameters back through a segment."""
        end, lowers, seen = trail

        def one(carry: tuple, known: tuple) -> tuple[tuple, PyTree]:
            back, slope = carry
            (at, fixed), (moved, kept) = known
            rest = constant, fixed

            def there(learned: PyTree, at: tuple, moved: PyTree) -> tuple[tuple, PyTree]:
                return push(learned, at, (moved, kept), rest)

            pull = jax.vjp(there, learned, at, moved, has_aux=True)[1]
            more, (before, dual), given = pull(back)
            before = before if through_state else jnp.zeros_like(before)
            return ((before, dual), jax.tree.map(jnp.add, slope, more)), given

        def window(carry: tuple, known: tuple) -> tuple[tuple, PyTree]:
            (behind, dual), slope, basis = carry
            lower, seen, part, rate = known
            excess = jnp.tril(_dot(dual, basis.T)) - jnp.diag(rate)
            dual = _solve_upper(lower.T, dual - _dot(excess, basis))
            (back, slope), given = jax.lax.scan(
                one, ((behind, dual), slope), (seen, part), length=interval, reverse=True
            )
            return (back, slope, seen[0][1][0]), given

        known = lowers, seen, part, rates
        carry = (*back, end[0][1])
        (*done, _), given = jax.lax.scan(window, carry, known, length=every, reverse=True)
        return tuple(done), given

    def forward(
        learned: PyTree, vector: Array, moved: PyTree, rest: tuple, keep: bool = False
    ) -> tuple:
        constant, fixed, kept, frame, *_ = rest

        def one(start: tuple, part: tuple) -> tuple[tuple, tuple]:
            end, lowers, seen = segment(learned, constant, start, *part)
            trail = (end, lowers, seen) if keep and every == num_intervals else start
            return end, (lowers, trail)

        start = (vector, frame), fixed
        parts = (moved, kept), rest[-1]
        end, (lowers, trail) = jax.lax.scan(one, start, parts, length=shape[0])
        diagonal = jnp.diagonal(lowers, axis1=-2, axis2=-1)
        found = diagonal != 0
        growth = jnp.where(found, jnp.log(jnp.where(found, diagonal, 1)), -jnp.inf)
        total = jnp.sum(jnp.where(counted[..., None] > 0, growth, 0), axis=(0, 1))
        return (total, end[0][0], end[1]), trail

    @jax.custom_vjp
    def growth(learned: PyTree, vector: Array, moved: PyTree, rest: tuple) -> tuple:
        return forward(learned, vector, moved, rest)[0]

    def growth_forward(learned: PyTree, vector: Array, moved: PyTree, rest: tuple) -> tuple:
        found, trail = forward(learned, vector, moved, rest, keep=True)
        return found, (learned, moved, rest, trail)

    def growth_backward(stored: tuple, cotangents: tuple) -> tuple:
        learned, moved, rest, trail = stored
        constant, _, kept, frame, counted, precise = rest
        rates = counted[..., None] * cotangents[0]

        def one(back: tuple, known: tuple) -> tuple[tuple, PyTree]:
            part, trail, rates, precise = known
            if every != num_intervals:
                trail = segment(learned, constant, trail, part, precise)
            return sweep(learned, constant, back, trail, part, rates)

        carry = (cotangents[1], jnp.zeros_like(frame)), jax.tree.map(jnp.zeros_like, learned)
        ((first, _), slope), given = jax.lax.scan(
            one, carry, ((moved, kept), trail, rates, precise), length=shape[0], reverse=True
        )
        given = jax.tree.map(lambda leaf, like: leaf.reshape(like.shape), given, moved)
        return slope, first, given, None

    growth.defvjp(growth_forward, growth_backward)
    moved, kept = parts
    rest = constant, fixed, kept, frame, counted, precise
    total, vector, fixed = growth(learned, vector, moved, rest)
    return total, tangent.combine(rebuild(vector), fixed)


def _factor(
    rows: Float[Array, "k n"], precisely: Bool[Array, ""]
) -> tuple[Float[Array, "k n"], Float[Array, "k k"]]:
    """Factor `rows = lower @ basis`, exactly but with a basis that is only nearly orthonormal.

    One pass of Cholesky QR, where it holds and no precision is asked for. What one basis lacks
    in orthogonality is part of the next factor, so that products of factors are those of a
    QR decomposition as soon as the last basis is orthonormal.
    """
    if len(rows) <= _FEW:
        return orthonormalize(rows)
    gram = _dot(rows, rows.T)
    lower = jnp.linalg.cholesky(gram, symmetrize_input=False)
    # Rounding of a square of the diagonal over that square.
    lost = len(rows) * jnp.finfo(rows.dtype).eps * jnp.diagonal(gram) / jnp.diagonal(lower) ** 2
    again = precisely | ~(jnp.max(lost) < _LOST)
    basis, lower, _ = _repair(rows, solve_lower(lower, rows), lower, again)
    return basis, lower


@jax.custom_batching.custom_vmap
def _repair(rows: Array, basis: Array, lower: Array, again: Array) -> tuple[Array, Array, Array]:
    """Replace the factors by those of Householder's method where `again` says so."""

    def repeat(carry: tuple) -> tuple:
        # Whatever does not depend on the carry is moved out of the loop, and then always paid for.
        factors = orthonormalize(jnp.where(carry[2], rows, 0), "householder")
        return *factors, jnp.zeros_like(again)

    return jax.lax.while_loop(lambda carry: carry[2], repeat, (basis, lower, again))


@_repair.def_vmap
def _repair_batch(size: int, batched: list, *given: Array) -> tuple[tuple, tuple]:
    """Go through a batch one by one, if any of it needs it, so that only those pay that do."""
    rows, *factors = (
        value if along else jnp.broadcast_to(value, (size, *value.shape))
        for value, along in zip(given, batched, strict=True)
    )

    def repeat(carry: tuple) -> tuple:
        return jax.lax.map(lambda one: _repair(*one), (rows, *carry))

    done = jax.lax.while_loop(lambda carry: jnp.any(carry[2]), repeat, tuple(factors))
    return done, (True, True, True)


def _solve_upper(upper: Float[Array, "k k"], right: Float[Array, "k n"]) -> Float[Array, "k n"]:
    """Solve with an upper triangle: a lower one, read from its end."""
    return solve_lower(upper[::-1, ::-1], right[::-1])[::-1]
