"""The product map against its closed forms: reduction, ellipse, cascade, exponents."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key
from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.estimators.chaos.transversal import synchronised, transversal_exponents
from fracjax.reproduce.comparisons import ANCHOR, about, number
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row, compare
from fracjax.systems.training_maps import balanced_map, ellipse, one_prompt, product_map
from fracjax.systems.training_maps.bifurcations import cycle_with_multiplier, period_doublings
from fracjax.systems.training_maps.one_prompt import Prompt, TwoFactorHeads

__all__ = ["PARTS", "vanishing"]

# Largest exponents of the balanced map from x = .3, computed for this project, to .01.
_EXPONENTS = {
    1.1: -0.857, 1.2: -0.193, 1.3: -0.059, 1.35: 0.278, 1.4: 0.344, 1.5: 0.491, 1.598: 0.677,
    1.65: 0.693, 1.7: -0.435, 1.8: 0.808, 1.9: 0.877, 1.99: 1.040,
}  # fmt: skip
_TRANSVERSE = {1.35: -0.68, 1.5: -0.74, 1.8: -0.35, 1.9: -0.21, 1.99: -0.06}
_DOUBLINGS = (
    1.2880317545, 1.2992279397, 1.3016289140, 1.3021432716, 1.3022534377,
)  # fmt: skip


def vanishing(system: str, quantity: str, gap: float, unit: float) -> Row:
    """A difference that should be 0, in units of what rounding may leave of it."""
    name = f"{quantity}, in units of {unit:.0e}"
    return about(system, name, (gap / unit, 0.0), 0.0, 1.0, "exact: 0 up to rounding")


# --- reduction ------------------------------------------------------------------------------


class _Training(NamedTuple):
    """A transformer and the map it reduces to, step by step."""

    gap: Float[Array, " steps"]
    amplified: Float[Array, " steps"]
    loss: Float[Array, " steps"]
    condition: Float[Array, ""]


@functools.partial(jax.jit, static_argnames="num_steps")
def _train(prompt: Prompt, heads: TwoFactorHeads, step_size: Array, num_steps: int) -> _Training:
    matrices = heads.key_query.ndim == 3
    reduction = one_prompt.prompt_reduction(prompt, matrices=matrices)
    rate = step_size / jnp.abs(reduction.slope * reduction.target)
    train = one_prompt.descent_map(lambda at: one_prompt.prompt_loss(at, prompt), rate)
    step = product_map.vector_product_map(step_size)

    def reduced(heads: TwoFactorHeads) -> Array:
        return product_map.reduced_factors(one_prompt.head_factors(heads, prompt), reduction)

    def both(carry: tuple, _: None) -> tuple[tuple, tuple]:
        heads, state, growth = carry
        jacobian = jax.jacfwd(step)(state).reshape(state.size, state.size)
        growth = 1 + jnp.linalg.norm(jacobian, 2) * growth
        heads, state = train(heads), step(state)
        gap = jnp.max(jnp.abs(reduced(heads) - state))
        loss = one_prompt.prompt_loss(heads, prompt) / reduction.target**2
        return (heads, state, growth), (gap, growth, loss)

    start = (heads, reduced(heads), jnp.ones(()))
    # How much a = h·x_q cancels, and with it the digits of every prediction.
    whole = one_prompt.prompt_reduction(prompt, matrices=True).slope
    condition = jnp.abs(whole / reduction.slope)
    gap, amplified, loss = jax.lax.scan(both, start, length=num_steps)[1]
    return _Training(gap, amplified, loss, condition)


def _draw_heads(key: Key, prompt: Prompt, *, count: int, matrices: bool) -> TwoFactorHeads:
    """Heads whose reduced factors are of size .05 to .3; of matrices the rest is arbitrary."""
    first, second = jax.random.split(jax.random.fold_in(key, 1))
    reduced = jax.random.uniform(first, (2, count), minval=0.05, maxval=0.3)
    reduction = one_prompt.prompt_reduction(prompt, matrices=matrices)
    value, factor = product_map.original_factors(reduced, reduction)
    if not matrices:
        return TwoFactorHeads(value, factor)
    rest = jax.random.normal(second, (count, *2 * prompt.query.shape))
    drawn = TwoFactorHeads(value, rest)
    along = jnp.outer(prompt.outputs @ prompt.inputs, prompt.query)
    along = along / jnp.linalg.norm(along)
    moved = (factor - one_prompt.head_factors(drawn, prompt)[1])[:, None, None] * along
    return TwoFactorHeads(value, rest + moved)


def _reduction(key: Key, size: Size) -> Findings:
    """Gradient descent on a transformer's loss is the product map, also where it is chaotic."""
    num_prompts = 8 if size == "quick" else 64
    dimension, count, num_steps = 4, 3, 40
    rows: list[Row] = []
    losses: dict[str, np.ndarray] = {}
    unit = float(np.finfo(np.float64).eps)
    with jax.enable_x64(True):
        keys = jax.random.split(key, num_prompts)
        prompts = jax.vmap(lambda k: one_prompt.random_prompt(k, 16, dimension, noise=0.3))(keys)
        for kind in ("numbers", "matrices"):
            draw = functools.partial(_draw_heads, count=count, matrices=kind == "matrices")
            heads = jax.vmap(draw)(keys, prompts)
            for step_size in (0.7, 1.9):
                run = jax.vmap(_train, (0, 0, None, None))(
                    prompts, heads, jnp.asarray(step_size), num_steps
                )
                found = jax.tree.map(np.asarray, run)
                system = f"one-prompt transformer, {kind}, μ={step_size:g}"
                quantity = f"largest |reduced - map| over {num_steps} steps"
                if step_size < 1:
                    rows.append(vanishing(system, quantity, float(found.gap.max()), 1e-12))
                else:
                    rounding = unit * found.condition[:, None] * found.amplified
                    share = float(np.max(found.gap / rounding)), 0.0
                    quantity += ", in units of amplified rounding"
                    source = "a few rounding units per step, times the tangents' growth"
                    rows.append(about(system, quantity, share, 0.0, 16.0, source))
                losses[f"{kind}, μ = {step_size:g}"] = found.loss[0]
    return Findings(rows, {"one_prompt": functools.partial(_draw_losses, losses)})


def _draw_losses(losses: dict[str, np.ndarray]) -> Any:
    from fracjax.plotting.style import DISCOUNT_COLORS, new_figure, style

    with style():
        figure = new_figure(5.4, 3.4)
        axes = figure.subplots()
        # Numbers and matrices start from the same reduced factors and lie on each other.
        for place, (name, loss) in enumerate(losses.items()):
            marks = "o" if name.startswith("numbers") else ".-"
            axes.semilogy(
                np.arange(1, len(loss) + 1), loss, marks, lw=0.8, ms=6 if marks == "o" else 3,
                mfc="none", color=DISCOUNT_COLORS[place], label=name,
            )  # fmt: skip
        axes.set_ylim(bottom=1e-14)
        axes.set_xlabel("step of gradient descent")
        axes.set_ylabel("loss / b²")
        axes.set_title("A linear transformer on one prompt")
        axes.legend()
    return figure


# --- ellipse --------------------------------------------------------------------------------


def _ellipse(key: Key, size: Size) -> Findings:
    """The factorisation, the angle map, the exponents across and along."""
    count = 10_000 if size == "quick" else 1_000_000
    with jax.enable_x64(True):
        states = jax.random.uniform(key, (count, 2), minval=-2.0, maxval=2.0)
        sizes = jax.random.uniform(jax.random.fold_in(key, 1), (count,), minval=0.1, maxval=1.95)

        def residual(state: Array, step_size: Array) -> Array:
            value = ellipse.ellipse_value(state, step_size)
            moved = ellipse.ellipse_value(product_map.product_map(step_size)(state), step_size)
            return jnp.abs(moved - value * ellipse.ellipse_factor(state, step_size))

        gaps = jax.jit(jax.vmap(residual))(states, sizes)
        rows = [
            vanishing("product map", f"|E' - E (1 - μ² p (1 - p))|, {count:,} points", gap, 1e-12)
            for gap in [float(gaps.max())]
        ]
        angles = jnp.linspace(-math.pi, math.pi, 100_001)
        points = ellipse.ellipse_point(angles, 1.5)
        moved = jax.vmap(product_map.product_map(1.5), 1, 1)(points)
        expected = ellipse.ellipse_point(ellipse.angle_map()(angles), 1.5)
        gap = float(jnp.max(jnp.abs(moved - expected)))
        rows.append(
            vanishing("ellipse, μ=1.5", "|F(θ) - point(π - 3 θ)|, 100 001 angles", gap, 1e-12)
        )
        steps = 20_000 if size == "quick" else 200_000
        for step_size in (0.3, 1.0, 1.5, 1.9):
            law = float(ellipse.ellipse_transverse_exponent(step_size))
            start = ellipse.ellipse_point(jnp.asarray(0.4), step_size)
            step = ellipse.ellipse_map(step_size)
            found = lyapunov_spectrum(step, start, num_steps=steps, num_transient=50)
            system = f"ellipse, μ={step_size:g}"
            grid = (jnp.arange(2_000_000) + 0.5) * (2 * math.pi / 2_000_000)
            c = jnp.cos(2 * grid)
            mean = float(jnp.mean(jnp.log(1 + 2 * step_size * c + 4 * c**2)))
            rows += [
                compare(
                    system, "exponent along", number(found, 0), (math.log(3), 0, "exact: ln 3")
                ),
                compare(
                    system, "exponent across", number(found, 1),
                    (law, 0, "exact: arcosh((1 + √(25 - 4 μ²))/4)"),
                ),
                vanishing(system, "|closed form - quadrature|", abs(mean - law), 1e-12),
            ]  # fmt: skip
        pictures = _orbits_on_and_off()
    return Findings(rows, {"ellipse": functools.partial(_draw_ellipse, pictures)})


def _orbits_on_and_off() -> dict[float, dict[str, np.ndarray]]:
    """Orbits kept on the ellipse, and inside it, for steps below and above μ = 1."""

    def orbit(step: Any, start: Array, num_steps: int) -> np.ndarray:
        return np.asarray(jax.lax.scan(lambda at, _: (step(at), at), start, length=num_steps)[1])

    return {
        step_size: {
            "on it": orbit(
                ellipse.ellipse_map(step_size),
                ellipse.ellipse_point(jnp.asarray(0.4), step_size),
                600,
            ),
            "inside": orbit(
                product_map.product_map(step_size),
                0.995 * ellipse.ellipse_point(jnp.asarray(1.0), step_size),
                300,
            ),
        }
        for step_size in (0.6, 1.5)
    }


def _draw_ellipse(pictures: dict[float, dict[str, np.ndarray]]) -> Any:
    from fracjax.plotting.style import new_figure, style
    from fracjax.plotting.training_maps import ellipse_and_orbit

    with style():
        figure = new_figure(4.2 * len(pictures), 4.2)
        row = figure.subplots(1, len(pictures))
        for axes, (step_size, orbits) in zip(row, pictures.items(), strict=True):
            ellipse_and_orbit(axes, step_size, orbits)
            axes.set_title(f"μ = {step_size:g}")
    return figure


# --- the balanced map -----------------------------------------------------------------------


def _thresholds(_: Key, __: Size) -> list[Row]:
    """Closed forms from orbits and derivatives, and the cascade."""
    system = "balanced map"
    cascade = period_doublings(8)
    z = np.linspace(-2.0, 2.0, 400_001)

    def least_ratio(step_size: float) -> float:
        """Smallest f(z)/z on (-μ, 2)."""
        inside = z[(z > -step_size) & (np.abs(z) > 1e-9)]
        return float(np.min(balanced_map.residual_map(step_size)(inside) / inside)) + 1

    def merging(step_size: float) -> float:
        critical = math.sqrt((1 + step_size) / (3 * step_size))
        step = balanced_map.balanced_map(step_size)
        return float(step(step(critical)))

    def divergence(step_size: float) -> float:
        """The largest value less the border."""
        critical = math.sqrt((1 + step_size) / (3 * step_size))
        largest = float(balanced_map.balanced_map(step_size)(critical))
        return largest - math.sqrt(1 + 2 / step_size)

    def exact(quantity: str, value: float, expected: float, source: str, tolerance: float) -> Row:
        return about(system, quantity, (value, 0.0), expected, tolerance, source)

    rows = [
        exact("loss falls always up to", _root(least_ratio, 0.5, 1.0),
              balanced_map.MONOTONE_LIMIT, "exact: 2√2 - 2", 1e-8),
        exact("minimum stable up to", cascade.doublings[0], 1.0, "exact: 1", 1e-8),
        exact("2-cycle stable up to", cascade.doublings[1], balanced_map.SECOND_DOUBLING,
              "exact: √5 - 1", 1e-8),
        exact("bands merge at", _root(merging, 1.5, 1.7), balanced_map.BAND_MERGING,
              "exact: 3√3/2 - 1", 1e-8),
        exact("divergence beyond", _root(divergence, 1.5, 2.5), 2.0, "exact: 2", 1e-8),
        exact("period doublings accumulate at", cascade.accumulation, 1.3022835, ANCHOR, 1e-6),
        exact("ratio of distances between doublings", cascade.ratios[-1], 4.669202,
              "Feigenbaum's constant", 1e-3),
        exact("window of period 3 opens at", cycle_with_multiplier(3, 1.0, 1.46).step_size,
              1.450441, ANCHOR, 1e-6),
    ]  # fmt: skip
    for index, anchor in enumerate(_DOUBLINGS):
        quantity = f"{2 ** (index + 2)}-cycle stable up to"
        rows.append(exact(quantity, cascade.doublings[index + 2], anchor, ANCHOR, 1e-8))
    with jax.enable_x64(True):
        for step_size in (1.05, 1.2, 1.7):
            within, across = map(float, balanced_map.two_cycle_multipliers(step_size))
            found = _two_cycle_multipliers(step_size)
            gaps = abs(found[0] - within), abs(found[1] - across)
            name = f"2-cycle, μ={step_size:g}"
            rows += [
                vanishing(name, "|multiplier - 9 + 2 (1 + μ)²|", gaps[0], 1e-12),
                vanishing(name, "|multiplier across the slice - 3 + 2 μ|", gaps[1], 1e-12),
            ]
    return rows


def _root(function: Any, low: float, high: float) -> float:
    """Bisect."""
    sign = function(low) > 0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (function(middle) > 0) == sign else (low, middle)
    return (low + high) / 2


def _two_cycle_multipliers(step_size: float) -> tuple[float, float]:
    """By derivatives of the product map along the balanced 2-cycle."""
    high, low = balanced_map.two_cycle(step_size)
    jacobian = jax.jacfwd(product_map.product_map(step_size))
    twice = jacobian(jnp.stack([low, low])) @ jacobian(jnp.stack([high, high]))
    return float(twice[0, 0] + twice[0, 1]), float(twice[0, 0] - twice[0, 1])


def _exponents(_: Key, size: Size) -> list[Row]:
    """Exponents within the balanced slice and across it."""
    num_steps, num_orbits = {"quick": (20_000, 2), "default": (200_000, 4)}.get(size, (10**6, 16))
    rows: list[Row] = []
    together = synchronised([(0, 1)])
    with jax.enable_x64(True):
        starts = 0.3 + 0.05 * jnp.arange(num_orbits)

        def within(step_size: Array, x: Array) -> tuple[Array, Array]:
            step = balanced_map.balanced_map(step_size)
            found = lyapunov_spectrum(step, x, num_steps=num_steps, num_transient=10_000)
            return found.value[0], found.stderr[0]

        def across(step_size: Array, x: Array) -> tuple[Array, Array]:
            step = product_map.product_map(step_size)
            found = transversal_exponents(
                step, jnp.stack([x, x]), together, num_steps=num_steps, num_transient=10_000
            )
            return found.value[0], found.stderr[0]

        sizes = jnp.asarray([*_EXPONENTS, 2.0])
        orbits = jax.vmap(jax.vmap(within, (None, 0)), (0, None))
        values, errors = map(np.asarray, jax.jit(orbits)(sizes, starts))
        orbits = jax.vmap(jax.vmap(across, (None, 0)), (0, None))
        cross = jnp.asarray([*_TRANSVERSE, 2.0])
        crossing, cross_errors = map(np.asarray, jax.jit(orbits)(cross, starts))
    for index, (step_size, anchor) in enumerate(_EXPONENTS.items()):
        computed = _over_orbits(values[index], errors[index])
        rows.append(
            about(f"balanced map, μ={step_size:g}", "exponent", computed, anchor, 0.01, ANCHOR)
        )
    rows.append(
        compare(
            "balanced map, μ=2", "exponent", _over_orbits(values[-1], errors[-1]),
            (math.log(3), 0, "exact: ln 3"),
        )
    )  # fmt: skip
    for index, (step_size, anchor) in enumerate(_TRANSVERSE.items()):
        computed = _over_orbits(crossing[index], cross_errors[index])
        system = f"balanced map, μ={step_size:g}"
        rows.append(about(system, "exponent across the slice", computed, anchor, 0.02, ANCHOR))
    last = _over_orbits(crossing[-1], cross_errors[-1])
    source = "exact: marginal"
    rows.append(compare("balanced map, μ=2", "exponent across the slice", last, (0, 0, source)))
    return rows


def _over_orbits(values: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Mean over orbits, with the errors within them."""
    return float(values.mean()), float(np.sqrt(np.sum(errors**2)) / len(errors))


PARTS: dict[str, Part] = {
    "exact: one-prompt transformer": _reduction,
    "exact: ellipse": _ellipse,
    "exact: thresholds": _thresholds,
    "exact: exponents": _exponents,
}
