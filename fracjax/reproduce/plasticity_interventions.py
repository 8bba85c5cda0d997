"""What interventions do to the plasticity of a small DQN: initial and final probe losses.

The published table (Lyle et al., arXiv 2303.01486, figures 6, 8 and 9) has networks of other sizes
on MNIST and CIFAR-10, and constants that were not published (of shrink and perturb, and the
two-hot support). An independent reproduction has another order. So nothing here is tested against
it: its numbers stand in words beside ours.

Every intervention gets the same problems, seeds, images, targets and budget. Layer normalisation,
spectral normalisation and the two-hot head are other networks: their own probe before training is
what theirs is compared with. The probe is fitted by the agent's Adam, begun anew, without what
acts on the agent alone (resets, recycling, decay); the tuned Adam fits its own probe. What acts on
target updates acts on the update after the network is probed, not before: a layer that was reset
a moment ago is a fresh layer.

Read the two losses, not their difference alone. In a first run (true-label, five seeds, 2500
updates, probes of 500 steps, the best constant at .50) the plain network went from .23 to .29, the
one with layer normalisation from .004 to .03: it keeps nearly all of much more. The two-hot head
went from .45 to .44 and the tuned Adam from .49 to .48: they hardly learn the probe's targets
within the budget, before training or after, and have nothing to lose. The two-hot head with layer
normalisation learns them (.07 before) and loses most of all (.24 after). Resets of the last layer
(.33) and shrink and perturb (.35) did worse than nothing there.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, PyTree
from fracjax.learning.interventions.continual_backprop import continual_backprop
from fracjax.learning.interventions.decay import l2_to_init, plain_adam, tuned_adam, weight_decay
from fracjax.learning.interventions.intervene import intervene
from fracjax.learning.interventions.layers import sequential_layers
from fracjax.learning.interventions.redo import redo
from fracjax.learning.interventions.resets import last_layer_reset, shrinking
from fracjax.learning.plasticity.probes import over_targets, plasticity_probe
from fracjax.learning.plasticity.toy_agents import train_dqn
from fracjax.learning.plasticity.toy_networks import ToyNetwork
from fracjax.learning.plasticity.value_heads import REGRESSION, ValueHead, two_hot
from fracjax.reproduce.comparisons import described, left_out
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.plasticity_agents import (
    FULL,
    PROBLEMS,
    Setting,
    over_problems,
    problems,
    shared_probe,
)
from fracjax.reproduce.rows import Findings, Row, describe

__all__ = ["INTERVENTIONS", "PARTS"]

_SETTINGS: Mapping[Size, Setting] = {
    "quick": Setting(num_periods=4, target_every=250, probe_steps=500, problems=PROBLEMS[:1]),
    "default": Setting(probe_steps=500, problems=PROBLEMS[:2]),
    "full": FULL,
}
_QUICK = ("none", "layer norm", "last-layer reset", "two-hot")
_SUPPORT = (-5.0, 15.0, 41)
_SHRINK = (0.8, 0.2)
# Change in probe loss of the perceptron, mean ± standard deviation: CIFAR-10, MNIST.
_PUBLISHED = {
    "none": ((0.27, 0.21), (0.34, 0.24)),
    "two-hot": ((0.02, 0.02), (0.04, 0.12)),
    "last-layer reset": ((0.10, 0.10), (0.11, 0.09)),
    "weight decay": ((0.28, 0.23), (0.31, 0.20)),
    "spectral norm": ((0.43, 0.23), (0.40, 0.26)),
    "layer norm": ((0.25, 0.21), (0.43, 0.28)),
    "shrink and perturb": ((0.61, 0.07), (0.34, 0.17)),
    "two-hot, layer norm": ((0.05, 0.16), (0.07, 0.07)),
}


class Intervention(NamedTuple):
    """An agent that differs from the plain one.

    Attributes:
        optimizer: Makes the agent's optimiser from the plain one, the network, updates per period
            and a key.
        probe: The optimiser that fits its probe, and begins the agent's.
        changes: Settings of the network.
        head: Its head.
        text: Constants, in words.
    """

    optimizer: Callable[
        [optax.GradientTransformation, ToyNetwork, int, Key], optax.GradientTransformation
    ]
    probe: Callable[[float], optax.GradientTransformation] = plain_adam
    changes: Mapping[str, bool] = {}
    head: ValueHead = REGRESSION
    text: str = ""


def _plain(
    base: optax.GradientTransformation, network: ToyNetwork, every: int, key: Key
) -> optax.GradientTransformation:
    del network, every, key
    return base


def _after_target_updates(
    make: Callable[[ToyNetwork], Any],
    base: optax.GradientTransformation,
    network: ToyNetwork,
    every: int,
    key: Key,
) -> optax.GradientTransformation:
    return intervene(base, make(network), every=every, first=every + 1, key=key)


def _at_every_update(
    make: Callable[[ToyNetwork], Any],
    base: optax.GradientTransformation,
    network: ToyNetwork,
    every: int,
    key: Key,
) -> optax.GradientTransformation:
    del every
    return intervene(base, make(network), every=1, key=key)


def _before(
    make: Callable[[], optax.GradientTransformation],
    base: optax.GradientTransformation,
    network: ToyNetwork,
    every: int,
    key: Key,
) -> optax.GradientTransformation:
    del network, every, key
    return optax.chain(make(), base)


def _units(network: ToyNetwork) -> Any:
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return sequential_layers(shapes, [*network.shapes])


def _interventions() -> dict[str, Intervention]:
    categorical = two_hot(*_SUPPORT)
    low, high, number = _SUPPORT
    support = f"{number} bins on [{low:g}, {high:g}]"
    shrink, perturb = _SHRINK
    part = functools.partial
    return {
        "none": Intervention(_plain, text="Adam 1e-3"),
        "layer norm": Intervention(_plain, changes={"layer_norm": True}),
        "last-layer reset": Intervention(
            part(_after_target_updates, lambda net: last_layer_reset(net.init, "head")),
            text="at target updates",
        ),
        "shrink and perturb": Intervention(
            part(
                _after_target_updates,
                lambda net: shrinking(net.init, shrink=shrink, perturb=perturb),
            ),
            text=f"{shrink:g} θ + {perturb:g} θ' at target updates",
        ),
        "weight decay": Intervention(
            part(_before, part(weight_decay, 1e-5)), text="1e-5 in the gradient"
        ),
        "L2 to init": Intervention(
            part(_before, part(l2_to_init, 1e-3)), text="1e-3 in the gradient"
        ),
        "spectral norm": Intervention(
            _plain, changes={"spectral_norm": True}, text="of the first layer"
        ),
        "two-hot": Intervention(_plain, head=categorical, text=support),
        "two-hot, layer norm": Intervention(
            _plain, changes={"layer_norm": True}, head=categorical, text=support
        ),
        "tuned Adam": Intervention(_plain, probe=tuned_adam, text="b2 .9, 1e-3 under the root"),
        "ReDo": Intervention(
            part(_after_target_updates, lambda net: redo(net.init, _units(net), tau=0.025)),
            text="τ .025 at target updates",
        ),
        "continual backprop": Intervention(
            part(_at_every_update, lambda net: continual_backprop(net.init, _units(net))),
            text="rate 1e-4, maturity 100",
        ),
    }


INTERVENTIONS = _interventions()


def _run(
    row: Mapping[str, Array], data: PyTree, key: Key, *, name: str, setting: Setting
) -> dict[str, Array]:
    """Train one agent with one intervention, and probe it before and after."""
    intervention = INTERVENTIONS[name]
    mdps, inputs, sines = data
    mdp = jax.tree.map(lambda leaf: leaf[row["problem"]], mdps)
    own = jax.random.fold_in(key, row["seed"])
    head = intervention.head
    network = setting.network(num_outputs=head.width(10), **intervention.changes)
    base = intervention.probe(setting.rate)
    optimizer = intervention.optimizer(
        base, network, setting.target_every, jax.random.fold_in(own, 1)
    )
    run = train_dqn(network, mdp, optimizer, own, head=head, **setting.training())

    def values(params: PyTree, images: Array) -> Array:
        return head.values(network.apply(params, images))

    def fit_loss(params: PyTree, images: Array, targets: Array) -> Array:
        return head.losses(network.apply(params, images), targets).mean()

    def probe(params: PyTree) -> tuple[Array, Array]:
        found = plasticity_probe(
            values,
            params,
            inputs,
            sines,
            base,
            fit_loss=fit_loss,
            **setting.probing(),
        )
        return found.losses.mean(axis=0), found.baseline.mean()

    ends = jax.tree.map(lambda leaf: leaf[jnp.asarray([0, -1])], run.params)
    losses, baseline = jax.lax.map(probe, ends)
    return {"losses": losses, "baseline": baseline[0], "accuracy": run.accuracies[-1]}


def _table(key: Key, size: Size) -> Findings:
    """Every intervention on every problem; the same seeds, images and targets."""
    setting = _SETTINGS[size]
    try:
        mdps, images = problems(setting)
    except ImportError as error:
        return Findings([left_out("interventions", str(error))])
    data = (mdps, *shared_probe(setting, images, jax.random.fold_in(key, 1)))
    names = _QUICK if size == "quick" else tuple(INTERVENTIONS)
    found = {
        name: over_problems(functools.partial(_run, name=name, setting=setting), data, key, setting)
        for name in names
    }
    rows: list[Row] = []
    for number, problem in enumerate(setting.problems):
        for name, numbers in found.items():
            here = jax.tree.map(lambda leaf, index=number: leaf[index], numbers)
            rows += _rows(problem, name, here)
    rows.append(
        describe(
            "targets", "their variance, the loss of the best constant",
            (float(found["none"]["baseline"].mean()), 0.0),
        )
    )  # fmt: skip
    draw = functools.partial(_draw, found, setting.problems)
    return Findings(rows, {"plasticity-interventions": draw})


def changes(losses: Float[np.ndarray, "seeds moments iterations"]) -> Estimate:
    """Final probe loss after training minus before, over seeds: positive is plasticity lost."""
    return over_targets(jnp.asarray(losses[:, 1, -1] - losses[:, 0, -1]))


def _rows(problem: str, name: str, found: Mapping[str, np.ndarray]) -> list[Row]:
    text = INTERVENTIONS[name].text
    system = f"{problem}, {name}" + (f" ({text})" if text else "")
    losses = found["losses"]  # (seeds, moments, iterations)
    beside = ""
    if name in _PUBLISHED:
        (first, spread), (second, other) = _PUBLISHED[name]
        beside = (
            f" (published, other data and sizes: {first:g} ± {spread:g} CIFAR-10,"
            f" {second:g} ± {other:g} MNIST)"
        )
    seeds = f"{len(losses)} seeds"
    numbers = (
        ("before training: probe loss at its start", losses[:, 0, 0]),
        ("before training: probe loss at its end", losses[:, 0, -1]),
        ("after training: probe loss at its start", losses[:, 1, 0]),
        ("after training: probe loss at its end", losses[:, 1, -1]),
        ("share of greedy actions that are right", found["accuracy"]),
    )
    rows = [described(system, f"change of probe loss{beside}, {seeds}", changes(losses))]
    for label, values in numbers:
        rows.append(described(system, label, over_targets(jnp.asarray(values))))
    return rows


def _draw(found: Mapping[str, Mapping[str, np.ndarray]], kinds: tuple[str, ...]) -> Any:
    from fracjax.plotting import plasticity
    from fracjax.plotting.style import new_figure, style

    def by_kind(index: int, name: str) -> np.ndarray:
        return np.asarray(found[name]["losses"][index])

    base = float(found["none"]["baseline"].mean())
    with style():
        figure = new_figure(10.0, 1.4 + 0.5 * len(found))
        axes = figure.subplots(1, 2, sharey=True)
        moved = {
            name: {kind: changes(by_kind(index, name)) for index, kind in enumerate(kinds)}
            for name in found
        }
        plasticity.changes_by_intervention(
            axes[0], moved, label="change of probe loss by training (positive: lost)"
        )
        both = {
            name: {
                f"{kind}, {moment} training": over_targets(
                    jnp.asarray(by_kind(index, name)[:, place, -1])
                )
                for index, kind in enumerate(kinds)
                for place, moment in enumerate(("before", "after"))
            }
            for name in found
        }
        plasticity.changes_by_intervention(
            axes[1],
            both,
            label="probe loss (line: best constant)",
            reference=base if math.isfinite(base) else None,
        )
    return figure


PARTS: dict[str, Part] = {"interventions": _table}
