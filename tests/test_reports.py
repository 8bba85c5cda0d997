"""What is written, and what is refused."""

import copy
import errno
import json
import os
import re

import numpy as np
import pytest
import xarray
from matplotlib.figure import Figure

from fracjax.cli.tables import print_tables
from fracjax.reports import (
    Case,
    OutputError,
    ScanDescription,
    analyse_scan,
    check_output,
    describe_scan,
    render_again,
    render_page,
    render_scan,
    write_results,
)

SUMMARY = {
    "by_discount": [
        {
            "discount": 0.9,
            "verdict": "smooth",
            "reason": "because 1 < 2 & 3",
            "holder": {"value": 2.0, "low": 1.9, "high": 2.1, "status": "ok"},
            "paper": {"value": None, "low": None, "high": None, "status": "diverged"},
            "predicted": {
                name: {"value": 2.0, "low": 2.0, "high": 2.0}
                for name in ("mean", "second moment", "worst")
            },
            "agrees_with": ["mean"],
        }
    ],
    "lyapunov": {
        "nats_per_second": [{"value": -1.0, "low": -1.1, "high": -0.9, "status": "ok"}],
        "nats_per_step": [{"value": -0.1, "low": -0.11, "high": -0.09, "status": "ok"}],
        "reward_nats_per_second": None,
        "reward_nats_per_step": None,
        "initial_states": 4,
        "failed_states": 1,
        "mean_steps_before_termination": 12.0,
    },
    "points": 10,
    "nonfinite_points": 2,
}


def write(folder, configuration):
    figure = Figure()
    figure.subplots().plot([0, 1])
    case = Case("a <b> case", [("policy", "x & y")], SUMMARY, {"chaos": figure})
    document = {"configuration": configuration, "versions": {"jax": "0"}}
    return write_results(folder, [case], document, title="title", command="fracjax diagnose")


def test_page_escapes_and_embeds(tmp_path):
    files = write(tmp_path, {"a": 1})
    page = files[0].read_text()
    assert "a &lt;b&gt; case" in page
    assert "because 1 &lt; 2 &amp; 3" in page
    assert "diverged" in page
    assert page.count("data:image/png;base64,") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a-b-case-chaos.png",
        "report.html",
        "results.json",
    ]


def findings(**changes):
    """Cells of the first finding, as the page shows them."""
    summary = copy.deepcopy(SUMMARY)
    summary["by_discount"][0] |= changes
    document = {"versions": {}}
    case = Case("case", [], summary, {})
    text = render_page([case], {}, document, title="title", command="fracjax diagnose")
    return re.findall(r'<td class="number">([^<]*)</td>', text)[1:6]


def test_the_page_says_what_the_terminal_says(capsys):
    """At the cap a bound, and of a prediction that nothing rough is there."""
    top = {"value": 2.0, "stderr": 1e-5, "low": 1.9999, "high": 2.0001, "status": "ok"}
    paper = {"value": 1.0, "low": 0.9998, "high": 1.0, "status": "ok"}
    predicted = {
        "mean": {"value": 2.0, "low": 2.0, "high": 2.0},
        "second moment": {"value": 2.0, "low": 1.5, "high": 2.0},
        "worst": {"value": 0.5, "low": 0.4, "high": 0.6},
    }
    changes = {"holder": top, "paper": paper, "predicted": predicted}
    shown = ["≥ 2", "≥ 1", "smooth", "2 [1.5, 2]", "0.5 [0.4, 0.6]"]
    assert findings(**changes) == shown
    below = {**top, "value": 1.99, "low": 1.96, "high": 2.01}
    assert findings(**{**changes, "holder": below})[0] == "1.99 [1.96, 2.01]"
    first = {**paper, "difference_order": 1}
    assert findings(**{**changes, "holder": first})[0] == "≥ 1"
    assert findings(**{**changes, "holder": {**top, "status": "not_converged"}})[0] == (
        "≥ 2 (not converged)"
    )

    result = {**copy.deepcopy(SUMMARY), "title": "case"}
    result["by_discount"][0] |= changes
    result["by_discount"][0]["agrees_with"] = ["mean"]
    print_tables([result])
    row = next(line for line in capsys.readouterr().out.splitlines() if "0.9" in line)
    cells = [cell.strip() for cell in re.split("[│┃|]", row) if cell.strip()]
    assert cells == ["0.9", "smooth", *shown[:3]]


def test_same_configuration_may_be_written_again_and_another_not(tmp_path):
    write(tmp_path, {"a": 1, "b": [1, 2]})
    check_output(tmp_path, {"a": 1, "b": (1, 2)}, overwrite=False)
    with pytest.raises(OutputError, match=r"\(a, c differ\)"):
        check_output(tmp_path, {"a": 2, "b": [1, 2], "c": 0}, overwrite=False)
    check_output(tmp_path, {"a": 2}, overwrite=True)


def test_what_a_full_disk_cut_off_may_be_finished_by_the_same_command(tmp_path, monkeypatch):
    (tmp_path / "straight").mkdir()
    straight = {path.name: path.read_bytes() for path in write(tmp_path / "straight", {"a": 1})}
    replace = os.replace
    for written in range(len(straight)):
        left = [written]

        def full(source, target, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            replace(source, target)

        folder = tmp_path / str(written)
        folder.mkdir()
        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(OutputError, match="No space left"):
            write(folder, {"a": 1})
        monkeypatch.undo()
        assert len(list(folder.iterdir())) == written
        check_output(folder, {"a": 1}, overwrite=False)
        write(folder, {"a": 1})
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == straight


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"configuration": 3}', "\x00"])
def test_foreign_results_are_not_overwritten(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(OutputError, match="--overwrite"):
        check_output(tmp_path, {"a": 1}, overwrite=False)
    assert (tmp_path / "results.json").read_text() == content


def test_numbers_are_strict_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path, {"a": float("nan")})
    assert not (tmp_path / "results.json").exists()
    write(tmp_path, {"a": None})
    assert json.loads((tmp_path / "results.json").read_text())["configuration"] == {"a": None}


def diagnosed(folder):
    """Write a diagnosis as `fracjax diagnose` does; return its document and page."""
    figure = Figure()
    figure.subplots().plot([0, 1])
    described = {"policy": "x & y"}
    case = Case("a case", list(described.items()), SUMMARY, {"chaos": figure})
    document = {
        "configuration": {"environments": ["pendulum"]},
        "versions": {"jax": "0"},
        "cases": [{"title": "a case", "description": described, **SUMMARY}],
    }
    page, *_ = write_results(
        folder, [case], document, title="fracjax diagnosis", command="fracjax diagnose pendulum"
    )
    return document, page.read_text()


def test_a_diagnosis_is_rendered_again_from_its_numbers(tmp_path):
    document, page = diagnosed(tmp_path)
    again, found = render_again(tmp_path, command="fracjax diagnose pendulum")
    assert again == page
    assert found == document
    (tmp_path / "a-case-chaos.png").unlink()
    without, _ = render_again(tmp_path, command="fracjax diagnose pendulum")
    assert "data:image" not in without
    assert "because 1 &lt; 2 &amp; 3" in without


def test_results_that_were_tampered_with_are_refused_or_escaped(tmp_path):
    document, _ = diagnosed(tmp_path)
    path = tmp_path / "results.json"
    evil = "<script>alert(1)</script>"

    def places(node, where=()):
        if isinstance(node, dict):
            for key in node:
                yield from places(node[key], (*where, key))
        elif isinstance(node, list):
            for index, item in enumerate(node):
                yield from places(item, (*where, index))
        if where:
            yield where

    refused = rendered = 0
    for where in places(document):
        for value in (evil, None, [], {evil: evil}, 3):
            changed = copy.deepcopy(document)
            inner = changed
            for key in where[:-1]:
                inner = inner[key]
            inner[where[-1]] = value
            path.write_text(json.dumps(changed))
            try:
                page, _ = render_again(tmp_path, command="fracjax")
            except ValueError as error:
                refused += "is not a result of fracjax diagnose" in str(error)
            else:
                assert "<script" not in page
                rendered += 1
    assert refused > 50
    assert refused + rendered == 5 * len(list(places(document)))


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"cases": 3}', "[" * 100_000])
def test_what_is_no_result_is_not_rendered(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ValueError, match="is not a result of fracjax diagnose"):
        render_again(tmp_path, command="")


def scanned(num_points=(5, 4)):
    axes = "abc"[: len(num_points)]
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in num_points), indexing="ij")
    values = np.stack([grid[0], -(grid[0] ** 2)], axis=-1)
    return xarray.Dataset(
        {"value": ((*axes, "output"), values)},
        coords={axis: np.linspace(-1, 1, n) for axis, n in zip(axes, num_points, strict=True)},
        attrs={"directions": "gaussian"},
    )


def test_a_scan_is_counted_as_it_is():
    data = scanned()
    data["value"].values[0, 0, 0] = np.nan
    data["value"].values[0, 1, 0] = np.inf
    data["value"].values[4, 3] = np.nan, -np.inf
    data["done"] = (("a", "b"), np.ones((5, 4), bool))
    data["done"].values[4, 3] = False
    summary = describe_scan(data, discounts=(0.9, 0.99))
    assert (summary["points"], summary["done"], summary["complete"]) == (20, 19, False)
    first, second = summary["outputs"]
    assert (first["gamma"], second["gamma"]) == (0.9, 0.99)
    names = ("finite", "nan", "plus_infinite", "minus_infinite")
    assert [first[name] for name in names] == [17, 1, 1, 0]
    assert [second[name] for name in names] == [19, 0, 0, 0]
    assert (first["smallest"], first["largest"]) == (-1.0, 1.0)
    assert first["smallest_at"] == [-1.0, pytest.approx(1 / 3)]
    assert second["largest_at"] == [0.0, -1.0]
    assert second["quantiles"]["0.5"] == np.median(-(np.linspace(-1, 1, 5) ** 2).repeat(4)[:19])
    assert first["at_origin"] is None  # four points along b: none at 0
    assert describe_scan(scanned((5, 3)))["outputs"][0]["at_origin"] == 0.0
    shifted = scanned((5, 3)).assign_coords(a=np.linspace(-1, 1, 5) + 1e-17)
    assert describe_scan(shifted)["outputs"][0]["at_origin"] == 0.0  # 0 but for rounding
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize(
    ("attrs", "error"),
    [
        ({"interpolation_error": 0.5}, 0.5),
        ({"manifest": '{"notes": {"interpolation_error": 0.5}}'}, 0.5),
        ({"manifest": '{"notes": {"interpolation_error": NaN}}'}, None),
        ({"manifest": '{"notes": {"interpolation_error": "<b>"}}'}, None),
        ({"manifest": '{"notes": 3}'}, None),
        ({"manifest": "[]"}, None),
        ({}, None),
    ],
)
def test_points_that_are_interpolated_do_not_count(attrs, error):
    data = scanned((5, 5)).isel(output=0).assign_attrs(attrs)
    known = np.zeros((5, 5), bool)
    known[::2, 0] = True
    data["evaluated"] = (("a", "b"), known)
    data["error"] = (("a", "b"), np.where(known, 0, 0.1))
    summary = describe_scan(data, analyses=analyse_scan(data))
    assert summary["interpolation"]["evaluated"] == 3
    assert summary["interpolation"]["interpolation_error"] == error
    (output,) = summary["outputs"]
    assert output["finite"] == 3
    assert output["at_origin"] is None  # which was not evaluated
    json.dumps(summary, allow_nan=False)
    # A picture of nothing but evaluated points is a scan, and so is one without errors.
    data["evaluated"].values[:] = True
    assert describe_scan(data)["interpolation"] is None
    assert describe_scan(data)["outputs"][0]["at_origin"] == 0
    data["evaluated"].values[0] = False
    assert describe_scan(data.drop_vars("error"))["interpolation"] is None


def test_a_scan_without_a_finite_value_has_a_summary():
    data = scanned().map(lambda array: array * np.nan)
    entry = describe_scan(data)["outputs"][0]
    assert entry["nan"] == 20
    assert entry["smallest"] is entry["largest_at"] is entry["quantiles"] is None


def test_a_step_is_a_cliff_of_its_height_in_the_summary():
    data = scanned((64, 33)).isel(output=[0])
    noise = np.random.default_rng(0).standard_normal((64, 33, 1))
    data["value"].values[:] = 0.01 * noise
    data["value"].values[40:] += 5.0
    analyses = analyse_scan(data)
    (entry,) = describe_scan(data, analyses=analyses)["outputs"]
    assert entry["cliffs"]["count"] == 33  # once for every line that crosses it
    assert entry["cliffs"]["largest"][0]["along"] == "a"
    assert abs(entry["cliffs"]["largest"][0]["height"] - 5) < 0.1
    middle = data["a"].values[39:41].mean()
    assert entry["cliffs"]["largest"][0]["at"][0] == pytest.approx(middle)
    assert 2 < entry["graph_dimension"]["value"] <= 3


def test_too_few_points_to_analyse_say_so():
    analyses = analyse_scan(scanned())
    entry = describe_scan(scanned(), analyses=analyses)["outputs"][0]
    assert entry["graph_dimension"]["status"] == "not estimated"
    assert "at least 32 points" in entry["graph_dimension"]["reason"]
    assert analyse_scan(scanned((3, 3, 3))) == {}


def test_page_of_a_scan_escapes_everything_and_takes_more_sections():
    data = scanned().rename(value="<v>")
    summary = describe_scan(data, analyses=analyse_scan(data))
    page = render_scan(
        summary,
        ScanDescription("<t>", [("<n>", "<x>")], "fracjax scan '<c>'", {"<jax>": "<0>"}),
        pictures={"<caption>": b"png"},
        manifest={"<key>": ["<value>"]},
        files=["<file>"],
        sections=[("<heading>", "<p>taken as it is</p>")],
    )
    for name in "v t n x c jax 0 caption key value file heading".split():
        assert f"<{name}>" not in page
        assert f"&lt;{name}&gt;" in page
    assert "<p>taken as it is</p>" in page
    assert "Complete: all 20 points" in page
    assert page.count("data:image/png;base64,") == 1


def test_page_of_an_unfinished_scan_says_how_much_is_there():
    data = scanned()
    data["done"] = (("a", "b"), np.arange(20).reshape(5, 4) < 5)
    page = render_scan(
        describe_scan(data), ScanDescription("t", [], "", {}), pictures={}, manifest={}
    )
    assert "Unfinished: 5 of 20 points are there (25.0 %)" in page
