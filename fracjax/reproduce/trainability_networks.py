"""Planes of hyperparameters of small networks, and zooms into the boundary of trainability.

The six published experiments (Sohl-Dickstein, arXiv 2402.06184): by default at the width of its
notebook and 200 steps, in full at the paper's width and 500 steps. Its dimensions, between 1.17 and
1.98 over the six, are medians of box counts over some fifty frames of 4096² pixels around points
chosen by hand; ours are around a point that is found, of fewer and smaller frames, and of other
random weights: they are described, not compared. All frames, the widest too, have their middle at
that point.

The search goes where most labels change, and there the planes of tanh and ReLU end in speckle: the
dimension grows from frame to frame towards 2, so that a mean over frames is a number of this zoom
and not of the plane. The widest and the deepest frame are reported beside it.

Written down before a row was computed: the mean over frames of the dimension by refinement is
above 1, with its interval, for all six. The quick size has too few frames for it, and
describes. The first run had six frames for all; in those of one datum, which zoom in 32 times, the
boundary still looked smooth (1.06, interval .99 to 1.14), so that this network and the identity,
which cost little, now have twelve.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray

from fracjax import landscapes
from fracjax._types import Estimate, Key, Status
from fracjax.landscapes.refinement.published_box_counts import label_edges, published_dimension
from fracjax.landscapes.refinement.resolution_refinement import refined_boundary_dimension
from fracjax.learning.trainability.planes import (
    HyperparameterPlane,
    hyperparameter_plane,
    trainability_objective,
)
from fracjax.learning.trainability.problems import DataSize, Nonlinearity, regression_problem
from fracjax.reproduce.comparisons import described, estimated, signed, student_mean
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row, describe

__all__ = ["PARTS"]

_SHOWN = 4
_FLOOR = Status.AT_NOISE_FLOOR.label


class Network(NamedTuple):
    """One of the published experiments.

    Attributes:
        nonlinearity: Of the hidden units.
        data: How many points.
        batch_size: Data in a step.
        plane: Which hyperparameters.
        centre: Of the first view.
        span: Half its width.
        more: How many times as many frames as others it has on a CPU: few data are cheap.
    """

    nonlinearity: Nonlinearity = "tanh"
    data: DataSize | None = None
    batch_size: int | None = None
    plane: HyperparameterPlane = "rates"
    centre: tuple[float, float] = (1.5, 1.5)
    span: tuple[float, float] = (4.5, 4.5)
    more: int = 1


class Extent(NamedTuple):
    """How much of it is computed.

    Attributes:
        width: Of the network.
        num_steps: Of training.
        num_points: Along each axis of a frame.
        num_frames: Each twice as narrow.
    """

    width: int
    num_steps: int
    num_points: int
    num_frames: int


_NETWORKS: Mapping[str, Network] = {
    "tanh": Network(),
    "ReLU": Network("relu"),
    "identity": Network("identity", more=2),
    "tanh, mini-batch": Network(batch_size=16),
    "tanh, one datum": Network(data="single", more=2),
    "tanh, offset": Network(plane="offset", centre=(0.0, 1.5), span=(3.0, 3.0)),
}
_EXTENTS: Mapping[Size, Extent] = {
    "quick": Extent(8, 100, 129, 3),
    "default": Extent(8, 200, 257, 6),
    "full": Extent(16, 500, 4097, 50),
}


def _network(name: str, key: Key, size: Size) -> Findings:
    """Zoom into the boundary of one plane."""
    network, extent = _NETWORKS[name], _EXTENTS[size]
    if size != "full":
        extent = extent._replace(num_frames=network.more * extent.num_frames)
    problem = regression_problem(
        key, width=extent.width, nonlinearity=network.nonlinearity, data=network.data
    )
    objective = trainability_objective(
        problem,
        plane=network.plane,
        num_steps=extent.num_steps,
        batch_size=network.batch_size,
    )
    middle, directions = hyperparameter_plane(network.plane, centre=network.centre)
    frames = landscapes.zoom_frames(
        objective,
        middle,
        landscapes.along(directions, span=network.span, num_points=extent.num_points),
        key,
        num_frames=extent.num_frames,
        num_points=extent.num_points,
        centre="boundary",
        progressive=False,
    )
    chosen = np.unique(np.linspace(0, extent.num_frames - 1, _SHOWN).astype(int))
    shown: list[xarray.Dataset] = []
    zooms, edges, refined, shares = [], [], [], []
    for index, frame in enumerate(frames):
        if frame.attrs["status"] == _FLOOR:  # a picture of rounding
            break
        values = frame["value"].values
        zooms.append(frame.attrs["zoom"])
        edges.append(label_edges(values))
        refined.append(_refined(values < 0))
        shares.append(float(np.mean(values < 0)))
        if index in chosen:
            shown.append(_moved(frame, network.centre))
    rows = _rows(name, extent, refined, edges, shares, tested=size != "quick")
    boxes = [jax.tree.map(np.asarray, published_dimension([one])) for one in edges]
    figure = functools.partial(_draw, network, shown, np.array(zooms), refined, boxes)
    plain = name.lower().replace(", ", "-").replace(" ", "-")
    return Findings(rows, {f"trainability-{plain}": figure})


def _refined(inside: np.ndarray) -> Estimate:
    found = refined_boundary_dimension(inside, num_doublings=3 if len(inside) < 257 else 4)
    return jax.tree.map(np.asarray, found)  # drawn without float64


def _moved(frame: xarray.Dataset, centre: tuple[float, float]) -> xarray.Dataset:
    """Give coordinates as hyperparameters, not from the middle of the first view."""
    moved = frame.assign_coords(a=frame["a"] + centre[0], b=frame["b"] + centre[1])
    point = tuple(x + c for x, c in zip(frame.attrs["centre"], centre, strict=True))
    return moved.assign_attrs(centre=point)


def _rows(
    name: str,
    extent: Extent,
    refined: list[Estimate],
    edges: list[np.ndarray],
    shares: list[float],
    *,
    tested: bool,
) -> list[Row]:
    system = f"{name}, width {extent.width}, {extent.num_steps} steps, {extent.num_points - 1}²"
    rows = [describe(system, "widest frame: share that converges", (shares[0], 0.0))]
    for label, place in (("widest", 0), ("deepest", -1)):
        boxes = published_dimension([edges[place]])
        rows.append(described(system, f"{label} frame: dimension by refinement", refined[place]))
        rows.append(described(system, f"{label} frame: dimension by published box counts", boxes))
    values = np.array([float(one.value) for one in refined if bool(one.ok)])
    number = f"over {len(values)} frames of {len(refined)}"
    mean = student_mean(values)  # as if frames of one zoom were independent
    rows.append(described(system, f"mean dimension by refinement, {number}", mean))
    published = published_dimension(edges)
    text = f"median of slopes of published box counts, {number} (published over six: 1.17 to 1.98)"
    rows.append(described(system, text, published))
    if tested:
        error, low, high = (float(part) for part in (mean.stderr, mean.low, mean.high))
        above = estimated(float(mean.value) - 1, error, low - 1, high - 1)
        text = "mean dimension by refinement - 1"
        rows.append(signed(system, text, above, 1, "stated before: rougher than a curve"))
    return rows


def _draw(
    network: Network,
    shown: list[xarray.Dataset],
    zooms: np.ndarray,
    refined: list[Estimate],
    boxes: list[Estimate],
) -> Any:
    from fracjax.plotting import trainability
    from fracjax.plotting.style import new_figure, style

    labels = ("log10 rate of the hidden layer", "log10 rate of the readout")
    if network.plane == "offset":
        labels = ("offset of the hidden layer", "log10 rate")
    with style():
        figure = new_figure(3.1 * (len(shown) + 2), 3.4)
        axes = figure.subplots(1, len(shown) + 2)
        trainability.trainability_frames(axes[: len(shown)], shown, labels=labels)
        curves = {f"×{zooms[i]:,.0f}": refined[i] for i in sorted({0, len(zooms) - 1})}
        trainability.boundary_counts(axes[-2], curves)
        estimators = {"refinement": refined, "published box counts": boxes}
        trainability.frame_dimensions(axes[-1], zooms, estimators)
    return figure


PARTS: dict[str, Part] = {
    f"network, {name}": functools.partial(_network, name) for name in _NETWORKS
}
