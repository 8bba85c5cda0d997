"""The simple model: a walker with noise on surfaces of known roughness, in ensembles.

What came out, over all walkers and surfaces (quick size, 6 surfaces of 16 walkers; exponents of
stretches of 60 steps, lags 1 to 15, at the waiting times 0 and 500): a smooth bowl goes from 1.65
to .53, the smoothest fractal surface (H = .9) from 1.30 to .10, the published diamond-square one
from .86 to .12; rougher ones start below 1 (.72 to .84 for H = .3 to .7), and the roughest hardly
slow down (.84 to .77 for H = .3), as slopes throw the walker on. So the change from super- to
subdiffusion is what any descent into a well shows, roughness weakens it, and superdiffusion is no
robust outcome of the published parameters.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Estimate, Key
from fracjax.estimators.diffusion.displacements import displacement_at_lags, logarithmic_lags
from fracjax.estimators.diffusion.distributions import displacement_density
from fracjax.learning.weight_diffusion.fractal_surfaces import (
    bowl,
    diamond_square,
    shuffled_surface,
)
from fracjax.learning.weight_diffusion.surface_walks import walk_on_surface
from fracjax.reproduce.comparisons import about, mean_of, student_mean
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row, describe
from fracjax.systems.random_fields import fractional_brownian_field

__all__ = ["PARTS"]

_LEVELS = {"quick": 7, "default": 9, "full": 10}
_SURFACES = {"quick": 6, "default": 12, "full": 64}
_WALKERS = 16
_STEPS = 1000
_WAITING = (0, 50, 200, 500)
_LENGTH = 60
_LAGS = (1, 2, 3, 4, 6, 8, 11, 15)  # in stretches of 60 steps
# Medians of single walkers of another implementation, with other surfaces: roughly these.
_ANCHORS = {
    0: (0.92, 0.3, "computed for this project: median .92, quartiles .71 and 1.02"),
    500: (0.31, 0.4, "computed for this project: median .31"),
}
_EDGES = np.linspace(-6, 6, 49)

_Make = Callable[[Key], Array]


def _surfaces(levels: int) -> dict[str, _Make]:
    """What is walked on, by name."""
    side = 2**levels + 1

    def field(key: Key, hurst: float) -> Array:
        return fractional_brownian_field(key, hurst, (side, side), spacing=2 / (side - 1))

    def shuffled(key: Key) -> Array:
        own, order = jax.random.split(key)
        return shuffled_surface(order, diamond_square(own, levels), blur=8.0)

    return {
        "diamond-square, amplitude halved (published)": lambda key: diamond_square(key, levels),
        "diamond-square, H = 0.5": lambda key: diamond_square(key, levels, hurst=0.5),
        "fractional Brownian surface, H = 0.3": functools.partial(field, hurst=0.3),
        "fractional Brownian surface, H = 0.5": functools.partial(field, hurst=0.5),
        "fractional Brownian surface, H = 0.7": functools.partial(field, hurst=0.7),
        "fractional Brownian surface, H = 0.9": functools.partial(field, hurst=0.9),
        "control: bowl": lambda _: bowl(side),
        "control: diamond-square, shuffled and blurred": shuffled,
        "control: no slope": lambda _: jnp.zeros((side, side)),
    }


def _ensemble(make: _Make, key: Key, size: Size) -> dict[str, np.ndarray]:
    """Numbers of every surface: exponents by waiting time, displacements, border, heights."""
    lags = logarithmic_lags(_STEPS - 1)
    design = np.log(_LAGS) - np.log(_LAGS).mean()
    weights = jnp.asarray(design / (design @ design))

    def one(own: Key) -> dict[str, Array]:
        surface_key, walk_key = jax.random.split(own)
        walks = walk_on_surface(walk_key, make(surface_key), num_walkers=_WALKERS, num_steps=_STEPS)
        stretches = jnp.stack([walks.paths[:, t : t + _LENGTH] for t in _WAITING])
        values = jax.vmap(jax.vmap(lambda path: displacement_at_lags(path, _LAGS)))(stretches)
        single = jnp.log(values) @ weights  # (waiting, walkers)
        together = jnp.log(values.mean(axis=1)) @ weights  # (waiting,)
        start = jnp.sum((walks.paths[:, jnp.asarray(lags)] - walks.paths[:, :1]) ** 2, axis=2)
        first = jnp.moveaxis(walks.paths[:, :51], 0, 1).reshape(51, -1)
        return {
            "single": single,
            "together": together,
            "ensemble": start.mean(axis=0),
            "border": walks.border.mean(),
            "fall": (walks.heights[:, 0] - walks.heights[:, -1]).mean(),
            "density": displacement_density(first, _EDGES),
        }

    run = jax.jit(lambda keys: jax.lax.map(one, keys))
    found = run(jax.random.split(key, _SURFACES[size]))
    return {name: np.asarray(part) for name, part in found.items()} | {"lags": np.array(lags)}


def _model(key: Key, size: Size) -> Findings:
    """Exponents early and late, of whole ensembles, beside the controls."""
    rows: list[Row] = []
    found = {}
    for index, (name, make) in enumerate(_surfaces(_LEVELS[size]).items()):
        found[name] = ensemble = _ensemble(make, jax.random.fold_in(key, index), size)
        rows += _rows(name, ensemble)
    rows += _mechanism(found)
    figures = {
        "model_exponents": functools.partial(_draw_exponents, found),
        "model_displacements": functools.partial(_draw_displacements, found),
        "model_densities": functools.partial(_draw_densities, found),
    }
    return Findings(rows, figures)


def _rows(name: str, found: dict[str, np.ndarray]) -> list[Row]:
    """Surfaces are independent; walkers of one share its wells."""
    rows = []
    together = found["together"]
    for number, waiting in enumerate(_WAITING):
        mean = mean_of(together[:, number])
        label = f"exponent of the ensemble, lags 1 to 15, t_w = {waiting}"
        if name == "control: no slope":
            rows.append(about(name, label, mean, 1.0, 0.05, "law: random walk"))
        elif "published" in name and waiting in _ANCHORS:
            rows.append(about(name, label, mean, *_ANCHORS[waiting]))
        else:
            rows.append(describe(name, label, mean))
        if number == 0:
            fast = (found["single"][:, number] > 1.2).mean(axis=1)
            label = f"share of walkers with an exponent above 1.2, t_w = {waiting}"
            rows.append(describe(name, label, mean_of(fast)))
    rows.append(describe(name, "share that met the border", mean_of(found["border"])))
    return rows


def _mechanism(found: dict[str, dict[str, np.ndarray]]) -> list[Row]:
    """What a rough surface does that a bowl and a flat one do not."""
    rows = []
    free = found["control: no slope"]
    reach = _at(free, 10)
    for name, ensemble in found.items():
        if name.startswith("control: no slope"):
            continue
        ratio = np.log10(_at(ensemble, 10) / reach.mean())
        label = "log10 of squared displacement in 10 steps, over that of the noise alone"
        rows.append(describe(name, label, mean_of(ratio)))
        change = ensemble["together"][:, -1] - ensemble["together"][:, 0]
        label = "change of the exponent from t_w = 0 to 500"
        rows.append(describe(name, label, mean_of(change)))
    return rows


def _at(found: dict[str, np.ndarray], lag: int) -> np.ndarray:
    nearest = int(np.argmin(abs(found["lags"] - lag)))
    return np.maximum(found["ensemble"][:, nearest], 1e-12)


def _batch(table: np.ndarray) -> Estimate:
    """Means over surfaces with Student's intervals, by waiting time."""
    means = [student_mean(column) for column in table.T]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *means)


def _draw_exponents(found: dict[str, dict[str, np.ndarray]]) -> Any:
    from fracjax.plotting import diffusion
    from fracjax.plotting.style import new_figure, style

    batches = {name: _batch(part["together"]) for name, part in found.items()}
    rough = {name: part for name, part in batches.items() if "control" not in name}
    controls = {name: part for name, part in batches.items() if "control" in name}
    with style():
        figure = new_figure(10.0, 4.0)
        axes = figure.subplots(1, 2, sharey=True)
        half = len(rough) // 2
        parts = list(rough.items())
        for panel, chosen in zip(axes, (parts[:half], parts[half:]), strict=True):
            diffusion.exponents(panel, np.array(_WAITING), dict(chosen), nulls=controls)
        axes[0].set_title(f"ensembles of walkers, stretches of {_LENGTH} steps, lags 1 to 15")
    return figure


def _draw_displacements(found: dict[str, dict[str, np.ndarray]]) -> Any:
    from fracjax.plotting import diffusion
    from fracjax.plotting.style import new_figure, style

    means = {name: part["ensemble"].mean(axis=0) for name, part in found.items()}
    curves = {name: values for name, values in means.items() if "control" not in name}
    nulls = {name: values for name, values in means.items() if "control" in name}
    lags = next(iter(found.values()))["lags"]
    with style():
        figure = new_figure(6.5, 4.5)
        axes = diffusion.displacements(figure.subplots(), lags, curves, nulls=nulls)
        axes.set_title("from the start, mean over surfaces and walkers")
    return figure


def _draw_densities(found: dict[str, dict[str, np.ndarray]]) -> Any:
    from fracjax.plotting import diffusion
    from fracjax.plotting.style import new_figure, style

    names = [name for name in found if "no slope" not in name][::2]
    densities = {name: found[name]["density"].mean(axis=0) for name in names}
    with style():
        figure = new_figure(6.0, 4.0)
        axes = diffusion.displacement_densities(figure.subplots(), _EDGES, densities)
        axes.set_title("steps 1 to 50, every walker in its own units")
    return figure


PARTS: dict[str, Part] = {"model": _model}
