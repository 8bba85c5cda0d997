"""Learning curves of world-model agents."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from fracjax.plotting.style import FIT_COLOR, curve_color

__all__ = ["learning_curves"]


def learning_curves(
    axes: Axes,
    steps: np.ndarray,
    returns: Mapping[str, np.ndarray],
    *,
    baseline: float | None = None,
) -> Axes:
    """Draw every seed as a thin line, and the mean of the seeds as a thick one.

    Args:
        axes: Where to draw.
        steps: Environment steps, (points,).
        returns: Returns by arm, (points, seeds).
        baseline: Return of a policy that learnt nothing, as a dashed line.
    """
    for index, (arm, table) in enumerate(returns.items()):
        color = curve_color(index)
        table = np.asarray(table, float)
        axes.plot(np.asarray(steps), table, color=color, lw=0.6, alpha=0.5)
        axes.plot(np.asarray(steps), table.mean(axis=1), color=color, lw=1.8, label=arm)
    if baseline is not None:
        axes.axhline(baseline, color=FIT_COLOR, ls="--", lw=0.8, label="random actions")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("return of the deterministic policy")
    axes.legend()
    return axes
