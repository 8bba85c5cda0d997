"""Error against cost: measure it, read off the cost of a given error, draw it."""

import argparse
import dataclasses
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
from command_line import announced, options, with_rounds
from interleaved import SHORTEST, interleaved, ratios, spread

__all__ = ["Curve", "Method", "begin", "curve_rows", "draw", "measure", "same_error"]

Text = Callable[[float], str]
ROUNDS = (5, 2)  # usually, and when quick


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to estimate one number, at several budgets.

    Attributes:
        name: As printed.
        sees: What it is given, such as "equations" or "series".
        budgets: Steps or samples per estimate.
        seeds: How many estimates make the error.
        timed: How many of them are made in a timed run.
        prepare: From a budget to a function from a number of seeds to the errors of so many
            estimates, and the seconds of compilation.
    """

    name: str
    sees: str
    budgets: Sequence[int]
    seeds: int
    timed: int
    prepare: Callable[[int], tuple[Callable[[int], np.ndarray], float]]


@dataclasses.dataclass(frozen=True)
class Curve:
    """What a method costs and how far off it is.

    Attributes:
        name: Of the method.
        sees: What it was given.
        budgets: Steps or samples.
        rms: Root mean square of the errors.
        bias: Their mean.
        failed: Share of estimates that are not finite.
        seeds: How many estimates there are.
        seconds: Per estimate, (budgets, rounds).
        compilation: Seconds, per budget.
    """

    name: str
    sees: str
    budgets: list[int]
    rms: list[float]
    bias: list[float]
    failed: list[float]
    seeds: int
    seconds: list[list[float]]
    compilation: list[float]


def measure(methods: Sequence[Method], repeats: int) -> list[Curve]:
    """Take errors from a first pass over all seeds, and times from interleaved rounds."""
    runs, errors, compilation = {}, {}, {}
    for method in methods:
        for budget in method.budgets:
            name = f"{method.name}, {budget}"
            run, compilation[name] = method.prepare(budget)
            print(f"  {name}", end="", file=sys.stderr, flush=True)
            errors[name] = np.asarray(run(method.seeds))
            print(f": rms {_rms(errors[name]):.3g}", file=sys.stderr)
            runs[name] = lambda run=run, method=method: run(method.timed)
    seconds = interleaved(runs, repeats, shortest=SHORTEST)
    curves = []
    for method in methods:
        names = [f"{method.name}, {budget}" for budget in method.budgets]
        finite = [errors[name][np.isfinite(errors[name])] for name in names]
        curves.append(
            Curve(
                method.name,
                method.sees,
                list(method.budgets),
                [_rms(errors[name]) for name in names],
                [float(part.mean()) if len(part) else math.nan for part in finite],
                [1 - len(part) / method.seeds for part in finite],
                method.seeds,
                [[value / method.timed for value in seconds[name]] for name in names],
                [compilation[name] for name in names],
            )
        )
    return curves


def _rms(errors: np.ndarray) -> float:
    finite = errors[np.isfinite(errors)]
    return float(np.sqrt(np.mean(finite**2))) if len(finite) else math.nan


def cost(curve: Curve, target: float, turn: int) -> float | None:
    """Seconds per estimate to reach an error in one round; `None` if no budget reaches it.

    Between two budgets a straight line in logarithms; the smallest budget if that suffices.
    """
    points = sorted(zip((row[turn] for row in curve.seconds), curve.rms, strict=True))
    for (cheap, worse), (dear, better) in zip([(None, math.inf), *points], points, strict=False):
        if better <= target:
            if cheap is None or worse <= target:
                return dear
            share = math.log(worse / target) / math.log(worse / better)
            return cheap * (dear / cheap) ** share
    return None


def same_error(
    curves: Sequence[Curve], ours: str, target: float, text: Text
) -> list[dict[str, object]]:
    """Compare costs at an error that all should reach, or at a method's best where it does not.

    Whoever has the equations computes the same number from the same steps, so all of them take
    the error of our curve at these steps, which is over the most seeds.
    """
    mine = next(curve for curve in curves if curve.name == ours)
    known_rms = dict(zip(mine.budgets, mine.rms, strict=True))
    rows = []
    for measured in curves:
        curve = measured
        if curve.sees == "equations":
            shared = [known_rms[budget] for budget in curve.budgets]
            curve = dataclasses.replace(measured, rms=shared)
        best = min((error for error in curve.rms if math.isfinite(error)), default=math.nan)
        common = max(target, best)
        pairs = [(cost(curve, common, turn), cost(mine, common, turn)) for turn in _rounds(mine)]
        theirs, own = zip(*pairs, strict=True)
        known = None not in theirs + own
        rows.append(
            {
                "method": curve.name,
                "sees": curve.sees,
                "its best RMS error": text(best),
                "compared at": text(common),
                "µs per estimate": 1e6 * statistics.median(theirs) if known else None,
                f"{ours}, µs": 1e6 * statistics.median(own) if known else None,
                "ratio (min / median / max)": ratios(theirs, own) if known else None,
            }
        )
    return rows


def _rounds(curve: Curve) -> range:
    return range(len(curve.seconds[0]))


def curve_rows(curves: Sequence[Curve], unit: str, text: Text) -> list[dict[str, object]]:
    return [
        {
            "method": curve.name,
            unit: budget,
            "RMS error": text(rms),
            "bias": text(bias),
            "failed": f"{100 * failed:.0f} %" if failed else "",
            "µs per estimate (min / median / max)": spread([1e6 * value for value in seconds]),
            "compilation, s": compilation or None,
        }
        for curve in curves
        for budget, rms, bias, failed, seconds, compilation in zip(
            curve.budgets,
            curve.rms,
            curve.bias,
            curve.failed,
            curve.seconds,
            curve.compilation,
            strict=True,
        )
    ]


def begin(
    description: str | None, packages: Sequence[str], parts: Sequence[str]
) -> tuple[argparse.Namespace, dict[str, ModuleType], dict[str, object]]:
    """Read the command line, import the peers, say where this runs, and open the record."""
    arguments = arguments_of(description, parts)
    jax.config.update("jax_enable_x64", True)
    host, modules, versions = announced(packages)
    return arguments, modules, {"machine": host, "packages": versions}


def arguments_of(description: str | None, parts: Sequence[str]) -> argparse.Namespace:
    parser = options(description, ROUNDS)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write figures there")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="measure only that")
    return with_rounds(parser.parse_args(), ROUNDS)


def draw(curves: Sequence[Curve], title: str, path: Path) -> None:
    """Draw error against cost, one line per method."""
    import matplotlib  # only where a figure is wanted

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for index, curve in enumerate(curves):
        costs = [statistics.median(row) for row in curve.seconds]
        ours = curve.name.startswith("fracjax")
        axes.loglog(
            costs,
            curve.rms,
            color=f"C{index % 10}",
            linestyle="--" if curve.sees == "series" else "-",
            marker="osv^<>DPX*"[(index + 3 * (index // 10)) % 10],
            linewidth=2.5 if ours else 1,
            label=f"{curve.name} ({curve.sees})",
        )
    axes.set(xlabel="seconds per estimate", ylabel="RMS error", title=title)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
