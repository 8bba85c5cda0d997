"""Figures of a diagnosis."""

from matplotlib.figure import Figure

from fracjax.diagnosis import Diagnosis
from fracjax.plotting.chaos import convergence_trace, exponents_against_discount
from fracjax.plotting.landscapes import line_slice, plane_slice
from fracjax.plotting.scaling import perturbation_variance, variogram
from fracjax.plotting.style import curve_color, new_figure, style

__all__ = ["diagnosis_figures"]


def diagnosis_figures(diagnosis: Diagnosis, *, title: str, dt: float) -> dict[str, Figure]:
    """Draw everything a diagnosis measured.

    Args:
        diagnosis: Result of `diagnose`.
        title: Name of environment and policy.
        dt: Seconds per step.

    Returns:
        Figures by name: "chaos", "roughness", "lines" and "planes".
    """
    with style():
        return {
            "chaos": _chaos(diagnosis, title, dt),
            "roughness": _roughness(diagnosis, title),
            "lines": _lines(diagnosis, title),
            "planes": _planes(diagnosis, title),
        }


def _chaos(diagnosis: Diagnosis, title: str, dt: float) -> Figure:
    figure = new_figure(10.0, 3.8)
    left, right = figure.subplots(1, 2)
    discounts = [finding.discount for finding in diagnosis.by_discount]
    convergence_trace(left, diagnosis.chaos, dt=dt, discounts=discounts)
    left.set_title("Does the closed loop forget its start?")
    exponents_against_discount(right, diagnosis.by_discount)
    right.set_title("Measured and predicted roughness")
    figure.suptitle(title)
    return figure


def _roughness(diagnosis: Diagnosis, title: str) -> Figure:
    figure = new_figure(10.0, 3.8)
    left, right = figure.subplots(1, 2)
    for number, finding in enumerate(diagnosis.by_discount):
        color = curve_color(number)
        label = f"γ = {finding.discount:g}"
        variogram(left, finding.holder, color=color, label=label)
        perturbation_variance(right, finding.paper, color=color, label=label)
    left.set_title("Differences along random lines")
    right.set_title("Gaussian perturbations of one centre")
    for axes in (left, right):
        # Room above the curves: both rise over their whole width.
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** 0.25)
        axes.legend(loc="upper left")
    figure.suptitle(title)
    return figure


def _lines(diagnosis: Diagnosis, title: str) -> Figure:
    findings = diagnosis.by_discount
    figure = new_figure(10.0, 2.2 * len(findings) + 0.6)
    grid = figure.subplots(len(findings), 2, squeeze=False)
    for row, finding in enumerate(findings):
        color = curve_color(row)
        for column, dataset in enumerate(diagnosis.slices.lines):
            axes = line_slice(grid[row][column], dataset, output=row, color=color, label="return")
            axes.set_title(
                f"γ = {finding.discount:g}: {finding.verdict}" if column == 0 else "zoom"
            )
            if row + 1 < len(findings):
                axes.set_xlabel("")
    figure.suptitle(title)
    return figure


def _planes(diagnosis: Diagnosis, title: str) -> Figure:
    findings = diagnosis.by_discount
    figure = new_figure(9.0, 3.9 * len(findings) + 0.4)
    grid = figure.subplots(len(findings), 2, squeeze=False)
    for row, finding in enumerate(findings):
        for column, dataset in enumerate(diagnosis.slices.planes):
            axes = plane_slice(grid[row][column], dataset, output=row, label="return")
            axes.set_title(
                f"γ = {finding.discount:g}: {finding.verdict}" if column == 0 else "zoom"
            )
    figure.suptitle(title)
    return figure
