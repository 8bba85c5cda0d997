"""Random policies on the pendulum, which stay smooth, and on the acrobot, which do not."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Key, Objective, PyTree
from fracjax.estimators.chaos.finite_time import finite_time_growth
from fracjax.estimators.roughness.perturbation import perturbation_exponent
from fracjax.reproduce.comparisons import about, anchored, mean_of
from fracjax.reproduce.rows import Findings, Row
from fracjax.rl import classic

__all__ = ["PARTS"]

_DISCOUNTS = (0.8, 0.9, 0.95, 0.99)
_STEPS = 1000
_WEIGHT_SCALE = 0.05
# dt: mean slope of ln variance and spread over 12 policies, per discount.
_ACROBOT = {
    0.05: ((1.991, 0.014), (1.991, 0.015), (1.990, 0.020), (0.846, 0.34)),
    0.1: ((1.990, 0.014), (1.990, 0.017), (1.542, 0.30), (0.315, 0.12)),
    0.2: ((1.994, 0.011), (1.753, 0.28), (0.871, 0.23), (0.164, 0.05)),
}


def _network(key: Key, inputs: int, hidden: int, scale: float, policies: int) -> PyTree:
    """Draw weights of a = W2 tanh(W1 s) for many policies."""
    first, second = jax.random.split(key)
    return {
        "first": scale * jax.random.normal(first, (policies, hidden, inputs)),
        "second": scale * jax.random.normal(second, (policies, 1, hidden)),
    }


def _act(params: PyTree, inputs: Array) -> Array:
    return jnp.asarray(params["second"] @ jnp.tanh(params["first"] @ inputs))


def _wrapped(angle: Array) -> Array:
    return jnp.mod(angle + math.pi, 2 * math.pi) - math.pi


def _discounted(
    step: Callable[[PyTree, Array], tuple[Array, Array]], start: tuple[float, ...]
) -> Objective:
    """Make `objective(params, key)`: discounted costs of `step(params, state)`."""
    table = np.asarray(_DISCOUNTS) ** np.arange(_STEPS)[:, None]

    def objective(params: PyTree, _: Key) -> Array:
        dtype = params["first"].dtype

        def add(carry: tuple[Array, Array], weights: Array) -> tuple[tuple[Array, Array], None]:
            state, total = carry
            state, cost = step(params, state)
            return (state, total + weights * cost), None

        first = jnp.asarray(start, dtype), jnp.zeros(len(_DISCOUNTS), dtype)
        return jax.lax.scan(add, first, jnp.asarray(table, dtype))[0][1]

    return objective


def _pendulum_step(params: PyTree, state: Array) -> tuple[Array, Array]:
    """One step of a pendulum measured from upright, and the environment's cost."""
    moved = _PENDULUM.step(state, _act(params, _PENDULUM.observe(state)))
    return moved.state, -moved.reward


_PENDULUM = classic.pendulum(torque_limit=1.0)


def _acrobot_step(dt: float) -> Callable[[PyTree, Array], tuple[Array, Array]]:
    """Make a step of an acrobot measured from upright, with a quadratic cost.

    The policy sees raw angles, which grow beyond a turn; the cost sees them wrapped.
    """
    environment = classic.acrobot(torque_limit=1.0, dt=dt)
    shift = np.array([math.pi, 0.0, 0.0, 0.0])

    def step(params: PyTree, state: Array) -> tuple[Array, Array]:
        action = _act(params, state)
        angles, speeds = _wrapped(state[:2]), state[2:]
        cost = jnp.sum(angles**2) + 0.1 * jnp.sum(speeds**2) + 0.005 * jnp.sum(action**2)
        upright = jnp.asarray(shift, state.dtype)
        return environment.step(state + upright, action).state - upright, cost

    return step


def _slopes(
    objective: Objective, policies: PyTree, key: Key, scales: np.ndarray, num_samples: int
) -> np.ndarray:
    """Slopes of ln variance on ln σ, (policies, discounts)."""
    count = len(jax.tree.leaves(policies)[0])
    found = []
    for index in range(count):
        params = jax.tree.map(lambda leaf, index=index: leaf[index], policies)
        estimate = perturbation_exponent(
            objective,
            params,
            jax.random.fold_in(key, index),
            scales=scales,
            num_samples=num_samples,
            batch_size=128,
            chunk_size=128,
        )
        found.append(2 * np.asarray(estimate.value))
    return np.array(found)


def _pendulum(key: Key, quick: bool) -> list[Row]:
    """Two state variables and a smooth policy: smooth at every discount."""
    rows = []
    objective = _discounted(_pendulum_step, (-1.0, 0.0))
    for scale in (_WEIGHT_SCALE, 1.0):
        weights, noise = jax.random.split(jax.random.fold_in(key, int(100 * scale)))
        policies = _network(weights, 3, 16, scale, 4 if quick else 8)
        scales = np.geomspace(1e-3, 1e-7, 9)
        slopes = _slopes(objective, policies, noise, scales, 40 if quick else 60)
        name = f"pendulum, dt = 0.05, weights N(0, {scale:g}²)"
        for index, gamma in enumerate(_DISCOUNTS):
            found = mean_of(slopes[:, index])
            label = f"mean slope of ln variance, γ={gamma:g}"
            rows.append(about(name, label, found, 2.0, 0.1, "law: no chaos in two dimensions"))
    return rows


def _acrobot(key: Key, quick: bool) -> Findings:
    """From near upright: smooth at small γ and fractal at large, sooner at large dt."""
    count, samples = (6, 24) if quick else (12, 60)
    weights, noise = jax.random.split(key)
    policies = _network(weights, 4, 8, _WEIGHT_SCALE, count)
    scales = np.geomspace(1e-2, 1e-7, 6 if quick else 11)
    rows, slopes = [], {}
    for dt, anchors in _ACROBOT.items():
        step = _acrobot_step(dt)
        objective = _discounted(step, (1.0, 0.0, 0.0, 0.0))
        found = _slopes(objective, policies, noise, scales, samples)
        slopes[f"dt = {dt:g}"] = found
        name = f"acrobot from near upright, dt = {dt:g}"
        for index, (gamma, anchor) in enumerate(zip(_DISCOUNTS, anchors, strict=True)):
            mean = mean_of(found[:, index])
            spread = anchor[1] / 12**0.5
            label = f"mean slope of ln variance, γ={gamma:g}"
            rows.append(anchored(name, label, mean, (anchor[0], spread)))
        if dt == 0.05:
            rows += _predicted(name, step, policies, found[:, -1])
    return Findings(rows, {"acrobot": functools.partial(_draw, slopes)})


def _predicted(name: str, step: Callable, policies: PyTree, slopes: np.ndarray) -> list[Row]:
    """Predict the slopes at γ = .99 by exponents over finite times.

    The discount forgets after 1/(1-γ) = 100 steps, and σ = 1e-7 has grown to size 1 after some
    600; no longer times matter. Slopes lie 10 to 20 % below the law, as they must: variances
    weight the fast stretches.
    """

    @jax.jit
    @jax.vmap
    def record(params: PyTree) -> Array:
        start = jnp.asarray([1.0, 0.0, 0.0, 0.0])
        found = finite_time_growth(lambda state: step(params, state)[0], start, num_steps=_STEPS)
        return jnp.asarray(found.growth)[:, 0]

    growth = np.asarray(record(policies))
    rows = []
    for steps in (500, 1000):
        rate = growth[:, :steps].mean(axis=1)
        law = np.minimum(2.0, -2 * math.log(0.99) / np.maximum(rate, 1e-9))
        ratio = mean_of(np.log(slopes / law))
        label = f"ln(slope / law by the exponent over {steps} steps), γ=0.99"
        rows.append(about(name, label, ratio, 0.0, 0.3, "law: -2 ln γ/λ_T"))
    return rows


def _draw(slopes: dict[str, np.ndarray]) -> Any:
    from fracjax.plotting import theory
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(5.5, 4.0)
        axes = theory.slopes_and_discounts(figure.subplots(), _DISCOUNTS, slopes)
        axes.set_title("acrobot from near upright, random policies")
    return figure


PARTS: dict[str, Callable[[Key, bool], list[Row] | Findings]] = {
    "pendulum": _pendulum,
    "acrobot": _acrobot,
}
