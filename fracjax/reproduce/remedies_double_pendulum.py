"""Remedies on chaotic closed loops: discount, smoothed actions and parameters, a penalty.

Every remedy is tried on the same random policies, see `double_pendulum_loops`.
"""

import functools
import math

import jax
import numpy as np

from fracjax._types import Key
from fracjax.learning.exponent_regularization.parameter_smoothing import smoothed_objective
from fracjax.learning.exponent_regularization.runs import train_policies
from fracjax.learning.exponent_regularization.short_horizon import TrainingSettings
from fracjax.reproduce import double_pendulum_loops as loops
from fracjax.reproduce.comparisons import about, exactly, mean_of_finite
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, describe
from fracjax.rl.wrappers import smoothed_actions

__all__ = ["PARTS"]

_SYSTEM = loops.SYSTEM
_CHOSEN = loops.DISCOUNTS.index(0.98)  # where one discount is looked at
_ROUGH = 0.6  # predicted exponents up to here are far from what a finite window rounds off
_CLEAR = 1.2  # predicted exponents up to here rise visibly: second differences saturate at 2


def _discount(key: Key, size: Size) -> Findings:
    """Lower γ: α = −ln γ/λ rises, the loop stays as chaotic."""
    effort = loops.EFFORTS[size]
    params, environment = loops.chaotic_policies(key, effort), loops.make_environment()
    objective = loops.returns(environment, key)
    line, again, orbit = (jax.random.fold_in(key, number) for number in (2, 3, 1))
    measured = loops.holder_exponents(objective, params, line, effort)[:, :-1]
    rates = loops.mean_rates(environment, params, orbit)
    law = loops.predicted_exponents(rates, loops.DISCOUNTS)
    signals = loops.gradient_signals(objective, params, again, effort)
    rows = [describe(_SYSTEM, "λ of the policies, nats per step", mean_of_finite(rates))]
    for index, discount in enumerate(loops.DISCOUNTS):
        rows.append(describe(_SYSTEM, f"α, γ={discount:g}", mean_of_finite(measured[:, index])))
        rows.append(
            describe(_SYSTEM, f"α predicted, γ={discount:g}", mean_of_finite(law[:, index]))
        )
        rows.append(
            describe(
                _SYSTEM,
                f"signal in the gradient, γ={discount:g}",
                mean_of_finite(signals[:, index]),
            )
        )
        rough = law[:, index] < _ROUGH
        if rough.sum() > 1:
            gap = np.log(measured[rough, index] / law[rough, index])
            name = f"ln(α / law by the mean exponent), γ={discount:g}"
            rows.append(about(_SYSTEM, name, mean_of_finite(gap), 0.0, 0.5, "law: -ln γ/λ"))
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
    fresh = loops.holder_exponents(objective, params, again, effort)[:, :-1]
    rows.append(
        about(
            _SYSTEM,
            "placebo: change of α at γ=0.99 on fresh lines",
            mean_of_finite(fresh[:, -1] - measured[:, -1]),
            0.0,
            0.05,
            "nothing changed",
        )
    )
    for discount in loops.DISCOUNTS:
        memory = environment.dt / (1 - discount)
        rows.append(describe(_SYSTEM, f"cost: seconds that count, γ={discount:g}", (memory, 0.0)))
    labels = [f"γ = {discount:g}" for discount in loops.DISCOUNTS[::-1]]
    pairs = (labels, measured[:, ::-1], law[:, ::-1])
    slices = loops.slices(objective, params, line, labels, [3, 2, 1, 0])
    return Findings(rows, {"remedy_discount": functools.partial(loops.picture, pairs, slices)})


def _smoothing(key: Key, size: Size) -> Findings:
    """Smooth the actions: the loop changes, and with it λ, α and the return."""
    effort = loops.EFFORTS[size]
    params, plain = loops.chaotic_policies(key, effort), loops.make_environment()
    line, orbit, noise = (jax.random.fold_in(key, number) for number in (2, 1, 3))
    rows, alphas, laws = [], [], []
    slices: dict[str, np.ndarray] = {}
    before = None
    labels = []
    for share in (1.0, 0.5, 0.2, 0.1):
        environment = smoothed_actions(plain, share)
        objective = loops.returns(environment, key)
        values = np.array(
            [np.asarray(jax.jit(objective)(one, key)) for one in loops.one_by_one(params)]
        )
        rates = loops.mean_rates(environment, params, orbit)
        alpha = loops.holder_exponents(objective, params, line, effort)[:, _CHOSEN]
        signal = loops.gradient_signals(objective, params, noise, effort)[:, _CHOSEN]
        law = loops.predicted_exponents(rates, loops.DISCOUNTS[_CHOSEN : _CHOSEN + 1])[:, 0]
        name = f"c={share:g}"
        if before is None:
            before = values, rates
            same = jax.jit(loops.returns(plain, key))
            gap = max(
                float(np.abs(np.asarray(same(one, key))[0] - row[0]))
                for one, row in zip(loops.one_by_one(params), values, strict=True)
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
            describe(_SYSTEM, f"λ, actions smoothed with {name}", mean_of_finite(rates)),
            describe(_SYSTEM, f"change of λ, {name}", mean_of_finite(rates - before[1])),
            describe(_SYSTEM, f"α at γ=0.98, {name}", mean_of_finite(alpha)),
            describe(_SYSTEM, f"α at γ=0.98 predicted, {name}", mean_of_finite(law)),
            describe(_SYSTEM, f"signal in the gradient at γ=0.98, {name}", mean_of_finite(signal)),
            describe(
                _SYSTEM,
                f"cost: change of the reward per step, {name}",
                mean_of_finite((values - before[0])[:, -1] / loops.STEPS),
            ),
        ]
        alphas.append(alpha)
        laws.append(law)
        labels.append(name)
        slices |= loops.slices(objective, params, line, [name], [_CHOSEN])
    table, law = np.stack(alphas, axis=1), np.stack(laws, axis=1)
    rough = law < _ROUGH
    rows.append(
        about(
            _SYSTEM,
            "ln(α / law by the mean exponent), smoothed and plain loops together, γ=0.98",
            mean_of_finite(np.log(np.where(rough, table / law, np.nan)).ravel()),
            0.0,
            0.5,
            "law: -ln γ/λ",
        )
    )
    pairs = (labels, table, law)
    return Findings(
        rows, {"remedy_action_smoothing": functools.partial(loops.picture, pairs, slices)}
    )


def _parameters(key: Key, size: Size) -> Findings:
    """Average over parameters: 1/R of the roughness is left at small steps, and the exponent."""
    effort = loops.EFFORTS[size]
    count = min({"quick": 2, "default": 4, "full": 16}[size], effort.policies)
    params = jax.tree.map(lambda leaf: leaf[:count], loops.chaotic_policies(key, effort))
    environment = loops.make_environment()
    objective = loops.returns(environment, key, horizon=300)
    samples, sigma = 16, 1e-3
    smoothed = smoothed_objective(objective, sigma, samples)
    line = jax.random.fold_in(key, 2)
    steps = sigma * np.array([1e-3, 1e-2, 1e-1, 1.0, 10.0])
    ratios = []
    for index, one in enumerate(loops.one_by_one(params)):
        own = jax.random.fold_in(line, index)
        before = loops.squared_differences(objective, one, own, steps, effort.lines)[..., _CHOSEN]
        after = loops.squared_differences(smoothed, one, own, steps, effort.lines)[..., _CHOSEN]
        ratios.append(after.mean(axis=0) / before.mean(axis=0))
    table = np.log(np.array(ratios))
    rows = []
    for index, step in enumerate(steps):
        name = f"ln share of squared differences left at the step {step / sigma:g} σ, R={samples}"
        found = mean_of_finite(table[:, index])
        if index < 2:
            law = "law: 1/R far below σ"
            rows.append(about(_SYSTEM, name, found, -math.log(samples), 1.0, law))
        else:
            rows.append(describe(_SYSTEM, name, found))
    signal = loops.gradient_signals(objective, params, line, effort)[:, _CHOSEN]
    rows.append(describe(_SYSTEM, "signal in the gradient at σ, γ=0.98", mean_of_finite(signal)))
    values = np.array(
        [
            np.asarray(jax.jit(smoothed)(one, key) - jax.jit(objective)(one, key))
            for one in loops.one_by_one(params)
        ]
    )
    change = mean_of_finite(values[:, _CHOSEN])
    rows.append(describe(_SYSTEM, "cost: change of the return, γ=0.98, σ=1e-3", change))
    slices = loops.slices(objective, params, line, ["σ = 0"], [_CHOSEN])
    slices |= loops.slices(smoothed, params, line, [f"σ = {sigma:g}, R = {samples}"], [_CHOSEN])
    labels = [f"{step / sigma:g} σ" for step in steps]
    pairs = (labels, np.exp(table), np.full_like(table, 1 / samples))
    draw = functools.partial(loops.picture, pairs, slices, name="share of squared differences left")
    return Findings(rows, {"remedy_parameter_smoothing_double_pendulum": draw})


def _regularisation(key: Key, size: Size) -> Findings:
    """Train with the exponent penalty: λ falls, α rises as −ln γ/λ says."""
    effort = loops.EFFORTS[size]
    first, environment = loops.chaotic_policies(key, effort), loops.make_environment()
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
        loops.make_policy(),
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
    objective = loops.returns(environment, key)
    rows, table, laws, rates, values = [], [], [], [], []
    slices: dict[str, np.ndarray] = {}
    named = {"before": first, **after}
    for name, params in named.items():
        rate = loops.mean_rates(environment, params, orbit)
        law = loops.predicted_exponents(rate, loops.DISCOUNTS[_CHOSEN : _CHOSEN + 1])[:, 0]
        alpha = loops.holder_exponents(objective, params, line, effort)[:, _CHOSEN]
        value = np.array(
            [np.asarray(jax.jit(objective)(one, key))[-1] for one in loops.one_by_one(params)]
        )
        signal = loops.gradient_signals(objective, params, line, effort)[:, _CHOSEN]
        rows += [
            describe(_SYSTEM, f"λ, {name}", mean_of_finite(rate)),
            describe(_SYSTEM, f"α at γ=0.98, {name}", mean_of_finite(alpha)),
            describe(_SYSTEM, f"α at γ=0.98 predicted, {name}", mean_of_finite(law)),
            describe(_SYSTEM, f"signal in the gradient at γ=0.98, {name}", mean_of_finite(signal)),
            describe(_SYSTEM, f"reward per step, {name}", mean_of_finite(value / loops.STEPS)),
        ]
        table.append(alpha)
        laws.append(law)
        rates.append(rate)
        values.append(value)
        slices |= loops.slices(objective, params, line, [name], [_CHOSEN])
    for index, weight in enumerate(weights[1:], 2):
        gap, cost = rates[index] - rates[1], (values[index] - values[1]) / loops.STEPS
        name = f"weight {weight:g} less weight 0"
        rows.append(describe(_SYSTEM, f"λ, {name}", mean_of_finite(gap)))
        rows.append(describe(_SYSTEM, f"cost: reward per step, {name}", mean_of_finite(cost)))
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
    rows.append(about(_SYSTEM, law_name, mean_of_finite(gaps), 0.0, 0.5, "law: -ln γ/λ"))
    pairs = (list(named), np.stack(table, axis=1), np.stack(laws, axis=1))
    return Findings(
        rows, {"remedy_regularisation": functools.partial(loops.picture, pairs, slices)}
    )


PARTS: dict[str, Part] = {
    "discount": _discount,
    "action smoothing": _smoothing,
    "parameter smoothing, double pendulum": _parameters,
    "regularisation": _regularisation,
}
