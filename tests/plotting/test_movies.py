"""Films of zooms: whole or not there, as many pictures as said."""

import importlib
import shutil
import subprocess
import tracemalloc

import numpy as np
import pytest
import xarray
from PIL import Image

from fracjax.plotting import movies
from fracjax.plotting.movies import colour_picture, write_movie, zoom_pictures


def ripple(index, points=65, height=None, status="ok", complete=True):
    """Nested frames of one picture: rings around a point."""
    half = 2.0**-index
    a, b = np.linspace(-half, half, points), np.linspace(-half, half, height or points)
    values = np.sin(20 * np.hypot(*np.meshgrid(a - 0.02, b, indexing="ij")))
    attrs = {"zoom": 2.0**index, "status": status, "complete": complete}
    return xarray.Dataset({"value": (("a", "b"), values)}, coords={"a": a, "b": b}, attrs=attrs)


def test_colours_stand_the_right_way_up():
    """The first axis runs to the right, the second upwards."""
    values = np.zeros((3, 2))
    values[2, 1] = 1.0
    picture = colour_picture(values, colours="percentiles", colormap="gray")
    assert picture.shape == (2, 3, 3)
    assert picture[0, 2].tolist() == [255] * 3
    assert picture.sum() == 3 * 255


def test_equalised_colours_take_equal_areas():
    values = np.exp(np.random.default_rng(0).normal(size=(64, 64)) * 5)
    shades = colour_picture(values, colormap="gray")[..., 0]
    counts = np.histogram(shades, bins=8, range=(0, 256))[0]
    np.testing.assert_allclose(counts, 512, atol=8)


@pytest.mark.parametrize("colours", ["equalised", "percentiles"])
def test_what_is_not_finite_is_white_and_the_rest_coloured(colours):
    values = np.arange(16.0).reshape(4, 4)
    values[0, 0], values[1, 1] = np.nan, np.inf
    picture = colour_picture(values, colours=colours)
    white = (picture == 255).all(axis=-1)
    assert white.sum() == 2
    assert white[3, 0]
    assert white[2, 1]
    for constant in (2.0, np.nan):
        assert colour_picture(np.full((4, 4), constant), colours=colours).shape == (4, 4, 3)


def test_pictures_between_frames_follow_the_zoom():
    """Halfway in, a picture is the next frame's at its middle: rings are where they should be."""
    frames = [ripple(0, 513), ripple(1, 513)]
    settings = {"size": 512, "label": False, "colours": "percentiles"}
    first, middle, _last = zoom_pictures(frames, between=1, **settings)
    expected = next(zoom_pictures([ripple(0.5, 513)], **settings))
    apart = np.abs(middle.astype(float) - expected).mean()
    assert apart < 6  # of 255: the ranges of colours differ slightly
    assert np.abs(first.astype(float) - expected).mean() > 20


def test_frames_that_cannot_be_trusted_are_framed():
    good, bad = zoom_pictures([ripple(0), ripple(1, status="at_noise_floor")], label=False, size=64)
    assert bad[0, 0].tolist() == [213, 94, 0]
    assert bad[-1, -1].tolist() == [213, 94, 0]
    assert good[0, 0].tolist() != [213, 94, 0]


def test_a_gif_has_its_pictures(tmp_path):
    path = tmp_path / "film.gif"
    frames = [ripple(0), ripple(0, complete=False), ripple(1), ripple(2)]
    assert write_movie(frames, path, size=99, between=2, frames_per_second=10) == 7
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (7, (100, 100))
        assert film.info["duration"] == 100
        assert film.info["loop"] == 0
        expected = list(zoom_pictures(frames, size=99, between=2))
        for index, picture in enumerate(expected):
            film.seek(index)
            shown = np.asarray(film.convert("RGB")).astype(float)
            assert np.abs(shown - picture).mean() < 5  # 256 colours each
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]


def test_a_folder_has_its_pictures(tmp_path):
    folder = tmp_path / "film"
    assert write_movie([ripple(0, 64, 32), ripple(1, 64, 32)], folder, size=128) == 2
    assert sorted(p.name for p in folder.iterdir()) == ["000000.png", "000001.png"]
    with Image.open(folder / "000001.png") as picture:
        assert picture.size == (128, 64)
    with pytest.raises(ValueError, match="folder that exists"):
        write_movie([ripple(0)], folder)


def test_an_mp4_has_its_pictures(tmp_path):
    path = tmp_path / "film.mp4"
    assert write_movie([ripple(0), ripple(1)], path, size=65, between=3) == 5
    assert path.read_bytes()[4:8] == b"ftyp"
    command = [movies._ffmpeg(), "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    shown = subprocess.run(command, check=True, capture_output=True).stdout
    assert len(shown) == 5 * 66 * 66 * 3


def test_without_ffmpeg_the_extra_is_named_before_anything_is_made(tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    def frames():
        pytest.fail("a frame was made")
        yield

    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"fracjax\[movies\]"):
        write_movie(frames(), tmp_path / "film.mp4")


@pytest.mark.parametrize("name", ["film.gif", "film.mp4", "film"])
def test_an_interrupted_film_leaves_nothing(name, tmp_path):
    def broken():
        yield ripple(0)
        yield ripple(1)
        raise KeyboardInterrupt

    path = tmp_path / name
    if path.suffix:
        path.write_bytes(b"the last one")
    with pytest.raises(KeyboardInterrupt):
        write_movie(broken(), path, size=64)
    assert [p.name for p in tmp_path.iterdir()] == ([name] if path.suffix else [])
    if path.suffix:
        assert path.read_bytes() == b"the last one"


@pytest.mark.parametrize("name", ["film.gif", "film.mp4"])
def test_memory_does_not_grow_with_the_film(name, tmp_path):
    def peak(count):
        tracemalloc.start()
        write_movie((ripple(i % 4, 33) for i in range(count)), tmp_path / name, size=128)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(4)
    assert peak(80) < 1.5 * peak(8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "film.avi"}, "path"),
        ({"frames": []}, "at least one complete"),
        ({"frames_per_second": 0}, "frames_per_second"),
        ({"size": 4}, "size"),
        ({"frames": [xarray.Dataset({"value": ("a", np.zeros(9))})]}, "planes"),
    ],
)
def test_bad_settings_are_named(settings, message, tmp_path):
    settings = {"frames": [ripple(0)], "path": "film.gif", **settings}
    path = tmp_path / settings.pop("path")
    with pytest.raises(ValueError, match=message):
        write_movie(settings.pop("frames"), path, **settings)
    assert not list(tmp_path.iterdir())
