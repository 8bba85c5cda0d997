"""Recompute dimensions of sets of points whose dimensions are known."""

import functools
from collections.abc import Callable

import jax

from fracjax._types import Estimate, Key
from fracjax.estimators.dimensions.fractal_dimensions import (
    correlation_dimension,
    generalized_dimension,
)
from fracjax.reproduce.reference_numbers import Measure, Numbers, averaged
from fracjax.systems import catalogue, fractals
from fracjax.systems.known_values import SELF_SIMILAR

__all__ = ["DIMENSIONS"]

_NUM_POINTS = 4000
Sampler = Callable[[Key], jax.Array]


def _dimension(order: int, points: jax.Array) -> Estimate:
    if order == 2:
        return correlation_dimension(points)
    return generalized_dimension(points, float(order))


def _sampled(draw: Sampler, orders: tuple[int, ...]) -> Measure:
    """Mean over independent samples of the dimensions of each."""

    def measure(key: Key, quick: bool) -> dict[str, Numbers]:
        keys = jax.random.split(key, 8 if quick else 32)
        samples = jax.jit(jax.vmap(draw))(keys)
        return {
            f"dimension D{order}": averaged(
                jax.lax.map(functools.partial(_dimension, order), samples).value
            )
            for order in orders
        }

    return measure


def _draw(measure: fractals.SelfSimilarMeasure, key: Key) -> jax.Array:
    return measure.sample(key, _NUM_POINTS)


def _henon(key: Key) -> jax.Array:
    system = catalogue.get("henon")
    start = system.state + 0.01 * jax.random.uniform(key, system.state.shape)

    def move(state: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        state = system.step(state)
        return state, state

    return jax.lax.scan(move, start, length=_NUM_POINTS + 100)[1][100:]


DIMENSIONS: dict[str, Measure] = {
    **{
        name: _sampled(functools.partial(_draw, measure), (0, 1, 2))
        for name, measure in SELF_SIMILAR.items()
    },
    "circle": _sampled(lambda key: fractals.uniform_circle(key, _NUM_POINTS), (2,)),
    "square": _sampled(lambda key: fractals.uniform_cube(key, _NUM_POINTS), (2,)),
    "henon orbit": _sampled(_henon, (2,)),
}
