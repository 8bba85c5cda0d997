"""The interactive page holds the scan's bytes, and needs nothing else."""

import base64
import json
import re
import resource
import sys

import numpy as np
import plotly.graph_objects
import pytest
import xarray

from fracjax.plotting import surface_html


def scan(shape=(6, 5)):
    axes = "abc"[: len(shape)]
    values = np.random.default_rng(0).standard_normal((*shape, 2))
    return xarray.Dataset(
        {"value": ((*axes, "output"), values)},
        coords={axis: np.linspace(-1, 1, n) for axis, n in zip(axes, shape, strict=True)},
        attrs={"directions": "gaussian"},
    )


def content(path):
    page = path.read_text()
    (data,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    return json.loads(data)


def unpacked(packed):
    values = np.frombuffer(base64.b64decode(packed["bdata"]), "<f8")
    shape = packed.get("shape")
    return values.reshape([int(n) for n in shape.split(",")]) if shape else values


def test_page_holds_every_output_bit_for_bit_with_holes(tmp_path):
    data = scan()
    data["value"].values[0, 1, 0] = np.nan
    data["value"].values[2, 3, 0] = -np.inf
    data["done"] = (("a", "b"), np.ones((6, 5), bool))
    data["done"].values[5, 4] = False
    path = surface_html(data, tmp_path / "s.html", discounts=(0.9, 0.99), title="a </script> b")
    views = content(path)["views"]
    assert [view["name"] for view in views] == ["return, γ = 0.9", "return, γ = 0.99"]
    for output, view in enumerate(views):
        values = data["value"].values[..., output].copy()
        values[~np.isfinite(values)] = np.nan
        values[5, 4] = np.nan
        np.testing.assert_array_equal(unpacked(view["z"]), values.T)
        np.testing.assert_array_equal(unpacked(view["x"]), data["a"])
        np.testing.assert_array_equal(unpacked(view["y"]), data["b"])
    assert views[0]["note"].startswith("Holes: 1 NaN, 1 infinite, 1 unfinished of 30 points.")
    assert "a &lt;/script&gt; b" in path.read_text()


def test_plotly_takes_what_the_page_gives_it(tmp_path):
    data = scan().assign(lyapunov=(("a", "b"), np.ones((6, 5))))
    for view in content(surface_html(data, tmp_path / "s.html"))["views"]:
        shared = {"x": view["x"], "y": view["y"], "z": view["z"], "colorscale": view["colors"]}
        plotly.graph_objects.Surface(**shared, cmin=view["low"], cmax=view["high"])
        plotly.graph_objects.Heatmap(**shared, zmin=view["low"], zmax=view["high"])
        low, high = view["range"]
        assert low < high


def test_page_loads_nothing_and_sends_nothing(tmp_path):
    page = surface_html(scan(), tmp_path / "s.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)=", page)
    assert "default-src 'none'" in page
    assert "showSendToCloud: false" in page
    assert page.count("plotly.js v") == 1


def test_text_of_a_scan_is_no_part_of_the_page(tmp_path):
    evil = "<!--<script>alert(1)</script>%TITLE%"
    data = scan().rename(value=evil)
    path = surface_html(data, tmp_path / "s.html", title="%DATA%<img>")
    page = path.read_text()
    assert page.count("<title>%DATA%&lt;img&gt;</title>") == 1
    assert "alert(1)</script>" not in page
    assert content(path)["views"][0]["name"] == f"{evil}_0"


def test_points_are_left_out_only_if_told(tmp_path):
    data = scan((9, 8))
    whole = content(surface_html(data, tmp_path / "s.html"))
    assert whole["thin"] == ""
    thin = content(surface_html(data, tmp_path / "s.html", every=3))
    assert thin["thin"] == "One point in 3 along each axis of 9 × 8 points is shown."
    np.testing.assert_array_equal(
        unpacked(thin["views"][1]["z"]), data["value"].values[::3, ::3, 1].T
    )


def test_a_box_offers_every_plane_through_its_middle(tmp_path):
    data = scan((3, 5, 4)).isel(output=[0])
    views = content(surface_html(data, tmp_path / "s.html"))["views"]
    assert [view["name"] for view in views] == [
        "value_0, c = 0.333",
        "value_0, b = 0",
        "value_0, a = 0",
    ]
    np.testing.assert_array_equal(unpacked(views[1]["z"]), data["value"].values[:, 2, :, 0].T)
    assert views[1]["labels"][1] == "random direction 3 (change per parameter)"


def test_without_plotly_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'fracjax\[interactive\]'"):
        surface_html(scan(), tmp_path / "s.html")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_surface_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is a line"):
        surface_html(scan((5,)), tmp_path / "s.html")
    with pytest.raises(ValueError, match="`every`"):
        surface_html(scan(), tmp_path / "s.html", every=0)
    with pytest.raises(ValueError, match="names none"):
        surface_html(scan(), tmp_path / "s.html", variables=["loss"])


def test_full_disk_names_the_file(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match=re.escape(str(tmp_path / "s.html"))):
            surface_html(scan(), tmp_path / "s.html")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
