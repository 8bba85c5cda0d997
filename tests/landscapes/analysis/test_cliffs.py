"""Cliffs are found where they are, and nowhere else."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from scipy.stats import binom

from fracjax import Status, landscapes
from fracjax.landscapes.analysis import (
    bisect_changes,
    cliffs,
    gradient_cliffs,
    point_evaluator,
)
from fracjax.systems.random_fields import fractional_brownian_field
from fracjax.systems.signals import fractional_brownian_motion

AXIS = np.linspace(-1, 1, 64)
A, B = np.meshgrid(AXIS, AXIS, indexing="ij")
BOWL = A**2 + 0.5 * B**2


def scan_of(values, axis=AXIS, **more):
    values = np.asarray(values)
    dims = ("a", "b")[: values.ndim]
    coords = {dim: axis[: values.shape[i]] for i, dim in enumerate(dims)}
    data = {"value": (dims, values)} | {name: (dims, array) for name, array in more.items()}
    return xarray.Dataset(data, coords=coords)


MASKS = {
    "half": A > 0.1,
    "disc": (A - 0.1) ** 2 + (B + 0.2) ** 2 < 0.3,
    "slanted": A + 0.7 * B > 0.13,
}


@pytest.mark.parametrize("name", MASKS)
def test_every_crossing_of_a_step_is_found(name):
    """Recall and precision 1, on negative values, with height and position."""
    mask = MASKS[name]
    found = cliffs(scan_of(-5 + 0.3 * BOWL - 2.0 * mask))
    crossings = [np.diff(mask.astype(int), axis=axis) for axis in (0, 1)]
    assert found.sizes["cliff"] == sum(np.abs(c).sum() for c in crossings)
    for axis, dim in enumerate("ab"):
        part = found.where(found["along"] == dim, drop=True)
        index = np.argwhere(crossings[axis])
        expected = np.stack([AXIS[index[:, 0]], AXIS[index[:, 1]]], axis=1)
        expected[:, axis] += (AXIS[1] - AXIS[0]) / 2
        order = np.lexsort(expected.T)
        places = np.stack([part["a"], part["b"]], axis=1)
        mine = np.lexsort(np.round(places, 9).T)
        np.testing.assert_allclose(places[mine], expected[order])
        signs = -crossings[axis][tuple(index[order].T)]
        np.testing.assert_allclose(part["height"][mine], 2.0 * signs, atol=0.05)
        np.testing.assert_allclose(part["right"] - part["left"], AXIS[1] - AXIS[0])
    assert set(found["kind"].values) == {"unresolved"}
    assert np.all(found["status"] == Status.OK)
    assert found["scan_status"] == Status.OK


SMOOTH = {
    "bowl": BOWL,
    "valley": (1 - A) ** 2 + 100 * (B - A**2) ** 2,
    "cone": np.hypot(A, B),
    "cusp": np.abs(A) ** 0.5,
    "bump": np.exp(-20 * (A**2 + B**2)),
    "sigmoid": np.tanh((A + 0.3 * B) / 0.04),  # rises over three steps
}


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_surfaces_have_none(name):
    for values in (SMOOTH[name], -SMOOTH[name], SMOOTH[name][:, 20]):
        found = cliffs(scan_of(values))
        assert found.sizes["cliff"] == 0
        assert found["scan_status"] == Status.OK


@functools.cache
def fields(hurst):
    keys = jax.random.split(jax.random.key(3), 200)
    draw = jax.jit(
        lambda keys: jax.lax.map(lambda k: fractional_brownian_field(k, hurst, (64, 64)), keys)
    )
    return np.asarray(draw(keys))


@pytest.mark.parametrize("hurst", [pytest.param(0.1, marks=pytest.mark.slow), 0.5])
def test_large_changes_of_a_fractal_are_no_cliffs(hurst):
    """Null: 5 % of planes with a false alarm, 200 planes; the range alone finds many."""
    alarms = [cliffs(scan_of(f), share_of_range=0.05).sizes["cliff"] > 0 for f in fields(hurst)]
    assert sum(alarms) <= binom.ppf(1 - 1e-3, 200, 0.05)
    if hurst == 0.1:
        share = np.abs(np.diff(fields(hurst)[0], axis=0)) / np.ptp(fields(hurst)[0])
        assert (share > 0.25).sum() > 100


def test_a_cliff_in_a_rough_surface_is_found():
    """A fault of 24 standard deviations of a change across every row of a Brownian surface.

    The threshold is 10.4 scales, and a scale has a standard deviation of about a fifth.
    """
    rough = fields(0.5)[0]
    found = cliffs(scan_of(rough + 24.0 * (B > 0.3)))
    assert found["threshold"] == pytest.approx(10.4, abs=0.1)
    assert found["along"].values.tolist() == ["b"] * 64
    expected = AXIS[AXIS > 0.3][0] - (AXIS[1] - AXIS[0]) / 2
    np.testing.assert_allclose(found["b"], expected)


def test_wider_cliffs_need_more_steps():
    line = np.tanh((AXIS - 0.1) / 0.05)  # from -.8 to .8 over three and a half steps
    assert cliffs(scan_of(line)).sizes["cliff"] == 0
    found = cliffs(scan_of(line), steps=4)
    assert found.sizes["cliff"] == 1
    assert found["height"] == pytest.approx(2 * np.tanh(2 * (AXIS[1] - AXIS[0]) / 0.05), abs=0.05)
    assert abs(found["a"] - 0.1) < 2 * (AXIS[1] - AXIS[0])


def test_noise_that_is_told_of_raises_the_floor():
    scan = scan_of(np.where(AXIS > 0.1, 1.0, 0.0) + 2 * AXIS)  # a range of 5
    found = cliffs(scan, noise=0.08, share_of_range=0.1)
    assert found.sizes["cliff"] == 1
    assert found["contrast"] == pytest.approx(1 / (2**0.5 * 0.08), rel=1e-6)
    assert cliffs(scan, noise=0.2, share_of_range=0.1).sizes["cliff"] == 0
    assert cliffs(scan, noise=0.6)["scan_status"] == Status.AT_NOISE_FLOOR


def test_missing_points_are_no_cliffs():
    values = BOWL - 2.0 * MASKS["half"]
    values[10, 10] = np.nan
    values[50, 50:52] = -np.inf
    found = cliffs(scan_of(values))
    assert found.sizes["cliff"] == 64
    assert found["num_missing"] == 11
    assert found["range"] == pytest.approx(np.ptp(values[np.isfinite(values)]))
    lost = cliffs(scan_of(np.full((64, 64), np.nan)))
    assert lost["scan_status"] == Status.DIVERGED
    assert lost.sizes["cliff"] == 0
    assert cliffs(scan_of(np.ones(64)))["scan_status"] == Status.AT_NOISE_FLOOR
    assert cliffs(scan_of(AXIS[:8]))["scan_status"] == Status.TOO_FEW_POINTS


# --- refinement -------------------------------------------------------------------------------


def test_bisection_tells_a_jump_from_a_slope_narrower_than_a_step():
    def function(points):
        a = points[:, 0]
        return np.where(a > -0.4321, 3.0, 0.0) + 2 * np.tanh((a - 0.4321) / 2e-4) + 0.1 * a

    found = cliffs(scan_of(function(AXIS[:, None])), evaluate=function)
    assert found["kind"].values.tolist() == ["steep", "jump"]  # the slope is the higher one
    np.testing.assert_allclose(found["height"], [4.0, 3.0], atol=0.01)
    assert found["refined_height"][1] == pytest.approx(3.0, abs=1e-4)
    assert abs(found["refined_height"][0]) < 0.5
    step = AXIS[1] - AXIS[0]
    assert 1e-4 < found["width"][0] < 1e-3
    assert found["width"][1] == pytest.approx(step / 2**12)
    first = cliffs(scan_of(function(AXIS[:, None])), evaluate=function, max_refined=1)
    assert first["kind"].values.tolist() == ["steep", "unresolved"]


def test_bisection_acquits_the_largest_changes_of_a_fractal():
    """200 paths: the largest of 64 changes of a Brownian path falls below half, a jump does not.

    Eight halvings leave 2^-4 of a typical change, at most .4 of the largest one.
    """
    count, halvings = 64, 8
    size = count * 2**halvings + 1
    keys = jax.random.split(jax.random.key(5), 200)
    paths = jax.jit(jax.vmap(lambda k: fractional_brownian_motion(k, 0.5, size)))(keys)
    paths = np.asarray(paths, np.float64)
    for jump in (0.0, 100.0):
        values = paths + jump * 2 ** (halvings / 2) * (np.arange(size) > size // 3)
        coarse = values[:, :: 2**halvings]
        place = np.abs(np.diff(coarse)).argmax(axis=1)
        rows = np.arange(200)
        left = (place * 2**halvings)[:, None].astype(float)

        def evaluate(points, values=values, rows=rows):
            return values[rows, points[:, 0].astype(int)]

        walked = bisect_changes(
            left,
            left + 2**halvings,
            coarse[rows, place],
            coarse[rows, place + 1],
            evaluate,
            num_halvings=halvings,
        )
        assert walked.finite.all()
        assert walked.persistent.all() if jump else not walked.persistent.any()


def test_values_lost_in_bisecting_are_said():
    def function(points):
        return np.where(points[:, 0] == AXIS[40], 1.0, np.nan)

    found = cliffs(scan_of(np.where(AXIS >= AXIS[40], 1.0, 0.0)), evaluate=function)
    assert found["kind"].values.tolist() == ["unresolved"]
    assert found["status"].values.tolist() == [Status.DIVERGED]
    assert np.isnan(found["refined_height"][0])


def test_an_objective_is_walked_up_to(x64):
    """A scan of an objective with a jump across a slanted line, confirmed at its place."""

    def objective(params, key):
        x, y = params["x"]
        return jnp.where(x + 0.3 * y > 0.2, 4.0, 0.0) + 0.2 * x**2

    params, key = {"x": jnp.zeros(2)}, jax.random.key(0)
    directions = {"x": jnp.eye(2)}
    grid = landscapes.Grid(directions, (np.linspace(-1, 1, 33), np.linspace(-1, 1, 17)), "axes")
    data = landscapes.scan(objective, params, grid, key)
    evaluate = point_evaluator(objective, params, grid, key)
    points = np.stack([g.ravel() for g in np.meshgrid(*grid.axes, indexing="ij")], axis=1)
    np.testing.assert_allclose(evaluate(points), data["value"].values.ravel(), atol=1e-12)
    found = cliffs(data, evaluate=evaluate)
    mask = data["a"] + 0.3 * data["b"] > 0.2
    assert found.sizes["cliff"] == sum(int(mask.astype(int).diff(d).pipe(abs).sum()) for d in "ab")
    assert set(found["kind"].values) == {"jump"}
    np.testing.assert_allclose(np.abs(found["refined_height"]), 4.0, atol=1e-3)


# --- along the gradient -----------------------------------------------------------------------

FINE = np.concatenate([np.linspace(0, 0.1, 10), 0.1 * np.arange(2, 20)])


def test_the_published_rule_on_its_own_lines():
    """Lines of nine fine steps and then ten times coarser ones; cliffs at known places."""
    lines = np.full((5, len(FINE)), 100.0)
    lines[0] -= 10 * FINE  # a slope
    lines[1, 5:] = 40.0  # inside the first step: left with 40 %
    lines[2, 12:] = 45.0  # later
    lines[3, 5:] = 60.0  # left with 60 %
    lines[4, 12], lines[4, 13:] = 70.0, 30.0  # over two steps
    data = xarray.Dataset({"value": (("b", "a"), lines)}, coords={"a": FINE, "b": np.arange(5.0)})
    found = gradient_cliffs(data)
    assert found.attrs["num_fine"] == 10
    assert found["at_start"].values.tolist() == [False, True, False, False, False]
    assert found["anywhere"].values.tolist() == [False, True, True, False, True]
    np.testing.assert_allclose(found["position"][[1, 2, 4]], [0.0, FINE[11], FINE[12]])
    np.testing.assert_allclose(found["height"][[1, 2, 4]], [-60.0, -55.0, -40.0])
    assert np.all(found["status"] == Status.OK)
    alone = gradient_cliffs(data.isel(b=1))
    assert bool(alone["at_start"])
    # The range is that of all lines: one more wide line hides every drop.
    wide = data.copy(deep=True)
    wide["value"][0, 0] = 1000.0
    assert not gradient_cliffs(wide)["anywhere"][1:].any()


def test_the_rule_says_where_it_means_nothing():
    axis = 0.1 * np.arange(-5, 10)
    values = np.where(axis > 0, -200.0, -100.0)
    found = gradient_cliffs(scan_of(values, axis))
    assert found["status"] == Status.NOT_CONVERGED
    assert cliffs(scan_of(np.repeat(values, 2), np.arange(30.0))).sizes["cliff"] == 1
    lost = np.where(axis > 0.5, np.nan, 1.0)
    assert gradient_cliffs(scan_of(lost, axis))["status"] == Status.DIVERGED
    assert gradient_cliffs(scan_of(np.ones(15), axis))["status"] == Status.AT_NOISE_FLOOR


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cliffs(scan_of(AXIS), steps=0), "`steps`"),
        (lambda: cliffs(scan_of(AXIS), share_of_range=1.5), "`share_of_range`"),
        (lambda: cliffs(scan_of(AXIS), neighbours=3), "`neighbours` must"),
        (lambda: cliffs(xarray.Dataset({"value": 1.0})), "`dataset` must have"),
        (lambda: gradient_cliffs(scan_of(AXIS), along="z"), "`along` must"),
        (lambda: gradient_cliffs(scan_of(AXIS), start=1.0), "`num_fine` must"),
        (lambda: gradient_cliffs(scan_of(AXIS), share_of_start=0.0), "share_of_start"),
    ],
)
def test_settings_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_signatures_default_to_the_published_shares():
    rule = inspect.signature(gradient_cliffs).parameters
    assert (rule["share_of_start"].default, rule["share_of_range"].default) == (0.5, 0.25)
