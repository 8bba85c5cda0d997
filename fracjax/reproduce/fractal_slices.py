"""The landscape around single policies: slices at ever closer looks, variances over scales.

For a trained policy and for its untrained counterpart, at a small and at a large γ: slices
along one random filter-normalised direction, each 8 times narrower than the last, and the
variance of the return under Gaussian perturbations. Its slope on ln σ is set beside 2, which is
smooth, and beside 2 min(1, -ln γ/λ), the law with the exponent of the closed loop over the same
1000 steps from the same initial state.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from fracjax._types import Estimate, Key
from fracjax.diagnosis import problem_of_policy
from fracjax.estimators.roughness.perturbation import perturbation_exponent
from fracjax.landscapes import line, scan, zoom
from fracjax.learning import closed_loop_exponents
from fracjax.reproduce.comparisons import about, described
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row, describe
from fracjax.rl import envs
from fracjax.rl.gallery import shipped, shipped_names
from fracjax.rl.policies import Policy, initialize, untrained
from fracjax.rl.rollouts import initial_states

__all__ = ["PARTS"]

_DISCOUNTS = (0.9, 0.99)
_HORIZON = 1000
_ZOOM = 8.0
_CHUNK = 64
_CASES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "pendulum": ("pendulum", {}),
    "acrobot": ("acrobot", {}),
    "double pendulum": ("double_pendulum", {}),
    "hopper": ("hopper", {"backend": "spring"}),
    "inverted pendulum": ("inverted_pendulum", {"backend": "spring"}),
}
# Points of a slice, scales, perturbations per scale, looks.
_SIZES: Mapping[Size, tuple[int, int, int, int]] = {
    "quick": (129, 7, 24, 3),
    "default": (257, 11, 64, 4),
    "full": (1025, 13, 256, 5),
}
# Of Brax, whose steps take a CPU a hundred times longer.
_BRAX_SIZES: Mapping[Size, tuple[int, int, int, int]] = {
    "default": (129, 7, 24, 3),
    "full": (1025, 13, 256, 5),
}


@dataclasses.dataclass(frozen=True)
class _Look:
    """What was found around one policy."""

    slices: list[tuple[np.ndarray, np.ndarray]]  # offsets, values (points, discounts)
    exponent: Estimate  # nats per step
    variance: Estimate  # (discounts,)


def _around(name: str, key: Key, size: Size) -> Findings:
    environment_name, options = _CASES[name]
    numbers = _BRAX_SIZES if "backend" in options else _SIZES
    if size not in numbers:
        return Findings([])
    environment = envs.make(environment_name, dtype="float64", **options)
    start_key, look_key = jax.random.split(key)
    looks = {
        label: _look(environment, policy.astype("float64"), look_key, numbers[size])
        for label, policy in _policies(environment, start_key).items()
    }
    rows: list[Row] = []
    for label, look in looks.items():
        rows += _rows(f"{name}, {label} policy", look)
    stem = "slices_" + name.replace(" ", "_")
    figures = {
        stem: functools.partial(_draw_slices, name, looks),
        stem.replace("slices", "variances"): functools.partial(_draw_variances, name, looks),
    }
    return Findings(rows, figures)


def _policies(environment: Any, key: Key) -> dict[str, Policy]:
    """A trained policy where one is shipped, and an untrained one."""
    if environment.name in shipped_names():
        trained = shipped(environment.name)
        return {"untrained": untrained(trained), "trained": trained}
    sizes = environment.observation_size, environment.action_size
    return {"untrained": initialize(key, *sizes, head="deterministic")}


def _look(environment: Any, policy: Policy, key: Key, numbers: tuple[int, int, int, int]) -> _Look:
    num_points, num_scales, num_samples, num_zooms = numbers
    keys = jax.random.split(key, 4)
    problem = problem_of_policy(
        environment,
        policy,
        keys[0],
        discounts=_DISCOUNTS,
        horizon=_HORIZON,
        num_return_states=1,
        num_states=1,
    )
    grid = line(problem.params, keys[1], span=0.2, num_points=num_points)
    slices = []
    for number in range(num_zooms):
        one = zoom(grid, _ZOOM**number)
        found = scan(
            problem.objective,
            problem.params,
            one,
            keys[2],
            chunk_size=_CHUNK,
            num_directions=_CHUNK,
            evaluator="plain",
        )
        slices.append((one.axes[0], np.asarray(found["value"].values)))
    variance = perturbation_exponent(
        problem.objective,
        problem.params,
        keys[2],
        scales=np.geomspace(1e-2, 1e-7, num_scales),
        num_samples=num_samples,
        batch_size=_CHUNK,
        chunk_size=_CHUNK,
    )
    states = initial_states(environment, keys[0], 1)  # the objective's
    find = closed_loop_exponents(environment, policy, num_steps=_HORIZON, num_exponents=1)
    exponent = jax.jit(find)(problem.params, states, keys[3]).largest
    return _Look(slices, exponent, variance)


def _law(exponent: float, discount: float) -> float:
    """Slope of ln variance that the exponent predicts."""
    rate = -math.log(discount)
    return 2.0 if exponent <= rate else 2.0 * rate / exponent


def _rows(title: str, look: _Look) -> list[Row]:
    rows = [described(title, "λ over 1000 steps (nats per step)", look.exponent)]
    for index, gamma in enumerate(_DISCOUNTS):
        slope, error = (
            2 * float(np.asarray(part)[index])
            for part in (look.variance.value, look.variance.stderr)
        )
        law = _law(float(look.exponent.value), gamma)
        quantity = f"slope of ln variance on ln σ, γ={gamma:g}"
        if law == 2.0:
            source = "law: 2 min(1, -ln γ/λ); smooth is 2"
            rows.append(about(title, quantity, (slope, error), law, 0.2, source))
        else:
            # The mean exponent is only the scale of the law here: fast stretches weigh more in
            # a variance, and the largest scales saturate.
            quantity += f" (law with the mean λ: {law:.2f})"
            rows.append(describe(title, quantity, (slope, error)))
    return rows


def _draw_slices(name: str, looks: Mapping[str, _Look]) -> Any:
    from fracjax.plotting.style import DISCOUNT_COLORS, new_figure, style
    from fracjax.plotting.training_stretches import zoomed_line

    with style():
        columns = max(len(look.slices) for look in looks.values())
        count = len(looks) * len(_DISCOUNTS)
        figure = new_figure(2.6 * columns, 1.7 * count + 0.5)
        grid = figure.subplots(count, columns, squeeze=False)
        for place, (label, look) in enumerate(looks.items()):
            for index, gamma in enumerate(_DISCOUNTS):
                row = grid[place * len(_DISCOUNTS) + index]
                for number, (axes, (offsets, values)) in enumerate(
                    zip(row, look.slices, strict=True)
                ):
                    zoomed_line(axes, offsets, values[:, index], color=DISCOUNT_COLORS[index])
                    heading = f"{label}, γ = {gamma:g}" if number == 0 else f"×{_ZOOM**number:g}"
                    axes.set_title(heading)
        for axes in grid[-1]:
            axes.set_xlabel("offset")
        figure.suptitle(f"{name}: return along one random direction")
    return figure


def _draw_variances(name: str, looks: Mapping[str, _Look]) -> Any:
    from fracjax.plotting.style import new_figure, style
    from fracjax.plotting.training_stretches import variance_and_laws

    with style():
        figure = new_figure(4.8 * len(looks), 4.0)
        for axes, (label, look) in zip(
            figure.subplots(1, len(looks), squeeze=False)[0], looks.items(), strict=True
        ):
            labels = [f"γ = {gamma:g}" for gamma in _DISCOUNTS]
            estimates = {
                text: jax.tree.map(lambda leaf, index=index: leaf[index], look.variance)
                for index, text in enumerate(labels)
            }
            value = float(look.exponent.value)
            laws = {
                text: _law(value, gamma) for text, gamma in zip(labels, _DISCOUNTS, strict=True)
            }
            variance_and_laws(axes, estimates, laws)
            axes.set_title(f"{label}: λ = {look.exponent} per step")
        figure.suptitle(f"{name}: dashed slope 2, dotted the law -2 ln γ/λ")
    return figure


PARTS: dict[str, Part] = {f"slices: {name}": functools.partial(_around, name) for name in _CASES}
