"""Trained policies: do subnetworks of what a policy does matter for what it earns?

Gradients are of the divergence KL(Gaussian at another visited state ‖ at this one). Claim, written
down before it was seen: most subnetworks move outputs further than 95 % of random directions of
equal length. Nothing was claimed of returns: whether a subnetwork changes the return more than
random directions that move outputs by the same divergence is described, with .05 as the null.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from fracjax import tree
from fracjax._types import Estimate, Key, PyTree
from fracjax.learning.decomposition.divergences import gaussian_kl
from fracjax.learning.decomposition.fits import Decomposition, decompose
from fracjax.learning.decomposition.settings import FitSettings
from fracjax.learning.decomposition_models.null_directions import (
    matched_size,
    output_divergence,
    unit_directions,
)
from fracjax.learning.decomposition_models.policy_outputs import (
    action_distribution,
    visited_observations,
)
from fracjax.learning.decomposition_models.return_interventions import (
    episode_returns,
    null_ranks,
    return_changes,
    returns_along,
)
from fracjax.reproduce.comparisons import mean_of
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.l3d_rows import rate
from fracjax.reproduce.l3d_toys import fitting, timed
from fracjax.reproduce.rows import Findings, Row, compare, describe
from fracjax.rl import envs, gallery
from fracjax.rl.rollouts import initial_states

__all__ = ["PARTS"]

_LENGTH = 0.1  # |δ| at which outputs are compared
_NATS = (0.01, 0.1, 1.0)  # divergences at which returns are compared
_ALIVE = 0.01


class Effort(NamedTuple):
    """How much is computed.

    Attributes:
        subnetworks: Of the fit.
        epochs: Of the fit.
        nulls: Random directions.
        episodes: Initial states, the same for all directions.
        horizon: Steps of an episode.
        samples: Observations of the fit.
    """

    subnetworks: int
    epochs: int
    nulls: int
    episodes: int
    horizon: int
    samples: int


_EFFORTS: Mapping[Size, Effort] = {
    "quick": Effort(16, 50, 39, 8, 200, 500),
    "default": Effort(16, 200, 99, 16, 200, 1000),
    "full": Effort(64, 1000, 999, 64, 1000, 10_000),
}


class Moved(NamedTuple):
    """Returns along directions that move outputs by `_NATS`, in both signs.

    Attributes:
        places: ±√(2 D), in the order of the columns: about how many standard deviations the mean
            action moves.
        subnetworks: Changes of the return, (subnetworks, places).
        nulls: The same of random directions.
    """

    places: np.ndarray
    subnetworks: Estimate
    nulls: Estimate


def _policy(key: Key, size: Size, *, name: str) -> list[Row] | Findings:
    """Decompose a shipped policy, and follow the return along what is found."""
    effort = _EFFORTS[size]
    policy, environment = gallery.shipped(name), envs.make(name)
    keys = jax.random.split(key, 5)
    inputs = jnp.asarray(
        visited_observations(
            environment, policy, keys[0], num_samples=effort.samples, horizon=effort.horizon
        )
    )
    apply = action_distribution(policy)
    settings = fitting(
        FitSettings(
            num_subnetworks=effort.subnetworks,
            ranks=2,
            divergence=gaussian_kl,
            learning_rate=5e-3,
            warm_epochs=max(1, effort.epochs // 20),
        ),
        effort.epochs,
    )
    found, seconds = timed(
        lambda params, inputs, key: decompose(apply, params, inputs, key, settings),
        policy.params,
        inputs,
        keys[1],
    )
    nulls = unit_directions(keys[2], policy.params, effort.nulls)

    @jax.jit
    def moved_by(directions: PyTree) -> Any:
        return jax.vmap(
            lambda v: output_divergence(
                apply, policy.params, inputs, v, _LENGTH, divergence=gaussian_kl
            )
        )(directions)

    @jax.jit
    def matched(directions: PyTree) -> Any:
        def one(direction: PyTree) -> Any:
            back = tree.scale(-1.0, direction)
            return jnp.stack(
                [
                    sign
                    * matched_size(apply, policy.params, inputs, each, nats, divergence=gaussian_kl)
                    for sign, each, order in ((-1, back, _NATS[::-1]), (1, direction, _NATS))
                    for nats in order
                ]
            )

        return jax.lax.map(one, directions)

    both = jax.tree.map(lambda *pair: jnp.concatenate(pair), found.subnetworks, nulls)
    distances, sizes = np.asarray(moved_by(both)), np.asarray(matched(both))
    states = initial_states(environment, keys[3], effort.episodes)
    objective = episode_returns(environment, policy, states, horizon=effort.horizon)
    sizes = np.insert(sizes, len(_NATS), 0.0, axis=1)
    returns = returns_along(objective, policy.params, both, sizes, keys[4])
    reached = _reached(apply, policy.params, inputs, both, sizes)
    changes = return_changes(returns, returns[0, len(_NATS)])
    count = effort.subnetworks
    steps = np.sqrt(2 * np.asarray(_NATS))
    moved = Moved(
        np.concatenate([-steps[::-1], [0.0], steps]),
        jax.tree.map(lambda leaf: np.asarray(leaf)[:count], changes),
        jax.tree.map(lambda leaf: np.asarray(leaf)[count:], changes),
    )
    system = f"policy, {name}"
    alive = found.frequency > _ALIVE
    still = returns[:, len(_NATS)]
    lengths = np.asarray(jax.vmap(tree.norm)(both))
    tail = max(1, effort.epochs // 5)
    rows = [
        describe(system, "return, mean over episodes", mean_of(still[0])),
        describe(
            system,
            f"unexplained share, {count} subnetworks",
            (found.loss[-tail:].mean(), 0.0),
        ),
        describe(
            system, f"subnetworks used in more than {_ALIVE:.0%} of states", (alive.sum(), 0.0)
        ),
        compare(
            system,
            "largest change of a return at δ = 0",
            (float(np.abs(still - still[0]).max()), 0.0),
            (0.0, 0.0, "exact: the same program and states, bit by bit"),
        ),
        compare(
            system,
            "largest error of a direction's length",
            (float(np.abs(lengths - 1).max()), 0.0),
            (0.0, 1e-5, "exact: 0, to rounding"),
        ),
        compare(
            system,
            "largest relative error of a matched divergence",
            (reached, 0.0),
            (0.0, 0.0025, "stated: 1 % at most"),
        ),
        describe(
            system,
            "directions and signs that nowhere move outputs that far",
            (float(np.isnan(sizes).sum()), 0.0),
        ),
        *_output_rows(system, distances[:count][alive], distances[count:]),
        *_return_rows(system, moved, alive),
        describe(system, "CPU seconds to decompose", (seconds, 0.0)),
    ]
    draw = functools.partial(_draw, found, moved, alive)
    return Findings(rows, {f"l3d-policy-{name.replace('_', '-')}": draw})


def _reached(
    apply: Any, params: PyTree, inputs: Any, directions: PyTree, sizes: np.ndarray
) -> float:
    """Largest relative error of the divergences that matched sizes were to reach."""

    @jax.jit
    def one(direction: PyTree, each: Any) -> Any:
        return jax.vmap(
            lambda size: output_divergence(
                apply, params, inputs, direction, size, divergence=gaussian_kl
            )
        )(each)

    asked = np.array([*_NATS[::-1], 0.0, *_NATS])
    found = np.stack(
        [
            np.asarray(one(jax.tree.map(lambda leaf, k=k: leaf[k], directions), row))
            for k, row in enumerate(jnp.asarray(sizes, jnp.result_type(float)))
        ]
    )
    chosen = asked > 0
    return float(np.nanmax(np.abs(found[:, chosen] / asked[chosen] - 1)))


def _output_rows(system: str, mine: np.ndarray, nulls: np.ndarray) -> list[Row]:
    """Divergence of the outputs at equal length."""
    ranks = np.asarray(null_ranks(jnp.asarray(mine), jnp.asarray(nulls)))
    over = float(np.median(mine) / np.median(nulls))
    where = f"at |δ| = {_LENGTH:g}"
    return [
        rate(
            system,
            f"subnetworks above 95 % of random directions in outputs moved, {where}",
            int((ranks <= 0.05).sum()),
            len(ranks),
            0.5,
            "claim of this package, written down before: most of them",
        ),
        describe(system, f"median divergence over that of random directions, {where}", (over, 0.0)),
    ]


def _return_rows(system: str, moved: Moved, alive: np.ndarray) -> list[Row]:
    """Larger |change| of both signs, beside random directions at the same divergence."""
    rows = []
    middle = len(_NATS)
    for place, nats in enumerate(_NATS, start=1):
        columns = [middle - place, middle + place]
        mine, nulls = (
            np.abs(np.asarray(part.value)[:, columns]).max(axis=1)
            for part in (moved.subnetworks, moved.nulls)
        )
        ranks = np.asarray(null_ranks(jnp.asarray(mine[alive]), jnp.asarray(nulls)))
        ranks = ranks[np.isfinite(ranks)]
        passed, tried = int((ranks <= 0.05).sum()), len(ranks)
        low, high = stats.binomtest(passed, max(tried, 1)).proportion_ci(method="exact")
        row = describe(
            system,
            f"subnetworks above 95 % of random directions in |change of the return|, outputs moved"
            f" by {nats:g} nats: {passed} of {tried} (null .05; not independent)",
            (passed / max(tried, 1), 0.0),
        )
        rows.append(dataclasses.replace(row, low=float(low), high=float(high)))
        rows.append(
            describe(
                system,
                f"median |change of the return| over that of random directions, {nats:g} nats",
                (float(np.nanmedian(mine[alive]) / np.nanmedian(nulls)), 0.0),
            )
        )
    return rows


def _draw(found: Decomposition, moved: Moved, alive: np.ndarray) -> Any:
    from fracjax.plotting import decomposition
    from fracjax.plotting.style import new_figure, style

    chosen = jax.tree.map(lambda leaf: leaf[alive], moved.subnetworks)
    nearest = np.abs(moved.nulls.value[:, [len(_NATS) - 1, len(_NATS) + 1]])
    with style():
        figure = new_figure(11.0, 3.6)
        left, middle, right = figure.subplots(1, 3)
        decomposition.loss_curves(left, {"KL of Gaussians": found.loss})
        decomposition.activation_frequencies(middle, found.frequency, threshold=_ALIVE)
        decomposition.return_curves(
            right,
            moved.places,
            chosen,
            moved.nulls.value,
            along="±√(2 D): outputs moved by D nats",
            linear_within=float(np.nanmedian(nearest)),
        )
    return figure


def _hopper(key: Key, size: Size) -> list[Row] | Findings:
    """On an accelerator only: contacts take a CPU minutes."""
    if size != "full":
        return [describe("policy, hopper", "left out below the full size", (np.nan, np.nan))]
    return _policy(key, size, name="hopper")


PARTS: dict[str, Part] = {
    "policy: pendulum": functools.partial(_policy, name="pendulum"),
    "policy: inverted double pendulum": functools.partial(_policy, name="inverted_double_pendulum"),
    "policy: hopper": _hopper,
}
