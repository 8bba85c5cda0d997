"""Log-log pictures behind a Hölder exponent."""

import numpy as np
from matplotlib.axes import Axes

from fracjax._types import Estimate, Status
from fracjax.plotting.style import FIT_COLOR, NOISE_COLOR, label_scale_axis

__all__ = ["perturbation_variance", "variogram"]


def variogram(axes: Axes, estimate: Estimate, *, color: str, label: str) -> Axes:
    """Draw a variogram, the window that was used, the fitted slope and the noise floor.

    Args:
        axes: Where to draw.
        estimate: Scalar result of `holder_exponent(method="gls")`.
        color: Colour of the points.
        label: Legend entry; the exponent is added.
    """
    details = estimate.details
    scales, values = np.asarray(details["scales"]), np.asarray(details["variogram"])
    inside = np.broadcast_to(np.asarray(details["window"])[:, None], scales.shape)
    shown = values > 0
    axes.loglog(scales[shown & ~inside], values[shown & ~inside], ".", color=color, alpha=0.25)
    text = f"{label}: α = {estimate}"
    axes.loglog(scales[shown & inside], values[shown & inside], ".", color=color, label=text)
    if int(estimate.status) == Status.OK and (shown & inside).any():
        window = scales[inside & shown]
        span = np.array([window.min(), window.max()])
        middle = np.exp(np.log(window).mean())
        level = np.exp(np.log(values[inside & shown]).mean())
        slope = 2 * float(estimate.value)
        axes.loglog(span, level * (span / middle) ** slope, color=FIT_COLOR, lw=1, zorder=3)
    noise = float(details["noise_variogram"])
    if noise > 0:
        axes.axhline(noise, color=color, ls=":", lw=1)
    label_scale_axis(axes)
    axes.set_ylabel("mean squared difference")  # of order 1 to 3, as each fit needs
    return axes


def perturbation_variance(axes: Axes, estimate: Estimate, *, color: str, label: str) -> Axes:
    """Draw the variance of the return under Gaussian perturbations, with slope 2 as a guide.

    Args:
        axes: Where to draw.
        estimate: Scalar result of `holder_exponent(method="paper")`.
        color: Colour of the points.
        label: Legend entry; the exponent is added.
    """
    scales = np.asarray(estimate.details["scales"])
    variance = np.asarray(estimate.details["variance"])
    shown = variance > 0
    axes.loglog(scales[shown], variance[shown], "o-", ms=4, lw=1, color=color)
    axes.lines[-1].set_label(f"{label}: α = {estimate}")
    if shown.any():
        top = np.argmax(scales * shown)
        guide = variance[top] * (scales / scales[top]) ** 2
        axes.loglog(scales, guide, color=NOISE_COLOR, ls="--", lw=1, zorder=0)
        axes.set_ylim(bottom=max(variance[shown].min() * 0.1, 1e-300))
    label_scale_axis(axes)
    axes.set_ylabel("variance of the return")
    return axes
