"""Mini-batches on the two-factor problem: what is unbiased, and what moves all the same."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Key
from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.estimators.chaos.orbit_average import time_average
from fracjax.reproduce.comparisons import about, exactly, mean_of, number
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row, compare, describe
from fracjax.reproduce.twofactor_exact import vanishing
from fracjax.systems.training_maps import ellipse, minibatches, product_map

__all__ = ["PARTS"]

_COUNT = 16  # problems
_SPREAD = 0.25  # of their slopes and minima


def _problems(spread: float = _SPREAD) -> tuple[np.ndarray, np.ndarray]:
    """Slopes about 1, and targets whose minima p lie about 1."""
    draws = np.random.default_rng(0).uniform(-1, 1, (2, _COUNT))
    slopes = 1 + spread * draws[0]
    return slopes, slopes * (1 + spread * draws[1])


def _drift(key: Key, size: Size) -> list[Row]:
    """The value of the ellipse after a batch, step by step and on average over batches."""
    num_draws = 20_000 if size == "quick" else 400_000
    slopes, targets = _problems()
    rate = 0.9
    rows = []
    with jax.enable_x64(True):
        reduction = minibatches.full_batch_reduction(slopes, targets)
        step_size = float(product_map.effective_step_size(reduction, rate))
        u, v = 0.4, 1.3
        x = product_map.reduced_factors(jnp.asarray([u, v]), reduction)
        value, p = ellipse.ellipse_value(x, step_size), x[0] * x[1]
        for replacement in (True, False):
            noisy = minibatches.minibatch_map(
                slopes, targets, rate, batch_size=4, replacement=replacement
            )
            begin = minibatches.start_minibatches(jnp.asarray([u, v]), key)

            def one(
                index: Array,
                noisy: minibatches.MinibatchMap = noisy,
                begin: minibatches.MinibatchState = begin,
            ) -> tuple[Array, Array]:
                state = begin._replace(position=index)
                moved = noisy.step(state).factors
                after = product_map.reduced_factors(moved, reduction)
                return noisy.growth(state), ellipse.ellipse_value(after, step_size)

            growth, after = map(np.asarray, jax.jit(jax.vmap(one))(jnp.arange(num_draws)))
            law = np.asarray(
                minibatches.next_ellipse_value(value, p, jnp.asarray(growth), step_size)
            )
            gap = float(np.max(np.abs(after - law)))
            system = f"mini-batches of 4 of {_COUNT}, " + (
                "with replacement" if replacement else "an epoch at a time"
            )
            every = rate * slopes * (targets - slopes * u * v)
            variance = np.var(every) / 4 * (1 if replacement else (_COUNT - 4) / (_COUNT - 1))
            mean_law = minibatches.mean_ellipse_value(x, jnp.asarray(variance), step_size)
            # An epoch's batches are dependent; epochs are not.
            epochs = after.reshape(-1, 4).mean(axis=1)
            source = "exact: E (1 - μ ḡ + ḡ² + σ²) + (4 - μ²)/μ σ²"
            rows += [
                vanishing(system, "|E' - law|, every batch", gap, 1e-12),
                compare(
                    system, "mean of g",
                    mean_of(growth) if replacement else (float(growth.mean()), 1e-12),
                    (float(step_size * (1 - p)), 0.0, "exact: unbiased"),
                ),
                compare(system, "mean of E'", mean_of(epochs), (mean_law, 0.0, source)),
            ]  # fmt: skip
    return rows


def _transverse(key: Key, size: Size) -> list[Row]:
    """Exponents across the slice and at a shared minimum, as averages of ln|1 - g|."""
    num_steps = 20_000 if size == "quick" else 100_000
    rows = []
    slopes, targets = _problems()
    with jax.enable_x64(True):
        for rate in (0.8, 1.2):
            noisy = minibatches.minibatch_map(slopes, targets, rate, batch_size=8)
            begin = minibatches.start_minibatches(jnp.asarray([0.7, 0.7]), key)

            def follow(
                state: minibatches.MinibatchState,
                _: None,
                noisy: minibatches.MinibatchMap = noisy,
            ) -> tuple[minibatches.MinibatchState, Array]:
                return noisy.step(state), jnp.log(jnp.abs(1 - noisy.growth(state)))

            rates = jax.jit(lambda at, f=follow: jax.lax.scan(f, at, length=num_steps)[1])(begin)
            average = time_average(rates[:, None])
            found = lyapunov_spectrum(noisy.step, begin, num_steps=num_steps)
            system = f"balanced, batches of 8 of {_COUNT}, η={rate:g}"
            # One of the two exponents is that across the slice, on the same orbit.
            value = float(average.value[0])
            near = int(np.argmin(np.abs(np.asarray(found.value) - value)))
            # The frame needs a few steps to turn into that direction.
            rows.append(
                about(system, "exponent across the slice", (float(found.value[near]), 0.0), value,
                      10 / num_steps, "exact: mean of ln|1 - g|, of the same orbit")
            )  # fmt: skip
            rows.append(describe(system, "largest exponent", number(found, 0)))
        slopes = 1 + 2 * (_problems()[0] - 1)
        for rate, factor in ((0.5, 1.0), (0.7, 1.2), (0.9, 1.0)):
            total = factor**2 + factor**-2
            law = float(np.mean(np.log(np.abs(1 - rate * slopes**2 * total))))
            shared = minibatches.minibatch_map(slopes, slopes, rate, batch_size=1)
            begin = minibatches.start_minibatches(jnp.asarray([factor, 1 / factor]), key)
            found = lyapunov_spectrum(shared.step, begin, num_steps=num_steps)
            across = 0 if law > 0 else 1
            system = f"shared minimum, η={rate:g}, s={total:.3g}, single samples"
            rows += [
                compare(system, "exponent across the minima", number(found, across),
                        (law, 0.0, "exact: mean of ln|1 - η a² s|")),
                about(system, "exponent along the minima", number(found, 1 - across), 0.0,
                      10 / num_steps, "exact: 0"),
            ]  # fmt: skip
    return rows


def _escape(key: Key, size: Size) -> Findings:
    """How long orbits stay inside the ellipse of all data, over the noise of the batches."""
    count, num_steps = (400, 2000) if size == "quick" else (2000, 5000)
    rate = 0.8
    rows: list[Row] = []
    curves: dict[str, np.ndarray] = {}
    with jax.enable_x64(True):
        keys = jax.random.split(key, count)
        for batch_size in (_COUNT, 8, 4, 2, 1):
            slopes, targets = _problems(0.5)
            whole = batch_size == _COUNT
            noisy = minibatches.minibatch_map(
                slopes, targets, rate, batch_size=batch_size, replacement=not whole
            )
            reduction = minibatches.full_batch_reduction(slopes, targets)
            step_size = float(product_map.effective_step_size(reduction, rate))

            def run(
                own: Key,
                noisy: minibatches.MinibatchMap = noisy,
                reduction: product_map.Reduction = reduction,
                step_size: float = step_size,
            ) -> tuple[Array, Array]:
                angle = jax.random.uniform(own, (), float, 0.0, 2 * math.pi)
                start = 0.98 * ellipse.ellipse_point(angle, step_size)
                factors = product_map.original_factors(start, reduction)
                state = minibatches.start_minibatches(factors, own)

                def move(at: Array, carry: tuple) -> tuple:
                    state, first = carry
                    x = product_map.reduced_factors(state.factors, reduction)
                    inside = ellipse.ellipse_value(x, step_size) < 0
                    return noisy.step(state), jnp.where(inside, first, jnp.minimum(first, at))

                begin = state, jnp.asarray(num_steps, jnp.int32)
                state, first = jax.lax.fori_loop(0, num_steps, move, begin)
                return first, ~jnp.all(jnp.isfinite(state.factors))

            first, diverged = map(np.asarray, jax.jit(jax.vmap(run))(keys))
            crossed = first < num_steps
            system = f"starts at .98 of the ellipse, μ={step_size:.3g}, batches of {batch_size}"
            shares = [float(part.mean()) for part in (crossed, diverged)]
            left, gone = ((share, math.sqrt(share * (1 - share) / count)) for share in shares)
            if whole:
                rows.append(
                    exactly(system, "orbits that leave the ellipse", int(crossed.sum()), 0,
                            "exact: all data keep the sign of E")
                )  # fmt: skip
            else:
                rows.append(describe(system, "share of orbits that leave the ellipse", left))
            rows.append(describe(system, "share that diverge", gone))
            label = "all data" if whole else f"batches of {batch_size}"
            curves[label] = np.sort(first)
    return Findings(rows, {"escape": functools.partial(_draw_escape, curves, num_steps)})


def _draw_escape(curves: dict[str, np.ndarray], num_steps: int) -> Any:
    from fracjax.plotting.style import DISCOUNT_COLORS, new_figure, style

    with style():
        figure = new_figure(5.2, 3.4)
        axes = figure.subplots()
        for (name, first), shade in zip(curves.items(), DISCOUNT_COLORS, strict=True):
            left = first[first < num_steps]
            share = 1 - np.arange(len(left) + 1) / len(first)
            steps = np.concatenate([[0.5], left])
            steps, share = np.append(steps, num_steps), np.append(share, share[-1])
            axes.step(steps, share, where="post", color=shade, label=name)
        axes.set_xscale("log")
        axes.set_xlim(0.5, num_steps)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("step")
        axes.set_ylabel("share of orbits still inside")
        axes.set_title("Batches leave the ellipse that all data cannot")
        axes.legend()
    return figure


PARTS: dict[str, Part] = {
    "mini-batches: drift": _drift,
    "mini-batches: exponents": _transverse,
    "mini-batches: escape": _escape,
}
