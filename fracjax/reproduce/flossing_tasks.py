"""Delayed copy and temporal XOR with and without flossing, by delay.

Networks, window and budget are smaller than the author's by default, chosen (with seeds that are
not used here) so that without flossing the shortest delay is learned and the longest is not;
"full" has the author's sizes. Published success rates could not be read, so none is compared.
What the abstract of arXiv 2312.17306 claims is, by its sign: flossing before training raises
success and speed, flossing again during training lengthens the horizon further, and condition
numbers fall.

Written down before these seeds were run: success is a bit accuracy above .9 on fresh sequences; a
claim holds where Student's interval over seeds, of each seed's mean over delays, has its sign.
Seeds share their first network and their bits in all conditions and at all delays.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Key
from fracjax.learning.flossing.blocks import FlossingSchedule
from fracjax.learning.plasticity.probes import over_targets
from fracjax.learning.recurrent_training.networks import RecurrentClassifier, tanh_classifier
from fracjax.learning.recurrent_training.runs import TrainedRuns, floss_runs, train_runs
from fracjax.learning.recurrent_training.success_rates import (
    paired_success,
    succeeded,
    success_rate,
)
from fracjax.learning.recurrent_training.tasks import parity_lags
from fracjax.learning.recurrent_training.updates import Learner, TrainingSettings
from fracjax.reproduce.comparisons import described, mean_of, signed
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row, compare, describe

__all__ = ["CONDITIONS", "PARTS", "Setting", "train_conditions"]

THRESHOLD = 0.9
CONDITIONS = ("none", "pre", "pre + inter", "readout alone")
_CLAIM = "arXiv 2312.17306, abstract"


class Setting(NamedTuple):
    """Size of the experiment.

    Attributes:
        size: Units.
        training: Task, flossing and looks.
        num_updates: Task updates.
        look_every: Updates between looks.
        schedule: Of the condition that is flossed during training as well.
        num_seeds: Runs of each condition and delay.
        copy_delays: Delays of copy.
        xor_delays: Longest lags of temporal XOR.
        readout_scale: See `RecurrentClassifier`.
    """

    size: int = 32
    training: TrainingSettings = TrainingSettings(num_steps=64, num_exponents=24)
    num_updates: int = 2000
    look_every: int = 200
    schedule: FlossingSchedule = FlossingSchedule(500, 100, 400, 4)
    num_seeds: int = 8
    copy_delays: tuple[int, ...] = (10, 15, 20, 25, 30)
    xor_delays: tuple[int, ...] = (12, 16, 20, 24, 28)
    readout_scale: float | None = None


SETTINGS: Mapping[Size, Setting] = {
    "quick": Setting(
        size=16,
        training=TrainingSettings(
            num_steps=32, num_exponents=12, window=30, discard=10, jacobian_steps=20
        ),
        num_updates=600,
        schedule=FlossingSchedule(100, 20, 200, 2),
        num_seeds=4,
        copy_delays=(6, 10),
        xor_delays=(4, 8),
    ),
    "default": Setting(),
    "full": Setting(
        size=80,
        training=TrainingSettings(),
        num_updates=10_000,
        look_every=500,
        schedule=FlossingSchedule(500, 500, 500, 2),
        num_seeds=16,
        copy_delays=(10, 20, 30, 40, 50, 60, 70, 80),
        xor_delays=(10, 20, 30, 40, 50, 60, 70, 80),
        readout_scale=1.0,
    ),
}


def train_conditions(
    network: RecurrentClassifier, lags: np.ndarray, key: Key, setting: Setting
) -> dict[str, TrainedRuns]:
    """Train the same seeds at all lags in every condition."""
    seeds = range(setting.num_seeds)
    before = setting.schedule.pre_updates
    flossed = floss_runs(
        network, key, seeds=seeds, num_updates=before, settings=setting.training
    ).learners
    later = dataclasses.replace(setting.schedule, pre_updates=0)

    def train(
        learners: Learner | None = None,
        schedule: FlossingSchedule | None = None,
        train_network: bool = True,
    ) -> TrainedRuns:
        return train_runs(
            network,
            lags,
            key,
            seeds=seeds,
            num_updates=setting.num_updates,
            look_every=setting.look_every,
            settings=dataclasses.replace(setting.training, train_network=train_network),
            schedule=schedule,
            learners=learners,
        )

    return {
        "none": train(),
        "pre": train(flossed),
        "pre + inter": train(flossed, later),
        "readout alone": train(train_network=False),
    }


def _task(key: Key, size: Size, *, order: int) -> Findings:
    """One task over its delays."""
    setting = SETTINGS[size]
    delays = (setting.copy_delays, setting.xor_delays)[order]
    name = ("delayed copy", "temporal XOR")[order]
    lags = np.array([parity_lags(delay, order=order, convention="longest") for delay in delays])
    network = tanh_classifier(setting.size, readout_scale=setting.readout_scale)
    runs = train_conditions(network, lags, key, setting)
    found = {condition: run.looks for condition, run in runs.items()}
    rows = [*_rates(name, delays, found), *_null(name, found), *_claims(name, found, size)]
    figures = {
        f"flossing-{name.replace(' ', '-').lower()}": functools.partial(
            _draw_success, name, delays, found
        ),
        f"flossing-{name.replace(' ', '-').lower()}-training": functools.partial(
            _draw_training, name, delays, found
        ),
    }
    return Findings(rows, figures)


def _rates(name: str, delays: tuple[int, ...], found: Mapping[str, Any]) -> list[Row]:
    """Success rates, and their paired differences from training without flossing."""
    solved = {condition: _solved(looks) for condition, looks in found.items()}
    rows = []
    for condition, successes in solved.items():
        rates = success_rate(successes)
        for place, delay in enumerate(delays):
            one = jax.tree.map(lambda leaf, at=place: leaf[at], rates)
            text = f"success rate at delay {delay}, {successes.shape[1]} seeds"
            rows.append(described(f"{name}, {condition}", text, one))
    for condition in ("pre", "pre + inter"):
        gaps = paired_success(solved["none"], solved[condition])
        for place, delay in enumerate(delays):
            one = jax.tree.map(lambda leaf, at=place: leaf[at], gaps)
            p_value = float(one.details["p_value"])
            text = f"success at delay {delay}, minus none (McNemar p = {p_value:.2g})"
            rows.append(described(f"{name}, {condition}", text, one))
    for condition, looks in found.items():
        diverged = float(np.mean(looks.status[..., -1] != 0))
        if diverged:
            rows.append(describe(f"{name}, {condition}", "share that diverged", (diverged, 0.0)))
    return rows


def _null(name: str, found: Mapping[str, Any]) -> list[Row]:
    """Networks before training, whose readouts are random, guess by chance on average."""
    guessed = mean_of(found["none"].accuracy[..., 0].mean(axis=0))
    text = "bit accuracy before training, mean over seeds"
    return [compare(f"{name}, none", text, guessed, (0.5, 0.0, "chance: exact"))]


def _claims(name: str, found: Mapping[str, Any], size: Size) -> list[Row]:
    """Signs of the abstract's claims; "quick" is too small to hold them and describes."""

    def gap(quantity: str, first: str, second: str) -> Any:
        tables = [_BY_SEED[quantity](found[condition]) for condition in (first, second)]
        return over_targets(jnp.asarray(tables[1] - tables[0]))

    stated = (
        ("share of delays solved", "none", "pre", 1, f"{_CLAIM}: higher success rate"),
        ("accuracy, mean along training", "none", "pre", 1, f"{_CLAIM}: faster convergence"),
        ("final accuracy", "pre", "pre + inter", 1, f"{_CLAIM}: longer horizon"),
        ("log10 condition number, first", "none", "pre", -1, f"{_CLAIM}: condition number"),
        ("log10 condition number, mean along training", "none", "pre", -1, f"{_CLAIM}: the same"),
    )
    rows = []
    for quantity, first, second, sign, source in stated:
        estimate = gap(quantity, first, second)
        text = f"{quantity}, {second} minus {first}, mean over delays"
        if size == "quick":
            rows.append(described(name, text, estimate))
        else:
            rows.append(signed(name, text, estimate, sign, source))
    return rows


def _solved(looks: Any) -> np.ndarray:
    return np.asarray(succeeded(looks.accuracy[..., -1], threshold=THRESHOLD))


def _counted(looks: Any) -> np.ndarray:
    """Accuracies, of a run that has diverged by chance."""
    return np.where(np.isnan(looks.accuracy), 0.5, looks.accuracy)


_BY_SEED: Mapping[str, Callable[[Any], np.ndarray]] = {
    "share of delays solved": lambda looks: _solved(looks).mean(axis=0),
    "accuracy, mean along training": lambda looks: _counted(looks).mean(axis=(0, 2)),
    "final accuracy": lambda looks: _counted(looks)[..., -1].mean(axis=0),
    "log10 condition number, first": lambda looks: looks.log10_condition[..., 0].mean(axis=0),
    "log10 condition number, mean along training": lambda looks: looks.log10_condition[
        ..., 1:
    ].mean(axis=(0, 2)),
}


def _draw_success(name: str, delays: tuple[int, ...], found: Mapping[str, Any]) -> Any:
    from fracjax.plotting import flossing
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(5.2, 3.6)
        axes = figure.subplots()
        rates = {condition: success_rate(_solved(looks)) for condition, looks in found.items()}
        label = f"share of seeds above {THRESHOLD:g} accuracy"
        flossing.success_against_delay(axes, delays, rates, label=label)
        axes.set_title(f"{name}: intervals of Clopper and Pearson")
    return figure


def _draw_training(name: str, delays: tuple[int, ...], found: Mapping[str, Any]) -> Any:
    """Everything along training, at the longest delay but one."""
    from fracjax.plotting import flossing
    from fracjax.plotting.style import new_figure, style

    place = max(len(delays) - 2, 0)
    updates = np.asarray(found["none"].updates[place, 0])
    with style():
        figure = new_figure(11.0, 6.4)
        panels = figure.subplots(2, 3)
        shown = {condition: found[condition] for condition in CONDITIONS[:3]}
        for axes, field, label, reference in (
            (panels[0, 0], "accuracy", "bit accuracy", ("chance", 0.5)),
            (panels[0, 1], "log10_condition", "log10 condition number", None),
            (panels[0, 2], "gradient_norm", "norm of the task's gradient", None),
        ):
            tables = {
                condition: np.asarray(getattr(looks, field)[place])
                for condition, looks in shown.items()
            }
            flossing.runs_along_training(axes, updates, tables, label=label, reference=reference)
        panels[0, 0].set_title(f"{name}, delay {delays[place]}")
        panels[0, 2].set_yscale("log")
        lowest = [np.nanmin(np.median(looks.exponents[place], axis=0)) for looks in shown.values()]
        for axes, (condition, looks) in zip(panels[1], shown.items(), strict=True):
            middle = np.median(looks.exponents[place], axis=0)
            flossing.exponents_along_training(axes, updates, middle, title=f"{condition}: medians")
            axes.set_ylim(1.05 * min(lowest), 0.3)
    return figure


PARTS: dict[str, Part] = {
    "delayed copy": functools.partial(_task, order=0),
    "temporal XOR": functools.partial(_task, order=1),
}
