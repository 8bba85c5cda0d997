"""Zooms: points in common are common, known sets keep their dimension, rounding is told."""

import cmath
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import landscapes
from fracjax.landscapes.refinement.pixel_sets import picture_dimension
from fracjax.landscapes.refinement.rounding import step_error
from fracjax.landscapes.refinement.zooms import zoom_batches, zoom_frames
from fracjax.landscapes.slices.grids import Grid

KEY = jax.random.key(0)
CHUNK = 256
KOCH = math.log(4) / math.log(3)


def square(width=2.0, axes=2):
    return Grid(jnp.eye(axes, 2), (np.linspace(-width / 2, width / 2, 5),) * axes, "coordinates")


def zoom(objective, grid=None, **settings):
    settings = {"num_frames": 3, "num_points": 33, "chunk_size": CHUNK, **settings}
    grid = square() if grid is None else grid
    return list(zoom_frames(objective, jnp.zeros(2), grid, KEY, **settings))


def complete(frames):
    return [frame for frame in frames if frame.attrs["complete"]]


def chaotic(params, key):
    start = 0.5 + 0.2 * params[0] + 0.25 * params[1]
    return jax.lax.fori_loop(0, 30, lambda _, s: 3.99 * s * (1 - s), start)


@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.1234567, -0.345678)])
def test_frames_are_scans_and_share_points(centre):
    """A quarter of every next frame is the last one's; no point is evaluated twice."""
    counted = []
    frames = zoom(chaotic, centre=centre, num_frames=4, on_progress=counted.append)
    assert [frame.attrs["stride"] for frame in frames] == [4, 2, 1] * 4
    whole = complete(frames)
    assert counted[-1] == 33**2 + 3 * (33**2 - 17**2)
    assert [frame.attrs["num_reused"] for frame in whole] == [0] + [17**2] * 3
    for index, frame in enumerate(whole):
        assert frame.attrs["half_width"] == (1 / 2**index,) * 2
        grid = Grid(square().directions, (frame["a"].values, frame["b"].values), "coordinates")
        scanned = landscapes.scan(
            chaotic, jnp.zeros(2), grid, KEY, chunk_size=CHUNK, evaluator="plain"
        )
        assert frame["value"].values.tobytes() == scanned["value"].values.tobytes()
        for coarse in frames[3 * index : 3 * index + 2]:
            place = {name: coarse[name].values for name in "ab"}
            np.testing.assert_array_equal(frame["value"].sel(place), coarse["value"])
        if index:  # after the first frame coarse pictures cost nothing
            assert frames[3 * index + 1].attrs["num_evaluated"] == 0


def test_the_whole_is_the_same_without_coarse_pictures_and_after_an_interruption():
    kept = {}

    class Memory:
        read = staticmethod(kept.get)

        def write(self, block, values):
            if len(kept) == 20:
                raise KeyboardInterrupt
            kept[block] = values

    settings = {"centre": "roughest", "batch_size": CHUNK}
    expected = complete(zoom(chaotic, **settings))
    with pytest.raises(KeyboardInterrupt):
        zoom(chaotic, store=Memory(), **settings)
    assert len(kept) == 20

    class Forgetful(Memory):
        def write(self, block, values):
            kept[block] = values

    resumed = complete(zoom(chaotic, store=Forgetful(), **settings))
    assert 20 < len(kept) <= zoom_batches(3, 33, 2, CHUNK)
    plain = zoom(chaotic, progressive=False, **settings)
    for one, other, third in zip(expected, resumed, plain, strict=True):
        assert one["value"].values.tobytes() == other["value"].values.tobytes()
        assert one["value"].values.tobytes() == third["value"].values.tobytes()
        np.testing.assert_equal(other.attrs, one.attrs)  # NaN is NaN


@pytest.mark.parametrize("factor", [3, 1.5])
def test_other_factors_share_what_coincides(factor):
    frames = complete(zoom(chaotic, factor=factor, centre=(0.1, 0.2)))
    assert frames[2].attrs["half_width"][0] == pytest.approx(1 / factor**2)
    assert all(frame.attrs["num_reused"] >= 1 for frame in frames[1:])
    assert frames[1]["value"].sel(a=0.1, b=0.2) == frames[0]["value"].sel(a=0.1, b=0.2)


def test_a_line_zooms_too():
    settings = {"centre": (0.3,), "num_points": 31}
    frames = complete(zoom(lambda p, key: p[0] ** 2, square(axes=1), **settings))
    assert frames[2]["value"].dims == ("a",)
    np.testing.assert_allclose(frames[2]["value"], frames[2]["a"] ** 2, rtol=1e-5)
    assert frames[1].attrs["num_reused"] == 15


def test_the_roughest_point_is_found_and_stays_in_view():
    """|x - x0| is rough at one line only, a jump in one place only."""
    spot = (0.3123, -0.4077)

    def objective(params, key):
        return jnp.sqrt(jnp.hypot(params[0] - spot[0], params[1] - spot[1]))

    frames = complete(zoom(objective, num_frames=8))
    off = np.abs(np.subtract(frames[-1].attrs["centre"], spot)).max()
    assert off <= frames[-1].attrs["half_width"][0]
    flat = complete(zoom(lambda p, key: jnp.float32(1.0)))
    assert flat[-1].attrs["centre"] == (0.0, 0.0)


def koch_side(params, key):
    """Above Koch's curve from (-1/2, 0) to (1/2, 0) or below, by unfolding it."""
    x, y = params[0] + 0.5, params[1]

    def unfold(_, point):
        x, y = point
        x = jnp.minimum(x, 1 - x)
        # Beyond the line that halves the angle at (1/3, 0) lies the second of four copies.
        second = (x - 1 / 3) * math.cos(math.pi / 6) + y * math.sin(math.pi / 6) > 0
        u, v = x - 1 / 3, y
        turned = (u / 2 + v * math.sqrt(3) / 2, v / 2 - u * math.sqrt(3) / 2)
        return tuple(3 * jnp.where(second, *pair) for pair in zip(turned, (x, y), strict=True))

    return jax.lax.fori_loop(0, 14, unfold, (x, y))[1]


def on_koch(address):
    """The point of the curve with a given address, least significant copy first."""
    third, turn = 1 / 3, cmath.exp(1j * math.pi / 3)
    maps = (
        lambda z: z * third,
        lambda z: third + z * third * turn,
        lambda z: 0.5 + 1j * math.sqrt(3) / 6 + z * third / turn,
        lambda z: 2 / 3 + z * third,
    )
    z = 0j
    for copy in address:
        z = maps[copy](z)
    return z.real - 0.5, z.imag


@pytest.mark.parametrize(
    ("name", "objective", "kind", "centre", "dimension"),
    [
        pytest.param(
            "line",
            lambda p, key: p[1] - 0.37 * p[0],
            "boundary",
            (0.1, 0.037),
            1.0,
            marks=pytest.mark.slow,
        ),
        (
            "line by distance",
            lambda p, key: jnp.abs(p[1] - 0.37 * p[0]) / math.hypot(1, 0.37),
            "distance",
            (0.1, 0.037),
            1.0,
        ),
        ("koch", koch_side, "boundary", on_koch([1, 2, 0, 1, 3, 2, 1, 0] * 3), KOCH),
        ("plane", lambda p, key: -jnp.ones(()), "below", (0.1, 0.2), 2.0),
    ],
)
def test_known_sets_keep_their_dimension_at_every_zoom(
    name, objective, kind, centre, dimension, x64
):
    frames = zoom_frames(
        objective,
        jnp.zeros(2),
        square(0.3),
        KEY,
        num_frames=10,
        centre=centre,
        num_points=257,
        progressive=False,
        picture_set=kind,
        chunk_size=4096,
    )
    found = [frame.attrs["box_dimension"] for frame in frames]
    np.testing.assert_allclose(found, dimension, atol=0.05)


def test_every_frame_has_the_roughness_of_its_picture():
    """Weierstrass's function of exponent 0.4 along both axes, at two widths."""
    scales = 2.0 ** np.arange(20)

    def objective(params, key):
        waves = jnp.cos(scales * (3 * params[0] + 1.3)) + jnp.cos(scales * (2 * params[1] + 0.4))
        return (scales**-0.4 * waves).sum()

    for frame in complete(zoom(objective, num_frames=2, num_points=129, centre=(0.1, 0.3))):
        attrs = frame.attrs
        assert attrs["graph_dimension_status"] == attrs["status"] == "ok"
        assert attrs["holder_exponent"] == pytest.approx(0.4, abs=0.1)
        assert attrs["graph_dimension"] == pytest.approx(2.6, abs=0.1)


@pytest.mark.usefixtures("single_precision")
def test_frames_at_the_floor_of_rounding_are_marked():
    """One unit in the last place of 1 is 2^-23: from a spacing of 2^-22 steps are wrong."""
    params = jnp.ones(3)
    grid = Grid(jnp.ones((1, 3)), (np.linspace(-1, 1, 3),), "gaussian")
    frames = zoom_frames(
        lambda p, key: p.sum(), params, grid, KEY, num_frames=24, num_points=31, centre=(0.001,)
    )
    found = {frame.attrs["frame"]: frame.attrs for frame in frames}
    assert [found[index]["status"] for index in (0, 10, 15)] == ["ok"] * 3
    assert [found[index]["status"] for index in (20, 23)] == ["at_noise_floor"] * 2
    assert found[23]["equal_parameters"] > 0.5
    assert found[23]["equal_values"] > 0.5
    assert found[23]["step_error"] > 1


@pytest.mark.usefixtures("single_precision")
def test_the_step_error_is_that_of_rounding():
    """Steps of 1 to 3 units in the last place: differences of two independent roundings.

    Their standard deviation is 1/√6 units, the root mean square of the steps √(4 + 1/3): 0.196.
    16 pairs of 10^4 parameters scatter by far less than 2 %.
    """
    params = 1 + 0.9 * jax.random.uniform(KEY, (10_000,))
    directions = jax.random.uniform(jax.random.key(1), (1, 10_000), minval=0.5, maxval=1.5)
    axis = 0.0123 + np.arange(200) * 2.0**-22
    # The coordinate is rounded too, so take a grid whose coordinates float32 holds.
    found = step_error(params, directions, (np.asarray(axis, np.float32).astype(float),))
    assert found.error == pytest.approx(math.sqrt(1 / 6 / (4 + 1 / 3)), rel=0.02)
    assert found.equal == 0


def test_nothing_finite_is_a_status():
    frame = zoom(lambda p, key: p[0] * jnp.nan, num_frames=1)[-1]
    assert frame.attrs["status"] == "diverged"
    assert frame.attrs["graph_dimension_status"] != "ok"


def test_sets_that_cannot_be_measured_get_a_status():
    empty = picture_dimension(np.ones((80, 80)), "below")
    small = picture_dimension(-np.ones((20, 20)), "below")
    point = np.ones((80, 80))
    point[40, 40] = -1
    assert [int(e.status) for e in (empty, small)] == [5, 3]
    assert not picture_dimension(point, "below").ok
    assert all(math.isnan(float(e.value)) for e in (empty, small))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_frames": 0}, "num_frames"),
        ({"factor": 1}, "factor"),
        ({"centre": (0.0,)}, "centre"),
        ({"centre": (0.0, math.nan)}, "centre"),
        ({"picture_set": "below", "grid": square(axes=1), "centre": (0.0,)}, "picture_set"),
        ({"objective": lambda p, key: p}, "one number"),
    ],
)
def test_bad_settings_are_named_at_once(settings, message):
    settings = {"objective": chaotic, "grid": square(), "num_frames": 2, **settings}
    with pytest.raises(ValueError, match=message):
        zoom_frames(settings.pop("objective"), jnp.zeros(2), settings.pop("grid"), KEY, **settings)


def test_an_unknown_set_is_named():
    with pytest.raises(ValueError, match="kind"):
        inspect.unwrap(picture_dimension)(np.zeros((80, 80)), "above")
