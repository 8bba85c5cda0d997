"""Where single updates land: returns after an update, their left tails, and their spread's law."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from fracjax._types import Estimate, Key
from fracjax.estimators.roughness.holder import holder_exponent
from fracjax.learning.gradient_estimates.samplers import smoothed_gradient
from fracjax.learning.gradient_estimates.score_function import (
    reward_to_go_baseline,
    score_function_gradient,
)
from fracjax.learning.return_distributions.distribution import (
    ReturnDistribution,
    return_distribution,
)
from fracjax.learning.return_distributions.sampling import (
    PostUpdateReturns,
    post_update_returns,
)
from fracjax.learning.return_distributions.spread_laws import spread_exponent
from fracjax.learning.return_distributions.updates import Update, gaussian_update, gradient_update
from fracjax.reproduce.comparisons import about, mean_of, number
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.fractal_places import Place, places
from fracjax.reproduce.rows import Findings, Row, describe
from fracjax.systems import signals

__all__ = ["PARTS"]

_DIMENSIONS = 8
_RATE = 3e-4  # of Adam, that of Rahn et al.
_NOISE = 0.1
_Found = tuple[PostUpdateReturns, ReturnDistribution, Estimate, Estimate]


def _laws(key: Key, size: Size) -> Findings:
    """The spread's exponent is the Hölder exponent, whatever makes the updates."""
    centres, updates = (12, 128) if size == "quick" else (32, 512)
    factors = 2.0 ** -np.arange(0.0, 9.0)[::-1]
    rows = []
    pictures: dict[str, tuple[np.ndarray, Estimate]] = {}
    for hurst in (0.3, 0.5, 0.7):
        field = signals.weierstrass_field(jax.random.key(1), hurst, num_terms=18)
        makers: dict[str, Update] = {
            "Gaussian": gaussian_update(0.02),
            "evolution strategy": gradient_update(
                smoothed_gradient(field, 0.05), optax.sgd(0.004), num_samples=8
            ),
        }
        for label, update in makers.items():
            slopes = []
            for index in range(centres):
                own = jax.random.fold_in(key, index)
                place = jax.random.uniform(own, (_DIMENSIONS,), minval=0.1, maxval=0.9)
                found = post_update_returns(
                    update, field, place, own, num_updates=updates, factors=factors, chunk_size=64
                )
                slope = spread_exponent(found.sizes, found.returns, num_resamples=50)
                slopes.append(float(slope.value))
            pictures[f"H = {hurst:g}, {label}"] = found.sizes, slope
            name = f"Weierstrass field H={hurst:g} in {_DIMENSIONS} dimensions"
            rows.append(
                about(
                    name,
                    f"exponent of the spread, {label} updates",
                    mean_of(np.array(slopes)),
                    hurst,
                    0.05,
                    "law: H",
                )
            )
    rows.append(_smooth(key, factors, updates))
    return Findings(rows, {"update_laws": functools.partial(_draw_laws, pictures)})


def _smooth(key: Key, factors: np.ndarray, updates: int) -> Row:
    """One where there is a gradient."""

    def bowl(params: Array, _: Key) -> Array:
        return -jnp.sum((params - 1) ** 2)

    place = jnp.zeros(_DIMENSIONS)
    found = post_update_returns(
        gaussian_update(0.02), bowl, place, key, num_updates=updates, factors=factors, chunk_size=64
    )
    slope = spread_exponent(found.sizes, found.returns, num_resamples=50)
    return about("quadratic", "exponent of the spread", number(slope), 1.0, 0.02, "law: 1")


def _environment(name: str, key: Key, size: Size) -> Findings:
    """Policy-gradient updates of growing learning rate, at trained and untrained policies."""
    rows: list[Row] = []
    found: dict[str, _Found] = {}
    for index, place in enumerate(places(name, jax.random.fold_in(key, 99), size)):
        measured = _updates(place, jax.random.fold_in(key, index), size)
        found[place.name] = measured
        rows += _rows(place.name, *measured)
    return Findings(rows, {f"updates_{name}": functools.partial(_draw_environment, found)})


def _updates(place: Place, key: Key, size: Size) -> _Found:
    episodes, updates = {"quick": (2, 96), "default": (8, 384), "full": (16, 1000)}[size]
    params = place.policy.params
    level_key, update_key, holder_key = jax.random.split(key, 3)
    rollout: dict[str, Any] = {
        "horizon": place.horizon,
        "discount": place.discount,
        "noise_scale": _NOISE,
    }
    loop = place.environment, place.policy, place.states
    baseline = jax.jit(reward_to_go_baseline(*loop, num_episodes=64, **rollout))(params, level_key)
    sampler = score_function_gradient(*loop, baseline=baseline, **rollout)
    update = gradient_update(sampler, optax.adam(_RATE), num_samples=episodes)
    powers = np.arange(-6.0, 5.0, 2.0) if size == "quick" else np.arange(-9.0, 6.0)
    after = post_update_returns(
        update,
        place.objective,
        params,
        update_key,
        num_updates=updates,
        factors=2.0**powers,
        chunk_size=8 if size != "full" else None,
    )
    idle = jax.tree.map(jnp.zeros_like, params)
    floor = float(jax.jit(place.objective)(idle, update_key))
    column = int(np.argmin(np.abs(powers)))
    summary = return_distribution(after.returns[:, column], key, floor=floor)
    slope = spread_exponent(after.sizes, after.returns, key)
    holder = holder_exponent(
        place.objective,
        params,
        holder_key,
        largest_scale=float(after.sizes[-1]),
        smallest_scale=float(after.sizes[0]) / 4,
        num_directions=12 if size == "quick" else 24,
        points_per_line=33,
        max_order=2,
    )
    return after, summary, slope, holder


def _rows(
    name: str,
    after: PostUpdateReturns,
    summary: ReturnDistribution,
    slope: Estimate,
    holder: Estimate,
) -> list[Row]:
    rows = [
        describe(name, "return before", (after.value, 0.0)),
        describe(name, "size of an update, rms per parameter", (after.spread, 0.0)),
        describe(name, "mean displacement, rms per parameter", (after.drift, 0.0)),
    ]
    for label, estimate in (
        ("mean return", summary.mean),
        ("SD of returns", summary.deviation),
        ("skewness", summary.skewness),
        ("left-tail probability above no action", summary.left_tail),
        ("outliers on the left", summary.outliers),
        ("mean of the worst 10 %", summary.tail_mean),
        ("exponent of the spread", slope),
        ("Hölder exponent over the same distances", holder),
    ):
        rows.append(describe(name, label, number(estimate)))
    return rows


def _draw_laws(pictures: dict[str, tuple[np.ndarray, Estimate]]) -> Any:
    from fracjax.plotting import return_distributions
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(6.0, 4.5)
        return_distributions.spread_against_size(
            figure.subplots(),
            {name: sizes for name, (sizes, _) in pictures.items() if "Gaussian" in name},
            {name: slope for name, (_, slope) in pictures.items() if "Gaussian" in name},
            holder={name: float(name[4:7]) for name in pictures},
        )
    return figure


def _draw_environment(found: dict[str, _Found]) -> Any:
    from fracjax.plotting import return_distributions
    from fracjax.plotting.style import DISCOUNT_COLORS, new_figure, style

    with style():
        figure = new_figure(4.2 * (len(found) + 1), 3.8)
        axes = figure.subplots(1, len(found) + 1)
        for number_, (one, (name, (after, summary, _, _))) in enumerate(
            zip(axes[:-1], found.items(), strict=True)
        ):
            column = int(np.argmin(np.abs(np.log(after.factors))))
            return_distributions.return_histogram(
                one,
                after.returns[:, column],
                summary,
                before=after.value,
                color=DISCOUNT_COLORS[number_],
            )
            one.set_title(name)
        return_distributions.spread_against_size(
            axes[-1],
            {name: after.sizes for name, (after, _, _, _) in found.items()},
            {name: slope for name, (_, _, slope, _) in found.items()},
            holder={name: float(holder.value) for name, (_, _, _, holder) in found.items()},
        )
    return figure


PARTS: dict[str, Part] = {
    "updates, known roughness": _laws,
    "updates, pendulum": functools.partial(_environment, "pendulum"),
    "updates, acrobot": functools.partial(_environment, "acrobot"),
    "updates, double pendulum": functools.partial(_environment, "double_pendulum"),
}
