"""Training with small and large γ: do failures coincide with rough stretches of the landscape?

Policies are trained from several seeds with γ = .9 and γ = .99, by rejax's PPO, or Brax's where
rejax is not installed. At every snapshot the closed loop's exponent and the Hölder exponent of
the discounted return around it are measured, with both γ, whichever was trained with. A snapshot
is rough when the whole interval of α lies below 1 at the γ of training; the stretch after it
fails by the definition of `failures`, which was fixed before looking. An association is tested
against labels shuffled within runs, and against labels shuffled among runs at equal times.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from fracjax._types import Key
from fracjax.reproduce.association import Association
from fracjax.reproduce.comparisons import mean_of
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.fractal_along_training import (
    Course,
    association_of,
    common_scale,
    failures,
    follow,
    is_fractal,
    is_known,
)
from fracjax.reproduce.rows import Findings, Row, compare, describe
from fracjax.rl import envs
from fracjax.rl.many_seeds import available_library, train_seeds

__all__ = ["PARTS"]

_DISCOUNTS = (0.9, 0.99)


@dataclasses.dataclass(frozen=True)
class _Budget:
    """How much is trained and measured."""

    seeds: int
    snapshots: int
    directions: int
    return_states: int
    states: int


@dataclasses.dataclass(frozen=True)
class _Case:
    """An environment, and how long training on it takes by size.

    Attributes:
        name: In the registry.
        options: Of the environment.
        episode_length: Steps of an episode.
        steps: Environment steps of each seed, by size.
        sizes: Sizes at which it is run.
        budgets: Of the measurements, by size, where they are not those of all.
        horizon: Steps of the measured return, by size; 1000 where it is not named.
    """

    name: str
    options: dict[str, Any]
    episode_length: int
    steps: dict[Size, int]
    sizes: tuple[Size, ...] = ("quick", "default", "full")
    budgets: Mapping[Size, _Budget] = dataclasses.field(default_factory=dict)
    horizon: Mapping[Size, int] = dataclasses.field(default_factory=dict)


_BUDGETS: dict[Size, _Budget] = {
    "quick": _Budget(2, 4, 8, 1, 4),
    "default": _Budget(6, 10, 8, 1, 8),
    "full": _Budget(20, 25, 16, 4, 16),
}
# A point of a map is 1073 returns: of the simulated robots a CPU has time for a fifth of an
# episode, and for few of them.
_CASES = {
    "pendulum": _Case(
        "pendulum", {}, 200, {"quick": 100_000, "default": 700_000, "full": 2_000_000}
    ),
    # With friction and shorter steps, so that a policy that spins it stays resolved.
    "acrobot": _Case(
        "acrobot",
        {"damping": 0.2, "substeps": 2},
        400,
        {"quick": 100_000, "default": 800_000, "full": 10_000_000},
    ),
    "double pendulum": _Case(
        "double_pendulum",
        {"damping": 0.2, "substeps": 2},
        400,
        {"quick": 100_000, "default": 800_000, "full": 10_000_000},
    ),
    "hopper": _Case(
        "hopper",
        {"backend": "spring"},
        1000,
        {"quick": 0, "default": 300_000, "full": 5_000_000},
        sizes=("default", "full"),
        budgets={"default": _Budget(3, 4, 8, 1, 4)},
        horizon={"default": 200},
    ),
    "inverted pendulum": _Case(
        "inverted_pendulum",
        {"backend": "spring"},
        1000,
        {"quick": 0, "default": 300_000, "full": 1_000_000},
        sizes=("default", "full"),
        budgets={"default": _Budget(4, 5, 8, 1, 4)},
        horizon={"default": 200},
    ),
}


def _along(name: str, key: Key, size: Size) -> Findings:
    """Train, measure and compare one environment."""
    case = _CASES[name]
    budget = case.budgets.get(size, _BUDGETS[size])
    if size not in case.sizes:
        return Findings([])
    train_key, measure_key = jax.random.split(key)
    seed = int(jax.random.bits(train_key) >> 1)
    library = available_library()
    with jax.enable_x64(False):
        single = envs.make(case.name, dtype="float32", **case.options)
    double = envs.make(case.name, dtype="float64", **case.options)
    runs = {
        discount: train_seeds(
            single,
            num_seeds=budget.seeds,
            num_timesteps=case.steps[size],
            num_snapshots=budget.snapshots,
            discount=discount,
            episode_length=case.episode_length,
            seed=seed,
            library=library,
        )
        for discount in _DISCOUNTS
    }
    courses = [
        follow(
            double,
            seeds,
            measure_key,
            discount=discount,
            measured_at=_DISCOUNTS,
            horizon=case.horizon.get(size, 1000),
            num_directions=budget.directions,
            num_return_states=budget.return_states,
            num_states=budget.states,
            largest_scale=common_scale(list(runs.values())),
        )
        for discount, seeds in runs.items()
    ]
    rows, found = [], {}
    for course in courses:
        title = f"{name}, {library} PPO with γ={course.discount:g}, {budget.seeds} seeds"
        found[course.discount] = association_of(course, course.own)
        rows += _course_rows(title, course) + _association_rows(title, found[course.discount])
    rows.append(_small_against_large(f"{name}, {library} PPO, {budget.seeds} seeds", courses))
    stem = "training_" + name.replace(" ", "_")
    figures = {
        stem: functools.partial(_draw_runs, name, courses),
        f"{stem}_failures": functools.partial(_draw_association, name, found),
    }
    return Findings(rows, figures)


def _course_rows(title: str, course: Course) -> list[Row]:
    """Describe learning, chaos and roughness of one set of runs."""
    returns = np.asarray(course.seeds.returns.value)
    rows = [
        describe(title, "return before training", mean_of(returns[:, 0])),
        describe(title, "return after training", mean_of(returns[:, -1])),
        describe(title, "best return of a snapshot", mean_of(np.nanmax(returns, axis=1))),
        describe(
            title,
            "mean loss of return between snapshots",
            mean_of(np.maximum(returns[:, :-1] - returns[:, 1:], 0.0).mean(axis=1)),
        ),
        describe(
            title,
            "λ of trained policies (nats per step)",
            mean_of(np.asarray(course.exponent.value)[:, -1]),
        ),
    ]
    for index, gamma in enumerate(course.measured_at):
        known = is_known(course, index)
        rough = is_fractal(course, index)
        label = f"measured with γ={gamma:g}: share of snapshots"
        rows += [
            describe(title, f"{label} with α below 1", mean_of(rough.mean(axis=1))),
            describe(title, f"{label} without an α", mean_of(1 - known.mean(axis=1))),
        ]
        if rough.any():
            jumps = float(course.jump_alarm[..., index][rough].mean())
            text = f"measured with γ={gamma:g}: share of those below 1 with a jump alarm"
            rows.append(describe(title, text, (jumps, 0.0)))
    rows.append(_lipschitz(title, course))
    return rows


def _small_against_large(title: str, courses: list[Course]) -> Row:
    """Compare what training with the small and the large γ reaches, from equal first weights."""
    small, large = (np.asarray(course.seeds.returns.value)[:, -1] for course in courses)
    text = "undiscounted return after training, γ={:g} minus γ={:g}".format(*_DISCOUNTS)
    return describe(title, text, mean_of(small - large))


def _lipschitz(title: str, course: Course) -> Row:
    """Count what the theorem forbids: below 1 at γ = .9 where λ is surely below -ln γ.

    Jumps are not forbidden by it, which asks for a Lipschitz loop, so that snapshots with a
    jump alarm do not count.
    """
    index = course.measured_at.index(min(course.measured_at))
    gamma = course.measured_at[index]
    slow = course.exponent.high < -np.log(gamma)
    against = is_fractal(course, index) & slow & ~course.jump_alarm[..., index]
    share = float(against.sum() / max(slow.sum(), 1))
    text = f"share of snapshots with α below 1 at γ={gamma:g} where λ < -ln γ, no jumps"
    law = "theorem: Lipschitz, but for one in twenty intervals"
    return compare(title, text, (share, 0.0), (0.0, 0.05 / 2, law))


def _association_rows(title: str, found: Association) -> list[Row]:
    """Report the association of failures with rough snapshots, and its nulls."""
    table = found.table
    rows = [
        describe(title, "stretches after rough snapshots", (float(table[0].sum()), 0.0)),
        describe(title, "of these, failures", (float(table[0, 0]), 0.0)),
        describe(title, "stretches after other snapshots", (float(table[1].sum()), 0.0)),
        describe(title, "of these, failures", (float(table[1, 0]), 0.0)),
    ]
    if np.isfinite(found.difference):
        text = "share of failures after rough snapshots minus after others"
        row = describe(title, text, (found.difference, 0.0))
        rows.append(dataclasses.replace(row, low=found.low, high=found.high))
    for null, probability, source in (
        (found.null_by_run, found.p_by_run, "no association: labels shuffled within runs"),
        (found.null_by_time, found.p_by_time, "no association: labels shuffled at equal times"),
    ):
        counts = np.arange(len(null))
        mean = float(null @ counts)
        spread = float((null @ (counts - mean) ** 2) ** 0.5)
        if spread == 0:  # labels that do not vary have nothing to be shuffled
            continue
        text = f"failures after rough snapshots (p = {probability:.3g})"
        rows.append(compare(title, text, (float(table[0, 0]), 0.0), (mean, spread, source)))
    return rows


def _draw_runs(name: str, courses: list[Course]) -> Any:
    from fracjax.plotting.style import DISCOUNT_COLORS, new_figure, style
    from fracjax.plotting.training_stretches import returns_and_stretches

    shown = min(6, courses[0].seeds.num_seeds)
    with style():
        figure = new_figure(2.4 * shown + 0.6, 2.3 * len(courses) + 0.6)
        grid = figure.subplots(len(courses), shown, squeeze=False, sharex=True, sharey="row")
        for course, line, color in zip(courses, grid, DISCOUNT_COLORS, strict=False):
            estimates = course.seeds.returns
            failed, rough = failures(course.seeds), is_fractal(course, course.own)
            unknown = ~is_known(course, course.own)
            for member, axes in enumerate(line):
                one = jax.tree.map(
                    lambda leaf, member=member: leaf[member],
                    dataclasses.replace(estimates, details={}),
                )
                returns_and_stretches(
                    axes,
                    course.seeds.steps,
                    one,
                    rough[member],
                    failed[member],
                    unknown=unknown[member],
                    color=color,
                )
                axes.set_title(f"γ = {course.discount:g}, seed {member}")
            line[0].set_ylabel("return")
        for axes in grid[-1]:
            axes.set_xlabel("environment steps")
        figure.suptitle(
            f"{name}: thick where training fails; shaded where α lies below 1\n"
            "at the γ of training, hatched where it is not known"
        )
    return figure


def _draw_association(name: str, found: dict[float, Association]) -> Any:
    from fracjax.plotting.style import new_figure, style
    from fracjax.plotting.training_stretches import contingency, null_counts

    with style():
        figure = new_figure(4.2 * (1 + len(found)), 3.6)
        first, *others = figure.subplots(1, 1 + len(found))
        contingency(first, {f"γ = {gamma:g}": one.table for gamma, one in found.items()})
        for axes, (gamma, one) in zip(others, found.items(), strict=True):
            nulls = {
                f"shuffled within runs (p = {one.p_by_run:.2g})": one.null_by_run,
                f"shuffled at equal times (p = {one.p_by_time:.2g})": one.null_by_time,
            }
            null_counts(axes, nulls, int(one.table[0, 0]))
            axes.set_title(f"γ = {gamma:g}")
        figure.suptitle(f"{name}: failures of training after rough snapshots")
    return figure


PARTS: dict[str, Part] = {f"training: {name}": functools.partial(_along, name) for name in _CASES}
