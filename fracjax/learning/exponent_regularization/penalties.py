"""Differentiable penalties on the exponents of any step, and on the spread of copies.

    def loss(params):
        found = exponent_penalty(lambda x: step(params, x), state, num_steps=200, key=key)
        return task(params) + 0.1 * found.value

The step may be a closed loop, a recurrent cell, a latent world model. One function serves the
exponent regularisation of control and gradient flossing of recurrent networks.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax import tangent, tree
from fracjax._types import Key, Leaf, PyTree, Status
from fracjax.estimators.chaos.frames import advance_frame
from fracjax.estimators.settings import check_at_least, check_choice, check_num_coordinates
from fracjax.tangent import Coordinates, Lift

__all__ = ["ExponentPenalty", "exponent_penalty", "penalize_growth", "spread_penalty"]

Reduce = Literal["sum", "mean"]
Statistic = Literal["variance", "deviation"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ExponentPenalty:
    """A penalty and the exponents that it was computed from.

    Attributes:
        value: The penalty, a scalar: differentiate this.
        exponents: Finite-time exponents, (k,), in nats per step; differentiable too.
        steps: Steps that were averaged, fewer than asked for where an episode terminated.
        status: Per exponent: `NONFINITE_TANGENT` where the tangent vanished (−inf) or
            overflowed (NaN), `DIVERGED` where the state did, `TOO_FEW_POINTS` (NaN, penalty 0)
            where no step was counted.
        state: State after the last step, from which a later window can go on.
    """

    value: Leaf
    exponents: Leaf
    steps: Leaf
    status: Leaf
    state: PyTree


def exponent_penalty(
    step: Callable[..., PyTree],
    state: PyTree,
    *,
    num_steps: int,
    num_exponents: int = 1,
    target: float | Float[Array, "*k"] = 0.0,
    one_sided: bool = True,
    reduce: Reduce = "sum",
    num_transient: int = 0,
    renormalize_every: int = 1,
    key: Key,
    coordinates: Coordinates | None = None,
    lift: Lift | None = None,
    alive: Callable[[PyTree], Bool[Array, ""]] | None = None,
    inputs: PyTree | None = None,
    through_state: bool = True,
    checkpoint_every: int | None = None,
) -> ExponentPenalty:
    """Penalise the leading finite-time exponents of a step for exceeding a target.

        λ_i = (1/steps) Σ ln R_ii,      penalty = Σ_i max(λ_i − target_i, 0)²

    with R_ii the growth of a frame of tangents that is pushed along the orbit and made
    orthonormal again every `renormalize_every` steps. With `one_sided=False` the penalty is
    Σ_i (λ_i − target_i)², which at target 0 is the loss of gradient flossing.

    Differentiable in reverse and forward mode, with respect to whatever `step` closes over, the
    state and the inputs. Derivatives through the orthonormalisation have no terms in 1/(λ_i −
    λ_j), so that near-equal exponents do no harm. The gradient along a chaotic orbit grows as
    e^{λ · num_steps}, because it holds the sensitivity of the orbit itself: keep
    λ · num_steps to a few units and average over many states (`jax.vmap`), or leave the orbit's
    sensitivity out with `through_state=False`.

    A finite-time exponent is not the asymptotic one. Over T steps a direction without
    exponential growth reads up to ln(T)/T, and a random first frame lowers the exponent by a
    term in 1/T: use `num_transient`. For a report use `closed_loop_exponents` or
    `lyapunov_spectrum`, which have intervals: this number has none.

    Args:
        step: One step, `state -> state`, or `(state, input) -> state` with `inputs`.
        state: Initial state, any pytree, not batched.
        num_steps: Steps averaged over, a multiple of `renormalize_every`.
        num_exponents: How many leading exponents.
        target: Number, or one per exponent, in nats per step.
        one_sided: Whether only exponents above the target are penalised.
        reduce: `"sum"` over exponents, or their `"mean"` (the flossing code's choice).
        num_transient: Steps made first, with the frame, not counted: also a multiple.
        renormalize_every: Steps between orthonormalisations.
        key: Draws the first frame; a fixed key makes the penalty a deterministic function.
        coordinates: Maps a state to the vector in which tangents are measured; by default all
            floating leaves.
        lift: State from coordinates and a template, see `tangent.random_frame`.
        alive: Whether a state has not terminated. State and frame stay what they were at the
            end of an episode, and the steps after it do not count.
        inputs: Pytree with a leading axis of `num_transient + num_steps`, one slice per step.
        through_state: Whether the gradient holds the sensitivity of the orbit. Without it the
            gradient is that of the growth along a given orbit: it is biased, and does not hold
            the product of all derivatives.
        checkpoint_every: Windows (of `renormalize_every` steps) between states that reverse mode
            stores; the rest is computed twice. It divides the number of windows. By default
            everything is stored, O(steps) copies of what a step computes.

    Returns:
        Penalty, exponents, and what they were computed from. A tangent that vanished exactly
        counts nothing in a one-sided penalty, and makes a two-sided one infinite.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Engelken (2023), Gradient flossing, https://arxiv.org/abs/2312.17306;
        Young and Pugeault (2024), https://arxiv.org/abs/2410.10674, whose own penalty is
        `spread_penalty`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fracjax import learning
        >>> def penalty(rate):  # of the logistic map
        ...     step = lambda x: rate * x * (1 - x)
        ...     key = jax.random.key(0)
        ...     return learning.exponent_penalty(step, jnp.array(0.3), num_steps=20, key=key).value
        >>> bool(penalty(3.9) > 0), bool(penalty(3.2) == 0)  # chaotic; of period two
        (True, True)
    """
    count = check_num_coordinates("num_exponents", num_exponents, state, coordinates)
    _check(num_steps, num_transient, renormalize_every, checkpoint_every, reduce, inputs)
    state = tangent.combine(*tangent.partition(state))
    frame = tangent.random_frame(key, state, count, coordinates, lift)
    windows = (num_transient + num_steps) // renormalize_every
    every = checkpoint_every or windows
    skipped = num_transient // renormalize_every

    def one(carry: tuple, given: PyTree) -> tuple[tuple, Array]:
        state, frame, living = carry
        state = state if through_state else jax.lax.stop_gradient(state)

        def advance(at: PyTree) -> PyTree:
            return step(at) if inputs is None else step(at, given)

        moved, pushed = tangent.push(advance, state, frame)
        if alive is None:
            return (moved, pushed, living), living
        # A finished episode rests: nothing that happens later reaches a gradient.
        state, frame = tree.select(living, (moved, pushed), (state, frame))
        return (state, frame, living & alive(state)), living

    def window(carry: tuple, part: PyTree) -> tuple[tuple, tuple[Array, Array]]:
        carry, counted = jax.lax.scan(one, carry, part, length=renormalize_every)
        state, frame, living = carry
        state, frame, lower = advance_frame(_stay, state, frame, coordinates, num_steps=0)
        diagonal = jnp.diagonal(lower)
        kept = diagonal != 0
        growth = jnp.where(kept, jnp.log(jnp.where(kept, diagonal, 1)), -jnp.inf)
        return (state, frame, living), (growth, counted.sum())

    def segment(carry: tuple, part: PyTree) -> tuple[tuple, tuple[Array, Array]]:
        return jax.lax.scan(window, carry, part, length=every)

    living = jnp.asarray(True if alive is None else alive(state))
    shape = (windows // every, every, renormalize_every)
    parts = jax.tree.map(lambda leaf: leaf.reshape((*shape, *leaf.shape[1:])), inputs)
    carry = state, frame, living
    if every == windows:
        carry, record = segment(carry, jax.tree.map(lambda leaf: leaf[0], parts))
    else:
        body = jax.checkpoint(segment, prevent_cse=False)
        carry, record = jax.lax.scan(body, carry, parts, length=shape[0])
    state, (growth, counted) = carry[0], record
    growth = growth.reshape(windows, count)[skipped:]
    counted = counted.reshape(windows)[skipped:]
    return penalize_growth(state, growth, counted, target, one_sided, reduce, coordinates)


def spread_penalty(
    trajectories: PyTree,
    *,
    statistic: Statistic = "variance",
    over_components: Reduce = "sum",
) -> Float[Array, ""]:
    """Penalise copies of one trajectory for drifting apart: the regulariser of the paper.

        L = Σ_t [Var_L(S_t) + Var_L(H_t)],

    the variance over L copies that start from one latent state and differ by the draws of a
    stochastic model, of decoded states S and recurrent states H. It measures the size of the
    spread and not the rate at which it grows: noise that is merely large is penalised, chaos
    without noise is not seen at all. `exponent_penalty` is the exponent itself.

    The paper's equation has the variance, summed over time, and weight 1. Its code takes the
    standard deviation and averages it over components: `statistic="deviation"` and
    `over_components="mean"`.

    Args:
        trajectories: Pytree of arrays (copies, time, components...), such as
            `{"decoded": S, "recurrent": H}`; every leaf adds its own term.
        statistic: `"variance"`, unbiased, or its root, the standard `"deviation"`, per component.
        over_components: Whether components are summed or averaged.

    Returns:
        The penalty, summed over time and leaves. Where copies coincide exactly the deviation
        has no derivative; it is taken as 0.

    Raises:
        ValueError: If there are fewer than two copies, or an option is unknown.

    References:
        Young and Pugeault (2024), https://arxiv.org/abs/2410.10674, and their code.
    """
    check_choice("statistic", statistic, get_args(Statistic))
    check_choice("over_components", over_components, get_args(Reduce))

    def of_leaf(leaf: Array) -> Array:
        if leaf.ndim < 2 or leaf.shape[0] < 2:
            msg = (
                "Argument `trajectories` must hold arrays (copies, time, ...) of at least two"
                f" copies, but one has shape {leaf.shape}."
            )
            raise ValueError(msg)
        spread = jnp.var(leaf, axis=0, ddof=1).reshape(leaf.shape[1], -1)
        if statistic == "deviation":
            apart = spread > 0
            spread = jnp.where(apart, jnp.sqrt(jnp.where(apart, spread, 1)), 0)
        joined = spread.sum(axis=1) if over_components == "sum" else spread.mean(axis=1)
        return joined.sum()

    leaves = [of_leaf(jnp.asarray(leaf)) for leaf in jax.tree.leaves(trajectories)]
    if not leaves:
        msg = "Argument `trajectories` must hold an array, but is empty."
        raise ValueError(msg)
    return jnp.sum(jnp.stack(leaves))


def _stay(state: PyTree) -> PyTree:
    return state


def penalize_growth(
    state: PyTree,
    growth: Float[Array, "windows k"],
    counted: Array,
    target: float | Array,
    one_sided: bool,
    reduce: Reduce,
    coordinates: Coordinates | None = None,
) -> ExponentPenalty:
    """Average the growth and square what exceeds the target: the last lines of `exponent_penalty`.

    Args:
        state: Last state.
        growth: Logarithmic growth of each tangent in each window, −inf where it vanished.
        counted: Steps that count in each window.
        target: See `exponent_penalty`, as are the others.
        one_sided: Whether only what exceeds the target counts.
        reduce: `"sum"` or `"mean"`.
        coordinates: What of the state must be finite.
    """
    used = counted > 0
    steps = counted.sum()
    total = jnp.where(used[:, None], growth, 0).sum(axis=0)
    exponents = total / jnp.maximum(steps, 1).astype(growth.dtype)
    gap = exponents - jnp.asarray(target, growth.dtype)
    none = steps == 0
    squares = jnp.where(none, 0, (jnp.maximum(gap, 0) if one_sided else gap) ** 2)
    watched = tangent.partition(state)[0] if coordinates is None else coordinates(state)
    status = jnp.where(jnp.isfinite(exponents), Status.OK, Status.NONFINITE_TANGENT)
    status = jnp.where(tree.all_finite(watched), status, Status.DIVERGED)
    return ExponentPenalty(
        value=squares.sum() if reduce == "sum" else squares.mean(),
        exponents=jnp.where(none, jnp.nan, exponents),
        steps=steps,
        status=jnp.where(none, Status.TOO_FEW_POINTS, status),
        state=state,
    )


def _check(
    num_steps: int,
    num_transient: int,
    renormalize_every: int,
    checkpoint_every: int | None,
    reduce: str,
    inputs: PyTree | None,
) -> None:
    check_at_least(
        num_steps=(num_steps, 1),
        num_transient=(num_transient, 0),
        renormalize_every=(renormalize_every, 1),
        checkpoint_every=(checkpoint_every, 1),
    )
    check_choice("reduce", reduce, get_args(Reduce))
    for name, steps in (("num_steps", num_steps), ("num_transient", num_transient)):
        if steps % renormalize_every:
            msg = (
                f"Argument `{name}` must be a multiple of `renormalize_every` ="
                f" {renormalize_every}, but is {steps}."
            )
            raise ValueError(msg)
    total = num_transient + num_steps
    windows = total // renormalize_every
    if checkpoint_every is not None and windows % checkpoint_every:
        msg = (
            f"Argument `checkpoint_every` must divide {windows}, the number of windows,"
            f" but is {checkpoint_every}."
        )
        raise ValueError(msg)
    lengths = {len(leaf) for leaf in jax.tree.leaves(inputs)}
    if lengths - {total}:
        msg = f"Argument `inputs` must have {total} slices, but has {sorted(lengths)}."
        raise ValueError(msg)
