"""Toy models of superposition: published errors, owners, and what interventions do.

Written down before anything of this experiment was run: the thresholds of rows marked "at least"
are those of our own earlier re-implementation (four targets) or of the papers. Published errors
are of one run each. The published code keeps one entry more than its text says (17 of 160 for
5-2), which lowers the error by about .01: compared rows keep 17, the 16 of the text stand beside.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Key
from fracjax.learning.decomposition.feature_owners import distinct_owners, max_cosines
from fracjax.learning.decomposition.settings import FitSettings
from fracjax.learning.decomposition.subnetwork_interventions import (
    intervened_outputs,
    median_changes,
    selectivity,
)
from fracjax.learning.decomposition.toy_models import ToyModel, superposition
from fracjax.reproduce.comparisons import mean_of
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.l3d_rows import (
    against_one_run,
    bounded,
    rate,
    spread_row,
)
from fracjax.reproduce.l3d_toys import (
    DIVERGENCES,
    Fits,
    fit_toys,
    fitting,
    published_fraction,
    trained_toys,
)
from fracjax.reproduce.rows import Findings, Row, compare, describe

__all__ = ["PARTS", "feature_cosines"]

_OURS = "our earlier re-implementation, four targets"
_LARGEST = 3.0  # |δ| of interventions
# Of 5-2, by divergence: what is known, and from where.
_UNEXPLAINED = {
    "true MSE": (0.19, "L3D, arXiv 2504.00194, text: 19 % with a normalised MSE"),
    "the code's f·(f - r)": (
        0.113,
        f"{_OURS} with this divergence: .103 to .125; the paper's 19 % is not it",
    ),
}


class Effort(NamedTuple):
    """How much is computed.

    Attributes:
        seeds: Targets.
        epochs: Of every fit.
        samples: Of every fit.
    """

    seeds: int
    epochs: int
    samples: int = 1000


_SMALL: Mapping[Size, Effort] = {
    "quick": Effort(4, 300),
    "default": Effort(24, 1000),
    "full": Effort(64, 1000),
}
# A sample of 40 features has two or three of them on. Of 1000 samples 57 have a given one: what
# came along with it by chance bends its subnetwork: |cos| .95 and 38 or 39 of 40 features owned
# after 18 600 updates with 1000 samples, .996 and all 40 after 12 480 with 10 000.
_LARGE: Mapping[Size, Effort] = {
    "quick": Effort(2, 15, 10_000),
    "default": Effort(4, 40, 10_000),
    "full": Effort(16, 160, 10_000),
}


def feature_cosines(weights: np.ndarray, tensors: np.ndarray) -> np.ndarray:
    """|cos| between an encoder that is the network's own in one row, and each subnetwork's.

    Args:
        weights: Encoder of the network, (features, hidden).
        tensors: Those of the subnetworks, (subnetworks, features, hidden).

    Returns:
        (subnetworks, features), 1 where a subnetwork's encoder is that row and nothing else.
    """
    products = np.abs(np.einsum("fw,kfw->kf", weights, tensors))
    norms = np.linalg.norm(weights, axis=1) * np.linalg.norm(tensors, axis=(1, 2))[:, None]
    return products / np.where(norms > 0, norms, np.inf)


def _measured(params: Any, fits: Fits) -> tuple[np.ndarray, np.ndarray]:
    """Features with an owner in encoder, decoder and bias; MMCS over encoder and decoder."""
    alive = jnp.asarray(fits.found.frequency) > 0
    subnetworks = fits.found.subnetworks
    named = {name: subnetworks[name] for name in ("encoder", "decoder", "bias")}
    owners = jax.vmap(lambda tensors, keep: distinct_owners(tensors, alive=keep))(named, alive)
    encoder = jax.vmap(max_cosines)(params["encoder"], subnetworks["encoder"])
    decoder = jax.vmap(max_cosines)(
        params["decoder"].swapaxes(1, 2), subnetworks["decoder"].swapaxes(2, 3)
    )
    return np.asarray(owners), np.asarray(encoder + decoder).mean(axis=1) / 2


def _moved(
    model: ToyModel, params: Any, fits: Fits, key: Key
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Median changes of outputs along subnetworks, and how selective they are."""
    sizes = jnp.linspace(-_LARGEST, _LARGEST, 31)

    @jax.jit
    def one(params: Any, subnetworks: Any) -> Any:
        inputs = model.inputs(key, 1000)
        after = intervened_outputs(model.apply, params, inputs, subnetworks, sizes)
        changes = median_changes(model.apply(params, inputs), after)
        return changes, selectivity(changes, sizes)

    found = [
        one(*jax.tree.map(lambda leaf, seed=seed: leaf[seed], (params, fits.found.subnetworks)))
        for seed in range(len(fits.error))
    ]
    changes, selective = jax.tree.map(lambda *leaves: np.stack(leaves), *found)
    return np.asarray(sizes), changes, selective


def _five_two(key: Key, size: Size) -> Findings:
    """The model of the paper's first figure, both divergences."""
    effort, model = _SMALL[size], superposition(5, 2)
    keys = jax.random.split(key, effort.seeds)
    toys = trained_toys(model, keys, size)
    kept = published_fraction(5)
    fits = {
        name: fit_toys(
            model,
            toys.params,
            keys,
            fitting(FitSettings(num_subnetworks=5, divergence=each, fraction=kept), effort.epochs),
        )
        for name, each in DIVERGENCES.items()
    }
    text = "true MSE, 16 of 160 entries"
    fits[text] = fit_toys(
        model, toys.params, keys, fitting(FitSettings(num_subnetworks=5), effort.epochs)
    )
    rows = [
        spread_row("TMS 5-2, targets", "mean squared error (.0075 with all features)", toys.loss)
    ]
    for name, each in fits.items():
        system = f"TMS 5-2, {name}"
        owners, cosines = _measured(toys.params, each)
        whole = owners == 5
        chosen = each.error[whole]
        if name == text:
            rows.append(spread_row(system, "unexplained share, fits with 5 owners", chosen))
            rows.append(spread_row(system, "unexplained share, all fits", each.error))
            rows.append(describe(system, "fits with 5 owners", (float(whole.mean()), 0.0)))
            continue
        known = _UNEXPLAINED[name]
        rows.append(
            against_one_run(system, "unexplained share, fits with 5 owners", chosen, *known)
        )
        rows.append(spread_row(system, "unexplained share, all fits", each.error))
        rows.append(
            rate(system, "fits with 5 owners", whole.sum(), len(whole), 7 / 8, f"{_OURS}: 15 of 16")
        )
        source = "threshold set before; APD .998, SPD 1.000 (arXiv 2501.14926, 2506.20790)"
        rows.append(
            bounded(system, "MMCS (|cos|), fits with 5 owners", cosines[whole], 0.995, source)
        )
        rows.append(describe(system, "CPU seconds per seed, all at once", (each.seconds, 0.0)))
    sizes, changes, selective = _moved(model, toys.params, fits["true MSE"], keys[0])
    whole = _measured(toys.params, fits["true MSE"])[0] == 5
    rows += _intervention_rows(jax.tree.map(lambda leaf: leaf[whole], selective))
    draw = functools.partial(
        _draw, toys.params, fits, (sizes, changes, selective.output), int(np.argmax(whole))
    )
    return Findings(rows, {"l3d-superposition": draw})


def _intervention_rows(selective: Any) -> list[Row]:
    """Medians over the subnetworks of every fit with 5 owners, at |δ| = 3."""
    system = "TMS 5-2, true MSE, interventions"
    figure = "digitised from the paper's figure, one target"
    own, ratio, floor = (
        np.nanmedian(np.asarray(part, float), axis=1)
        for part in (selective.own, selective.ratio, selective.floor)
    )
    return [
        bounded(
            system,
            "own output at |δ| = 3",
            own,
            1.1,
            f"{figure}: 1.17 to 1.23, of directions that its code makes shorter than 1",
        ),
        bounded(system, "own over largest other output", ratio, 8.0, f"{figure}: 8"),
        against_one_run(
            system, "own output, switched off", floor, -0.15, f"{figure}: -.134 to -.166"
        ),
        bounded(
            system,
            "own over largest other output, worst subnetwork",
            np.asarray(selective.ratio).min(axis=1),
            8.0,
            f"{figure}: 8",
        ),
        describe(
            system,
            "subnetworks whose own output moves 8 times as far",
            (float(np.mean(np.asarray(selective.ratio) >= 8)), 0.0),
        ),
    ]


def _other_superposition(
    key: Key,
    size: Size,
    *,
    num_features: int,
    num_hidden: int,
    identity: bool,
    published: Mapping[str, tuple[float, float, str]],
) -> Findings:
    """Models that the paper did not decompose, beside what APD and SPD publish for them."""
    effort = (_SMALL if num_features == 5 else _LARGE)[size]
    seeds = min(effort.seeds, 8) if size == "default" else effort.seeds
    model = superposition(num_features, num_hidden, hidden_identity=identity)
    keys = jax.random.split(key, seeds)
    toys = trained_toys(model, keys, size)
    # With an identity SPD finds as many further components as there are hidden units.
    count = num_features + (num_hidden if identity else 0)
    settings = FitSettings(num_subnetworks=count, fraction=published_fraction(count))
    fitted = fitting(settings, effort.epochs)
    fits = fit_toys(model, toys.params, keys, fitted, num_samples=effort.samples)
    system = f"TMS {num_features}-{num_hidden}{' + identity' if identity else ''}, true MSE"
    owners, cosines = _measured(toys.params, fits)
    dead = np.asarray(fits.found.frequency == 0).mean(axis=1)
    rows = [
        spread_row(system, "mean squared error of the targets", toys.loss),
        spread_row(system, "unexplained share (not in the paper)", fits.error),
        spread_row(system, f"owned features of {num_features}", owners.astype(float)),
        bounded(system, "MMCS (|cos|)", cosines, 0.995, "threshold of 5-2, set before"),
        *[
            compare(
                system,
                f"MMCS (|cos|), {len(cosines)} runs, beside {name}",
                mean_of(cosines),
                known,
            )
            for name, known in published.items()
        ],
        spread_row(system, "dead subnetworks", dead),
        describe(system, "CPU seconds per seed, all at once", (fits.seconds, 0.0)),
    ]
    name = f"l3d-superposition-{num_features}-{num_hidden}{'-identity' if identity else ''}"
    return Findings(rows, {name: functools.partial(_draw_other, toys.params, fits)})


def _draw(params: Any, fits: Mapping[str, Fits], moved: tuple, seed: int) -> Any:
    from fracjax.plotting import decomposition
    from fracjax.plotting.style import new_figure, style

    sizes, changes, output = moved
    with style():
        figure = new_figure(9.0, 6.4)
        above, below = figure.subplots(2, 2)
        decomposition.loss_curves(
            above[0],
            {name: fits[name].found.loss for name in DIVERGENCES},
            reference=("published, 19 %", 0.19),
        )
        found = fits["true MSE"].found
        cosines = feature_cosines(params["encoder"][seed], found.subnetworks["encoder"][seed])
        image = decomposition.owner_matrix(above[1], cosines, label="|cos| of encoders, one fit")
        figure.colorbar(image, ax=above[1])
        decomposition.intervention_curves(below[0], sizes, changes[seed], output[seed])
        decomposition.activation_frequencies(below[1], found.frequency[seed])
    return figure


def _draw_other(params: Any, fits: Fits) -> Any:
    from fracjax.plotting import decomposition
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(9.0, 3.4)
        left, middle, right = figure.subplots(1, 3)
        decomposition.loss_curves(left, {"true MSE": fits.found.loss})
        cosines = feature_cosines(params["encoder"][0], fits.found.subnetworks["encoder"][0])
        image = decomposition.owner_matrix(middle, cosines, label="|cos| of encoders, one fit")
        figure.colorbar(image, ax=middle)
        decomposition.activation_frequencies(right, fits.found.frequency[0])
    return figure


# What related methods publish of the same measure; SPD prints three digits.
_APD = (0.996, 0.003, ".996 ± .003 (arXiv 2501.14926)")
_SPD = (
    1.0,
    0.0003,
    "1.000 (arXiv 2506.20790). Its parts must add up to the weights; here directions explain"
    " gradients, which other outputs turn a little",
)

PARTS: dict[str, Part] = {
    "TMS 5-2": _five_two,
    "TMS 5-2 with identity": functools.partial(
        _other_superposition, num_features=5, num_hidden=2, identity=True, published={"SPD": _SPD}
    ),
    "TMS 40-10": functools.partial(
        _other_superposition,
        num_features=40,
        num_hidden=10,
        identity=False,
        published={"APD": _APD, "SPD": _SPD},
    ),
    "TMS 40-10 with identity": functools.partial(
        _other_superposition, num_features=40, num_hidden=10, identity=True, published={"SPD": _SPD}
    ),
}
