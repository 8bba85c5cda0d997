"""Gradient descent beside random walks: sharpness and gradient cosines of the probe.

A DQN learns the true-label MDP by plain gradient descent, and is looked at after every update of
its target network. One control walks at random in steps of the same lengths (that of Lyle et al.,
arXiv 2303.01486, figure 2), the other is moved at random as far as descent got, a stricter
control, with the whole network's distance and with every layer's. Images are generated; batches
are drawn afresh.

Written down before any seed was run: descent sharpens the probe's loss; the walk of equal steps
leaves it where it was within 5 % (one seed computed for this package's notes: 5.30 to 45.5 by
descent and 5.30 by the walk); descent ends sharper than a displacement of the same length; and
after fifty steps of the probe more pairs of gradients oppose each other after descent than after
the walk (figure 2; in a public reproduction 37 % against none, none against none at the first
step). Shared noise only: with noise of its own for every image the matrix says nothing.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from fracjax import evaluation, tree
from fracjax._types import Key, PyTree
from fracjax.learning.plasticity.gradient_cosines import cluster_order, probe_cosines
from fracjax.learning.plasticity.probes import over_targets
from fracjax.learning.plasticity.random_walks import (
    Matching,
    displacement_matched,
    step_matched_walk,
)
from fracjax.learning.plasticity.run_curvature import geometry_probe, sharpness_along_run
from fracjax.learning.plasticity.toy_agents import train_dqn
from fracjax.learning.plasticity.toy_mdps import prototype_observations, toy_mdp
from fracjax.learning.plasticity.toy_networks import ToyNetwork
from fracjax.reproduce.comparisons import described, mean_of, signed
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.plasticity_agents import chunk
from fracjax.reproduce.rows import Findings, Row, compare

__all__ = ["PARTS"]

_LOOKS = (0, 1, 20, 50, 1000)
_TESTED = _LOOKS.index(50)
_ARMS = ("descent", "walk of equal steps", "equal displacement", "equal displacement by layer")


class Setting(NamedTuple):
    """Size of the experiment.

    Attributes:
        side: Pixels along each axis.
        hidden: Units of each of two layers.
        batch: Transitions per update, drawn afresh.
        target_every: Updates between replacements of the target network.
        num_periods: Replacements.
        rate: Learning rate of the agent's gradient descent.
        probe_rate: Learning rate of the probe's.
        inputs: Images of the probe, for sharpness and for cosines.
        num_seeds: Runs.
    """

    side: int = 8
    hidden: int = 128
    batch: int = 128
    target_every: int = 2000
    num_periods: int = 5
    rate: float = 1e-2
    probe_rate: float = 1e-3
    inputs: tuple[int, int] = (256, 128)
    num_seeds: int = 5


_SETTINGS: Mapping[Size, Setting] = {
    "quick": Setting(hidden=64, inputs=(128, 64)),
    "default": Setting(),
    "full": Setting(
        side=28,
        hidden=512,
        batch=512,
        target_every=5000,
        rate=1e-3,
        inputs=(512, 512),
        num_seeds=10,
    ),
}


def _run(seed: Array, key: Key, *, setting: Setting) -> dict[str, Any]:
    """Train one agent, make its controls, and look at the probe's geometry at all of them."""
    own = jax.random.fold_in(key, seed)
    keys = jax.random.split(own, 8)
    mdp = toy_mdp("true-label", prototype_observations(keys[0], side=setting.side))
    network = ToyNetwork((setting.side, setting.side), (setting.hidden, setting.hidden))
    run = train_dqn(
        network,
        mdp,
        optax.sgd(setting.rate),
        keys[1],
        num_periods=setting.num_periods,
        target_every=setting.target_every,
        batch_size=setting.batch,
        experience="fresh",
    )
    start = jax.tree.map(lambda leaf: leaf[0], run.params)

    def joined(points: PyTree) -> PyTree:
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, points)

    later = jax.tree.map(lambda leaf: leaf[1:], run.params)
    arms = {
        "descent": run.params,
        "walk of equal steps": joined(step_matched_walk(start, run.squared_lengths, keys[2])),
    }
    controls: dict[str, Matching] = {
        "equal displacement": "network",
        "equal displacement by layer": "leaf",
    }
    for arm, matching in controls.items():
        move = functools.partial(displacement_matched, matching=matching)
        arms[arm] = joined(jax.vmap(lambda like, f=move: f(start, like, keys[3]))(later))
    points = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arms.values())  # (arms, points)
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), points)
    order = jax.random.permutation(keys[4], len(mdp.images))
    sharp_inputs, inputs = (mdp.images[order[:number]] for number in setting.inputs)
    objective = geometry_probe(network.apply, sharp_inputs)
    sharpness = sharpness_along_run(objective, flat, keys[5])
    ends = jax.tree.map(lambda leaf: leaf[:2, -1], points)  # of descent and of the walk
    cosines = jax.lax.map(
        lambda params: probe_cosines(
            network.apply,
            params,
            inputs,
            keys[6],
            optimizer=optax.sgd(setting.probe_rate),
            iterations=_LOOKS,
        ),
        ends,
    )
    moved = jax.vmap(jax.vmap(lambda here: tree.norm(jax.tree.map(jnp.subtract, here, start))))
    return {
        "sharpness": sharpness.value.reshape(len(arms), -1),
        "status": sharpness.status.reshape(len(arms), -1),
        "distance": moved(points),
        "accuracy": run.accuracies,
        "negative": cosines.fraction_negative,
        "mean": cosines.mean_off_diagonal,
        "silent": cosines.num_silent,
        "loss": cosines.mean_loss,
        "matrix": cosines.matrix[:, _TESTED],
        "norm": tree.norm(start),
    }


def _walks(key: Key, size: Size) -> Findings:
    """Sharpness and cosines after descent and after its controls, over seeds."""
    setting = _SETTINGS[size]
    seeds = np.arange(setting.num_seeds)
    found = evaluation.map_points(
        functools.partial(_run, setting=setting), seeds, key, chunk_size=chunk(len(seeds))
    )
    rows = [*_sharpness_rows(found), *_cosine_rows(found)]
    return Findings(rows, {"plasticity-walks": functools.partial(_draw, found, setting)})


def _sharpness_rows(found: Mapping[str, np.ndarray]) -> list[Row]:
    logs = np.log(found["sharpness"])  # (seeds, arms, points)
    grown = logs[..., -1] - logs[..., 0]
    seeds = f"{len(logs)} seeds"
    rows: list[Row] = []
    before = over_targets(jnp.asarray(found["sharpness"][:, 0, 0]))
    rows.append(described("descent", f"largest eigenvalue before training, {seeds}", before))
    for place, arm in enumerate(_ARMS):
        text = f"ln largest eigenvalue, last target update minus start, {seeds}"
        rows.append(described(arm, text, over_targets(jnp.asarray(grown[:, place]))))
        distance = found["distance"][:, place, -1] / found["norm"]
        text = "distance from the start, over the start's norm"
        rows.append(described(arm, text, over_targets(jnp.asarray(distance))))
    accuracy = over_targets(jnp.asarray(found["accuracy"][:, -1]))
    rows.append(described("descent", "share of greedy actions that are right at the end", accuracy))
    share = float(np.mean(found["status"] == 0))
    source = "residuals of Lanczos' iteration below 1e-3"
    rows.append(
        compare("all", "share of eigenvalues that converged", (share, 0.0), (1.0, 0.01, source))
    )
    source = "arXiv 2303.01486, figure 2"
    gain = over_targets(jnp.asarray(grown[:, 0]))
    rows.append(signed("descent", "growth of ln largest eigenvalue", gain, 1, source))
    expected = (0.0, 0.05 / 4, "stated before: the walk stays within 5 %")
    walk = mean_of(grown[:, 1])
    rows.append(compare(_ARMS[1], "growth of ln largest eigenvalue", walk, expected))
    for place in (2, 3):
        gap = over_targets(jnp.asarray(grown[:, 0] - grown[:, place]))
        text = f"growth of ln largest eigenvalue, descent minus {_ARMS[place]}"
        stated = "stated before, from one seed of this package's notes"
        rows.append(signed("descent", text, gap, 1, stated))
    return rows


def _cosine_rows(found: Mapping[str, np.ndarray]) -> list[Row]:
    rows: list[Row] = []
    for place, arm in enumerate(_ARMS[:2]):
        for look, iteration in enumerate(_LOOKS):
            where = f"after {iteration} steps of the probe, shared noise"
            numbers = (
                ("share of negative cosines", "negative"),
                ("mean cosine", "mean"),
                ("loss of the probe", "loss"),
            )
            for label, name in numbers:
                values = over_targets(jnp.asarray(found[name][:, place, look]))
                rows.append(described(f"C_k, {arm}", f"{label} {where}", values))
    negative = found["negative"][..., _TESTED]
    gap = over_targets(jnp.asarray(negative[:, 0] - negative[:, 1]))
    text = f"share of negative cosines after {_LOOKS[_TESTED]} steps, descent minus walk"
    rows.append(signed("C_k", text, gap, 1, "arXiv 2303.01486, figure 2"))
    return rows


def _draw(found: Mapping[str, np.ndarray], setting: Setting) -> Any:
    from fracjax.plotting import plasticity
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(11.0, 3.6)
        axes = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
        updates = setting.target_every * np.arange(setting.num_periods + 1)
        curves = {
            arm: (updates, over_targets(jnp.asarray(found["sharpness"][:, place])))
            for place, arm in enumerate(_ARMS)
        }
        plasticity.estimates_along_runs(
            axes[0],
            curves,
            along="updates",
            label="largest eigenvalue of the probe",
            logarithmic=(False, True),
        )
        for place, arm in enumerate(_ARMS[:2]):
            matrix = found["matrix"][0, place]
            image = plasticity.cosine_matrix(
                axes[place + 1], matrix, cluster_order(matrix), title=f"cosines after {arm}"
            )
            axes[place + 1].set_xlabel(f"images, after {_LOOKS[_TESTED]} steps of the probe")
            if place:
                figure.colorbar(image, ax=axes[place + 1], shrink=0.8)
    return figure


PARTS: dict[str, Part] = {"descent and walks": _walks}
