"""Adaptive scans: exact where evaluated, better than uniform, honest about the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import landscapes
from fracjax.evaluation import combination_bytes
from fracjax.landscapes.refinement.adaptive import adaptive_batches, adaptive_scan
from fracjax.landscapes.refinement.interpolation_checks import check_interpolation, draw_unknown
from fracjax.landscapes.refinement.lattice_interpolation import fill_between, lattice
from fracjax.landscapes.scans.store import open_store
from fracjax.landscapes.slices.grids import Grid
from fracjax.systems.random_fields import fractional_brownian_field

KEY = jax.random.key(0)
CHUNK = 256


def square(rows, columns=None, width=1.0):
    """Grid over the unit square or line; coordinates are parameters."""
    sizes = (rows,) if columns is None else (rows, columns)
    axes = tuple(np.linspace(0, width, n) for n in sizes)
    return Grid(jnp.eye(len(sizes), 2), axes, "coordinates")


def table(picture):
    """Look values up; the grid of the same shape is in units of its indices."""
    values = jnp.asarray(picture)
    axes = tuple(np.arange(n, dtype=float) for n in picture.shape)
    grid = Grid(jnp.eye(2), axes, "indices")
    return lambda p, key: values[p[0].astype(int), p[1].astype(int)], grid


def run(objective, grid, max_points, **settings):
    settings = {"chunk_size": CHUNK, "batch_size": CHUNK, **settings}
    return adaptive_scan(objective, jnp.zeros(2), grid, KEY, max_points=max_points, **settings)


def chaotic(params, key):
    """Different in every bit of its parameters, without finite values in a corner."""
    start = 0.1 + 0.3 * params[0] + 0.4 * params[1]
    value = jax.lax.fori_loop(0, 30, lambda _, s: 3.99 * s * (1 - s), start)
    return jnp.where(params[0] + params[1] > 1.6, jnp.nan, value)


class Memory:
    """A journal that fails after some batches."""

    def __init__(self, kept=None, most=10**9):
        self.kept, self.most, self.written = dict(kept or {}), most, 0

    def read(self, block):
        return self.kept.get(block)

    def write(self, block, values):
        if self.written == self.most:
            raise KeyboardInterrupt
        self.written += 1
        self.kept[block] = values


@pytest.mark.parametrize("shape", [(65, 65), (64, 50), (37, 101), (2, 33), (90,)])
def test_evaluated_points_are_those_of_a_scan(shape):
    grid = square(*shape)
    budget = max(grid.size // 4, 20)
    found = run(chaotic, grid, budget)
    whole = landscapes.scan(chaotic, jnp.zeros(2), grid, KEY, chunk_size=CHUNK, evaluator="plain")
    evaluated = found["evaluated"].values
    assert evaluated.sum() == found.attrs["num_evaluated"]
    assert 0.95 * budget <= evaluated.sum() <= budget
    same = found["value"].values[evaluated], whole["value"].values[evaluated]
    assert same[0].tobytes() == same[1].tobytes()
    assert found["value"].dims == whole["value"].dims
    assert (found["error"].values[evaluated] == 0).all()
    # Values that are not finite do not spread: only where all neighbours are so.
    wrong = np.isnan(found["value"].values) != np.isnan(whole["value"].values)
    assert wrong.mean() < 0.1


def test_with_enough_points_every_point_is_evaluated():
    found = run(chaotic, square(33, 20), 10_000)
    assert found["evaluated"].values.all()
    assert found.attrs["num_evaluated"] == 660


def uniform_error(picture, budget):
    """Root-mean-square error of bilinear interpolation on an even lattice of as many points."""
    side = int(budget**0.5)
    index = np.unique(np.round(np.linspace(0, len(picture) - 1, side)).astype(int))
    every = np.arange(len(picture))
    rows = np.stack([np.interp(every, index, picture[i, index]) for i in index])
    full = np.stack([np.interp(every, index, row) for row in rows.T], axis=1)
    return float(np.sqrt(((full - picture) ** 2).mean()))


def pictures():
    x = np.linspace(-1, 1, 257)
    rows, columns = np.meshgrid(x, x, indexing="ij")
    smooth = np.sin(3 * rows) * np.cos(2 * columns)
    rough = np.asarray(fractional_brownian_field(KEY, 0.3, (257, 257)))
    rough = rough / rough.std()
    peak = np.exp(-((rows - 0.4) ** 2 + (columns + 0.3) ** 2) / 0.003)
    distance = np.hypot(rows - 0.3, columns - 0.3)
    return {
        "peak": (smooth + peak, 3.0),
        "disc": ((distance < 0.5) * 1.0, 8.0),
        "patch": (smooth + rough * (distance < 0.35), 2.0),
        "rough": (rough, 0.85),
    }


@pytest.mark.parametrize("name", ["peak", "disc", "patch", "rough"])
def test_it_beats_a_uniform_lattice_where_roughness_is_local(name):
    """At a tenth of the points; the least ratio of errors is given with each picture.

    Where all is equally rough nothing can be gained, and what is lost is bounded.
    """
    picture, ratio = pictures()[name]
    picture = picture.astype(np.float32)
    objective, grid = table(picture)
    budget = picture.size // 10
    found = run(objective, grid, budget)
    deviation = found["value"].values - picture
    error = float(np.sqrt((deviation**2).mean()))
    assert uniform_error(picture, budget) > ratio * error
    if name != "disc":  # it is exact there
        unknown = ~found["evaluated"].values
        real = float(np.sqrt((deviation[unknown] ** 2).mean()))
        bound = 4 * found.attrs["interpolation_error_stderr"]
        assert abs(found.attrs["interpolation_error"] - real) < bound < real
        # Errors by cell add up to what was measured.
        said = float(np.sqrt((found["error"].values[unknown] ** 2).mean()))
        assert said == pytest.approx(real, rel=0.25)


def test_the_edge_of_a_region_without_values_is_refined():
    def objective(params, key):
        return jnp.where(jnp.hypot(params[0] - 0.5, params[1] - 0.4) < 0.2, jnp.inf, params[0])

    found = run(objective, square(257, 257), 4000)
    a, b = np.meshgrid(found["a"], found["b"], indexing="ij")
    radius = np.hypot(a - 0.5, b - 0.4)
    evaluated = found["evaluated"].values
    near = evaluated[np.abs(radius - 0.2) < 0.004].mean()
    assert near > 10 * evaluated[radius < 0.15].mean()
    value = found["value"].values
    np.testing.assert_array_equal(np.isinf(value), radius < 0.2)
    np.testing.assert_allclose(value[radius > 0.2], a[radius > 0.2], atol=0.5 / 256)


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, 0.0, 1e38])
def test_constant_pictures_end(value):
    found = run(lambda p, key: jnp.where(p[0] > 2, 0.0, value), square(65, 65), 500)
    same = np.full((65, 65), value, np.float32)
    np.testing.assert_array_equal(found["value"], same)
    assert 475 <= found.attrs["num_evaluated"] <= 500


def test_a_tolerance_ends_it_early():
    def objective(params, key):
        return jnp.sin(6 * params[0]) * params[1]

    found = run(objective, square(257, 257), 30_000, tolerance=1e-3)
    assert found.attrs["num_evaluated"] < 5000
    assert found.attrs["interpolation_error"] < 1.5e-3


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_run_that_was_killed_ends_in_the_same_bytes(batches):
    grid = square(120, 65)
    expected = run(chaotic, grid, 2500)
    killed = Memory(most=batches)
    with pytest.raises(KeyboardInterrupt):
        run(chaotic, grid, 2500, store=killed)
    again = Memory(killed.kept)
    found = run(chaotic, grid, 2500, store=again)
    for name in expected:
        assert found[name].values.tobytes() == expected[name].values.tobytes()
    assert found.attrs == expected.attrs
    assert again.written == len(again.kept) - batches
    assert {values["value"].shape for values in again.kept.values()} == {(CHUNK,)}
    assert len(again.kept) <= adaptive_batches(2500, CHUNK)


@pytest.mark.usefixtures("single_precision")
def test_a_scan_store_is_a_journal(tmp_path):
    grid = square(65, 65)
    places = np.arange(adaptive_batches(1500, CHUNK) * CHUNK, dtype=float)

    def opened():
        return open_store(
            tmp_path / "journal",
            {},
            axes={"a": places},
            outputs={"value": jax.ShapeDtypeStruct((), np.float32)},
            block_shape=(CHUNK,),
        )

    expected = run(chaotic, grid, 1500, store=opened())
    store = opened()
    assert store.read(0)["value"].shape == (CHUNK,)

    def never(params, key):
        return jax.pure_callback(lambda: 1 / 0, jax.ShapeDtypeStruct((), jnp.float32))

    found = run(never, grid, 1500, store=store)
    assert found["value"].values.tobytes() == expected["value"].values.tobytes()


def layer(params, key):
    """Needs much more memory than it has parameters."""
    return jnp.tanh(params.sum() * jnp.arange(40_000.0)).sum()


def test_a_bound_of_memory_halves_the_chunk():
    grid, settings = square(17, 17), {"chunk_size": None, "batch_size": None}
    free = run(layer, grid, 200, **settings)
    chunk = free.attrs["chunk_size"]
    needed = combination_bytes(layer, jnp.zeros(2), grid.directions, KEY, chunk_size=chunk)
    assert needed > chunk * 40_000 * 4
    for memory, halvings in ((needed, 0), (needed - 1, 1), (needed / 3.9, 2)):
        bound = run(layer, grid, 200, memory=int(memory), **settings)
        assert bound.attrs["chunk_size"] == chunk // 2**halvings
    with pytest.raises(ValueError, match="One point needs"):
        run(layer, grid, 200, memory=100_000, **settings)


def test_filling_keeps_what_is_bilinear_and_what_is_known():
    rng = np.random.default_rng(0)
    rows, columns = np.meshgrid(np.arange(23.0), np.arange(14.0), indexing="ij")
    plane = 2 + 3 * rows - columns
    known = rng.random(plane.shape) < 0.1
    known[np.ix_(lattice(23, 8), lattice(14, 8))] = True
    filled = fill_between(np.where(known, plane, np.nan), known, 8)
    np.testing.assert_allclose(filled, plane, atol=1e-12)


def test_the_measured_error_is_within_its_standard_error():
    """Skewed errors, 200 pictures: two standard errors cover 95 %, at least 88 % by chance."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        truth = rng.normal(size=(80, 80)) * rng.gamma(2.0, size=(80, 80))
        known = rng.random(truth.shape) < 0.1
        expected = np.abs(truth + rng.normal(size=truth.shape))
        draw = draw_unknown(known, expected, 400)
        there = truth.ravel()[draw.points]
        check = check_interpolation(expected, draw, np.zeros(len(there)), there)
        real = np.sqrt((truth[~known] ** 2).mean())
        inside += abs(check.error - real) < 2 * check.stderr
    assert inside >= 176


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_points": 5}, "max_points"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"stride": 12}, "stride"),
        ({"stride": 2}, "stride"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"objective": lambda p, key: p}, "one number"),
    ],
)
def test_bad_settings_are_named(settings, message):
    settings = {"objective": chaotic, "max_points": 100, **settings}
    with pytest.raises(ValueError, match=message):
        run(settings.pop("objective"), square(65, 65), settings.pop("max_points"), **settings)
