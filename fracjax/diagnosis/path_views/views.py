"""All path analyses of one recorded run, sized so that they can be made again while it goes on."""

import dataclasses
import functools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Estimate, Key
from fracjax.estimators.diffusion.displacements import (
    logarithmic_lags,
    mean_squared_displacement,
    segment_displacements,
)
from fracjax.estimators.diffusion.exponents import diffusion_exponent
from fracjax.estimators.diffusion.over_time import exponent_change, exponents_over_time
from fracjax.learning.paths.reading import Path
from fracjax.learning.policy_paths.analysis import PolicyPath, policy_path
from fracjax.learning.policy_paths.path_matrix import WHOLE

__all__ = ["Diffusion", "PathView", "view_path"]

_FEWEST = 4  # snapshots for a decomposition
_FEWEST_FOR_EXPONENT = 20
_FEWEST_OF_SEGMENT = 32
_MOST_SEGMENTS = 8
_FEWEST_FOR_CHANGE = 6
_PER_OCTAVE = 4


@dataclasses.dataclass(frozen=True)
class Diffusion:
    """How far the path comes in a time.

    Attributes:
        lags: Times between snapshots, in steps of training.
        displacement: Mean squared displacement of all parameters together.
        exponent: Its exponent over the whole path.
        waiting_times: Steps at which stretches of the path begin; none of a short path.
        segment_lags: Lags that fit into a stretch, the first of `lags`.
        segment_displacements: (stretches, lags).
        segment_exponents: Exponent of every stretch, a batch.
        change: Exponent of the last third of the stretches minus that of the first; None of
            fewer than 6.
    """

    lags: np.ndarray
    displacement: np.ndarray
    exponent: Estimate
    waiting_times: np.ndarray
    segment_lags: np.ndarray
    segment_displacements: np.ndarray
    segment_exponents: Estimate | None
    change: Estimate | None


@dataclasses.dataclass(frozen=True)
class PathView:
    """What one run's path shows.

    Attributes:
        path: What it was made of, one seed of it.
        seeds: Seeds in the store; the view is of one of them.
        num_decomposed: Snapshots behind `layers`.
        spacing: Steps of training between two of them, on average.
        layers: Changes, decomposition and null by layer, the whole network last and named
            "network" where there are several; empty for fewer than 4 snapshots.
        diffusion: Mean squared displacement; None for fewer than 20 snapshots.
        notes: What a reader should know of how it was made.
    """

    path: Path
    seeds: int
    num_decomposed: int
    spacing: float
    layers: Mapping[str, PolicyPath]
    diffusion: Diffusion | None
    notes: tuple[str, ...]


def view_path(
    path: Path,
    key: Key,
    *,
    max_snapshots: int = 64,
    max_diffusion_snapshots: int = 1024,
    max_layers: int = 6,
    max_bytes: int = 2**28,
    num_draws: int = 39,
    member: int = 0,
) -> PathView:
    """Compute what there is to see of a path, whole or as far as it has come.

    Time goes with the cube of the snapshots that are decomposed, once for every layer and draw
    of the null, and memory with their size; both are bounded by leaving out snapshots evenly,
    which the notes say. A power of two of them is decomposed, so that a run that goes on needs
    few programs: compiling takes about 6 s of a CPU for every layer. Displacements are of all
    snapshots, 5 s to compile for each number of them: do not call it at every snapshot.

    Args:
        path: As loaded; of several seeds, one is viewed.
        key: Draws the null.
        max_snapshots: Most snapshots that are decomposed.
        max_diffusion_snapshots: Most snapshots whose displacements are averaged.
        max_layers: Most layers beside the whole network, the largest ones.
        max_bytes: Most bytes of either.
        num_draws: Random walks behind a band, see `walk_null`.
        member: Which of several seeds.

    Raises:
        ValueError: If there is no such seed.
    """
    if not 0 <= member < (path.num_seeds or 1):
        msg = f"Argument `member` must be one of {path.num_seeds or 1} seeds, but is {member}."
        raise ValueError(msg)
    seeds = 1 if path.num_seeds is None else path.num_seeds
    one = path if path.num_seeds is None else path.seed(member)
    notes = []
    if seeds > 1:
        notes.append(f"seed {member} of {seeds}")
    fits = max(max_bytes // max(one.nbytes // max(len(one), 1), 1), _FEWEST)
    count = min(len(one), max_snapshots, fits)
    if count >= _FEWEST:  # few sizes, as every one is a program to compile
        count = 1 << (count.bit_length() - 1)
    kept = one.spread(max(count, 2))
    if len(kept) < len(one):
        notes.append(f"changes and directions: of {len(kept)} snapshots, spread evenly")
    if one.projected:
        notes.append(
            "rows are random projections: distances hold, changes of single parameters are unknown"
        )
    layers: dict[str, PolicyPath] = {}
    if len(kept) >= _FEWEST:
        sizes = {name: kept.layer(*_leaves(kept, name)).width for name in kept.layers}
        largest = sorted(sizes, key=lambda name: -sizes[name])[:max_layers]
        if len(largest) < len(sizes):
            notes.append(f"layers: the {max_layers} largest of {len(sizes)}")
        parts = {name: kept.layer(*_leaves(kept, name)) for name in sizes if name in largest}
        if len(sizes) > 1:
            parts[WHOLE] = kept
        for index, (name, part) in enumerate(parts.items()):
            own = jax.random.fold_in(key, index)
            spacing = jnp.asarray(_spacing(kept))
            found = _decompose(jnp.asarray(part.values), own, spacing, num_draws)
            layers[name] = jax.tree.map(np.asarray, found)
    diffusion = None
    if len(one) >= _FEWEST_FOR_EXPONENT:
        thinned = one.stride(_stride(len(one), min(max_diffusion_snapshots, fits)))
        diffusion = _diffusion(thinned, notes)
    return PathView(
        path=one,
        seeds=seeds,
        num_decomposed=len(kept),
        spacing=_spacing(kept),
        layers=layers,
        diffusion=diffusion,
        notes=tuple(notes),
    )


def _leaves(path: Path, layer: str) -> list[str]:
    """Leaves of a layer and of no layer below it."""
    return [leaf.name for leaf in path.layout.leaves if leaf.layer == layer]


@functools.partial(jax.jit, static_argnames="num_draws")
def _decompose(values: Array, key: Key, stride: Array, num_draws: int) -> PolicyPath:
    (found,) = policy_path(values, key, whole=False, stride=stride, num_draws=num_draws).values()
    return found


def _stride(count: int, most: int) -> int:
    """Smallest stride that leaves at most so many."""
    return max(math.ceil(count / max(most, 2)), 1)


def _spacing(path: Path) -> float:
    """Steps between two snapshots, on average."""
    if len(path) < 2:
        return 1.0
    return float(path.steps[-1] - path.steps[0]) / (len(path) - 1)


def _diffusion(path: Path, notes: list[str]) -> Diffusion | None:
    values = path.values
    if len(values) < _FEWEST_FOR_EXPONENT:
        notes.append(f"no displacements: only {len(values)} snapshots fit into memory")
        return None
    apart = np.diff(path.steps)
    spacing = _spacing(path)
    if apart.max() != apart.min():
        notes.append(
            f"snapshots lie {apart.min()} to {apart.max()} steps apart: displacements are over"
            f" numbers of snapshots, times {spacing:.4g} steps"
        )
    lags = np.array(logarithmic_lags(len(values) - 1, per_octave=_PER_OCTAVE))
    displacement, exponent = jax.tree.map(np.asarray, _measure(jnp.asarray(values)))
    count = min(len(values) // _FEWEST_OF_SEGMENT, _MOST_SEGMENTS)
    own = own_lags = waiting = np.zeros((0,))
    exponents = change = None
    if count >= 2:
        length = len(values) // count
        start = len(values) - count * length
        found = _measure_segments(jnp.asarray(values[start:]), length)
        if count >= _FEWEST_FOR_CHANGE:
            change = jax.tree.map(np.asarray, exponent_change(found[1]))
        own, exponents = jax.tree.map(np.asarray, found)
        own_lags = lags[lags < length]
        own = own[:, own_lags - 1]
        waiting = path.steps[start::length]
    return Diffusion(
        lags=lags * spacing,
        displacement=displacement[lags - 1],
        exponent=exponent,
        waiting_times=waiting,
        segment_lags=own_lags * spacing,
        segment_displacements=own,
        segment_exponents=exponents,
        change=change,
    )


@jax.jit
def _measure(values: Array) -> tuple[Array, Estimate]:
    return mean_squared_displacement(values), diffusion_exponent(values)


@functools.partial(jax.jit, static_argnames="length")
def _measure_segments(values: Array, length: int) -> tuple[Array, Estimate]:
    exponents = exponents_over_time(values, segment_length=length)
    return segment_displacements(values, segment_length=length).values, exponents
