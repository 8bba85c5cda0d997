"""Flossing of GRU and LSTM cells at small size, and what flossing costs.

No published number could be read for either. Stated before any seed was run: flossing first lowers
the condition number of the long-term Jacobian of both cells (the abstract of arXiv 2312.17306
says so of several architectures). Whether they learn better is reported and not tested.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Key
from fracjax.learning.flossing.cells import driven_tanh_step, initial_tanh_network
from fracjax.learning.flossing.costs import flossing_cost
from fracjax.learning.flossing.losses import flossing_loss
from fracjax.learning.plasticity.probes import over_targets
from fracjax.learning.recurrent_training.networks import cell_classifier
from fracjax.learning.recurrent_training.runs import floss_runs, train_runs
from fracjax.learning.recurrent_training.success_rates import (
    paired_success,
    succeeded,
    success_rate,
)
from fracjax.learning.recurrent_training.tasks import parity_lags, random_bits
from fracjax.learning.recurrent_training.updates import TrainingSettings
from fracjax.reproduce.comparisons import described, signed
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.flossing_tasks import THRESHOLD
from fracjax.reproduce.rows import Findings, Row, describe

__all__ = ["PARTS"]


class Setting(NamedTuple):
    """Size of the comparison.

    Attributes:
        size: Units of a cell; an LSTM has twice as many exponents.
        training: Task, flossing and looks.
        num_updates: Task updates.
        pre_updates: Flossing updates before.
        delays: Delays of copy.
        num_seeds: Runs of each.
    """

    size: int = 16
    training: TrainingSettings = TrainingSettings(
        num_steps=40, num_exponents=12, window=40, discard=10
    )
    num_updates: int = 1000
    pre_updates: int = 300
    delays: tuple[int, ...] = (5, 10, 15)
    num_seeds: int = 8


_SETTINGS: Mapping[Size, Setting] = {
    "quick": Setting(
        size=8,
        training=TrainingSettings(
            num_steps=20, num_exponents=4, window=20, discard=5, jacobian_steps=15
        ),
        num_updates=200,
        pre_updates=100,
        delays=(3, 6),
        num_seeds=4,
    ),
    "default": Setting(),
    "full": Setting(
        size=80,
        training=TrainingSettings(),
        num_updates=10_000,
        pre_updates=500,
        delays=(20, 40, 60, 80),
        num_seeds=16,
    ),
}
_LOOKS = 5


def _cells(key: Key, size: Size) -> Findings:
    """Delayed copy by two kinds of cells, flossed before training or not."""
    import flax.linen as nn

    setting = _SETTINGS[size]
    lags = np.array([parity_lags(delay) for delay in setting.delays])
    seeds, settings = range(setting.num_seeds), setting.training
    rows: list[Row] = []
    found: dict[str, dict[str, Any]] = {}
    for name, cell in (
        ("GRU", nn.GRUCell(setting.size)),
        ("LSTM", nn.OptimizedLSTMCell(setting.size)),
    ):
        network = cell_classifier(cell)
        flossed = floss_runs(
            network, key, seeds=seeds, num_updates=setting.pre_updates, settings=settings
        )
        found[name] = {
            condition: train_runs(
                network,
                lags,
                key,
                seeds=seeds,
                num_updates=setting.num_updates,
                look_every=setting.num_updates // _LOOKS,
                settings=settings,
                learners=learners,
            ).looks
            for condition, learners in (("none", None), ("pre", flossed.learners))
        }
        system = f"{name}, {setting.size} units, delayed copy"
        rows += _rows(system, setting, found[name], tested=size != "quick")
    return Findings(rows, {"flossing-cells": functools.partial(_draw, setting, found)})


def _rows(system: str, setting: Setting, found: Mapping[str, Any], *, tested: bool) -> list[Row]:
    """Success by delay, and the condition number, whose claim "quick" is too small to test."""
    solved = {
        name: np.asarray(succeeded(looks.accuracy[..., -1], threshold=THRESHOLD))
        for name, looks in found.items()
    }
    gaps = paired_success(solved["none"], solved["pre"])
    rows = []
    for place, delay in enumerate(setting.delays):
        for name, successes in solved.items():
            text = f"success rate at delay {delay}, {setting.num_seeds} seeds"
            rows.append(described(f"{system}, {name}", text, success_rate(successes[place])))
        gap = jax.tree.map(lambda leaf, at=place: leaf[at], gaps)
        text = f"success at delay {delay}, pre minus none"
        rows.append(described(system, text, gap))
    first = [looks.log10_condition[0, :, 0] for looks in (found["none"], found["pre"])]
    text = "log10 condition number before training"
    rows.append(described(f"{system}, none", text, over_targets(jnp.asarray(first[0]))))
    fall = over_targets(jnp.asarray(first[1] - first[0]))
    if tested:
        source = "arXiv 2312.17306, abstract: several architectures"
        rows.append(signed(system, f"{text}, pre minus none", fall, -1, source))
    else:
        rows.append(described(system, f"{text}, pre minus none", fall))
    accuracy = [
        np.nan_to_num(looks.accuracy, nan=0.5).mean(axis=(0, 2))
        for looks in (found["none"], found["pre"])
    ]
    text = "accuracy, mean along training and over delays, pre minus none"
    rows.append(described(system, text, over_targets(jnp.asarray(accuracy[1] - accuracy[0]))))
    return rows


def _draw(setting: Setting, found: Mapping[str, Mapping[str, Any]]) -> Any:
    from fracjax.plotting import flossing
    from fracjax.plotting.style import new_figure, style

    place = len(setting.delays) - 1
    with style():
        figure = new_figure(8.4, 6.0)
        panels = figure.subplots(2, 2)
        for row, (name, looks) in zip(panels, found.items(), strict=True):
            updates = np.asarray(looks["none"].updates[0, 0])
            for axes, field, label, reference in (
                (row[0], "accuracy", "bit accuracy", ("chance", 0.5)),
                (row[1], "log10_condition", "log10 condition number", None),
            ):
                tables = {
                    condition: np.asarray(getattr(each, field)[place])
                    for condition, each in looks.items()
                }
                flossing.runs_along_training(
                    axes, updates, tables, label=label, reference=reference
                )
            row[0].set_title(f"{name}, delayed copy, delay {setting.delays[place]}")
    return figure


def _costs(key: Key, size: Size) -> list[Row]:
    """Operations, stored memory and seconds of the flossing loss and its gradient, one sample."""
    units, numbers = (32, (4, 24)) if size == "quick" else (80, (1, 16, 75))
    drawn = jax.random.split(key, 3)
    params = initial_tanh_network(drawn[0], units, 1)
    state = jax.random.normal(drawn[1], (units,), jnp.result_type(float))
    bits = random_bits(drawn[2], 55)[:, None]
    rows = []
    for number in numbers:

        def loss(params: Any, number: int = number) -> Any:
            return flossing_loss(
                driven_tanh_step, params, state, bits, num_exponents=number, key=drawn[2]
            )

        cost = flossing_cost(loss, params)
        system = f"flossing loss, N = {units}, T = 55, k = {number}"
        for text, value in (
            ("gradient and loss over loss, seconds on this machine", cost.seconds_ratio),
            ("gradient and loss over loss, operations", cost.operations_ratio),
            ("million operations of loss and gradient", cost.backward.operations / 1e6),
            ("milliseconds of loss and gradient on this machine", 1e3 * cost.backward.seconds),
            ("megabytes kept for the backward pass", cost.stored_bytes / 1e6),
        ):
            rows.append(describe(system, text, (value, 0.0)))
    return rows


PARTS: dict[str, Part] = {"GRU and LSTM": _cells, "costs": _costs}
