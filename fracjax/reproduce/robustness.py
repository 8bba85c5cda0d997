"""Robustness of closed loops by Lyapunov exponents: what a paper found, measured again.

References marked "computed for this project" are regression anchors of our own; published signs
are those that the text of Young and Pugeault (2024, https://arxiv.org/abs/2410.10674) states.
DM Control's tasks need Playground, SAC and TD3 need rejax; rows say so where they are missing.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fracjax._types import Estimate
from fracjax.learning import neutral_growth
from fracjax.reproduce import (
    robustness_exact,
    robustness_regularization,
    robustness_spectra,
    robustness_trained,
    robustness_world_models,
)
from fracjax.reproduce.comparisons import estimated
from fracjax.reproduce.experiments import Part, in_float64
from fracjax.reproduce.rows import Row

__all__ = ["overview", "parts"]

_SHOWN = {
    "largest exponent by tangents": "largest",
    "reward exponent by tangents": "reward",
}


def parts() -> dict[str, Part]:
    """One part per claim, or per task and algorithm.

    Exponents of closed loops are measured in float64; penalties and world models choose their own.
    """
    closed_loops = robustness_exact.PARTS | robustness_spectra.PARTS | robustness_trained.PARTS
    return {
        **{name: functools.partial(in_float64, part) for name, part in closed_loops.items()},
        **robustness_regularization.PARTS,
        **robustness_world_models.PARTS,
    }


def overview(rows: Sequence[Row]) -> dict[str, Callable[[], Any]]:
    """Make the figures over all parts from their rows: exponents per task and agent.

    Args:
        rows: Rows of any of the parts; figures that nothing is known for are left out.
    """
    found: dict[str, dict[str, dict[str, Estimate]]] = {}
    for row in rows:
        task, comma, agent = row.system.partition(", ")
        if comma and row.quantity in _SHOWN:
            bars = found.setdefault(_SHOWN[row.quantity], {})
            error = (row.high - row.low) / 3.92
            estimate = estimated(row.value, error, row.low, row.high)
            bars.setdefault(agent, {})[task.removeprefix("dmc_")] = estimate
    return {
        f"overview-{name}": functools.partial(_draw, name, bars) for name, bars in found.items()
    }


def _draw(name: str, bars: Mapping[str, Mapping[str, Estimate]]) -> Any:
    from fracjax.plotting import robustness
    from fracjax.plotting.style import new_figure, style

    with style():
        figure = new_figure(9.0, 4.0)
        axes = robustness.exponent_bars(
            figure.subplots(),
            bars,
            zero=neutral_growth(1000),
            label=f"{name} exponent by tangents (nats/step)",
        )
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(bars) + 1)
    return figure
