"""Circuits in superposition: coefficients read off subnetworks, groups of inputs, and x → x².

All with the published code's divergence, for which the published errors are. The paper prints
r² = .92 for circuits; its notebook computes r, and the points of its figure (digitised by us)
have r = .916, r² = .839. So the reference of r is .916, and r² stands apart.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Key
from fracjax.learning.decomposition.coefficient_correlations import (
    CoefficientCorrelations,
    coefficient_correlations,
)
from fracjax.learning.decomposition.divergences import detached_product, squared_error
from fracjax.learning.decomposition.feature_owners import feature_energy, owned_features
from fracjax.learning.decomposition.settings import FitSettings
from fracjax.learning.decomposition.toy_models import circuits, square
from fracjax.reproduce.comparisons import mean_of
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.l3d_rows import against_one_run, bounded, spread_row
from fracjax.reproduce.l3d_toys import Fits, fit_toys, fitting, published_fraction, trained_toys
from fracjax.reproduce.rows import Findings, Row, compare, describe

__all__ = ["PARTS"]

_CURVES = "digitised by us from the paper's figure, one run each"
_NOTEBOOK = "L3D's figure, digitised by us: r = .916, which its text calls r²; one target"


class Effort(NamedTuple):
    """How much is computed.

    Attributes:
        seeds: Targets.
        epochs: Of every fit.
        choices: Ranks, or numbers of subnetworks, that are compared.
    """

    seeds: int
    epochs: int
    choices: tuple[int, ...] = ()


_CIRCUITS: Mapping[Size, Effort] = {
    "quick": Effort(2, 150),
    "default": Effort(6, 1000),
    "full": Effort(16, 1000),
}
# Four processes of the published code decompose on their own, each on a quarter of the samples:
# 8 updates per epoch, 8000 in all, which are 258 epochs here.
_GROUPS: Mapping[Size, Effort] = {
    "quick": Effort(2, 40, (1, 5)),
    "default": Effort(4, 258, (1, 5)),
    "full": Effort(16, 258, (1, 2, 3, 4, 5, 6, 7, 8)),
}
_SQUARES: Mapping[Size, Effort] = {
    "quick": Effort(2, 60, (3, 10)),
    "default": Effort(4, 258, (3, 5, 10, 15)),
    "full": Effort(16, 258, (3, 5, 10, 15)),
}
# Errors depend on how far a target is trained: with 10 and 15 subnetworks they are a half above the
# published ones at a loss of 4e-4, which 40 epochs at 1e-2 reach, and agree at 7e-5.
_SQUARE_TARGETS: Mapping[Size, dict[str, float]] = {
    "quick": {},
    "default": {"num_epochs": 400, "learning_rate": 1e-3, "restarts": 1},
    "full": {},
}
_GROUP_RATE = 0.05 / (1 - 0.95**6)  # share of samples in which a given group is on
_DEAD = 0.01  # share of samples
_SQUARE_ERRORS = {3: 0.551, 5: 0.369, 10: 0.086, 15: 0.033}


def _circuits(key: Key, size: Size) -> Findings:
    """Ten inputs, x → A x: errors of both divergences, owners, correlations."""
    effort, model = _CIRCUITS[size], circuits(10, 5)
    keys = jax.random.split(key, effort.seeds)
    toys = trained_toys(model, keys, size)
    kept = published_fraction(10)
    settings = FitSettings(num_subnetworks=10, divergence=detached_product, fraction=kept)
    fits = fit_toys(model, toys.params, keys, fitting(settings, effort.epochs))
    other = dataclasses.replace(settings, divergence=squared_error)
    plain = fit_toys(model, toys.params, keys, fitting(other, effort.epochs))
    found = jax.vmap(
        lambda params, tensors, truth, frequency: coefficient_correlations(
            params, tensors, truth, alive=frequency > 0
        )
    )(toys.params, fits.found.subnetworks, toys.coefficients, jnp.asarray(fits.found.frequency))
    found = jax.tree.map(np.asarray, found)
    system = "TMCS 10-5-10, the code's divergence"
    owners = np.array(
        [
            len(set(own[keep].tolist()))
            for own, keep in zip(found.owned, fits.found.frequency > 0, strict=True)
        ],
        float,
    )
    rows = [
        spread_row("TMCS 10-5-10, targets", "mean squared error", toys.loss),
        against_one_run(
            system, "unexplained share", fits.error, 0.064, "L3D, arXiv 2504.00194: 6.4 %"
        ),
        spread_row("TMCS 10-5-10, true MSE", "unexplained share", plain.error),
        spread_row(system, "owned inputs of 10", owners),
        describe(system, "owned inputs of 10, best target", (owners.max(), 0.0)),
        against_one_run(system, "pooled r of products with A", found.pooled, 0.916, _NOTEBOOK),
        spread_row(system, "pooled r², which is not r", found.pooled_squared),
        spread_row(system, "median r of one subnetwork", np.nanmedian(found.each, axis=1)),
        spread_row(system, "r of the network's own W_in W_out with A", found.ceiling),
        compare(
            system,
            f"pooled r minus that of the network, {len(found.pooled)} runs",
            mean_of(found.pooled - found.ceiling),
            (0.0, 0.0, "expected: subnetworks tell of A what their network knows"),
        ),
        describe(system, "CPU seconds per seed, all at once", (fits.seconds, 0.0)),
    ]
    curves = {"the code's divergence": fits, "true MSE": plain}
    best = int(np.argmax(owners))
    draw = functools.partial(_draw_circuits, toys, curves, found, best)
    return Findings(rows, {"l3d-circuits": draw})


def _groups(key: Key, size: Size) -> Findings:
    """Six groups of five inputs that are on together: one owner each, at any rank.

    With the code's normalisation: directions of length 1 leave .01 less unexplained.
    """
    effort, model = _GROUPS[size], circuits(30, 10, group=5)
    keys = jax.random.split(key, effort.seeds)
    toys = trained_toys(model, keys, size)
    fits, rows = {}, [spread_row("TMCS 30-10-30, targets", "mean squared error", toys.loss)]
    for rank in effort.choices:
        settings = FitSettings(
            num_subnetworks=10,
            ranks=rank,
            divergence=detached_product,
            fraction=published_fraction(10),
            norm="published",
        )
        fits[rank] = fit_toys(model, toys.params, keys, fitting(settings, effort.epochs))
        rows += _group_rows(rank, fits[rank])
    gap = fits[1].error - fits[5].error
    rows.append(
        compare(
            "TMCS in groups of 5",
            f"unexplained share, rank 1 minus rank 5, {len(gap)} targets",
            mean_of(gap),
            (-0.002, 0.0025, f".145 - .147, {_CURVES}; uncertainty: the stated tolerance .01 / 4"),
        )
    )
    return Findings(rows, {"l3d-groups": functools.partial(_draw_groups, fits)})


def _group_rows(rank: int, fits: Fits) -> list[Row]:
    """How many groups have exactly one owner, used in half of their samples or more.

    More projections are kept than groups are on, so that subnetworks beyond the owners get a few.
    """
    system = f"TMCS in groups of 5, rank {rank}"
    published = {1: 0.145, 2: 0.143, 3: 0.146, 4: 0.146, 5: 0.147, 6: 0.146, 7: 0.318, 8: 0.257}
    energy = np.stack(
        [feature_energy(jnp.asarray(each)) for each in fits.found.subnetworks["encoder"]]
    )
    groups = energy.reshape(*energy.shape[:2], -1, 5).sum(axis=3)
    count = groups.shape[2]
    owners = fits.found.frequency > _GROUP_RATE / 2
    owned = np.argmax(groups, axis=2)
    single = np.array(
        [
            sum(int(np.sum(keep & (own == group)) == 1) for group in range(count))
            for own, keep in zip(owned, owners, strict=True)
        ],
        float,
    )
    purity = np.array(
        [each.max(axis=1)[keep].mean() for each, keep in zip(groups, owners, strict=True)]
    )
    unused = np.sum(fits.found.frequency <= _DEAD, axis=1).astype(float)
    return [
        against_one_run(system, "unexplained share", fits.error, published[rank], _CURVES),
        bounded(
            system,
            f"groups of {count} with exactly one owner",
            single,
            float(count),
            "L3D's text: one subnetwork for each group",
        ),
        bounded(
            system,
            f"subnetworks of 10 that at most {_DEAD:.0%} of samples use",
            unused,
            10.0 - count,
            "L3D's text: those beyond one per group are never active at the end",
        ),
        spread_row(system, "encoder energy of an owner in its group", purity),
    ]


def _squares(key: Key, size: Size) -> Findings:
    """Squares: the error falls as subnetworks are added, as a sample may use more of them."""
    effort, model = _SQUARES[size], square()
    keys = jax.random.split(key, effort.seeds)
    toys = trained_toys(model, keys, size, **_SQUARE_TARGETS[size])
    fits, rows = {}, [spread_row("x → x², targets", "mean squared error", toys.loss)]
    for count in effort.choices:
        settings = FitSettings(
            num_subnetworks=count,
            divergence=detached_product,
            fraction=published_fraction(count),
        )
        fits[count] = fit_toys(model, toys.params, keys, fitting(settings, effort.epochs))
        published = _SQUARE_ERRORS[count]
        system = f"x → x², {count} subnetworks, rank 1"
        rows.append(
            _within(system, fits[count].error, published, f"{published}, {_CURVES}; within 30 %")
        )
        owned = [
            len(set(np.asarray(owned_features(jnp.asarray(each))).tolist()))
            for each in fits[count].found.subnetworks[0]["kernel"]
        ]
        rows.append(spread_row(system, "inputs of 5 with a subnetwork", np.array(owned, float)))
    first, last = effort.choices[0], effort.choices[-1]
    ratio = fits[last].error / fits[first].error
    source = "the published curves fall by 17 from 3 to 15, by 6 from 3 to 10"
    rows.append(
        bounded("x → x²", f"share with {last} over {first}", ratio, 0.5, source, below=True)
    )
    return Findings(rows, {"l3d-squares": functools.partial(_draw_squares, fits)})


def _within(system: str, errors: np.ndarray, published: float, source: str) -> Row:
    """Compare logarithms: 30 % is four uncertainties."""
    logs = np.log(errors)
    row = compare(
        system,
        f"ln of the unexplained share, {len(errors)} runs",
        mean_of(logs),
        (np.log(published), np.log(1.3) / 4, source),
    )
    return dataclasses.replace(row, quantity=f"{row.quantity}: mean share {errors.mean():.3f}")


def _draw_circuits(
    toys: Any, curves: Mapping[str, Fits], found: CoefficientCorrelations, best: int
) -> Any:
    from fracjax.plotting import decomposition
    from fracjax.plotting.style import new_figure, style

    fits = curves["the code's divergence"]
    tensors = {name: leaf[best] for name, leaf in fits.found.subnetworks.items()}
    products = tensors["encoder"] @ tensors["decoder"]
    places = np.arange(len(products))
    rows = products[places, found.owned[best]]
    with style():
        figure = new_figure(11.0, 3.6)
        left, middle, right = figure.subplots(1, 3)
        decomposition.loss_curves(
            left,
            {name: each.found.loss for name, each in curves.items()},
            reference=("published, 6.4 %", 0.064),
        )
        decomposition.coefficient_scatter(
            middle,
            toys.coefficients[best][found.owned[best]],
            rows,
            pooled=float(found.pooled[best]),
            each=found.each[best],
            ceiling=float(found.ceiling[best]),
        )
        image = decomposition.owner_matrix(
            right,
            np.sqrt(np.asarray(feature_energy(jnp.asarray(products)))),
            label="|cos| of product and one input",
        )
        right.set_xlabel("input")
        figure.colorbar(image, ax=right)
    return figure


def _draw_groups(fits: Mapping[int, Fits]) -> Any:
    from fracjax.plotting import decomposition
    from fracjax.plotting.style import new_figure, style

    last = fits[max(fits)].found
    energy = np.asarray(feature_energy(jnp.asarray(last.subnetworks["encoder"][0])))
    groups = np.sqrt(energy.reshape(len(energy), -1, 5).sum(axis=2))
    with style():
        figure = new_figure(11.0, 3.6)
        left, middle, right = figure.subplots(1, 3)
        decomposition.loss_curves(
            left, {f"rank {rank}": each.found.loss for rank, each in fits.items()}
        )
        image = decomposition.owner_matrix(
            middle, groups, label=f"|cos| of encoder and group, rank {max(fits)}"
        )
        middle.set_xlabel("group")
        figure.colorbar(image, ax=middle)
        decomposition.activation_frequencies(right, last.frequency[0], threshold=_DEAD)
    return figure


def _draw_squares(fits: Mapping[int, Fits]) -> Any:
    from fracjax.plotting import decomposition
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(8.0, 3.6)
        left, right = figure.subplots(1, 2)
        decomposition.loss_curves(
            left, {f"{count} subnetworks": each.found.loss for count, each in fits.items()}
        )
        kernels = jnp.asarray(fits[max(fits)].found.subnetworks[0]["kernel"][0])
        cosines = np.sqrt(np.asarray(feature_energy(kernels)))
        image = decomposition.owner_matrix(right, cosines, label="|cos| of first kernel and input")
        right.set_xlabel("input")
        figure.colorbar(image, ax=right)
    return figure


PARTS: dict[str, Part] = {
    "TMCS": _circuits,
    "TMCS in groups": _groups,
    "squares": _squares,
}
