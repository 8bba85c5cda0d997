"""What fractal returns do to gradient estimators: variance, bias, and samples needed."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Key, PyTree
from fracjax.learning.gradient_estimates.blocks import exact_gradient
from fracjax.learning.gradient_estimates.known_moments import step_moments, weierstrass_moments
from fracjax.learning.gradient_estimates.quality import GradientQuality, gradient_quality
from fracjax.learning.gradient_estimates.samplers import pathwise_gradient, smoothed_gradient
from fracjax.learning.gradient_estimates.score_function import (
    GaussianActions,
    reward_to_go_baseline,
    score_function_gradient,
)
from fracjax.reproduce import fractal_gradients_control
from fracjax.reproduce.comparisons import about, number
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row, compare, describe
from fracjax.rl.environment import Environment, Transition
from fracjax.rl.rollouts import expected_return, reward_sequences
from fracjax.systems import maps, mdps, mollified, signals

__all__ = ["PARTS"]

_HURST, _TERMS, _PLACE, _EDGE = 0.4, 12, 0.3, 1e-3
_SLOPE, _DISCOUNT, _NOISE = 1.9, 0.7, 0.05
_LONG = 32  # steps of the chaotic map
_Batch = dict[str, GradientQuality]


def _laws(key: Key, size: Size) -> Findings:
    """Both estimators on functions for which every moment is known."""
    samples = {"quick": 2**13, "default": 2**16, "full": 2**18}[size]
    scales = np.geomspace(1e-3, 1e-1, 3 if size == "quick" else 5)
    one, two = jax.random.split(key)

    def rough(x: Array, _: Key) -> Array:
        return signals.weierstrass(x, _HURST, num_terms=_TERMS)

    def step(x: Array, _: Key) -> Array:
        return signals.heaviside(x)

    def measure(objective: Callable, place: float, key: Key, true: np.ndarray) -> _Batch:
        def at(sigma: Array, gradient: Array) -> tuple[GradientQuality, GradientQuality]:
            samplers = (
                pathwise_gradient(objective, sigma=sigma),
                smoothed_gradient(objective, sigma),
            )
            first, second = (
                gradient_quality(
                    sampler,
                    jnp.asarray(place),
                    jax.random.fold_in(key, index),
                    num_samples=samples,
                    batch_size=64,
                    reference=exact_gradient(gradient),
                )
                for index, sampler in enumerate(samplers)
            )
            return first, second

        found = jax.jit(lambda rows: jax.lax.map(lambda row: at(*row), rows))(
            (jnp.asarray(scales), jnp.asarray(true))
        )
        return dict(zip(("pathwise", "evolution strategy"), found, strict=True))

    rows = []
    moments = [weierstrass_moments(_PLACE, _HURST, s, num_terms=_TERMS) for s in scales]
    found = measure(rough, _PLACE, one, np.array([exact.gradient for exact in moments]))
    name = f"Weierstrass H={_HURST:g}, {_TERMS} terms"
    rows += _moment_rows(name, scales, found, moments)
    jumps = [step_moments(_EDGE, s) for s in scales]
    jumped = measure(step, _EDGE, two, np.array([exact.gradient for exact in jumps]))
    rows += _moment_rows("unit step", scales, jumped, jumps)
    rows += _scaling_rows(name)
    laws = {
        "variance": {
            "pathwise": np.array([exact.pathwise_variance for exact in moments]),
            "evolution strategy": np.array([exact.smoothed_variance for exact in moments]),
        }
    }
    draw = functools.partial(_draw_laws, scales, {name: found, "unit step": jumped}, laws)
    return Findings(rows, {"gradient_laws": draw})


def _moment_rows(name: str, scales: np.ndarray, found: _Batch, moments: list) -> list[Row]:
    rows = []
    for index, (sigma, exact) in enumerate(zip(scales, moments, strict=True)):
        for label, variance, mean in (
            ("pathwise", exact.pathwise_variance, exact.pathwise_mean),
            ("evolution strategy", exact.smoothed_variance, exact.gradient),
        ):
            quality = found[label]
            what = f"{label}, σ={sigma:.2g}"
            reference = (float(variance), 0.0, "exact")
            rows.append(
                compare(name, f"variance, {what}", number(quality.variance, index), reference)
            )
            aligned = float(mean / exact.gradient)
            assert quality.projection is not None
            rows.append(
                compare(
                    name,
                    f"mean / true gradient, {what}",
                    number(quality.projection, index),
                    (aligned, 0.0, "exact"),
                )
            )
    return rows


def _scaling_rows(name: str) -> list[Row]:
    """Powers of σ, of moments averaged over places: exact numbers, laws in the limit."""
    scales = 0.002 * 2.0 ** -np.arange(7)
    # Not evenly spaced: multiples of a power of the base have their phases in common.
    xs = np.random.default_rng(0).uniform(size=400)
    table = np.array(
        [
            [
                (m.smoothed_variance, m.gradient**2, m.pathwise_variance)
                for m in (weierstrass_moments(x, _HURST, s, num_terms=24) for x in xs)
            ]
            for s in scales
        ]
    ).mean(axis=1)
    slopes = np.polyfit(np.log(scales), np.log(table), 1)[0]
    laws = (2 * _HURST - 2, 2 * _HURST - 2, 0.0)
    labels = ("variance by evolution strategy", "squared gradient", "pathwise variance")
    return [
        about(name, f"power of σ in the {label}", (float(slope), 0.0), law, 0.05, "law")
        for label, slope, law in zip(labels, slopes, laws, strict=True)
    ]


def _circle(reward: Callable[[Array], Array] = mdps.smooth_reward) -> Environment:
    """The tent map on a circle, shifted by the action."""
    step = maps.tent(_SLOPE)

    def move(state: Array, action: Array) -> Transition:
        following = step((state + action) % 1.0)
        return Transition(following, reward(state[0]), jnp.zeros((), bool))

    return Environment(
        name="tent",
        backend="analytic",
        dt=1.0,
        observation_size=1,
        action_size=1,
        state_size=1,
        reset=lambda _: jnp.full(1, mdps.START),
        observe=lambda state: state,
        step=move,
        coordinates=lambda state: state,
    )


class _Constant:
    """The action is the parameter."""

    def act(self, params: PyTree, observation: Array, key: Key | None = None) -> Array:
        """Return the parameter, whatever is seen."""
        del key
        return jnp.broadcast_to(params, observation.shape)


def _chaos(key: Key, size: Size) -> Findings:
    """Pathwise variance grows as e^{2(λ + ln γ)T}; the likelihood ratio stays and is right."""
    samples = {"quick": 2**13, "default": 2**16, "full": 2**18}[size]
    name = f"noisy tent map, γ={_DISCOUNT:g}, σ={_NOISE:g}"
    environment, policy, place = _circle(), _Constant(), jnp.asarray(0.5)
    states = jnp.full((1, 1), mdps.START)
    horizons = np.arange(8, 33, 4)
    keys = jax.random.split(key, 4)

    noisy = GaussianActions(policy, _NOISE)
    sequences = reward_sequences(environment, noisy, horizon=_LONG, stochastic=True)

    settings: dict[str, Any] = {"num_samples": samples, "batch_size": 64}
    exact = mollified.mollified_return(
        maps.tent(_SLOPE), _DISCOUNT, _NOISE, feedback="constant", gain=1.0
    )
    step = 1e-3
    above, below = (float(jax.jit(exact)(place + h, key)) for h in (step, -step))
    true = (above - below) / (2 * step)
    reference = exact_gradient(jnp.asarray(true))
    rollout: dict[str, Any] = {"discount": _DISCOUNT, "noise_scale": _NOISE}

    @jax.jit
    def ratio(horizon_key: Key, baseline: Array | None) -> GradientQuality:
        sampler = score_function_gradient(
            environment, policy, states, horizon=_LONG, baseline=baseline, **rollout
        )
        return gradient_quality(sampler, place, horizon_key, reference=reference, **settings)

    @jax.jit
    def pathwise(weights: Array) -> GradientQuality:
        """One program for all horizons: later rewards count nothing."""

        def at(row: Array) -> GradientQuality:
            def returned(params: PyTree, key: Key) -> Array:
                return jnp.sum(sequences(params, states, key)[0][0] * row)

            sampler = pathwise_gradient(returned, method="forward")
            return gradient_quality(sampler, place, keys[0], reference=reference, **settings)

        return jax.lax.map(at, weights)

    times = np.arange(_LONG)
    counted = (times < horizons[:, None]) * _DISCOUNT**times
    direct = pathwise(jnp.asarray(counted))
    level = reward_to_go_baseline(
        environment, policy, states, horizon=_LONG, num_episodes=2048, **rollout
    )
    baseline = jax.jit(level)(place, keys[1])
    plain, lower = ratio(keys[2], None), ratio(keys[3], baseline)
    logs = np.log(np.asarray(direct.variance.value))
    errors = np.asarray(direct.variance.stderr / direct.variance.value)
    late = horizons >= 16
    weights = horizons[late] - horizons[late].mean()
    weights = weights / (weights**2).sum()
    slope = float(weights @ logs[late]), float(np.sqrt((weights**2) @ np.square(errors)[late]))
    law = 2 * (math.log(_SLOPE) + math.log(_DISCOUNT))
    rows = [
        about(
            name, "pathwise: growth of ln variance per step", slope, law, 0.02, "law: 2(λ + ln γ)"
        )
    ]
    source = (1.0, 2e-3, "exact: Bellman equation on a fine circle")
    for label, quality in (("without", plain), ("with", lower)):
        assert quality.projection is not None
        what = f"likelihood ratio, {label} baseline"
        rows.append(
            compare(name, f"mean / true gradient, {what}", number(quality.projection), source)
        )
        rows.append(describe(name, f"samples needed, {what}", number(quality.samples_needed)))
    for index, steps in enumerate(horizons):
        deviation = fractal_gradients_control.deviation(direct.variance, index)
        rows.append(describe(name, f"pathwise deviation, {steps} steps", deviation))
    rows += _jumping(name, keys[0], samples)
    flat = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (len(horizons), *np.shape(leaf))), lower)
    every = {"pathwise": direct, "likelihood ratio": flat}
    return Findings(rows, {"gradient_chaos": functools.partial(_draw_chaos, horizons, every)})


def _jumping(name: str, key: Key, samples: int) -> list[Row]:
    """A reward with a step: the pathwise gradient is zero, the likelihood ratio sees the slope."""
    environment, policy = _circle(mdps.stepped_reward), _Constant()
    states, place = jnp.full((1, 1), mdps.START), jnp.asarray(0.5)
    noisy = GaussianActions(policy, _NOISE)
    objective = expected_return(
        environment, noisy, states, horizon=8, discount=_DISCOUNT, stochastic=True
    )
    sampler = score_function_gradient(
        environment, policy, states, horizon=8, discount=_DISCOUNT, noise_scale=_NOISE
    )
    settings: dict[str, Any] = {"num_samples": samples, "batch_size": 64}
    path = jax.jit(lambda k: gradient_quality(pathwise_gradient(objective), place, k, **settings))
    ratio = jax.jit(lambda k: gradient_quality(sampler, place, k, **settings))
    name = name + ", stepped reward"
    return [
        compare(
            name,
            "pathwise, mean",
            number(path(key).norm),
            (0.0, 0.0, "exact: the jump is not seen"),
        ),
        describe(name, "likelihood ratio, |mean|", number(ratio(key).norm)),
    ]


def _draw_laws(scales: np.ndarray, found: dict[str, _Batch], laws: dict) -> Any:
    from fracjax.plotting import gradient_quality as pictures
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(10.0, 7.0)
        for row, (name, batch) in zip(figure.subplots(2, 3), found.items(), strict=True):
            known = laws["variance"] if name.startswith("Weierstrass") else None
            pictures.against_smoothing(row[0], batch, "variance", scales, laws=known)
            pictures.against_smoothing(row[1], batch, "samples_needed", scales)
            pictures.against_smoothing(row[2], batch, "projection", scales)
            row[0].set_title(name)
    return figure


def _draw_chaos(horizons: np.ndarray, found: _Batch) -> Any:
    from fracjax.plotting import gradient_quality as pictures
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(9.0, 3.6)
        for axes, quantity in zip(
            figure.subplots(1, 2), ("variance", "samples_needed"), strict=True
        ):
            pictures.against_smoothing(axes, found, quantity, horizons, label="horizon (steps)")
            axes.set_xscale("linear")
        axes.set_title("noisy tent map")
    return figure


PARTS: dict[str, Part] = {
    "gradients, exact": _laws,
    "gradients, chaotic map": _chaos,
    **fractal_gradients_control.PARTS,
}
