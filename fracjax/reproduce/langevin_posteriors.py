"""Posteriors of regressions by Langevin samplers: Gaussian ones exact, logistic ones by NUTS.

The Gaussian posterior's moments are exact, and so is what a finite step does to them. The
logistic posterior's come from blackjax's NUTS. Its inputs have means, which tie the bias to the
weights: what the quasi-diagonal metric is for.
"""

import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, PyTree
from fracjax.learning.langevin_sampling.priors import gaussian_prior
from fracjax.learning.langevin_sampling.sample_moments import apply_dense, gradient_moments
from fracjax.learning.langevin_sampling.schedules import effective_temperature
from fracjax.learning.langevin_sampling.transformations import MetricName, preconditioned_sgld
from fracjax.reproduce.comparisons import about, left_out, mean_of
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.langevin_exact import with_errors
from fracjax.reproduce.nuts import Moments, nuts_moments
from fracjax.reproduce.rows import Findings, Row, compare, describe

__all__ = ["PARTS"]

_NUM_DATA, _INPUTS = 500, 4
_PRIOR = gaussian_prior(kernel_variance=1.0)
_Kind = Literal["gaussian", "logistic"]


class _Sampler(NamedTuple):
    """A metric, its step size and its batch."""

    metric: MetricName
    step_size: float
    batch: int | None = None


_SAMPLERS = {
    "SGLD": _Sampler("euclidean", 0.1),
    "RMSprop SGLD": _Sampler("rmsprop", 5e-3),
    "DOP SGLD": _Sampler("dop", 0.05),
    "QDOP SGLD": _Sampler("qdop", 0.05),
    "QDOP SGLD, batches of 100": _Sampler("qdop", 0.05, 100),
}


def _data(kind: _Kind) -> dict[str, np.ndarray]:
    draws = np.random.default_rng(1)
    scales, means = np.array([1.0, 0.5, 2.0, 1.0]), np.array([1.0, 0.5, 0.0, -2.0])
    x = means + draws.normal(size=(_NUM_DATA, _INPUTS)) * scales
    line = x @ np.array([0.8, -1.0, 0.3, 0.5]) + 0.4
    if kind == "gaussian":
        y = line + draws.normal(size=_NUM_DATA)
    else:
        y = (draws.uniform(size=_NUM_DATA) < 1 / (1 + np.exp(-line))).astype(float)
    return {"x": x.astype(np.float32), "y": y.astype(np.float32)}


def _losses(params: PyTree, batch: PyTree, *, kind: _Kind) -> Float[Array, " batch"]:
    line = apply_dense(params, batch["x"])[:, 0]
    if kind == "gaussian":
        return 0.5 * (line - batch["y"]) ** 2
    return jnp.logaddexp(0.0, line) - batch["y"] * line


def _start() -> PyTree:
    return {"kernel": jnp.zeros((_INPUTS, 1)), "bias": jnp.zeros(1)}


def _sample(
    sampler: _Sampler, kind: _Kind, data: PyTree, key: Key, *, num_steps: int, num_chains: int
) -> tuple[np.ndarray, np.ndarray]:
    """Average θ and θθᵀ over the last two thirds of every chain."""
    losses = functools.partial(_losses, kind=kind)
    burn_in = num_steps // 3
    data = jax.tree.map(jnp.asarray, data)

    def one(key: Key) -> tuple[Array, Array]:
        langevin = preconditioned_sgld(
            sampler.step_size, sampler.metric, num_data=_NUM_DATA, key=key, prior=_PRIOR
        )

        def step(carry: tuple, index: Array) -> tuple[tuple, None]:
            params, state, mean, square = carry
            batch = data
            if sampler.batch is not None:
                drawn = jax.random.fold_in(jax.random.fold_in(key, 1), index)
                chosen = jax.random.randint(drawn, (sampler.batch,), 0, _NUM_DATA)
                batch = jax.tree.map(lambda leaf: leaf[chosen], data)
            _, gradient, moments = gradient_moments(losses, params, batch)
            change, state = langevin.update(gradient, state, params, moments=moments)
            params = optax.apply_updates(params, change)
            flat = jnp.concatenate([params["kernel"][:, 0], params["bias"]])
            share = jnp.where(index < burn_in, 0.0, 1.0 / (index - burn_in + 1))
            mean = mean + share * (flat - mean)
            square = square + share * (jnp.outer(flat, flat) - square)
            return (params, state, mean, square), None

        first = (_start(), langevin.init(_start()), jnp.zeros(5), jnp.zeros((5, 5)))
        (_, _, mean, square), _ = jax.lax.scan(step, first, jnp.arange(num_steps))
        return mean, square

    mean, square = jax.jit(jax.vmap(one))(jax.random.split(key, num_chains))
    return np.asarray(mean, float), np.asarray(square, float)


def _gaussian(key: Key, size: Size) -> Findings:
    """Linear regression with unit noise: the discrete chain's own law is known for C = 1."""
    data = _data("gaussian")
    design = np.column_stack([data["x"].astype(float), np.ones(_NUM_DATA)])
    precision = design.T @ design + np.eye(_INPUTS + 1)
    covariance = np.linalg.inv(precision)
    mean = covariance @ design.T @ data["y"].astype(float)
    exact = Moments(mean, covariance, np.zeros(5), 0.0)
    return _findings("gaussian", "Gaussian posterior", exact, "exact", data, key, size)


def _logistic(key: Key, size: Size) -> Findings:
    """Logistic regression, with moments by NUTS."""
    data = _data("logistic")
    arrays = jax.tree.map(jnp.asarray, data)

    def log_density(params: PyTree) -> Array:
        losses = _losses(params, arrays, kind="logistic")
        return _PRIOR.log_density(params) - jnp.sum(losses)

    try:
        exact = nuts_moments(
            log_density,
            _start(),
            jax.random.fold_in(key, 99),
            num_draws={"quick": 1000, "default": 5000, "full": 50_000}[size],
        )
    except ImportError as error:
        return Findings([left_out("logistic posterior", str(error))])
    order = np.array([1, 2, 3, 4, 0])  # as in `_sample`; the tree has the bias first
    exact = exact._replace(
        mean=exact.mean[order],
        covariance=exact.covariance[np.ix_(order, order)],
        mean_error=exact.mean_error[order],
    )
    return _findings("logistic", "logistic posterior", exact, "NUTS (blackjax)", data, key, size)


def _findings(
    kind: _Kind,
    system: str,
    exact: Moments,
    source: str,
    data: PyTree,
    key: Key,
    size: Size,
) -> Findings:
    num_steps = {"quick": 1500, "default": 6000, "full": 60_000}[size]
    rows: list[Row] = []
    variances: dict[str, Estimate] = {}
    for number, (name, sampler) in enumerate(_SAMPLERS.items()):
        means, squares = _sample(
            sampler,
            kind,
            data,
            jax.random.fold_in(key, number),
            num_steps=num_steps,
            num_chains=64 if size == "quick" else 128,
        )
        rows += _compared(f"{system}, {name}", means, squares, exact, sampler, source, kind)
        variance = np.diagonal(squares, axis1=1, axis2=2) - 2 * means * means.mean(axis=0)
        variance = variance + means.mean(axis=0) ** 2
        error = variance.std(axis=0, ddof=1) / math.sqrt(len(means))
        variances[name] = with_errors(variance.mean(axis=0), error)
    draw = functools.partial(_draw, system, np.diag(exact.covariance), variances)
    return Findings(rows, {f"langevin-{kind}": draw})


def _compared(
    system: str,
    means: np.ndarray,
    squares: np.ndarray,
    exact: Moments,
    sampler: _Sampler,
    source: str,
    kind: _Kind,
) -> list[Row]:
    """Means in posterior widths, and the mean ratio of variances in all directions."""
    whiten = np.linalg.inv(np.linalg.cholesky(exact.covariance))
    gaps = (means - exact.mean) @ whiten.T
    of_exact = np.diag(whiten @ np.diag(exact.mean_error**2) @ whiten.T)
    error = math.sqrt(np.mean(gaps.var(axis=0, ddof=1) / len(means) + of_exact))
    rows = [
        about(
            system,
            "root mean square distance of the means, in posterior widths",
            (float(math.sqrt(np.mean(gaps.mean(axis=0) ** 2))), error),
            0.0,
            0.1,
            f"{source}; skewness and the metric's own motion may take up .1",
        )
    ]
    # Mean over directions of a chain's scatter around the mean of all, in posterior widths.
    metric = np.linalg.inv(exact.covariance)
    centre = means.mean(axis=0)
    ratios = np.einsum("cij,ij->c", squares, metric) - 2 * means @ metric @ centre
    ratios = (ratios + centre @ metric @ centre) / len(centre)
    own = mean_of(ratios)
    of_reference = own.value * exact.relative_error / math.sqrt(len(centre))
    ratio = own._replace(error=math.hypot(own.error, of_reference))
    text = "variance over the posterior's, mean over directions"
    if sampler.metric == "euclidean" and kind == "gaussian":
        along = sampler.step_size / np.linalg.eigvalsh(exact.covariance) / _NUM_DATA
        law = float(np.mean(1 / (1 - along / 2)))
        expected = (law, 0.0, "exact law of the discrete chain, 1/(1 - η h/2)")
        rows.append(compare(system, text, ratio, expected))
    elif sampler.metric == "qdop":
        heat = float(
            effective_temperature(sampler.step_size, num_data=_NUM_DATA, batch_size=sampler.batch)
        )
        source = "(T + η N/(2B))/(1 - η/2), of a metric that is the Hessian"
        rows.append(about(system, text, ratio, heat, 0.12 * heat, source))
    else:
        rows.append(describe(system, text, ratio))
    return rows


def _draw(system: str, exact: np.ndarray, found: dict[str, Estimate]) -> Any:
    from fracjax.plotting import langevin
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(5.0, 4.0)
        axes = langevin.moments_against_exact(figure.subplots(), exact, found)
        axes.set_title(system)
    return figure


PARTS: dict[str, Part] = {"gaussian posterior": _gaussian, "logistic posterior": _logistic}
