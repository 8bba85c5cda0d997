"""Laws of Langevin samplers that are known: variances, heat of batches, Γ, dense metrics."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Estimate, Key, PyTree, Status
from fracjax.learning.langevin_sampling.outer_products import outer_product
from fracjax.learning.langevin_sampling.preconditioners import (
    Drift,
    Observation,
    Preconditioner,
    diagonal,
)
from fracjax.learning.langevin_sampling.sample_moments import apply_dense, gradient_moments
from fracjax.learning.langevin_sampling.schedules import effective_temperature
from fracjax.learning.langevin_sampling.transformations import preconditioned_sgld
from fracjax.reproduce.comparisons import about
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row, compare, describe

__all__ = ["PARTS", "last_points", "with_errors"]

_CURVATURES = np.array([0.5, 2.0, 8.0])
_NUM_DATA, _BATCH = 40, 5


def _num_chains(size: Size) -> int:
    return {"quick": 20_000, "default": 100_000, "full": 1_000_000}[size]


def last_points(
    make: Callable[[Key], optax.GradientTransformationExtraArgs],
    gradient: Callable[[Array, Key], Array],
    start: Array,
    key: Key,
    *,
    num_steps: int,
    num_chains: int,
) -> Float[np.ndarray, "chains k"]:
    """Run independent chains; return where they end.

    Args:
        make: Makes the sampler of a chain from its key.
        gradient: `gradient(params, key)`.
        start: First point.
        key: Split between chains.
        num_steps: Steps per chain.
        num_chains: How many.
    """

    def one(key: Key) -> Array:
        sampler = make(key)
        batches = jax.random.fold_in(key, 1)

        def step(carry: tuple, index: Array) -> tuple[tuple, None]:
            params, state = carry
            slope = gradient(params, jax.random.fold_in(batches, index))
            change, state = sampler.update(slope, state, params)
            return (optax.apply_updates(params, change), state), None

        (params, _), _ = jax.lax.scan(step, (start, sampler.init(start)), jnp.arange(num_steps))
        return params

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(key, num_chains)))


class _Case(NamedTuple):
    """A sampler of a quadratic loss: its inverse metric, step size, batch and temperature."""

    name: str
    inverse: np.ndarray
    step_size: float
    batch: int | None
    temperature: float = 1.0


def _cases() -> list[_Case]:
    natural, plain = 1 / _CURVATURES, np.full(3, 0.2)
    return [
        _Case("C = H⁻¹, η = .2, full gradients", natural, 0.2, None),
        _Case("C = H⁻¹, η = 1, full gradients", natural, 1.0, None),
        _Case("C = .2, η = .5, full gradients, T = .5", plain, 0.5, None, 0.5),
        _Case("C = H⁻¹, η = .2, batches of 5 of 40", natural, 0.2, _BATCH),
        _Case("C = H⁻¹, η = 1, batches of 5 of 40", natural, 1.0, _BATCH),
        _Case("C = .2, η = .5, batches of 5 of 40", plain, 0.5, _BATCH),
    ]


def _variances(key: Key, size: Size) -> Findings:
    """Stationary variances of a Gaussian mean's posterior, by curvature."""
    y = np.random.default_rng(0).normal(size=(_NUM_DATA, 3))
    y = (y - y.mean(axis=0)) / y.std(axis=0) / np.sqrt(_CURVATURES)
    num_chains = _num_chains(size)
    rows: list[Row] = []
    expected, found = [], []
    for number, case in enumerate(_cases()):
        points = last_points(
            functools.partial(_constant, case),
            functools.partial(_slope, case.batch, jnp.asarray(y, jnp.float32)),
            jnp.zeros(3),
            jax.random.fold_in(key, number),
            num_steps=150,
            num_chains=num_chains,
        )
        heat = effective_temperature(
            case.step_size * case.inverse * _CURVATURES,
            num_data=_NUM_DATA,
            batch_size=case.batch,
            temperature=case.temperature,
        )
        law = np.asarray(heat) / (_NUM_DATA * _CURVATURES)
        variance = points.astype(float).var(axis=0)
        source = "exact: (T + η c h N/(2B))/(N h (1 - η c h/2)), here summed over three h"
        scatter = math.sqrt(2 / num_chains)
        error = scatter * math.hypot(*variance)
        text = f"variance, {case.name}"
        number_and_error = (float(variance.sum()), error)
        rows.append(compare("quadratic loss", text, number_and_error, (law.sum(), 0.0, source)))
        expected.append(law)
        found.append(variance)
    values = np.concatenate(found)
    estimate = with_errors(values, values * math.sqrt(2 / num_chains))
    draw = functools.partial(_draw_variances, np.concatenate(expected), estimate)
    return Findings(rows, {"langevin-variances": draw})


def _constant(case: _Case, key: Key) -> optax.GradientTransformationExtraArgs:
    metric = diagonal(lambda params: jnp.asarray(case.inverse, params.dtype), drift="none")
    return preconditioned_sgld(
        case.step_size, metric, num_data=_NUM_DATA, key=key, temperature=case.temperature
    )


def _slope(batch: int | None, data: Array, params: Array, key: Key) -> Array:
    """Differentiate the mean of h |θ - y|²/2 over a batch; the mean of all y is 0."""
    curvatures = jnp.asarray(_CURVATURES, params.dtype)
    if batch is None:
        return curvatures * params
    drawn = data[jax.random.randint(key, (batch,), 0, len(data))]
    return curvatures * (params - drawn.mean(axis=0))


def with_errors(values: np.ndarray, errors: np.ndarray) -> Estimate:
    """Give values the intervals of their standard errors."""
    value, error = jnp.asarray(values), jnp.asarray(errors)
    status = jnp.full(value.shape, Status.OK)
    return Estimate(value, error, value - 1.96 * error, value + 1.96 * error, status)


def _gamma(key: Key, size: Size) -> list[Row]:
    """C(θ) = 1/(1 + |θ|²) and a standard normal target, with and without the drift Γ."""
    cases: list[tuple[Drift, int, float, str]] = [
        ("separable", 1, 1.0, "exact: the target's"),
        ("none", 1, 2.0, "exact: of (1 + θ²) φ(θ)"),
        ("probes", 2, 1.0, "exact: the target's"),
        ("none", 2, 5 / 3, "exact: of (1 + |θ|²) φ(θ)"),
    ]
    rows = []
    num_chains = _num_chains(size)
    eta = 0.05 if size == "quick" else 0.02
    for number, (drift, dimensions, expected, source) in enumerate(cases):
        metric = diagonal(_shrinking, drift=drift)
        points = last_points(
            functools.partial(_on_the_normal, metric, eta),
            lambda params, _: params,
            jnp.full(dimensions, 0.7),
            jax.random.fold_in(key, number),
            num_steps=int(40 / eta),
            num_chains=num_chains,
        ).astype(float)
        squares = (points**2).mean(axis=1)
        number_and_error = (float(squares.mean()), float(squares.std() / math.sqrt(num_chains)))
        text = f"variance, C = 1/(1 + |θ|²), {dimensions}-D, Γ {drift}, η = {eta:g}"
        tolerance = 1.2 * eta * expected  # the finite step
        rows.append(about("standard normal", text, number_and_error, expected, tolerance, source))
    return rows


def _on_the_normal(
    metric: Preconditioner, eta: float, key: Key
) -> optax.GradientTransformationExtraArgs:
    return preconditioned_sgld(eta, metric, num_data=1, key=key)


def _shrinking(params: Array) -> Array:
    return jnp.ones_like(params) / (1 + jnp.sum(params**2))


def _draw_variances(expected: np.ndarray, found: Estimate) -> Any:
    from fracjax.plotting import langevin
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(5.0, 4.0)
        axes = figure.subplots()
        langevin.moments_against_exact(
            axes, expected, {"six samplers, three curvatures": found}, label="stationary variance"
        )
    return figure


def _losses(params: PyTree, batch: PyTree) -> Array:
    hidden = jnp.tanh(apply_dense(params["first"], batch["x"]))
    logits = apply_dense(params["last"], hidden)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


def _algebra(key: Key, size: Size) -> list[Row]:
    """Noise has the metric's covariance, and inputs may be rescaled; in float64."""
    del size
    with jax.enable_x64(True):
        draws = np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32))
        params = {
            "first": {"kernel": draws.normal(size=(5, 4)), "bias": draws.normal(size=4)},
            "last": {"kernel": draws.normal(size=(4, 3)), "bias": draws.normal(size=3)},
        }
        batch = {"x": 0.5 + draws.normal(size=(12, 5)), "y": np.arange(12) % 3}
        scale, shift = np.array([2, -0.5, 3, 1, 0.1]), np.array([1, 2, 0, -3, 0.5])
        kernel = params["first"]["kernel"] / scale[:, None]
        layer = {"kernel": kernel, "bias": params["first"]["bias"] - shift @ kernel}
        moved = {**params, "first": layer}
        moved_batch = {**batch, "x": batch["x"] * scale + shift}
        rows = []
        for quasi_diagonal, name in ((True, "qdop"), (False, "dop")):
            changes = jax.jit(functools.partial(_changes, quasi_diagonal=quasi_diagonal))
            before, after = changes(params, batch), changes(moved, moved_batch)
            drift, noise = (
                float(jnp.abs(before[part] - after[part]).max() / jnp.abs(before[part]).max())
                for part in ("drift", "covariance")
            )
            text = "noise's covariance minus C, relative to its largest, in 1e-10"
            rows.append(_zero(name, text, float(before["excess"])))
            texts = (
                (drift, "change of the units' drift where inputs turn into a x + b"),
                (noise, "change of the units' noise where inputs turn into a x + b"),
            )
            for value, text in texts:
                if quasi_diagonal:
                    rows.append(_zero(name, f"{text}, in 1e-10", value))
                else:
                    rows.append(describe(name, text, (value, 0.0)))
    return rows


def _zero(system: str, quantity: str, value: float) -> Row:
    """Compare with zero, to 1e-10."""
    return compare(system, quantity, (value / 1e-10, 0.0), (0.0, 0.25, "exact: 0, to 1e-10"))


def _changes(params: PyTree, batch: PyTree, *, quasi_diagonal: bool) -> dict[str, Array]:
    """Change of every sample's first pre-activations; its noise; BBᵀ - C over max C."""
    metric = outer_product(quasi_diagonal=quasi_diagonal)
    _, gradient, moments = gradient_moments(_losses, params, batch)
    none = jax.tree.map(lambda leaf: jnp.zeros((), leaf.dtype), params)
    seen = Observation(params, gradient, moments, jnp.ones(()), none, jax.random.key(0))
    state = metric.update(metric.init(params), seen)
    _, unravel = jax.flatten_util.ravel_pytree(params)

    def matrix(product: Callable[[Any, PyTree], PyTree]) -> PyTree:
        return jax.vmap(lambda row: product(state, unravel(row)))(jnp.eye(tree.size(params)))

    root = matrix(metric.root)
    noise = jnp.einsum("bi,riu->rbu", batch["x"], root["first"]["kernel"])
    noise = noise + root["first"]["bias"][:, None]
    drift = metric.apply(state, gradient)["first"]
    flat = jax.vmap(lambda row: jax.flatten_util.ravel_pytree(row)[0])
    whole, factor = flat(matrix(metric.apply)), flat(root)
    return {
        "drift": batch["x"] @ drift["kernel"] + drift["bias"],
        "covariance": jnp.einsum("rbu,rcv->bucv", noise, noise),
        "excess": jnp.max(jnp.abs(factor.T @ factor - whole)) / jnp.max(whole),
    }


PARTS: dict[str, Part] = {
    "exact: variances": _variances,
    "exact: drift": _gamma,
    "exact: metrics": _algebra,
}
