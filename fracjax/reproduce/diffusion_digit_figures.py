"""Figures of networks that learn digits, with nulls and published values beside them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Estimate
from fracjax.estimators.diffusion.over_time import average_over_runs
from fracjax.learning.weight_diffusion.descent_runs import Runs
from fracjax.learning.weight_diffusion.two_exponents import default_windows
from fracjax.reproduce.diffusion_published import BATCH_SIZES, LEARNING_RATES

__all__ = [
    "EDGES",
    "draw_densities",
    "draw_displacements",
    "draw_exponents",
    "draw_published",
    "draw_tails",
    "groups_of",
]

EDGES = np.linspace(-6, 6, 49)
_FIELDS = ("value", "stderr", "low", "high", "status")


def groups_of(runs: Runs) -> list[tuple[float, int, np.ndarray]]:
    """Learning rate, batch size, and the runs of each pair; these differ by the seed."""
    # Rates that float32 has rounded get their decimals back.
    rates = np.round(np.asarray(runs.learning_rate, float), 6)
    batches = np.asarray(runs.batch_size)
    pairs = sorted({(float(r), int(b)) for r, b in zip(rates, batches, strict=True)})
    return [(r, b, np.flatnonzero((rates == r) & (batches == b))) for r, b in pairs]


def _pick(runs: Runs) -> dict[str, np.ndarray]:
    batch = groups_of(runs)[0][1]
    return {f"η {rate:g}": members for rate, size, members in groups_of(runs) if size == batch}


def _mean(estimate: Estimate, members: np.ndarray) -> Estimate:
    chosen = jax.tree.map(lambda leaf: jnp.asarray(leaf)[members], estimate)
    return average_over_runs(Estimate(*[getattr(chosen, name) for name in _FIELDS]))


def draw_exponents(found: dict[str, Any], runs: Runs) -> Any:
    """Draw exponents of all segments, means over seeds, with nulls at both ends."""
    from fracjax.plotting import diffusion
    from fracjax.plotting.style import curve_color, new_figure, style

    with style():
        figure = new_figure(9.0, 4.0)
        for panel, which in zip(figure.subplots(1, 2, sharey=True), ("short", "long"), strict=True):
            means = {name: _mean(found[which], members) for name, members in _pick(runs).items()}
            diffusion.exponents(panel, found["waiting"], means)
            for number, members in enumerate(_pick(runs).values()):
                for waiting, nulls in found["nulls"].items():
                    for marker, pair in zip("x+", nulls.values(), strict=True):
                        value = np.asarray(pair[which == "long"].value)[members].mean()
                        panel.plot(waiting, value, marker, ms=7, color=curve_color(number))
            panel.set_title(f"{which} lags; x: drift + noise, +: relaxation")
    return figure


def draw_displacements(found: dict[str, Any], runs: Runs, length: int) -> Any:
    """Draw displacements of the first and the last segment, every seed."""
    from fracjax.plotting import diffusion
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(9.0, 4.0)
        panels = figure.subplots(1, 2)
        for panel, segment, title in zip(panels, (0, -1), ("first", "last"), strict=True):
            curves = {
                name: found["displacement"][members, segment]
                for name, members in _pick(runs).items()
            }
            windows = default_windows(length)
            diffusion.displacements(panel, found["lags"], curves, windows=windows)
            panel.set_title(f"{title} segment, band: all seeds")
    return figure


def draw_densities(found: dict[str, Any], runs: Runs) -> Any:
    """Draw densities of single steps at the largest learning rates."""
    from fracjax.plotting import diffusion
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(5.5, 4.0)
        densities = {
            f"{name}, {title} segment": found["density"][members, segment].mean(axis=0)
            for name, members in list(_pick(runs).items())[-2:]
            for title, segment in (("first", 0), ("last", -1))
        }
        axes = diffusion.displacement_densities(figure.subplots(), EDGES, densities)
        axes.set_title("single steps, every weight in its own units")
    return figure


def draw_published(found: dict[str, Any], runs: Runs) -> Any:
    """Draw exponents 1 and 2 of our runs and of the published networks."""
    from fracjax.plotting import diffusion
    from fracjax.plotting.style import new_figure, style

    published = {
        "η 0.1": (
            np.array([row.short for row in BATCH_SIZES]),
            np.array([row.long for row in BATCH_SIZES]),
        ),
        "η 0.001 to 0.5": (
            np.array([pair[0] for pair in LEARNING_RATES.values()]),
            np.array([pair[1] for pair in LEARNING_RATES.values()]),
        ),
    }
    ours = {
        f"ours, {name}, first segment": tuple(
            np.asarray(found[which].value)[members, 0] for which in ("short", "long")
        )
        for name, members in _pick(runs).items()
    }
    with style():
        figure = new_figure(5.5, 4.5)
        diffusion.published_beside_ours(figure.subplots(), published, ours)
    return figure


def draw_tails(shown: dict[str, Estimate]) -> Any:
    """Draw stability indices of gradient noise."""
    from fracjax.plotting import diffusion
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(6.0, 2.5)
        diffusion.stability_indices(figure.subplots(), list(shown), list(shown.values()))
    return figure
