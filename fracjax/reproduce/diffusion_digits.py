"""Small networks learning digits: exponents early and late, over seeds, beside simpler nulls.

What came out at the quick size (perceptron, 3 seeds, batches of 32, three segments of 500 steps):
at η = .1 the exponent at short lags falls from 1.06 to .79 and lies .07 and .21 below what drift
plus noise with the same steps shows, .13 and .16 below relaxation of every weight by itself; the
one at long lags falls from 1.67 to 1.35 and stays far above 1. At η = .01 they go from 1.57 to
1.23 and from 1.88 to 1.94, as drift and noise explain to .1. So both exponents fall while the
network learns, as published, but these networks are subdiffusive at short lags and driven at long
ones: the order of the published residual networks (above 1, then below) the other way round.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Estimate, Key, Status
from fracjax.estimators.diffusion.displacements import displacement_at_lags, logarithmic_lags
from fracjax.estimators.diffusion.distributions import displacement_density
from fracjax.estimators.diffusion.nulls import drift_noise_surrogate, relaxation_surrogate
from fracjax.estimators.roughness.holder import holder_exponent
from fracjax.estimators.roughness.series import series_holder_exponent
from fracjax.learning.digits import Digits, load_digits
from fracjax.learning.weight_diffusion.descent_runs import (
    Runs,
    classification_loss,
    descend,
    grid_of_runs,
    minibatch_noise,
)
from fracjax.learning.weight_diffusion.networks import (
    Classifier,
    convolutional_network,
    multilayer_perceptron,
)
from fracjax.learning.weight_diffusion.noise_tails import gradient_noise_tails
from fracjax.learning.weight_diffusion.path_geometry import contour_exponent
from fracjax.learning.weight_diffusion.path_topology import persistent_homology_dimension
from fracjax.learning.weight_diffusion.two_exponents import (
    null_two_exponents,
    two_exponents,
)
from fracjax.reproduce import diffusion_digit_figures as figures
from fracjax.reproduce.comparisons import mean_of, mean_of_finite
from fracjax.reproduce.diffusion_digit_figures import groups_of
from fracjax.reproduce.diffusion_published import LEARNING_RATES, SOURCE
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Measured, Row, compare, describe

__all__ = ["PARTS"]

# Seeds, learning rates, batch sizes and segments; convolutions cost ten times as much.
_SIZES: dict[tuple[str, Size], tuple[int, tuple[float, ...], tuple[int, ...], int]] = {
    ("perceptron", "quick"): (3, (0.01, 0.1), (32,), 3),
    ("perceptron", "default"): (4, (0.001, 0.01, 0.1, 0.5), (32, 128), 8),
    ("perceptron", "full"): (16, tuple(LEARNING_RATES), (32, 128, 512), 24),
    ("convolutions", "quick"): (3, (0.01, 0.1), (32,), 2),
    ("convolutions", "default"): (3, (0.001, 0.01, 0.1), (32,), 6),
    ("convolutions", "full"): (16, tuple(LEARNING_RATES), (32, 128, 512), 24),
}
_LENGTH = {"quick": 500, "default": 1000, "full": 1000}
_SURROGATES = {"quick": 9, "default": 9, "full": 39}
_NULLS = {"drift + noise": drift_noise_surrogate, "relaxation": relaxation_surrogate}


def _networks(size: Size) -> dict[str, Classifier]:
    if size == "full":
        return {
            "perceptron": multilayer_perceptron((32,)),
            "convolutions": convolutional_network((8, 16)),
        }
    return {
        "perceptron": multilayer_perceptron((16,)),
        "convolutions": convolutional_network((4, 8)),
    }


def _train(
    network: Classifier, data: Digits, runs: Runs, segments: int, size: Size, key: Key
) -> dict[str, Any]:
    """Exponents of all segments, and of nulls in the first and the last one."""
    length = _LENGTH[size]
    lags = logarithmic_lags(2 * length // 5)

    @jax.jit
    def describe_paths(paths: Array) -> dict[str, Any]:
        def one(path: Array) -> dict[str, Any]:
            found = two_exponents(path)
            return {
                "short": found.short,
                "long": found.long,
                "crossover": found.crossover,
                "contour": contour_exponent(path).value,
                "displacement": displacement_at_lags(path, lags),
                "density": displacement_density(path, figures.EDGES),
            }

        return jax.lax.map(one, paths)

    @jax.jit
    def nulls(paths: Array, keys: Array) -> dict[str, tuple[Estimate, Estimate]]:
        def one(pair: tuple[Array, Array]) -> dict[str, tuple[Estimate, Estimate]]:
            path, own = pair
            number = _SURROGATES[size]
            return {
                name: null_two_exponents(own, path, surrogate, num_surrogates=number)
                for name, surrogate in _NULLS.items()
            }

        return jax.lax.map(one, (paths, keys))

    keys = jax.random.split(key, len(runs.seed))
    found, at_ends, losses = [], {}, []
    settings = {"num_segments": segments, "segment_length": length, "loss_stride": 20}
    for segment in descend(network, data.images, data.labels, runs, **settings):
        found.append(jax.tree.map(np.asarray, describe_paths(segment.paths)))
        losses.append(np.asarray(segment.full_losses))
        if segment.waiting_time in (0, (segments - 1) * length):
            at_ends[segment.waiting_time] = jax.tree.map(np.asarray, nulls(segment.paths, keys))
        last = segment.paths
    table = jax.tree.map(lambda *parts: np.stack(parts, axis=1), *found)  # (runs, segments, …)
    dimension = jax.jit(
        lambda paths: jax.lax.map(
            lambda path: persistent_homology_dimension(path, key, num_repeats=2).value, paths
        )
    )
    return {
        **table,
        "lags": np.array(lags),
        "losses": np.concatenate(losses, axis=1),
        "nulls": at_ends,
        "waiting": length * np.arange(segments),
        "dimension": np.asarray(dimension(last)),
        "last": np.asarray(last[:, -1]),
    }


def _digits(name: str, key: Key, size: Size) -> Findings:
    """Train one kind of network over seeds, learning rates and batch sizes."""
    data = load_digits()
    seeds, rates, batches, segments = _SIZES[name, size]
    runs = grid_of_runs(tuple(range(seeds)), rates, batches)
    network = _networks(size)[name]
    found = _train(network, data, runs, segments, size, key)
    rows: list[Row] = []
    for rate, batch, members in groups_of(runs):
        rows += _rows(f"{name}, {network.size} weights, η {rate:g}, batch {batch}", found, members)
        rows += _beside_published(name, rate, found, members)
    rows += _comparisons(f"{name}, {network.size} weights", found, runs)
    draw = functools.partial
    return Findings(
        rows,
        {
            f"digits_{name}_exponents": draw(figures.draw_exponents, found, runs),
            f"digits_{name}_displacements": draw(
                figures.draw_displacements, found, runs, _LENGTH[size]
            ),
            f"digits_{name}_densities": draw(figures.draw_densities, found, runs),
            f"digits_{name}_published": draw(figures.draw_published, found, runs),
        },
    )


def _over_seeds(estimate: Estimate, members: np.ndarray, segment: int) -> Measured:
    return mean_of_finite(np.asarray(estimate.value)[members, segment])


def _rows(name: str, found: dict[str, Any], members: np.ndarray) -> list[Row]:
    """Means over seeds; every number beside what its nulls show in the same window."""
    rows = []
    for label, segment in (("first", 0), ("last", -1)):
        waiting = int(found["waiting"][segment])
        for which, window in (("short", "short lags"), ("long", "long lags")):
            mean = _over_seeds(found[which], members, segment)
            rows.append(describe(name, f"exponent at {window}, {label} segment", mean))
            for null, pair in found["nulls"][waiting].items():
                values = np.asarray(pair[which == "long"].value)[members]
                own = np.asarray(found[which].value)[members, segment]
                title = f"exponent at {window}, {label} segment, minus that of {null}"
                rows.append(describe(name, title, mean_of(own - values)))
        crossover = np.log(np.asarray(found["crossover"].value)[members, segment])
        crossover = crossover[np.isfinite(crossover)]
        if len(crossover) > 1:
            title = f"ln crossover lag, {label} segment ({len(crossover)} runs that have one)"
            rows.append(describe(name, title, mean_of(crossover)))
        contour = mean_of(found["contour"][members, segment])
        rows.append(describe(name, f"exponent of r² on contour length, {label} segment", contour))
    loss = mean_of(found["losses"][members, -1])
    rows.append(describe(name, "loss on all images at the end", loss))
    rows.append(
        describe(name, "H0 dimension of the last segment", mean_of(found["dimension"][members]))
    )
    roughness = [
        float(series_holder_exponent(np.asarray(found["losses"][run])).value) for run in members
    ]
    finite = np.array([value for value in roughness if math.isfinite(value)])
    if len(finite) > 1:
        title = f"Hölder exponent of the loss along the path ({len(finite)} runs)"
        rows.append(describe(name, title, mean_of(finite)))
    return rows


def _beside_published(
    name: str, rate: float, found: dict[str, Any], members: np.ndarray
) -> list[Row]:
    """Ours, with the published pair for the same learning rate in words: other networks."""
    rows = []
    for published_rate, (short, long) in LEARNING_RATES.items():
        if not math.isclose(published_rate, rate):
            continue
        for which, value in (("short", short), ("long", long)):
            quantity = (
                f"exponent {1 if which == 'short' else 2}, first segment, η {rate:g} ({SOURCE}:"
                f" {value:g})"
            )
            rows.append(
                describe(f"{name} on digits", quantity, _over_seeds(found[which], members, 0))
            )
    return rows


def _comparisons(name: str, found: dict[str, Any], runs: Runs) -> list[Row]:
    """What is claimed for any network: ballistic at a tiny rate, slower at a larger one."""
    rows = []
    groups = groups_of(runs)
    batch = groups[0][1]
    own = [(rate, members) for rate, size, members in groups if size == batch]
    slow, fast = own[0], max(own, key=lambda pair: pair[0] if pair[0] <= 0.1 else 0)
    # At short lags the noise of the batch shows; drift outweighs it later.
    early = _over_seeds(found["long"], slow[1], 0)
    expected = (2.0, 0.05, "gradient flow: 2, to 0.2; published 2 at η 0.001")
    rows.append(compare(name, f"exponent 2, first segment, η {slow[0]:g}", early, expected))
    values = np.asarray(found["long"].value)
    change = values[fast[1], 0] - values[slow[1], 0]
    rows.append(
        describe(
            name,
            f"exponent 2, first segment, η {fast[0]:g} minus η {slow[0]:g}, same seeds"
            " (published: negative)",
            mean_of(change),
        )
    )
    for rate, members in own:
        change = values[members, -1] - values[members, 0]
        title = f"exponent 2, last minus first segment, η {rate:g} (published: negative)"
        rows.append(describe(name, title, mean_of(change)))
    return rows


def _noise(key: Key, size: Size) -> Findings:
    """Tails of gradient noise at initial and at trained weights."""
    data = load_digits()
    network = _networks(size)["perceptron"]
    draws, steps = {"quick": (200, 300), "default": (400, 2000), "full": (2000, 10_000)}[size]
    runs = grid_of_runs((0, 1, 2), (0.1,), (32,))
    settings = {"num_segments": 1, "segment_length": steps, "loss_stride": steps}
    segment = next(descend(network, data.images, data.labels, runs, **settings))
    rows, shown = [], {}
    moving = np.asarray(data.images).std(axis=0).ravel() > 0.05
    hidden = network.shapes[0][1]
    kept = np.concatenate([np.repeat(moving, hidden), np.ones(network.size - 64 * hidden, bool)])
    for label, step in (("initial", 0), ("trained", -1)):
        found = []
        for run in range(3):
            noise = minibatch_noise(
                network,
                segment.paths[run, step],
                data.images,
                data.labels,
                jax.random.fold_in(key, run),
                num_draws=draws,
            )
            alive = kept & (np.asarray(noise).std(axis=0) > 0)
            # A unit that hardly ever fires gives mostly zeros, which have no logarithm.
            alive &= np.mean(np.asarray(noise) == np.median(noise, axis=0), axis=0) < 0.2
            found.append(gradient_noise_tails(np.asarray(noise)[:, alive]))
        title = f"gradient noise, perceptron, batch 32, {label} weights"
        for quantity, pick in (
            ("α by coordinate", lambda tails: tails.by_coordinate.value),
            ("α with coordinates strung together (published)", lambda tails: tails.flattened.value),
            ("median α by characteristic function", lambda t: np.median(t.characteristic.value)),
        ):
            values = np.array([float(pick(tails)) for tails in found])
            rows.append(describe(title, quantity, mean_of(values)))
        flagged = float(np.mean([int(tails.flattened.status) != int(Status.OK) for tails in found]))
        rows.append(describe(title, "share of strung values that are flagged", (flagged, 0.0)))
        shown[f"{label}, by coordinate"] = found[0].by_coordinate
        shown[f"{label}, strung together"] = found[0].flattened
    loss = classification_loss(
        network, segment.paths[0, -1], jnp.asarray(data.images), jnp.asarray(data.labels)
    )
    rows.append(describe("perceptron", "loss at the trained weights", (float(loss), 0.0)))
    return Findings(rows, {"noise_tails": functools.partial(figures.draw_tails, shown)})


def _landscape(key: Key, size: Size) -> list[Row]:
    """Roughness of the loss itself, along random directions through the weights."""
    data = load_digits()
    network = _networks(size)["perceptron"]
    seeds, steps = {"quick": (2, 300), "default": (4, 3000), "full": (8, 10_000)}[size]
    runs = grid_of_runs(tuple(range(seeds)), (0.1,), (32,))
    settings = {"num_segments": 1, "segment_length": steps, "loss_stride": steps}
    segment = next(descend(network, data.images, data.labels, runs, **settings))
    images, labels = jnp.asarray(data.images), jnp.asarray(data.labels)

    def objective(params: Array, _: Key) -> Array:
        return classification_loss(network, params, images, labels)

    rows = []
    for label, step in (("initial", 0), ("trained", -1)):
        found, capped = [], 0
        for run in range(seeds):
            estimate = holder_exponent(
                objective, segment.paths[run, step], jax.random.fold_in(key, run), num_directions=8
            )
            if int(estimate.status) == int(Status.OK):
                found.append(float(estimate.value))
                capped += int(np.asarray(estimate.details.get("at_cap", 0)))
        name = f"loss of the perceptron on all images, {label} weights"
        usable = (len(found) / seeds, 0.0)
        rows.append(describe(name, "share of seeds with an exponent along directions", usable))
        if len(found) > 1:
            title = f"Hölder exponent along directions ({capped} at the cap: smooth)"
            rows.append(describe(name, title, mean_of(np.array(found))))
    return rows


PARTS: dict[str, Part] = {
    "digits, perceptron": functools.partial(_digits, "perceptron"),
    "digits, convolutions": functools.partial(_digits, "convolutions"),
    "digits, gradient noise": _noise,
    "digits, landscape": _landscape,
}
