"""Remedies on chaotic closed loops: random policies on a damped double pendulum.

Policies are chosen for their exponents, the most chaotic of many, from initial states other than
the one that returns start from. What is measured of them afterwards is not selected.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Estimate, Key, PyTree, Status
from fracjax.estimators.chaos.finite_time import finite_time_growth
from fracjax.estimators.roughness.holder import holder_exponent
from fracjax.evaluation import map_points
from fracjax.learning.exponent_regularization.parameter_smoothing import smoothed_objective
from fracjax.learning.exponent_regularization.runs import train_policies
from fracjax.learning.exponent_regularization.short_horizon import TrainingSettings
from fracjax.reproduce.experiments import Size
from fracjax.reproduce.fractal_rows import about, exactly, mean_and_error
from fracjax.reproduce.rows import Findings, describe
from fracjax.rl import classic, policies
from fracjax.rl.environment import Environment
from fracjax.rl.policies import Policy
from fracjax.rl.rollouts import closed_loop, discounted_returns, initial_states
from fracjax.rl.wrappers import smoothed_actions

__all__ = ["PARTS"]

_SYSTEM = "double pendulum, damping 0.3"
_DISCOUNTS = (0.9, 0.95, 0.98, 0.99)
_STEPS = 1000
_GAIN = 2.0
_LARGEST = 3e-3
_SMALLEST = 1e-7
_ROUGH = 0.6  # predicted exponents up to here are far from what a finite window rounds off

_CLEAR = 1.2  # predicted exponents up to here rise visibly: second differences saturate at 2


@dataclasses.dataclass(frozen=True)
class _Effort:
    """How much to compute: candidates, policies, lines, samples of gradients, updates."""

    candidates: int
    policies: int
    lines: int
    pairs: int
    groups: int
    updates: int


_EFFORTS: dict[Size, _Effort] = {
    "quick": _Effort(16, 3, 8, 16, 8, 150),
    "default": _Effort(48, 8, 16, 32, 16, 200),
    "full": _Effort(256, 32, 32, 64, 32, 400),
}


def _environment() -> Environment:
    return classic.double_pendulum(substeps=2, damping=0.3, dtype="float64")


def _policy() -> Policy:
    return policies.initialize(jax.random.key(0), 6, 2, hidden=(16,), head="deterministic")


def _growth(environment: Environment, num_starts: int = 4) -> Callable[[PyTree, Key], Array]:
    """Make (params, key) -> growth per step of the leading tangent, (starts, steps)."""
    policy = _policy()

    def growth(params: PyTree, key: Key) -> Array:
        def of_state(state: PyTree) -> Array:
            found = finite_time_growth(
                closed_loop(environment, policy, params),
                state,
                num_steps=_STEPS,
                coordinates=environment.coordinates,
                lift=environment.from_coordinates,
            )
            return jnp.asarray(found.growth)[:, 0]

        return jax.vmap(of_state)(initial_states(environment, key, num_starts))

    return growth


def _chaotic(key: Key, effort: _Effort) -> PyTree:
    """Draw random policies and keep the most chaotic."""
    weights, starts = jax.random.split(jax.random.fold_in(key, 0))
    params = jax.vmap(_policy().network.init)(jax.random.split(weights, effort.candidates))
    params = tree.scale(_GAIN, tree.astype(params, "float64"))
    growth = map_points(_growth(_environment()), params, starts, chunk_size=8)
    order = np.argsort(-growth.mean(axis=(1, 2)))[: effort.policies]
    return jax.tree.map(lambda leaf: leaf[order], params)


def _returns(environment: Environment, key: Key, *, horizon: int = _STEPS) -> Callable:
    """Make `objective(params, key)`: one return per discount, from one start."""
    state = initial_states(environment, jax.random.fold_in(key, 1), 1)
    returns = discounted_returns(
        environment, _policy(), horizon=horizon, discounts=(*_DISCOUNTS, 1.0)
    )
    return lambda params, noise: returns(params, state, noise)


def _each(params: PyTree) -> list[PyTree]:
    count = len(jax.tree.leaves(params)[0])
    return [jax.tree.map(lambda leaf, index=index: leaf[index], params) for index in range(count)]


def _exponents(objective: Callable, params: PyTree, key: Key, effort: _Effort) -> np.ndarray:
    """Hölder exponents (policies, outputs); NaN where the status is not OK."""
    found = []
    for index, one in enumerate(_each(params)):
        estimate = holder_exponent(
            objective,
            one,
            jax.random.fold_in(key, index),
            largest_scale=_LARGEST,
            smallest_scale=_SMALLEST,
            num_directions=effort.lines,
            measure_noise=False,
            chunk_size=64,
            max_order=2,
        )
        found.append(_usable(estimate))
    return np.array(found)


def _usable(estimate: Estimate) -> np.ndarray:
    good = np.isin(np.asarray(estimate.status), (Status.OK, Status.NOT_CONVERGED))
    return np.where(good, np.asarray(estimate.value, float), np.nan)


def _rates(environment: Environment, params: PyTree, key: Key) -> np.ndarray:
    """Mean exponents over the orbits that the return sees, nats per step."""
    growth = map_points(_growth(environment), params, key, chunk_size=8)
    return np.asarray(growth).mean(axis=(1, 2))


def _laws(rates: np.ndarray, discounts: Sequence[float]) -> np.ndarray:
    """Predict exponents (policies, discounts), capped at the 2 that second differences see."""
    law = -np.log(np.asarray(discounts)) / np.maximum(np.asarray(rates)[:, None], 1e-9)
    return np.minimum(2.0, law)


def _signal(
    objective: Callable, params: PyTree, key: Key, effort: _Effort, sigma: float
) -> np.ndarray:
    """Share of a sampled gradient that is signal, relative to a linear objective's, per output.

    From groups of antithetic pairs at the scale σ: the mean product of gradients from different
    groups over the mean square of one. A linear objective of n parameters has M/(M + n + 1) with M
    pairs, by which it is divided. 1: as clear as a slope. 0: no direction.
    """
    size = tree.size(params)
    table = jax.vmap(lambda k: tree.random_normal(k, params))(
        jax.random.split(key, effort.groups * effort.pairs)
    )

    def difference(direction: PyTree, centre: PyTree) -> Array:
        above = objective(tree.add_scaled(centre, sigma, direction), key)
        below = objective(tree.add_scaled(centre, -sigma, direction), key)
        return (above - below) / (2 * sigma)

    slopes = np.asarray(map_points(difference, table, params, chunk_size=64))
    flat = np.concatenate(
        [np.asarray(leaf).reshape(len(slopes), -1) for leaf in jax.tree.leaves(table)], axis=1
    )
    shares = []
    for output in range(slopes.shape[1]):
        gradients = (slopes[:, output, None] * flat).reshape(effort.groups, effort.pairs, -1)
        each = gradients.mean(axis=1)
        squares = np.sum(each**2, axis=1).mean()
        total = np.sum(each.sum(axis=0) ** 2)
        products = (total - effort.groups * squares) / (effort.groups * (effort.groups - 1))
        shares.append(products / squares * (effort.pairs + size + 1) / effort.pairs)
    return np.array(shares)


def _signals(objective: Callable, params: PyTree, key: Key, effort: _Effort) -> np.ndarray:
    return np.array(
        [
            _signal(objective, one, jax.random.fold_in(key, index), effort, 1e-3)
            for index, one in enumerate(_each(params))
        ]
    )


def _mean(values: np.ndarray) -> tuple[float, float]:
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    return mean_and_error(values) if len(values) > 1 else (math.nan, math.nan)


def _discount(key: Key, size: Size) -> Findings:
    """Lower γ: α = −ln γ/λ rises, the loop stays as chaotic."""
    effort = _EFFORTS[size]
    params, environment = _chaotic(key, effort), _environment()
    objective = _returns(environment, key)
    line, again, orbit = (jax.random.fold_in(key, number) for number in (2, 3, 1))
    measured = _exponents(objective, params, line, effort)[:, :-1]
    rates = _rates(environment, params, orbit)
    law = _laws(rates, _DISCOUNTS)
    signals = _signals(objective, params, again, effort)
    rows = [describe(_SYSTEM, "λ of the policies, nats per step", _mean(rates))]
    for index, discount in enumerate(_DISCOUNTS):
        rows.append(describe(_SYSTEM, f"α, γ={discount:g}", _mean(measured[:, index])))
        rows.append(describe(_SYSTEM, f"α predicted, γ={discount:g}", _mean(law[:, index])))
        rows.append(
            describe(_SYSTEM, f"signal in the gradient, γ={discount:g}", _mean(signals[:, index]))
        )
        rough = law[:, index] < _ROUGH
        if rough.sum() > 1:
            gap = np.log(measured[rough, index] / law[rough, index])
            name = f"ln(α / law by the mean exponent), γ={discount:g}"
            rows.append(about(_SYSTEM, name, _mean(gap), 0.0, 0.5, "law: -ln γ/λ"))
    falls = np.diff(measured, axis=1) < 0
    known = np.isfinite(np.diff(measured, axis=1)) & (law[:, :-1] < _CLEAR)
    rows.append(
        exactly(
            _SYSTEM,
            f"times that α rises at the next lower γ, where predicted below {_CLEAR:g}",
            int((falls & known).sum()),
            int(known.sum()),
            "law: -ln γ/λ",
        )
    )
    fresh = _exponents(objective, params, again, effort)[:, :-1]
    rows.append(
        about(
            _SYSTEM,
            "placebo: change of α at γ=0.99 on fresh lines",
            _mean(fresh[:, -1] - measured[:, -1]),
            0.0,
            0.05,
            "nothing changed",
        )
    )
    for discount in _DISCOUNTS:
        memory = environment.dt / (1 - discount)
        rows.append(describe(_SYSTEM, f"cost: seconds that count, γ={discount:g}", (memory, 0.0)))
    labels = [f"γ = {discount:g}" for discount in _DISCOUNTS[::-1]]
    pairs = (labels, measured[:, ::-1], law[:, ::-1])
    slices = _slices(objective, params, line, labels, [3, 2, 1, 0])
    return Findings(rows, {"remedy_discount": functools.partial(_draw, pairs, slices)})


def _smoothing(key: Key, size: Size) -> Findings:
    """Smooth the actions: the loop changes, and with it λ, α and the return."""
    effort = _EFFORTS[size]
    params, plain = _chaotic(key, effort), _environment()
    line, orbit, noise = (jax.random.fold_in(key, number) for number in (2, 1, 3))
    rows, alphas, laws = [], [], []
    slices: dict[str, np.ndarray] = {}
    before, chosen = None, 2
    labels = []
    for share in (1.0, 0.5, 0.2, 0.1):
        environment = smoothed_actions(plain, share)
        objective = _returns(environment, key)
        values = np.array([np.asarray(jax.jit(objective)(one, key)) for one in _each(params)])
        rates = _rates(environment, params, orbit)
        alpha = _exponents(objective, params, line, effort)[:, chosen]
        signal = _signals(objective, params, noise, effort)[:, chosen]
        law = _laws(rates, _DISCOUNTS[chosen : chosen + 1])[:, 0]
        name = f"c={share:g}"
        if before is None:
            before = values, rates
            same = jax.jit(_returns(plain, key))
            gap = max(
                float(np.abs(np.asarray(same(one, key))[0] - row[0]))
                for one, row in zip(_each(params), values, strict=True)
            )
            rows.append(
                about(
                    _SYSTEM,
                    "placebo: largest change of the return at γ=0.9 with c=1",
                    (gap, 0.0),
                    0.0,
                    1e-6,
                    "nothing filtered",
                )
            )
        rows += [
            describe(_SYSTEM, f"λ, actions smoothed with {name}", _mean(rates)),
            describe(_SYSTEM, f"change of λ, {name}", _mean(rates - before[1])),
            describe(_SYSTEM, f"α at γ=0.98, {name}", _mean(alpha)),
            describe(_SYSTEM, f"α at γ=0.98 predicted, {name}", _mean(law)),
            describe(_SYSTEM, f"signal in the gradient at γ=0.98, {name}", _mean(signal)),
            describe(
                _SYSTEM,
                f"cost: change of the reward per step, {name}",
                _mean((values - before[0])[:, -1] / _STEPS),
            ),
        ]
        alphas.append(alpha)
        laws.append(law)
        labels.append(name)
        slices |= _slices(objective, params, line, [name], [chosen])
    table, law = np.stack(alphas, axis=1), np.stack(laws, axis=1)
    rough = law < _ROUGH
    rows.append(
        about(
            _SYSTEM,
            "ln(α / law by the mean exponent), smoothed and plain loops together, γ=0.98",
            _mean(np.log(np.where(rough, table / law, np.nan)).ravel()),
            0.0,
            0.5,
            "law: -ln γ/λ",
        )
    )
    pairs = (labels, table, law)
    return Findings(rows, {"remedy_action_smoothing": functools.partial(_draw, pairs, slices)})


def _parameters(key: Key, size: Size) -> Findings:
    """Average over parameters: 1/R of the roughness is left at small steps, and the exponent."""
    effort = _EFFORTS[size]
    count = min({"quick": 2, "default": 4, "full": 16}[size], effort.policies)
    params = jax.tree.map(lambda leaf: leaf[:count], _chaotic(key, effort))
    environment = _environment()
    objective = _returns(environment, key, horizon=300)
    samples, sigma, chosen = 16, 1e-3, 2
    smoothed = smoothed_objective(objective, sigma, samples)
    line = jax.random.fold_in(key, 2)
    steps = sigma * np.array([1e-3, 1e-2, 1e-1, 1.0, 10.0])
    ratios = []
    for index, one in enumerate(_each(params)):
        own = jax.random.fold_in(line, index)
        before = _differences(objective, one, own, steps, effort.lines)[..., chosen]
        after = _differences(smoothed, one, own, steps, effort.lines)[..., chosen]
        ratios.append(after.mean(axis=0) / before.mean(axis=0))
    table = np.log(np.array(ratios))
    rows = []
    for index, step in enumerate(steps):
        name = f"ln share of squared differences left at the step {step / sigma:g} σ, R={samples}"
        found = _mean(table[:, index])
        if index < 2:
            law = "law: 1/R far below σ"
            rows.append(about(_SYSTEM, name, found, -math.log(samples), 1.0, law))
        else:
            rows.append(describe(_SYSTEM, name, found))
    signal = _signals(objective, params, line, effort)[:, chosen]
    rows.append(describe(_SYSTEM, "signal in the gradient at σ, γ=0.98", _mean(signal)))
    values = np.array(
        [
            np.asarray(jax.jit(smoothed)(one, key) - jax.jit(objective)(one, key))
            for one in _each(params)
        ]
    )
    change = _mean(values[:, chosen])
    rows.append(describe(_SYSTEM, "cost: change of the return, γ=0.98, σ=1e-3", change))
    slices = _slices(objective, params, line, ["σ = 0"], [chosen])
    slices |= _slices(smoothed, params, line, [f"σ = {sigma:g}, R = {samples}"], [chosen])
    labels = [f"{step / sigma:g} σ" for step in steps]
    pairs = (labels, np.exp(table), np.full_like(table, 1 / samples))
    draw = functools.partial(_draw, pairs, slices, name="share of squared differences left")
    return Findings(rows, {"remedy_parameter_smoothing_double_pendulum": draw})


def _regularisation(key: Key, size: Size) -> Findings:
    """Train with the exponent penalty: λ falls, α rises as −ln γ/λ says."""
    effort = _EFFORTS[size]
    first, environment = _chaotic(key, effort), _environment()
    settings = TrainingSettings(
        num_updates=effort.updates,
        num_environments=16,
        horizon=24,
        episode_length=240,
        learning_rate=5e-3,
        penalty_steps=48,
        penalty_states=24,
        discount=0.98,
        effort=0.0,
    )
    weights = (0.0, 300.0, 1000.0)
    trained = train_policies(
        environment,
        _policy(),
        first,
        jax.random.fold_in(key, 4),
        weights=weights,
        settings=settings,
    )
    after = {
        f"weight {weight:g}": jax.tree.map(
            lambda leaf, index=index: np.asarray(leaf[index]), trained.params
        )
        for index, weight in enumerate(weights)
    }
    orbit, line = jax.random.fold_in(key, 1), jax.random.fold_in(key, 2)
    objective, chosen = _returns(environment, key), 2
    rows, table, laws, rates, values = [], [], [], [], []
    slices: dict[str, np.ndarray] = {}
    named = {"before": first, **after}
    for name, params in named.items():
        rate = _rates(environment, params, orbit)
        law = _laws(rate, _DISCOUNTS[chosen : chosen + 1])[:, 0]
        alpha = _exponents(objective, params, line, effort)[:, chosen]
        value = np.array([np.asarray(jax.jit(objective)(one, key))[-1] for one in _each(params)])
        signal = _signals(objective, params, line, effort)[:, chosen]
        rows += [
            describe(_SYSTEM, f"λ, {name}", _mean(rate)),
            describe(_SYSTEM, f"α at γ=0.98, {name}", _mean(alpha)),
            describe(_SYSTEM, f"α at γ=0.98 predicted, {name}", _mean(law)),
            describe(_SYSTEM, f"signal in the gradient at γ=0.98, {name}", _mean(signal)),
            describe(_SYSTEM, f"reward per step, {name}", _mean(value / _STEPS)),
        ]
        table.append(alpha)
        laws.append(law)
        rates.append(rate)
        values.append(value)
        slices |= _slices(objective, params, line, [name], [chosen])
    for index, weight in enumerate(weights[1:], 2):
        gap, cost = rates[index] - rates[1], (values[index] - values[1]) / _STEPS
        name = f"weight {weight:g} less weight 0"
        rows.append(describe(_SYSTEM, f"λ, {name}", _mean(gap)))
        rows.append(describe(_SYSTEM, f"cost: reward per step, {name}", _mean(cost)))
    rows.append(
        exactly(
            _SYSTEM,
            f"policies whose λ is lower at weight {weights[-1]:g} than at 0",
            int((rates[-1] < rates[1]).sum()),
            len(rates[1]),
            "what the penalty is for",
        )
    )
    smooth = np.minimum(2.0, np.array(laws)) > _ROUGH
    rough = ~smooth & np.isfinite(np.array(table))
    gaps = np.log(np.array(table)[rough] / np.array(laws)[rough])
    law_name = "ln(α / law by the mean exponent), all policies before and after, γ=0.98"
    rows.append(about(_SYSTEM, law_name, _mean(gaps), 0.0, 0.5, "law: -ln γ/λ"))
    pairs = (list(named), np.stack(table, axis=1), np.stack(laws, axis=1))
    return Findings(rows, {"remedy_regularisation": functools.partial(_draw, pairs, slices)})


def _differences(
    objective: Callable, params: PyTree, key: Key, steps: np.ndarray, lines: int
) -> np.ndarray:
    """Squared second differences along random lines, (lines · 4 centres, steps, outputs)."""

    def squares(index: Array, centre: PyTree) -> Array:
        first, second = jax.random.split(jax.random.fold_in(key, index))
        place = tree.add_scaled(centre, _LARGEST, tree.random_normal(first, centre))
        direction = tree.random_normal(second, centre)

        def value(offset: Array) -> Array:
            return objective(tree.add_scaled(place, offset, direction), key)

        size = jnp.asarray(steps)
        return (jax.vmap(value)(size) - 2 * value(jnp.zeros(())) + jax.vmap(value)(-size)) ** 2

    return np.asarray(map_points(squares, np.arange(4 * lines), params, chunk_size=4))


def _slices(
    objective: Callable, params: PyTree, key: Key, labels: Sequence[str], outputs: Sequence[int]
) -> dict[str, np.ndarray]:
    """Returns along one random line through the first policy."""
    centre = _each(params)[0]
    direction = tree.random_normal(key, centre)

    def value(offset: Array, centre: PyTree, direction: PyTree) -> Array:
        return objective(tree.add_scaled(centre, offset, direction), key)

    table = np.asarray(map_points(value, _OFFSETS, centre, direction, chunk_size=64))
    return {label: table[:, output] for label, output in zip(labels, outputs, strict=True)}


_OFFSETS = np.linspace(-1e-3, 1e-3, 384)


def _draw(pairs: tuple, slices: dict, *, name: str = "Hölder exponent α") -> Any:
    from fracjax.plotting import remedies
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(9.0, 4.2)
        left, right = figure.subplots(1, 2)
        remedies.before_and_after(left, _OFFSETS, slices)
        remedies.exponent_pairs(right, *pairs, name=name)
        if name.startswith("share"):
            right.set_yscale("log")
        else:
            right.axhline(1.0, color="#999999", lw=0.8, ls=":")
        left.set_title("the landscape of one policy")
        right.set_title("all policies")
    return figure


PARTS = {
    "discount": _discount,
    "action smoothing": _smoothing,
    "parameter smoothing, double pendulum": _parameters,
    "regularisation": _regularisation,
}
