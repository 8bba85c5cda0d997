"""Dimensions of boundaries by refinement and by published box counts, where they are known."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax._types import Status
from fracjax.landscapes.refinement.pixel_sets import mixed_boxes
from fracjax.landscapes.refinement.published_box_counts import (
    label_edges,
    published_box_counts,
    published_dimension,
)
from fracjax.landscapes.refinement.resolution_refinement import (
    boundary_refinement,
    classified_plane,
    refined_boundary_dimension,
)
from fracjax.landscapes.refinement.zooms import zoom_frames
from fracjax.landscapes.slices.grids import Grid

KEY = jax.random.key(0)
KOCH = math.log(4) / math.log(3)


def below_koch(x, y, depth=13):
    """Whether points are below Koch's curve from (0, 0) to (1, 0)."""
    known = np.zeros(x.shape, bool)
    below = np.ones(x.shape, bool)
    cosine, sine = 0.5, math.sqrt(3) / 2
    for _ in range(depth):
        for side, where in ((True, y <= 0), (False, y >= math.sqrt(3) / 6 * (1 - abs(2 * x - 1)))):
            below = np.where(where & ~known, side, below)
            known |= where
        left = np.minimum(x, 1 - x)  # the curve is symmetric
        across = left - 1 / 3
        turned = 3 * (across * cosine + y * sine), 3 * (y * cosine - across * sine)
        second = across >= 0
        x, y = np.where(second, turned[0], 3 * left), np.where(second, turned[1], 3 * y)
    return below


def window(kind, seed, side):
    """A picture of (side + 1)² points, of something with a known dimension, at random."""
    draws = np.random.default_rng(seed)
    axis = np.arange(side + 1) / side - 0.5
    angle = draws.uniform(0, 2 * math.pi)
    x = axis[:, None] * math.cos(angle) - axis * math.sin(angle)
    y = axis[:, None] * math.sin(angle) + axis * math.cos(angle)
    if kind == "koch":
        width = 2.0 ** draws.uniform(-1.6, -0.6)
        return below_koch(
            draws.uniform(0.3, 0.7) + width * x, draws.uniform(0.05, 0.25) + width * y
        )
    if kind == "ellipse":
        radii, shift = draws.uniform(0.2, 0.4, 2), draws.uniform(-0.1, 0.1, 2)
        return ((x - shift[0]) / radii[0]) ** 2 + ((y - shift[1]) / radii[1]) ** 2 < 1
    # Graph of a Weierstrass function far below its period; D = 2 - H.
    terms, zoom = np.arange(34), 2.0**-10
    place = draws.uniform() + zoom * axis
    angles = 2.0 ** terms[:, None] * place + draws.uniform(0, 1, 34)[:, None]
    graph = (2.0 ** (-(2 - kind) * terms[:, None]) * np.cos(2 * np.pi * (angles % 1))).sum(axis=0)
    graph = (graph - graph[draws.integers(side)]) / zoom
    return axis < graph[:, None]


@pytest.mark.parametrize(
    ("kind", "dimension", "bias", "widest"),
    [("koch", KOCH, 0.01, 0.08), ("ellipse", 1, 0.01, 0.06)],
)
def test_known_dimensions(kind, dimension, bias, widest):
    """Six windows: SD .004, so .01 is six standard errors; Koch's D and 1 exclude each other."""
    found = [refined_boundary_dimension(window(kind, seed, 512)) for seed in range(6)]
    assert all(int(one.status) == Status.OK for one in found)
    assert np.mean([float(one.value) for one in found]) == pytest.approx(dimension, abs=bias)
    for one in found:
        assert float(one.low) < dimension < float(one.high)
        assert float(one.high - one.low) < widest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "dimension", "lowest"),
    [("koch", KOCH, 0.95), ("ellipse", 1.0, 0.95), (1.5, 1.5, 0.84), (1.7, 1.7, 0.90)],
)
def test_coverage(kind, dimension, lowest):
    """200 windows on fresh seeds; .90 and .96 were measured for the graphs, ± .02 each."""
    inside = total = 0
    for seed in range(1000, 1200):
        one = refined_boundary_dimension(window(kind, seed, 512))
        if int(one.status) == Status.OK:  # a graph may miss the window
            total += 1
            inside += float(one.low) <= dimension <= float(one.high)
    assert total > 160
    assert inside / total >= lowest


def test_the_estimate_of_an_objective_is_that_of_its_picture():
    """Coarse grids are parts of the fine one, bands do not matter, NaN is outside."""

    def objective(params, key):
        del key
        x, y = params
        value = x**2 + 0.5 * y**2 + 0.1 * jnp.sin(9 * x * y) - 0.5
        return jnp.where(value > 0.6, jnp.nan, value)

    axes = (np.linspace(-1, 1, 33), np.linspace(-1, 1, 25))
    grid = Grid(jnp.eye(2), axes, "coordinates")
    origin = jnp.zeros(2)
    counted = []
    found = boundary_refinement(
        objective, origin, grid, KEY, num_doublings=3, on_progress=counted.append
    )
    fine = Grid(jnp.eye(2), (np.linspace(-1, 1, 257), np.linspace(-1, 1, 193)), "coordinates")
    inside = classified_plane(objective, origin, fine, KEY)
    expected = refined_boundary_dimension(inside, num_doublings=3)
    assert float(found.value) == float(expected.value)
    assert counted[-1] == inside.size
    values = np.asarray(
        jax.vmap(lambda a: jax.vmap(lambda b: objective(jnp.stack([a, b]), KEY))(fine.axes[1]))(
            jnp.asarray(fine.axes[0])
        )
    )
    assert np.isnan(values).any()
    assert (inside != (values <= 0)).mean() < 1e-3  # float32
    np.testing.assert_array_equal(found.details["resolutions"], [32, 64, 128, 256])
    nested = [mixed_boxes(inside[::step, ::step], 1).sum() for step in (8, 4, 2, 1)]
    np.testing.assert_array_equal(found.details["nested_counts"], nested)


def test_counts_are_means_over_shifted_grids():
    """Of a picture whose boundary stays off the margin."""
    inside = window("ellipse", 3, 256)
    found = refined_boundary_dimension(inside, num_doublings=2)
    for count, stride in zip(found.details["counts"], (4, 2, 1), strict=True):
        shifts = [
            mixed_boxes(inside[i::stride, j::stride], 1).sum()
            for i in range(stride)
            for j in range(stride)
        ]
        assert count == pytest.approx(np.mean(shifts))


@pytest.mark.parametrize(
    ("inside", "status"),
    [
        (np.zeros((257, 257), bool), Status.AT_NOISE_FLOOR),
        (np.pad(np.ones((3, 3), bool), 127), Status.TOO_FEW_POINTS),
    ],
)
def test_pictures_that_show_too_little(inside, status):
    found = refined_boundary_dimension(inside)
    assert int(found.status) == status
    assert np.isnan(found.value)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="num_doublings"):
        refined_boundary_dimension(np.zeros((129, 129), bool), num_doublings=4)
    line = Grid(jnp.eye(1, 2), (np.linspace(-1, 1, 33),), "coordinates")
    with pytest.raises(ValueError, match="plane"):
        boundary_refinement(lambda p, key: p[0], jnp.zeros(2), line, KEY)


def reference_counts(edges):
    """Box by box, as porespy counts: at the far sides boxes are cut off."""
    side = min(edges.shape)
    sizes = np.unique(np.logspace(1, np.log10(side), 10).astype(int))
    counts = []
    for size in sizes:
        number = 0
        for i in range(0, edges.shape[0], size):
            for j in range(0, edges.shape[1], size):
                box = edges[i : i + size, j : j + size]
                number += bool(box.any()) and not box.all()
        counts.append(number)
    return sizes, np.array(counts)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.97, 1.0])
def test_published_counts_are_those_of_a_loop(share):
    draws = np.random.default_rng(int(100 * share))
    edges = draws.uniform(size=(83, 97)) < share
    edges[:30, 40:] = True  # boxes that are full, also ones that are cut off
    sizes, counts = published_box_counts(edges)
    expected = reference_counts(edges)
    np.testing.assert_array_equal(sizes, expected[0])
    np.testing.assert_array_equal(counts, expected[1])


def test_edges_are_neighbourhoods_with_both_signs():
    draws = np.random.default_rng(2)
    values = draws.normal(size=(30, 41))
    values[draws.uniform(size=values.shape) < 0.1] = 0.0
    found = label_edges(values)
    for (i, j), edge in np.ndenumerate(found):
        quad = values[i : i + 2, j : j + 2]
        assert edge == (quad.max() * quad.min() < 0)
    values[3, 3] = np.nan
    assert not label_edges(values)[2:4, 2:4].any()


def test_published_dimension_is_the_median_of_slopes_over_frames():
    frames = [label_edges(np.where(window("koch", seed, 256), -1.0, 1.0)) for seed in range(5)]
    found = published_dimension(frames)
    slopes = []
    for edges in frames:
        sizes, counts = reference_counts(edges)
        slopes.append(-np.gradient(np.log(counts), np.log(sizes)))
    assert float(found.value) == pytest.approx(np.median(np.concatenate(slopes)), rel=1e-6)
    assert float(found.low) < KOCH < float(found.high)
    assert np.isnan(published_dimension(frames[:1]).low)
    empty = published_dimension([np.zeros((64, 64), bool)])
    assert int(empty.status) == Status.AT_NOISE_FLOOR


def test_a_zoom_finds_the_richest_part_of_a_boundary():
    """Values next to the boundary are small and far away rough: only labels lead there."""

    def objective(params, key):
        del key
        x, y = params
        rough = 1e3 * jnp.sin(40 * x) * jnp.sin(40 * y) ** 2
        return jnp.where(x < -0.3, 2e3 + rough, y - 0.25 * jnp.sin(60 * x) ** 2)

    grid = Grid(jnp.eye(2), (np.linspace(-1, 1, 5),) * 2, "coordinates")
    settings = {"num_frames": 4, "num_points": 31, "progressive": False, "chunk_size": 256}
    centres = {}
    for rule in ("boundary", "roughest"):
        frames = list(zoom_frames(objective, jnp.zeros(2), grid, KEY, centre=rule, **settings))
        centres[rule] = frames[-1].attrs["centre"]
        if rule == "boundary":
            last = frames[-1]["value"].values <= 0
    assert centres["boundary"][0] > -0.3
    assert 0 < last.mean() < 1
    assert centres["roughest"][0] < -0.3
