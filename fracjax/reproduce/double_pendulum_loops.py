"""Random policies on a damped double pendulum, and what is measured of them before a remedy.

Policies are chosen for their exponents, the most chaotic of many, from initial states other than
the one that returns start from. What is measured of them afterwards is not selected.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Estimate, Key, PyTree, Status
from fracjax.estimators.chaos.finite_time import finite_time_growth
from fracjax.estimators.roughness.holder import holder_exponent
from fracjax.evaluation import map_points
from fracjax.reproduce.experiments import Size
from fracjax.rl import classic, policies
from fracjax.rl.environment import Environment
from fracjax.rl.policies import Policy
from fracjax.rl.rollouts import closed_loop, discounted_returns, initial_states

__all__ = [
    "DISCOUNTS",
    "EFFORTS",
    "STEPS",
    "SYSTEM",
    "Effort",
    "chaotic_policies",
    "gradient_signal",
    "gradient_signals",
    "holder_exponents",
    "make_environment",
    "make_policy",
    "mean_rates",
    "one_by_one",
    "picture",
    "predicted_exponents",
    "returns",
    "slices",
    "squared_differences",
]

SYSTEM = "double pendulum, damping 0.3"
DISCOUNTS = (0.9, 0.95, 0.98, 0.99)
STEPS = 1000  # of an episode
_GAIN = 2.0  # of the random policies' weights
_LARGEST = 3e-3  # of the scales of roughness, per parameter
_SMALLEST = 1e-7
_OFFSETS = np.linspace(-1e-3, 1e-3, 384)  # of the slices


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much to compute: candidates, policies, lines, samples of gradients, updates."""

    candidates: int
    policies: int
    lines: int
    pairs: int
    groups: int
    updates: int


EFFORTS: dict[Size, Effort] = {
    "quick": Effort(16, 3, 8, 16, 8, 150),
    "default": Effort(48, 8, 16, 32, 16, 200),
    "full": Effort(256, 32, 32, 64, 32, 400),
}


def make_environment() -> Environment:
    """Make the environment of all loops, in float64."""
    return classic.double_pendulum(substeps=2, damping=0.3, dtype="float64")


def make_policy() -> Policy:
    """Make the policy whose parameters are drawn, perturbed and trained."""
    return policies.initialize(jax.random.key(0), 6, 2, hidden=(16,), head="deterministic")


def _growth(environment: Environment, num_starts: int = 4) -> Callable[[PyTree, Key], Array]:
    """Make (params, key) -> growth per step of the leading tangent, (starts, steps)."""
    policy = make_policy()

    def growth(params: PyTree, key: Key) -> Array:
        def of_state(state: PyTree) -> Array:
            found = finite_time_growth(
                closed_loop(environment, policy, params),
                state,
                num_steps=STEPS,
                coordinates=environment.coordinates,
                lift=environment.from_coordinates,
            )
            return jnp.asarray(found.growth)[:, 0]

        return jax.vmap(of_state)(initial_states(environment, key, num_starts))

    return growth


def chaotic_policies(key: Key, effort: Effort) -> PyTree:
    """Draw random policies and keep the most chaotic: parameters stacked along a first axis."""
    weights, starts = jax.random.split(jax.random.fold_in(key, 0))
    params = jax.vmap(make_policy().network.init)(jax.random.split(weights, effort.candidates))
    params = tree.scale(_GAIN, tree.astype(params, "float64"))
    growth = map_points(_growth(make_environment()), params, starts, chunk_size=8)
    order = np.argsort(-growth.mean(axis=(1, 2)))[: effort.policies]
    return jax.tree.map(lambda leaf: leaf[order], params)


def returns(environment: Environment, key: Key, *, horizon: int = STEPS) -> Callable:
    """Make `objective(params, key)`: one return per discount and the undiscounted, one start."""
    state = initial_states(environment, jax.random.fold_in(key, 1), 1)
    of_state = discounted_returns(
        environment, make_policy(), horizon=horizon, discounts=(*DISCOUNTS, 1.0)
    )
    return lambda params, noise: of_state(params, state, noise)


def one_by_one(params: PyTree) -> list[PyTree]:
    """Take stacked policies apart."""
    count = len(jax.tree.leaves(params)[0])
    return [jax.tree.map(lambda leaf, index=index: leaf[index], params) for index in range(count)]


def holder_exponents(objective: Callable, params: PyTree, key: Key, effort: Effort) -> np.ndarray:
    """Hölder exponents (policies, outputs); NaN where there is none."""
    found = []
    for index, one in enumerate(one_by_one(params)):
        estimate = holder_exponent(
            objective,
            one,
            jax.random.fold_in(key, index),
            largest_scale=_LARGEST,
            smallest_scale=_SMALLEST,
            num_directions=effort.lines,
            measure_noise=False,
            chunk_size=64,
            max_order=2,
        )
        found.append(_usable(estimate))
    return np.array(found)


def _usable(estimate: Estimate) -> np.ndarray:
    good = np.isin(np.asarray(estimate.status), (Status.OK, Status.NOT_CONVERGED))
    return np.where(good, np.asarray(estimate.value, float), np.nan)


def mean_rates(environment: Environment, params: PyTree, key: Key) -> np.ndarray:
    """Mean exponents over the orbits that the return sees, nats per step."""
    growth = map_points(_growth(environment), params, key, chunk_size=8)
    return np.asarray(growth).mean(axis=(1, 2))


def predicted_exponents(rates: np.ndarray, discounts: Sequence[float]) -> np.ndarray:
    """Predict exponents (policies, discounts), capped at the 2 that second differences see."""
    law = -np.log(np.asarray(discounts)) / np.maximum(np.asarray(rates)[:, None], 1e-9)
    return np.minimum(2.0, law)


def gradient_signal(
    objective: Callable, params: PyTree, key: Key, effort: Effort, sigma: float
) -> np.ndarray:
    """Share of a sampled gradient that is signal, relative to a linear objective's, per output.

    From groups of antithetic pairs at the scale σ: the mean product of gradients from different
    groups over the mean square of one. A linear objective of n parameters has M/(M + n + 1) with M
    pairs, by which it is divided. 1: as clear as a slope. 0: no direction.
    """
    size = tree.size(params)
    table = jax.vmap(lambda k: tree.random_normal(k, params))(
        jax.random.split(key, effort.groups * effort.pairs)
    )

    def difference(direction: PyTree, centre: PyTree) -> Array:
        above = objective(tree.add_scaled(centre, sigma, direction), key)
        below = objective(tree.add_scaled(centre, -sigma, direction), key)
        return (above - below) / (2 * sigma)

    slopes = np.asarray(map_points(difference, table, params, chunk_size=64))
    flat = np.concatenate(
        [np.asarray(leaf).reshape(len(slopes), -1) for leaf in jax.tree.leaves(table)], axis=1
    )
    shares = []
    for output in range(slopes.shape[1]):
        gradients = (slopes[:, output, None] * flat).reshape(effort.groups, effort.pairs, -1)
        each = gradients.mean(axis=1)
        squares = np.sum(each**2, axis=1).mean()
        total = np.sum(each.sum(axis=0) ** 2)
        products = (total - effort.groups * squares) / (effort.groups * (effort.groups - 1))
        shares.append(products / squares * (effort.pairs + size + 1) / effort.pairs)
    return np.array(shares)


def gradient_signals(objective: Callable, params: PyTree, key: Key, effort: Effort) -> np.ndarray:
    """Signal of every policy at the scale 1e-3, (policies, outputs)."""
    return np.array(
        [
            gradient_signal(objective, one, jax.random.fold_in(key, index), effort, 1e-3)
            for index, one in enumerate(one_by_one(params))
        ]
    )


def squared_differences(
    objective: Callable, params: PyTree, key: Key, steps: np.ndarray, lines: int
) -> np.ndarray:
    """Squared second differences of one policy's objective, (4 · lines, steps, outputs).

    Every line has a random direction through a random place in the neighbourhood.
    """

    def squares(index: Array, centre: PyTree) -> Array:
        first, second = jax.random.split(jax.random.fold_in(key, index))
        place = tree.add_scaled(centre, _LARGEST, tree.random_normal(first, centre))
        direction = tree.random_normal(second, centre)

        def value(offset: Array) -> Array:
            return objective(tree.add_scaled(place, offset, direction), key)

        size = jnp.asarray(steps)
        return (jax.vmap(value)(size) - 2 * value(jnp.zeros(())) + jax.vmap(value)(-size)) ** 2

    return np.asarray(map_points(squares, np.arange(4 * lines), params, chunk_size=4))


def slices(
    objective: Callable, params: PyTree, key: Key, labels: Sequence[str], outputs: Sequence[int]
) -> dict[str, np.ndarray]:
    """Returns along one random line through the first policy."""
    centre = one_by_one(params)[0]
    direction = tree.random_normal(key, centre)

    def value(offset: Array, centre: PyTree, direction: PyTree) -> Array:
        return objective(tree.add_scaled(centre, offset, direction), key)

    table = np.asarray(map_points(value, _OFFSETS, centre, direction, chunk_size=64))
    return {label: table[:, output] for label, output in zip(labels, outputs, strict=True)}


def picture(
    pairs: tuple, curves: Mapping[str, np.ndarray], *, name: str = "Hölder exponent α"
) -> Any:
    """Draw slices beside exponents and their laws.

    Args:
        pairs: Labels of the columns, numbers (policies, columns), and their laws likewise.
        curves: What `slices` returns.
        name: Of the numbers.
    """
    from fracjax.plotting import remedies
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(9.0, 4.2)
        left, right = figure.subplots(1, 2)
        remedies.before_and_after(left, _OFFSETS, curves)
        remedies.exponent_pairs(right, *pairs, name=name)
        if name.startswith("share"):
            right.set_yscale("log")
        else:
            right.axhline(1.0, color="#999999", lw=0.8, ls=":")
        left.set_title("the landscape of one policy")
        right.set_title("all policies")
    return figure
