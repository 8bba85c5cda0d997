"""A transformer and a convolutional network, trained here: what subnetworks of a block own.

The published errors (40 % for a block of TinyStories-8M, 23 % with 40 % dead for a block of
mobilenet on CIFAR-100) belong to other networks and data and are not compared: the networks here
are small enough to be trained where the experiment runs.

Claims, written down before they were seen: a subnetwork is used in one class of samples (dialect of
a text, digit) more than random directions of equal length are; and moving along it, on fresh
samples and by as much as changes outputs by .1 nats on average, changes those of the class that it
is used in by more than one part in the number of classes.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.learning.decomposition.attributions import attributions
from fracjax.learning.decomposition.divergences import kullback_leibler
from fracjax.learning.decomposition.fits import decompose
from fracjax.learning.decomposition.settings import FitSettings
from fracjax.learning.decomposition.subnetwork_interventions import output_velocities
from fracjax.learning.decomposition_models.dialects import Dialects
from fracjax.learning.decomposition_models.digit_convolutions import DigitNetwork, train_digits
from fracjax.learning.decomposition_models.null_directions import matched_size, unit_directions
from fracjax.learning.decomposition_models.selected_tensors import restrict
from fracjax.learning.decomposition_models.transformers import (
    Transformer,
    positions,
    train_transformer,
)
from fracjax.learning.digits import load_digits
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.l3d_rows import bounded, spread_row
from fracjax.reproduce.l3d_toys import fitting, timed
from fracjax.reproduce.rows import Findings, Row, compare, describe

__all__ = ["PARTS"]

_MOVED = 0.1  # nats by which outputs are moved on average
_ALIVE = 0.01  # share of samples


class Effort(NamedTuple):
    """How much is computed.

    Attributes:
        seeds: Networks, each trained and decomposed.
        training: Updates of the transformer, epochs of the convolutional network.
        subnetworks: Of each fit.
        epochs: Of each fit.
        samples: That a fit sees: texts (12 tokens each), or images.
    """

    seeds: int
    training: int
    subnetworks: int
    epochs: int
    samples: int


_TEXTS: Mapping[Size, Effort] = {
    "quick": Effort(2, 500, 20, 6, 40),
    "default": Effort(4, 1500, 60, 30, 200),
    "full": Effort(16, 3000, 100, 100, 833),
}
_DIGITS: Mapping[Size, Effort] = {
    "quick": Effort(2, 10, 20, 6, 320),
    "default": Effort(4, 30, 40, 30, 1437),
    "full": Effort(16, 60, 100, 100, 1437),
}


def _settings(effort: Effort, ranks: Any) -> FitSettings:
    settings = FitSettings(
        num_subnetworks=effort.subnetworks,
        ranks=ranks,
        divergence=kullback_leibler,
        learning_rate=5e-3,
        warm_epochs=max(1, effort.epochs // 10),
    )
    return fitting(settings, effort.epochs)


class Task(NamedTuple):
    """A network to decompose, with samples of it.

    Attributes:
        apply: Of one sample of the fit.
        chosen: Tensors that are decomposed.
        inputs: Samples of the fit.
        classes: Class of each.
        observe: `(chosen, x) -> outputs` of one fresh sample.
        fresh: Samples that the fit does not see.
        fresh_classes: Class of each.
    """

    apply: Callable
    chosen: PyTree
    inputs: PyTree
    classes: Array
    observe: Callable
    fresh: PyTree
    fresh_classes: Array


def _examined(task: Task, key: Key, settings: FitSettings, num_classes: int) -> dict[str, Array]:
    """Decompose, and share out by class what is used and what is moved; beside random directions.

    Returns losses and frequencies, and (subnetworks, classes) tables whose rows add up to 1.
    """
    of_fit, of_nulls, of_references = jax.random.split(key, 3)
    found = decompose(task.apply, task.chosen, task.inputs, of_fit, settings)
    nulls = unit_directions(of_nulls, task.chosen, settings.num_subnetworks)
    both = jax.tree.map(lambda *pair: jnp.concatenate(pair), found.encoder, nulls)
    used = attributions(
        task.apply,
        task.chosen,
        task.inputs,
        both,
        of_references,
        divergence=kullback_leibler,
        num_references=4,
    )
    outputs = jax.vmap(task.observe, in_axes=(None, 0))
    plain = outputs(task.chosen, task.fresh)

    def moved(direction: PyTree) -> Array:
        size = matched_size(
            task.observe,
            task.chosen,
            task.fresh,
            direction,
            _MOVED,
            divergence=kullback_leibler,
            num_halvings=12,
        )
        after = outputs(tree.add_scaled(task.chosen, size, direction), task.fresh)
        return jax.vmap(kullback_leibler)(after, plain)

    both = jax.tree.map(
        lambda mine, other: jnp.concatenate([mine, -mine, other]), found.subnetworks, nulls
    )
    changes = jax.lax.map(moved, both, batch_size=10)
    forth, back, other = jnp.split(changes, 3)
    return {
        "loss": found.loss,
        "frequency": found.frequency,
        "used": _by_class(used.T, task.classes, num_classes),
        "moved": _by_class((forth + back) / 2, task.fresh_classes, num_classes),
        "moved_null": _by_class(other, task.fresh_classes, num_classes),
        "velocities": jnp.abs(
            output_velocities(task.observe, task.chosen, task.fresh, found.subnetworks)
        ).mean(axis=tuple(range(1, plain.ndim))),
    }


def _by_class(rows: Array, classes: Array, count: int) -> Array:
    member = jax.nn.one_hot(classes, count, dtype=rows.dtype)
    means = rows @ (member / member.sum(axis=0))
    return means / means.sum(axis=1, keepdims=True)


def _rows(system: str, found: dict[str, np.ndarray], kind: str, size: Size) -> list[Row]:
    """What all networks have in common: errors, dead ones, and classes that are owned."""
    count = found["frequency"].shape[1]
    alive = found["frequency"] > _ALIVE
    used, nulls = found["used"][:, :count], found["used"][:, count:]
    classes = used.shape[2]
    owned = used.argmax(axis=2)
    share = np.take_along_axis(found["moved"], owned[..., None], axis=2)[..., 0]
    best, other, moved = (
        np.array([np.nanmean(row[keep]) for row, keep in zip(table, chosen, strict=True)])
        for table, chosen in (
            (used.max(axis=2), alive),
            (nulls.max(axis=2), np.ones_like(alive)),
            (share, alive),
        )
    )
    used_by = np.array(
        [len(set(own[keep].tolist())) for own, keep in zip(owned, alive, strict=True)], float
    )
    tail = max(1, found["loss"].shape[1] // 5)
    rows = [
        spread_row(
            system,
            f"unexplained share, {count} subnetworks of which a sample uses {0.1 * count:.0f}",
            found["loss"][:, -tail:].mean(axis=1),
        ),
        spread_row(
            system, f"subnetworks used in at most {_ALIVE:.0%} of samples", 1 - alive.mean(axis=1)
        ),
        spread_row(system, f"{kind}s of {classes} that are somebody's first", used_by),
        spread_row(system, f"share of use in its first {kind}", best),
        spread_row(system, "the same of random directions of equal length", other),
    ]
    if size == "quick":  # two networks decide nothing
        return [*rows, spread_row(system, f"share of outputs moved that are its {kind}'s", moved)]
    source = "claim of this package, written down before"
    return [
        *rows,
        bounded(
            system, f"share of use in its first {kind}, above random", best - other, 0.0, source
        ),
        bounded(
            system, f"share of outputs moved that are its {kind}'s", moved, 1 / classes, source
        ),
    ]


def _over_networks(
    train: Callable[[Key], Any],
    examine: Callable[[PyTree, Key], dict[str, Array]],
    key: Key,
    count: int,
) -> tuple[Any, dict[str, np.ndarray], float]:
    """Train networks and examine each by its key; also the CPU seconds per network of examining."""
    keys = jax.random.split(key, count)
    trained, _ = timed(lambda keys: jax.lax.map(train, keys), keys)
    found, seconds = timed(
        lambda params, keys: jax.lax.map(lambda row: examine(*row), (params, keys)),
        trained.params,
        keys,
    )
    return trained, found, seconds / count


def _transformer(key: Key, size: Size) -> Findings:
    """One attention block of a transformer on text of a source with known entropy."""
    effort, source = _TEXTS[size], Dialects()
    model = Transformer(source.vocabulary, source.length)
    settings = _settings(effort, 3)  # a tenth of 32

    def train(key: Key) -> Any:
        return train_transformer(model, source, key, num_updates=effort.training)

    def one(params: PyTree, key: Key) -> dict[str, Array]:
        chosen, apply = restrict(model.at_position, params, "blocks/0/attention/*")
        _, observe = restrict(model.apply, params, "blocks/0/attention/*")
        texts = source.sample(jax.random.fold_in(key, 1), effort.samples)[:, :-1]
        fresh = source.sample(jax.random.fold_in(key, 2), 48)[:, :-1]
        inputs = positions(texts)
        classes = inputs[0][:, 0] - source.num_words
        task = Task(apply, chosen, inputs, classes, observe, fresh, fresh[:, 0] - source.num_words)
        return _examined(task, key, settings, source.num_dialects)

    trained, found, seconds = _over_networks(train, one, key, effort.seeds)
    system = "transformer, one attention block"
    text = f"cross entropy in nats per word, {effort.seeds} networks"
    loss = np.asarray(trained.loss.value, float)
    error = float(np.sqrt(np.sum(np.asarray(trained.loss.stderr, float) ** 2))) / len(loss)
    rows = [
        compare(
            system, text, (loss.mean(), error), (source.entropy, 0.0, "exact: the source's entropy")
        ),
        spread_row(system, "excess over the source, KL in nats per word", trained.excess.value),
        bounded(
            system,
            "cross entropy in nats per word",
            loss,
            source.bigram_entropy,
            "exact: the least without attention",
            below=True,
        ),
        *_rows(system, found, "dialect", size),
        describe(system, "CPU seconds per network to decompose", (seconds, 0.0)),
    ]
    names = [f"w{word}" for word in range(source.num_words)]
    names += [f"D{dialect}" for dialect in range(source.num_dialects)]
    draw = functools.partial(_draw, found, names, names[source.num_words :])
    return Findings(rows, {"l3d-transformer": draw})


def _convolutions(key: Key, size: Size) -> Findings:
    """The residual block of a convolutional network on scikit-learn's digits."""
    effort, network = _DIGITS[size], DigitNetwork()
    digits = load_digits()
    images, labels = jnp.asarray(digits.images), jnp.asarray(digits.labels)
    tests, answers = jnp.asarray(digits.test_images), jnp.asarray(digits.test_labels)
    ranks = {
        f"block/{layer}/{name}": rank
        for layer in ("first", "second")
        for name, rank in (("bias", 1), ("kernel", (1, 1, 2, 2)))  # a tenth of (3, 3, 16, 16)
    }
    settings = _settings(effort, ranks)

    def train(key: Key) -> Any:
        return train_digits(network, images, labels, key, num_epochs=effort.training)

    def one(params: PyTree, key: Key) -> dict[str, Array]:
        chosen, apply = restrict(network.apply, params, "block/*")
        few = effort.samples
        task = Task(apply, chosen, images[:few], labels[:few], apply, tests, answers)
        logits = jax.vmap(network.apply, in_axes=(None, 0))(params, tests)
        accuracy = jnp.mean(jnp.argmax(logits, axis=1) == answers, dtype=logits.dtype)
        return _examined(task, key, settings, network.num_classes) | {"accuracy": accuracy}

    _, found, seconds = _over_networks(train, one, key, effort.seeds)
    system = "convolutions on digits, one block"
    rows = [
        bounded(
            system,
            "share of test images named rightly",
            found["accuracy"],
            0.9,
            "a network worth decomposing; chance is .1",
        ),
        *_rows(system, found, "digit", size),
        describe(system, "CPU seconds per network to decompose", (seconds, 0.0)),
    ]
    names = [str(digit) for digit in range(10)]
    draw = functools.partial(_draw, found, names, names)
    return Findings(rows, {"l3d-convolutions": draw})


def _draw(found: dict[str, np.ndarray], outputs: list[str], classes: list[str]) -> Any:
    from fracjax.plotting import decomposition
    from fracjax.plotting.style import new_figure, style

    frequency = found["frequency"][0]
    most = np.argsort(-frequency)[:20]
    used = found["used"][0][most]
    most = most[np.argsort(np.argmax(used, axis=1), kind="stable")]
    with style():
        figure = new_figure(9.5, 7.0)
        above, below = figure.subplots(2, 2)
        decomposition.loss_curves(above[0], {"all networks": found["loss"]})
        decomposition.activation_frequencies(above[1], frequency, threshold=_ALIVE)
        image = decomposition.top_outputs(
            below[0],
            found["used"][0],
            classes,
            chosen=most.tolist(),
            label="use by class, over the largest",
        )
        figure.colorbar(image, ax=below[0])
        image = decomposition.top_outputs(
            below[1],
            found["velocities"][0],
            outputs,
            chosen=most.tolist(),
            label="|∂ logit/∂δ|, over the largest",
        )
        figure.colorbar(image, ax=below[1])
    return figure


PARTS: dict[str, Part] = {"transformer": _transformer, "convolutions": _convolutions}
