"""The logistic closed loop: exponents at every rate, and how rough its cost is there."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Key
from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.estimators.roughness.perturbation import perturbation_exponent
from fracjax.reproduce.comparisons import about, anchored, mean_of
from fracjax.reproduce.rows import Findings, Row, compare
from fracjax.systems import mdps

__all__ = ["PARTS"]

_DISCOUNTS = (0.5, 0.9, 0.95, 0.99)
_STABLE = (3.3, 3.5)
_CHAOTIC = (*(3.6, 3.65, 3.68, 3.7, 3.72, 3.75, 3.78, 3.8, 3.81, 3.87, 3.9, 3.92, 3.95, 3.98),)
# Rate: exponent in nats per step, and how well it is known.
_EXPONENTS = {
    3.3: (-0.6189, 0.001),
    3.5: (-0.8725, 0.001),
    3.56995: (0.0, 0.01),  # the onset of chaos, where averages converge slowly
    3.6: (0.1834, 0.01),
    3.65: (0.2547, 0.01),
    3.7: (0.3541, 0.01),
    3.75: (0.3615, 0.01),
    3.8: (0.4323, 0.01),
    3.82: (0.4329, 0.01),
    3.83: (-0.3697, 0.001),
    3.9: (0.4961, 0.01),
}
# Mean slope over the chaotic rates, how far the law may be off in the mean.
_SLOPES = {0.9: (0.585, 0.117, 0.1), 0.95: (0.285, 0.056, 0.06), 0.99: (0.065, 0.026, 0.04)}


def _exponents_at(rates: tuple[float, ...], steps: int) -> tuple[np.ndarray, np.ndarray]:
    @jax.jit
    @jax.vmap
    def exponent(rate: Array) -> tuple[Array, Array]:
        start = jnp.asarray(0.9, rate.dtype)
        found = lyapunov_spectrum(
            lambda x: rate * x * (1 - x),
            start,
            num_steps=steps,
            num_exponents=1,
            num_transient=1000,
        )
        return found.value[0], found.stderr[0]

    value, error = exponent(jnp.asarray(rates))
    return np.asarray(value), np.asarray(error)


def _exponents(_: Key, quick: bool) -> list[Row]:
    """Exponents at eleven rates, and the one exact value."""
    values, errors = _exponents_at((*_EXPONENTS, 4.0), 20_000 if quick else 200_000)
    computed = list(zip(values.tolist(), errors.tolist(), strict=True))
    rows = [
        anchored(f"logistic loop, θ={rate:g}", "exponent", found, (anchor, error / 2))
        for found, (rate, (anchor, error)) in zip(computed, _EXPONENTS.items(), strict=False)
    ]
    exact = (math.log(2), 0.0, "exact: ln 2")
    return [*rows, compare("logistic loop, θ=4", "exponent", computed[-1], exact)]


def _landscapes(key: Key, quick: bool) -> Findings:
    """Slopes of ln variance at 16 rates, on both sides of the threshold."""
    rates = (*_STABLE, *_CHAOTIC)
    cost = mdps.logistic_cost(_DISCOUNTS)
    found = perturbation_exponent(
        lambda each, draw: jax.vmap(lambda rate: cost(rate, draw))(each),
        jnp.asarray(rates),
        key,
        scales=np.geomspace(1e-3, 1e-7, 9),
        num_samples=100 if quick else 1000,
        batch_size=1024,
        chunk_size=64,
    )
    slopes = 2 * np.asarray(found.value)
    errors = 2 * np.asarray(found.stderr)
    exponents, _ = _exponents_at(rates, 20_000 if quick else 200_000)
    rows = []
    for index, rate in enumerate(rates):
        for column, gamma in enumerate(_DISCOUNTS):
            if exponents[index] > -math.log(gamma):
                continue
            pair = float(slopes[index, column]), float(errors[index, column])
            name = f"logistic loop, θ={rate:g}"
            source = "law: λ < -ln γ, Lipschitz"
            label = f"slope of ln variance, γ={gamma:g}"
            rows.append(about(name, label, pair, 2.0, 0.02, source))
    chaotic = slice(len(_STABLE), None)
    for gamma, (anchor, spread, tolerance) in _SLOPES.items():
        column = _DISCOUNTS.index(gamma)
        name, label = "logistic loop, 14 chaotic θ", f"mean slope of ln variance, γ={gamma:g}"
        law = np.minimum(2.0, -2 * math.log(gamma) / exponents[chaotic])
        # Anchor and law are at the same rates: their scatter over rates is common to both.
        off = mean_of(slopes[chaotic, column] - law)
        mean = off._replace(value=float(slopes[chaotic, column].mean()))
        source = "law: 2α by each rate's exponent"
        rows.append(about(name, label, mean, float(law.mean()), tolerance, source))
        rows.append(anchored(name, label, mean, (anchor, spread / 14**0.5)))
    picture = functools.partial(_draw, slopes, exponents)
    return Findings(rows, {"logistic_landscapes": picture})


def _draw(slopes: np.ndarray, exponents: np.ndarray) -> Any:
    from fracjax.plotting import theory
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(6.5, 4.0)
        theory.slopes_and_exponents(figure.subplots(), exponents, _DISCOUNTS, slopes)
    return figure


PARTS: dict[str, Callable[[Key, bool], list[Row] | Findings]] = {
    "logistic exponents": _exponents,
    "logistic landscapes": _landscapes,
}
