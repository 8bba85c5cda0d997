"""Networks on scikit-learn's digits: Langevin samplers beside SGD and SGD with dropout.

The table of Marceau-Caron and Ollivier compares four metrics with SGD and dropout on MNIST; its
numbers were not at hand, and nothing here is compared with them. What is tested is the order that
their abstract states for posterior averages. Every method gets the same network and number of
updates, and the same number of step sizes times three variances of the prior of its kernels (for
SGD that is weight decay) to try; each predictor takes what is best on validation data, and is
scored on test data that nothing was chosen by.
"""

import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from fracjax import evaluation
from fracjax._types import Estimate, Key, PyTree
from fracjax.learning.digits import load_digits
from fracjax.learning.langevin_sampling.calibration import calibration
from fracjax.learning.langevin_sampling.posterior_averages import posterior_average
from fracjax.learning.langevin_sampling.priors import gaussian_prior
from fracjax.learning.langevin_sampling.sample_moments import apply_dense, gradient_moments
from fracjax.learning.langevin_sampling.schedules import effective_temperature, halving_schedule
from fracjax.learning.langevin_sampling.transformations import preconditioned_sgld
from fracjax.reproduce.comparisons import described, left_out, signed, student_mean
from fracjax.reproduce.experiments import Size
from fracjax.reproduce.rows import Findings, Row, describe

__all__ = ["METHODS", "PREDICTORS", "SCORES", "digits"]

Method = Literal["SGD", "SGD + dropout", "SGLD", "RMSprop SGLD", "DOP SGLD", "QDOP SGLD"]
_Tried: TypeAlias = list[tuple[float, float]]
METHODS: tuple[Method, ...] = get_args(Method)
PREDICTORS = ("last point", "mean parameters", "ensemble")
SCORES = ("NLL", "accuracy", "Brier", "ECE")
_METRICS: Mapping[Method, Any] = {
    "SGD": "euclidean",
    "SGD + dropout": "euclidean",
    "SGLD": "euclidean",
    "RMSprop SGLD": "rmsprop",
    "DOP SGLD": "dop",
    "QDOP SGLD": "qdop",
}
_VARIANCES = (0.01, 0.1, 1.0)
# First step sizes: grids in steps of √10 down from these, in the unit of the metric.
_LARGEST: Mapping[Method, float] = {
    "SGD": 1.0,
    "SGD + dropout": 1.0,
    "SGLD": 1.0,
    "RMSprop SGLD": 3e-2,
    "DOP SGLD": 1.0,
    "QDOP SGLD": 1.0,
}
_ORDER = "order stated in the abstract of arXiv 1712.01076, there on MNIST"


class Setting(NamedTuple):
    """Size of the comparison.

    Attributes:
        hidden: Units of each of two hidden layers.
        num_steps: Updates.
        batch: Images per batch.
        burn_in: Updates before the first member.
        thinning: Updates between members.
        halving: Updates between halvings of the step size.
        num_seeds: Runs per step size: starts, batches and noise differ.
        num_rates: Step sizes per method.
        dropout: Share of hidden units dropped.
        chunk: Runs that one device makes at a time.
    """

    hidden: int = 50
    num_steps: int = 2000
    batch: int = 100
    burn_in: int = 700
    thinning: int = 20
    halving: int = 700
    num_seeds: int = 5
    num_rates: int = 6
    dropout: float = 0.5
    chunk: int = 18


_SETTINGS: Mapping[Size, Setting] = {
    "quick": Setting(hidden=20, num_steps=300, burn_in=100, halving=100, num_seeds=6, num_rates=4),
    "default": Setting(),
    "full": Setting(
        hidden=100, num_steps=30_000, burn_in=10_000, thinning=100, halving=10_000, num_seeds=32
    ),
}


class Split(NamedTuple):
    """Images as rows of 64 pixels, and their digits."""

    images: np.ndarray
    labels: np.ndarray
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def digits(key: Key, size: Size) -> Findings:
    """Compare the methods."""
    try:
        loaded = load_digits(num_test=797)
    except ImportError as error:
        return Findings([left_out("digits", str(error))])
    held_out, answers = loaded.test_images.reshape(-1, 64), loaded.test_labels
    split = Split(
        loaded.images.reshape(-1, 64),
        loaded.labels,
        (held_out[500:], answers[500:]),
        (held_out[:500], answers[:500]),
    )
    setting = _SETTINGS[size]
    rows: list[Row] = []
    best: dict[Method, np.ndarray] = {}
    for method in METHODS:
        tried, validation, test = _measured(method, split, setting, key)
        rows += _reported(method, tried, validation, test, setting)
        best[method] = _chosen(validation, test)[1]
    rows += _compared(best)
    return Findings(rows, {"langevin-digits": functools.partial(_draw, best)})


def _measured(
    method: Method, split: Split, setting: Setting, key: Key
) -> tuple[_Tried, np.ndarray, np.ndarray]:
    """What was tried, and scores (tried, seeds, predictors, scores), on validation and test."""
    rates = _LARGEST[method] * 10.0 ** (-0.5 * np.arange(setting.num_rates))[::-1]
    tried = [(rate, variance) for rate in rates for variance in _VARIANCES]
    # Seeds are common to methods and settings: starts and batches are the same.
    seeds = np.arange(setting.num_seeds)
    rows: dict[str, np.ndarray] = {
        "rate": np.repeat([rate for rate, _ in tried], len(seeds)).astype(np.float32),
        "variance": np.repeat([variance for _, variance in tried], len(seeds)).astype(np.float32),
        "seed": np.tile(seeds, len(tried)),
    }
    predicted = evaluation.map_points(
        functools.partial(_train, method=method, setting=setting),
        rows,
        split,
        key,
        chunk_size=setting.chunk if jax.default_backend() == "cpu" else len(tried) * len(seeds),
    )
    shape = (len(tried), len(seeds), len(PREDICTORS), len(SCORES))
    validation, test = (
        np.asarray(_scored(logs, labels)).reshape(shape)
        for logs, (_, labels) in zip(predicted, (split.validation, split.test), strict=True)
    )
    return tried, validation, test


def _train(
    row: Mapping[str, Array], split: Split, key: Key, *, method: Method, setting: Setting
) -> tuple[Float[Array, "predictors k 10"], Float[Array, "predictors n 10"]]:
    """Run one chain; log-probabilities of its predictors on validation and test data."""
    key = jax.random.fold_in(key, row["seed"])
    params = _start(jax.random.fold_in(key, 0), setting.hidden)
    dropped = setting.dropout if method == "SGD + dropout" else 0.0
    num_data = len(split.labels)
    bare = method in ("SGD", "SGD + dropout")
    halving = halving_schedule(1.0, every=setting.halving)
    sampler = preconditioned_sgld(
        lambda count: row["rate"] * halving(count),
        _METRICS[method],
        num_data=num_data,
        key=jax.random.fold_in(key, 1),
        temperature=0.0 if bare else 1.0,
        prior=gaussian_prior(kernel_variance=row["variance"]),
    )
    images = (jnp.asarray(split.validation[0]), jnp.asarray(split.test[0]))

    def predict(params: PyTree) -> tuple[Array, ...]:
        return tuple(jax.nn.log_softmax(_network(params, x)) for x in images)

    average = posterior_average(predict, burn_in=setting.burn_in, thinning=setting.thinning)

    def step(carry: tuple, index: Array) -> tuple[tuple, None]:
        params, state, kept = carry
        drawn = jax.random.fold_in(jax.random.fold_in(key, 2), index)
        chosen = jax.random.randint(drawn, (setting.batch,), 0, num_data)
        batch = {
            "x": jnp.asarray(split.images)[chosen],
            "y": jnp.asarray(split.labels)[chosen],
        }
        if dropped:
            shape = (setting.batch, 2, setting.hidden)
            held = jax.random.bernoulli(jax.random.fold_in(drawn, 1), 1 - dropped, shape)
            batch["held"] = held / (1 - dropped)
        _, gradient, moments = gradient_moments(_losses, params, batch)
        change, state = sampler.update(gradient, state, params, moments=moments)
        params = optax.apply_updates(params, change)
        return (params, state, average.update(kept, params)), None

    carry = (params, sampler.init(params), average.init(params))
    (params, _, kept), _ = jax.lax.scan(step, carry, jnp.arange(setting.num_steps))
    predicted = (predict(params), predict(kept.params), kept.predictions)

    return jax.tree.map(lambda *parts: jnp.stack(parts), *predicted)


@jax.jit
def _scored(logs: Float[Array, "runs predictors n 10"], labels: Array) -> Array:
    """Score all runs and predictors: (runs, predictors, scores)."""
    found = jax.vmap(jax.vmap(lambda one: calibration(one, labels)))(logs)
    scores = (found.nll, found.accuracy, found.brier, found.ece)
    return jnp.stack([score.value for score in scores], axis=-1)


def _start(key: Key, hidden: int) -> PyTree:
    """Draw kernels of variance 1/fan-in, as the paper's code does; biases start at 0."""
    sizes = (64, hidden, hidden, 10)
    drawn = jax.random.normal(key, (sum(a * b for a, b in itertools.pairwise(sizes)),))
    params, place = {}, 0
    for index, (inputs, units) in enumerate(itertools.pairwise(sizes)):
        flat = drawn[place : place + inputs * units]
        kernel = flat.reshape(inputs, units) / math.sqrt(inputs)
        params[f"layer_{index}"] = {"kernel": kernel, "bias": jnp.zeros(units)}
        place += inputs * units
    return params


def _network(params: PyTree, images: Array, held: Array | None = None) -> Array:
    hidden = images
    for index in range(2):
        hidden = jax.nn.relu(apply_dense(params[f"layer_{index}"], hidden))
        if held is not None:
            hidden = hidden * held[:, index]
    return apply_dense(params["layer_2"], hidden)


def _losses(params: PyTree, batch: PyTree) -> Array:
    logits = _network(params, batch["x"], batch.get("held"))
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])


def _chosen(validation: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose a step size for every predictor; test scores (predictors, seeds, scores) there."""
    mean = validation[..., 0].mean(axis=1)
    index = np.argmin(np.where(np.isfinite(mean), mean, np.inf), axis=0)
    return index, np.stack([test[best, :, which] for which, best in enumerate(index)])


def _reported(
    method: Method, tried: _Tried, validation: np.ndarray, test: np.ndarray, setting: Setting
) -> list[Row]:
    index, scores = _chosen(validation, test)
    rows = []
    for which, predictor in enumerate(PREDICTORS):
        rate, variance = tried[index[which]]
        at_edge = ", the last of its grid" if rate in (tried[0][0], tried[-1][0]) else ""
        chosen = f"step size {rate:.2g}{at_edge}, prior variance {variance:g}"
        shown = SCORES if predictor == "ensemble" else SCORES[:2]
        for score, name in enumerate(shown):
            text = f"{name} of the {predictor} on test data ({chosen})"
            rows.append(described(method, text, student_mean(scores[which, :, score])))
    if "DOP" in method:
        eta = float(tried[index[PREDICTORS.index("ensemble")]][0])
        last = eta * 0.5 ** ((setting.num_steps - 1) // setting.halving)
        heat = float(effective_temperature(last, num_data=1000, batch_size=setting.batch))
        text = "temperature that batches and step mean, at the last step size"
        rows.append(describe(method, text, (heat, 0.0)))
    return rows


def _compared(best: Mapping[Method, np.ndarray]) -> list[Row]:
    """Test the abstract's order on the NLL of ensembles, paired by seed."""
    which = PREDICTORS.index("ensemble")

    def nll(method: Method) -> np.ndarray:
        return best[method][which, :, 0]

    rows = []
    others: tuple[Method, ...] = ("SGLD", "RMSprop SGLD", "DOP SGLD")
    for other in others:
        gap = student_mean(nll(other) - nll("QDOP SGLD"))
        text = f"NLL of the ensemble minus that of QDOP's ({other})"
        rows.append(signed("digits", text, gap, 1, _ORDER))
    gap = student_mean(nll("QDOP SGLD") - best["SGD + dropout"][0, :, 0])
    rows.append(described("digits", "NLL of QDOP's ensemble minus that of SGD + dropout", gap))
    gap = student_mean(nll("QDOP SGLD") - nll("SGD"))
    rows.append(described("digits", "NLL of QDOP's ensemble minus that of SGD's", gap))
    return rows


def _draw(best: Mapping[Method, np.ndarray]) -> Any:
    from fracjax.plotting import langevin
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(9.0, 6.0)
        for axes, (score, name) in zip(figure.subplots(2, 2).flat, enumerate(SCORES), strict=True):
            table: dict[str, Mapping[str, Estimate]] = {
                method: {
                    predictor: student_mean(found[which, :, score])
                    for which, predictor in enumerate(PREDICTORS)
                }
                for method, found in best.items()
            }
            langevin.scores_by_method(axes, table, label=f"{name} on test data")
    return figure
