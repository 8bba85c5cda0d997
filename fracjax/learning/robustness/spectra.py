"""Lyapunov exponents of closed loops: of the state and of the reward, for many policies.

    measure = closed_loop_exponents(environment, policy)
    states = initial_states(environment, key, 20)
    found = measure(policy.params, states, key)              # one policy
    table = map_points(measure, many_params, states, key, chunk_size=8)

Policies, initial states and perturbations are three batch axes of one program.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax._types import Estimate, Key, Leaf, PyTree, Status
from fracjax.estimators.chaos.ensembles import ensemble_exponent, reward_exponent
from fracjax.estimators.chaos.finite_time import finite_time_growth
from fracjax.estimators.settings import check_at_least
from fracjax.learning.robustness.finite_perturbations import Frame, perturbed_growth
from fracjax.learning.robustness.regimes import classify, neutral_growth
from fracjax.learning.robustness.reward_ratios import Elapsed, reward_ratio_exponent
from fracjax.rl.environment import Environment
from fracjax.rl.rollouts import Actor, lift_tracked, track, tracked_loop

__all__ = ["ClosedLoopExponents", "Method", "Unit", "closed_loop_exponents"]

Method = Literal["tangents", "perturbations"]
Unit = Literal["step", "second"]
_CURVATURE = 100.0  # times the size: share of the leading growth that trailing ones may hold
_ROUNDING = 10.0  # roundings that a displacement must keep
_Measure: TypeAlias = Callable[[PyTree, PyTree, Key], "ClosedLoopExponents"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClosedLoopExponents:
    """Exponents of one closed loop.

    Attributes:
        largest: The first exponent.
        spectrum: All exponents that were measured, in the order of the factorisation.
        total: Their sum, the growth rate of volume when all were measured.
        reward: Exponent of the reward sequence.
        regime: Code of `Regime`; read with the sum only when all exponents were measured.
        control: Largest distance that a copy displaced by nothing reached within a period;
            NaN for tangents, which have no such floor.
        rounding: Largest rounding unit of the coordinates over the size of the perturbations;
            NaN for tangents.
        steps: Mean number of steps that counted, over initial states.
    """

    largest: Estimate
    spectrum: Estimate
    total: Estimate
    reward: Estimate
    regime: Leaf
    control: Leaf
    rounding: Leaf
    steps: Leaf


def closed_loop_exponents(
    environment: Environment,
    policy: Actor,
    *,
    method: Method = "tangents",
    num_steps: int = 1000,
    num_exponents: int | None = None,
    num_transient: int = 0,
    unit: Unit = "step",
    size: float | Float[Array, ""] = 1e-4,
    renormalize_every: int = 10,
    initial: Frame = "orthant",
    elapsed: Elapsed = "interval",
) -> _Measure:
    """Make `(params, states, key) -> ClosedLoopExponents` of a deterministic policy.

    `"tangents"` differentiates the step in forward mode: exact growth, no distance to choose.
    `"perturbations"` is the recipe of Young and Pugeault for simulators without derivatives,
    with their values as defaults. A finite distance d hides trailing exponents: one that lags
    by more than ln(1/(100 d))/T - max(λ_1, 0) behind the first (T the steps of a period; .46 per
    step at the defaults, less where the first is positive) reads too high, and the sum with it.
    Both then have status `AT_NOISE_FLOOR`: upper bounds, from which no regime is inferred but
    the one that an upper bound allows. On the Hénon map the defaults give -.33 for an exponent
    of -1.62 and a sum of +.09 for -1.20, which turns a chaotic attractor into an unstable loop;
    with `renormalize_every=1` all is right to 1e-6. DM Control's cheetah without action has a
    sum of -17 per step by tangents and of -6 by the defaults. Exponents below ln(10 u/d)/T, u
    the rounding unit of the coordinates, get the same status; if the first does, so does the
    reward's, and the regime is undecided.

    Exponents are means over initial states of growth over time alive, with Student intervals
    between states: they are the numbers of a set of episodes of `num_steps`, transient
    included, not asymptotic exponents. A direction without exponential growth reads up to
    ln(T)/T (`neutral_growth`), which is the tolerance of the regime.

    The reward's exponent is the slope of ln|dr_t| over time (`reward_exponent`) for tangents,
    and the ratio of reward differences within a period (`reward_ratio_exponent`) for
    perturbations (`TOO_FEW_POINTS` with periods of one step); both follow the leading direction
    and agree where the reward sees it.

    Lengths mix the units of the coordinates (m, rad, m/s) as the paper's do. Exponents of long
    orbits do not depend on that, those of short ones do.

    Args:
        environment: The simulator.
        policy: Acts without noise.
        method: `"tangents"` or `"perturbations"`.
        num_steps: Steps per initial state; the paper's 1000 (its code makes 990).
        num_exponents: How many; by default all coordinates of the environment.
        num_transient: Steps made first and not counted; the paper's none.
        unit: Nats per control `"step"`, the paper's, or per `"second"`.
        size: Distance of perturbed copies; ignored by tangents, as are the rest.
        renormalize_every: Steps between orthonormalisations of perturbed copies.
        initial: First frame of perturbed copies.
        elapsed: How the reward's ratio counts time, see `reward_ratio_exponent`.

    Returns:
        A function of parameters, stacked initial states (`initial_states`; the paper takes 20)
        and a key that draws the frames; state i uses `fold_in(key, i)`, so that policies share
        them. It may be vmapped over parameters, or mapped by `evaluation.map_points`.

    Raises:
        ValueError: If a setting is out of range, or perturbations are asked for in an
            environment that cannot be set to given coordinates.

    References:
        Young and Pugeault (2024), https://arxiv.org/abs/2410.10674.
    """
    for name, value, choices in (
        ("method", method, get_args(Method)),
        ("unit", unit, get_args(Unit)),
    ):
        if value not in choices:
            msg = f"Argument `{name}` must be one of {choices}, but is {value!r}."
            raise ValueError(msg)
    check_at_least(num_steps=(num_steps, 2), num_exponents=(num_exponents, 1))
    lift = lift_tracked(environment)
    if method == "perturbations" and lift is None:
        msg = (
            "Argument `method` must be 'tangents' here, but is 'perturbations', and"
            f" `{environment.name}` offers no `from_coordinates`."
        )
        raise ValueError(msg)
    dt = environment.dt if unit == "second" else 1.0
    count = environment.state_size if num_exponents is None else num_exponents
    shared: dict[str, Any] = {
        "num_steps": num_steps,
        "num_transient": num_transient,
        "coordinates": lambda tracked: environment.coordinates(tracked.state),
        "lift": lift,
        "alive": lambda tracked: tracked.alive,
        "observable": lambda tracked: tracked.reward,
    }

    def measure(params: PyTree, states: PyTree, key: Key) -> ClosedLoopExponents:
        step = tracked_loop(environment, policy, params)

        def of_state(state: PyTree, index: Array) -> Any:
            settings = {**shared, "key": jax.random.fold_in(key, index)}
            if method == "tangents":
                return finite_time_growth(step, track(state), num_exponents=count, **settings)
            return perturbed_growth(
                step,
                track(state),
                num_perturbations=count,
                size=size,
                renormalize_every=renormalize_every,
                initial=initial,
                **settings,
            )

        indices = jnp.arange(len(jax.tree.leaves(states)[0]))
        record = jax.vmap(of_state)(states, indices)
        if method == "tangents":
            steps_per_row = 1
            reward = reward_exponent(
                record.growth[..., 0], record.log_projection, dt=dt, alive=record.alive
            )
            control = rounding = jnp.full((), jnp.nan, record.growth.dtype)
        else:
            steps_per_row = renormalize_every
            gaps = record.observable_gap
            if renormalize_every == 1:  # one reward per period has no ratio
                gaps = jnp.full_like(gaps, jnp.nan, shape=(*gaps.shape[:2], 2))
            reward = reward_ratio_exponent(gaps, dt=dt, alive=record.alive, elapsed=elapsed)
            control, rounding = (
                jnp.max(jnp.where(record.alive, length, 0))
                for length in (record.control, record.resolution)
            )
            rounding = rounding / size
        complete = count == environment.state_size
        tolerance = neutral_growth(num_steps, dt)
        spectrum, total = _summarise(record.growth, record.alive, steps_per_row * dt)
        if method == "perturbations":
            hidden = _hidden(spectrum.value, size, rounding, renormalize_every * dt)
            spectrum, total = _mark(spectrum, hidden), _mark(total, hidden.any())
            reward = _mark(reward, hidden[0])
        largest = jax.tree.map(lambda leaf: leaf[0], spectrum)
        unknown = jnp.full_like(total.value, jnp.nan)
        volume = total if complete else dataclasses.replace(total, low=unknown, high=unknown)
        return ClosedLoopExponents(
            largest=largest,
            spectrum=spectrum,
            total=total,
            reward=reward,
            regime=classify(largest, volume, tolerance=tolerance),
            control=control,
            rounding=rounding,
            steps=record.alive.sum(axis=1).mean() * steps_per_row,
        )

    return measure


def _summarise(
    growth: Float[Array, "states rows k"], alive: Bool[Array, "states rows"], dt: float
) -> tuple[Estimate, Estimate]:
    """Average every column, and their sum, over the ensemble."""
    table = jnp.concatenate([growth, growth.sum(axis=2, keepdims=True)], axis=2)
    columns = jnp.moveaxis(table, 2, 0)
    every = jax.vmap(lambda column: ensemble_exponent(column, dt=dt, alive=alive))(columns)
    return jax.tree.map(lambda leaf: leaf[:-1], every), jax.tree.map(lambda leaf: leaf[-1], every)


def _hidden(
    value: Float[Array, " k"],
    size: float | Float[Array, ""],
    rounding: Float[Array, ""],
    period: float,
) -> Bool[Array, " k"]:
    """Find exponents in whose place curvature or rounding may stand."""
    # Curvature acts on the leading displacement, which has grown by then.
    lag = -jnp.log(_CURVATURE * jnp.asarray(size, value.dtype)) / period
    lag = lag - jnp.maximum(value[0], 0)
    lowest = jnp.log(_ROUNDING * rounding) / period
    return (value[0] - value > lag) | (value < lowest)


def _mark(estimate: Estimate, hidden: Bool[Array, "*k"]) -> Estimate:
    """Give hidden exponents their status."""
    marked = hidden & (estimate.status == Status.OK)
    status = jnp.where(marked, Status.AT_NOISE_FLOOR, estimate.status)
    return dataclasses.replace(estimate, status=status)
