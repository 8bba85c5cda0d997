"""Measured roughness beside the laws that it should follow."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from fracjax.plotting.style import FIT_COLOR, NOISE_COLOR, curve_color

__all__ = [
    "estimator_errors",
    "exponents_and_laws",
    "mollified_increments",
    "slopes_and_discounts",
    "slopes_and_exponents",
]

_LINES = ("-", "--", ":", "-.")


def exponents_and_laws(
    axes: Axes,
    discounts: Sequence[float] | np.ndarray,
    measured: Mapping[str, tuple[np.ndarray, np.ndarray]],
    laws: Mapping[str, np.ndarray],
) -> Axes:
    """Draw measured exponents over -ln γ on logarithmic axes, and laws as lines.

    Args:
        axes: Where to draw.
        discounts: γ of every cell.
        measured: By label, values and standard errors.
        laws: By label, predicted exponents.
    """
    x = -np.log(np.asarray(discounts, float))
    order = np.argsort(x)
    for (label, values), style in zip(laws.items(), itertools.cycle(_LINES), strict=False):
        axes.plot(x[order], np.asarray(values)[order], style, color=FIT_COLOR, lw=1, label=label)
    for number, (label, (values, errors)) in enumerate(measured.items()):
        axes.errorbar(
            x,
            np.asarray(values),
            yerr=1.96 * np.asarray(errors),
            fmt="o",
            ms=4,
            lw=1,
            capsize=2,
            color=curve_color(number),
            label=label,
        )
    axes.axhline(1.0, color=NOISE_COLOR, lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(x, [f"{discount:.3g}" for discount in discounts])
    axes.minorticks_off()
    axes.set_xlabel("discount γ (on a scale of -ln γ)")
    axes.set_ylabel("Hölder exponent α")
    axes.legend()
    return axes


def estimator_errors(
    axes: Sequence[Axes] | np.ndarray, truth: np.ndarray, values: Mapping[str, np.ndarray]
) -> Sequence[Axes] | np.ndarray:
    """Draw bias, with its standard error, and scatter over centres against the exact exponent.

    Args:
        axes: Two axes, for bias and scatter.
        truth: Exact exponents.
        values: By label of the estimator, estimates (exponents × centres).
    """
    left, right = axes
    for number, (label, found) in enumerate(values.items()):
        color = curve_color(number)
        spread = np.std(found, axis=1, ddof=1)
        error = 1.96 * spread / found.shape[1] ** 0.5
        bias = np.mean(found, axis=1) - truth
        left.errorbar(truth, bias, yerr=error, fmt="o-", ms=4, lw=1, capsize=2, color=color)
        left.lines[-1].set_label(label)
        right.plot(truth, spread, "o-", ms=4, lw=1, color=color, label=label)
    left.axhline(0.0, color=NOISE_COLOR, lw=0.8, ls=":")
    left.set_ylabel("bias (mean over centres, 95 %)")
    right.set_ylabel("standard deviation over centres")
    right.set_yscale("log")
    for one in (left, right):
        one.set_xlabel("exact Hölder exponent H")
    right.legend()
    return axes


def mollified_increments(
    axes: Axes,
    ratios: np.ndarray,
    increments: Mapping[str, np.ndarray],
    exponent: float,
    *,
    noise_scales: Mapping[str, float],
) -> Axes:
    """Draw mean squared second differences of mean returns, in units of the noise.

    Divided by σ^{2α} and drawn over δ/σ, curves of all noise scales σ fall onto one: δ^{2α} on
    the right, δ⁴ on the left.

    Args:
        axes: Where to draw.
        ratios: δ/σ, common to all curves.
        increments: By label, mean squared second differences.
        exponent: α of the return without noise.
        noise_scales: By the same labels, σ.
    """
    for number, (label, values) in enumerate(increments.items()):
        scaled = np.asarray(values) / noise_scales[label] ** (2 * exponent)
        axes.loglog(ratios, scaled, "o-", ms=4, lw=1, color=curve_color(number), label=label)
    middle = len(ratios) // 3
    first = next(iter(increments))
    level = np.asarray(increments[first])[middle] / noise_scales[first] ** (2 * exponent)
    below = ratios <= 2 * ratios[middle]
    axes.loglog(
        ratios[below],
        level * (ratios[below] / ratios[middle]) ** 4,
        "--",
        color=FIT_COLOR,
        lw=1,
        label="smooth: δ⁴",
    )
    axes.axvline(1.0, color=NOISE_COLOR, lw=0.8, ls=":")
    axes.set_xlabel("step δ / noise σ")
    axes.set_ylabel("mean squared second difference / σ$^{2α}$")
    axes.legend()
    return axes


def slopes_and_discounts(
    axes: Axes, discounts: Sequence[float] | np.ndarray, slopes: Mapping[str, np.ndarray]
) -> Axes:
    """Draw slopes of ln variance on ln σ per policy, and their mean, over the discount.

    2 is a smooth return; below it there is no second derivative, below 2 by far no first.

    Args:
        axes: Where to draw.
        discounts: γ of every column.
        slopes: By label, array (policies, discounts).
    """
    x = np.arange(len(discounts), dtype=float)
    for number, (label, found) in enumerate(slopes.items()):
        color = curve_color(number)
        shift = x + 0.12 * (number - (len(slopes) - 1) / 2)
        every = np.broadcast_to(shift, np.shape(found))
        axes.plot(every.ravel(), np.ravel(found), ".", ms=4, color=color, alpha=0.4)
        axes.plot(shift, np.mean(found, axis=0), "o-", ms=5, lw=1, color=color, label=label)
    axes.axhline(2.0, color=NOISE_COLOR, lw=0.8, ls=":")
    axes.set_xticks(x, [f"{discount:g}" for discount in discounts])
    axes.set_ylim(-0.1, 2.3)
    axes.set_xlabel("discount γ")
    axes.set_ylabel("slope of ln variance on ln σ")
    axes.legend()
    return axes


def slopes_and_exponents(
    axes: Axes, exponents: np.ndarray, discounts: Sequence[float], slopes: np.ndarray
) -> Axes:
    """Draw slopes of ln variance over the Lyapunov exponent, and the law min(2, -2 ln γ/λ).

    Args:
        axes: Where to draw.
        exponents: λ of every closed loop, nats per step.
        discounts: γ of every column.
        slopes: Array (loops, discounts).
    """
    finest = np.linspace(min(0.0, float(np.min(exponents))), float(np.max(exponents)), 400)
    for number, gamma in enumerate(discounts):
        color = curve_color(number)
        axes.plot(exponents, slopes[:, number], "o", ms=4, color=color, label=f"γ = {gamma:g}")
        law = np.full_like(finest, 2.0)
        rough = finest > -np.log(gamma)
        law[rough] = -2 * np.log(gamma) / finest[rough]
        axes.plot(finest, law, "-", lw=1, color=color)
    axes.set_ylim(-0.1, 2.3)
    axes.set_xlabel("Lyapunov exponent λ (nats per step)")
    axes.set_ylabel("slope of ln variance on ln σ")
    axes.legend()
    return axes
