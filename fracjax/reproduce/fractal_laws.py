"""The laws of roughness where growth has a closed form, and where returns jump."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Key, Objective
from fracjax.estimators.roughness.jumps import find_jumps
from fracjax.estimators.roughness.lines import LineSampler
from fracjax.estimators.roughness.orders import exponents_of_outputs
from fracjax.reproduce.comparisons import about, exactly, mean_of, number
from fracjax.reproduce.rows import Findings, Row
from fracjax.systems import maps, mdps, roughness_laws

__all__ = ["PARTS", "increment_slopes"]

# The more uneven the cut and the smaller γ, the rarer the stretches that carry a mean square.
_CELLS = {0.35: (0.5, 0.5**0.5, 0.8, 0.9), 0.2: (0.5**0.5, 0.8, 0.9)}
_GROUPS = 16
_STEPPED = (0.3, 0.4, 0.5, 0.8, 0.9)


def increment_slopes(
    objective: Objective,
    scales: np.ndarray,
    key: Key,
    *,
    num_points: int,
    low: float = 0.0,
    high: float = 1.0,
) -> dict[str, np.ndarray]:
    """Exponents of second differences at points drawn uniformly, afresh for every scale.

    Args:
        objective: Of a scalar parameter, with one output per discount.
        scales: Steps δ.
        key: Draws the points.
        num_points: Points per scale, in 16 groups.
        low: Where points are drawn.
        high: Where points are drawn.

    Returns:
        For "typical" (mean logarithm) and "mean square", exponents (groups, outputs).
    """
    size = num_points // _GROUPS

    @jax.jit
    def averages(key: Key, scale: Array) -> tuple[Array, Array]:
        points = jax.random.uniform(key, (size,), minval=low, maxval=high)

        def second(point: Array) -> Array:
            first, middle, last = (objective(point + k * scale, key) for k in range(3))
            return first - 2 * middle + last

        squares = jax.lax.map(second, points, batch_size=512) ** 2
        return jnp.log(squares + 1e-300).mean(axis=0), jnp.log(squares.mean(axis=0))

    table = [
        [
            averages(jax.random.fold_in(jax.random.fold_in(key, group), index), scale)
            for index, scale in enumerate(jnp.asarray(scales))
        ]
        for group in range(_GROUPS)
    ]
    logs = np.asarray(table)  # groups, scales, kind of average, outputs
    x = np.log(scales) - np.log(scales).mean()
    slopes = np.einsum("s,gsko->kgo", x, logs) / (x**2).sum() / 2
    return {"typical": slopes[0], "mean square": slopes[1]}


def _skew(key: Key, quick: bool) -> Findings:
    """Independent growth by 1/c and 1/(1-c): typical and mean squared increments."""
    rows, pictures = [], {}
    scales = np.geomspace(1e-3, 1e-9, 7)
    for cut, discounts in _CELLS.items():
        objective = mdps.chaotic_returns(
            mdps.skew_tent(cut), discounts, num_steps=150, feedback="constant", gain=1.0
        )
        count = 16_384 if quick else 131_072
        slopes = increment_slopes(objective, scales, key, num_points=count)
        orders = np.linspace(0, 6, 601)
        rates = roughness_laws.skew_tent_rates(orders, cut)
        mean = float(-cut * np.log(cut) - (1 - cut) * np.log(1 - cut))
        laws = {
            "typical": [mdps.predicted_exponent(mean, gamma) for gamma in discounts],
            "mean square": [
                float(roughness_laws.moment_exponent(orders, rates, gamma)) for gamma in discounts
            ],
        }
        name = f"skew tent c={cut:g}"
        sources = {"typical": "law: -ln γ/λ", "mean square": "law: Λ(2α) = -2 ln γ"}
        for kind, law in laws.items():
            for index, gamma in enumerate(discounts):
                found = mean_of(slopes[kind][:, index])
                label = f"exponent, γ={gamma:.3g}, {kind} increments"
                rows.append(
                    about(name, label, found, law[index], 0.02 + 0.03 * law[index], sources[kind])
                )
        pictures[f"skew_tent_{cut:g}"] = functools.partial(_draw, name, discounts, slopes, laws)
    return Findings(rows, pictures)


def _draw(
    name: str,
    discounts: Sequence[float],
    slopes: dict[str, np.ndarray],
    laws: Mapping[str, Sequence[float]],
) -> Any:
    from fracjax.plotting import theory
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(5.5, 4.0)
        measured = {
            f"{kind} increments": (found.mean(axis=0), found.std(axis=0, ddof=1) / _GROUPS**0.5)
            for kind, found in slopes.items()
        }
        named = {
            "-ln γ/λ": np.array(laws["typical"]),
            "Λ(2α) = -2 ln γ": np.array(laws["mean square"]),
        }
        axes = theory.exponents_and_laws(figure.subplots(), discounts, measured, named)
        axes.set_title(name)
    return figure


def _jumps(key: Key, quick: bool) -> list[Row]:
    """A reward with a step: mean squares see jumps, whatever the discount, or the fractal."""
    count = 32 if quick else 128
    objective = mdps.chaotic_returns(
        maps.tent(1.9), _STEPPED, feedback="constant", gain=1.0, reward=mdps.stepped_reward
    )
    sampler = LineSampler(
        objective,
        jnp.asarray(0.5),
        key,
        num_directions=count,
        radius=0.2,
        chunk_size=128,
    )
    lines = sampler.ladder(1e-2, 1e-5, points_per_line=128)
    noise = sampler.noise_variance(lines.spacings)
    found = exponents_of_outputs(lines.values, lines.spacings, noise_variance=noise)
    name, rows = "tent map, reward with a step", []
    for index, gamma in enumerate(_STEPPED):
        law = min(0.5, mdps.predicted_exponent(float(np.log(1.9)), gamma))
        label = f"exponent of mean squares, γ={gamma:g}"
        source = "law: min(-ln γ/λ, 1/2)"
        rows.append(about(name, label, number(found, index), law, 0.02 + 0.03 * law, source))
        expected = law == 0.5
        alarm = bool(np.asarray(found.details["jump_alarm"])[index])
        rows.append(
            exactly(name, f"jump alarm, γ={gamma:g}", alarm, expected, "whether jumps lead")
        )
    jumps = find_jumps(
        lines.values[..., 0],
        lines.spacings,
        lambda line, offset: sampler.evaluate(line, offset)[:, 0],
        noise_variance=float(noise[0]),
    )
    rows.append(
        exactly(name, "suspects that are jumps, γ=0.3", jumps.confirmed, jumps.suspects, "all")
    )
    return rows


PARTS: dict[str, Callable[[Key, bool], list[Row] | Findings]] = {
    "skew tent map": _skew,
    "jumps": _jumps,
}
