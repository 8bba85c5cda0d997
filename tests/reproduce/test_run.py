"""Rows, agreement, and runs that go on after being killed."""

import json
import math

import numpy as np
import pytest
import scipy.stats

from fracjax.reproduce.experiments import Experiment, experiments
from fracjax.reproduce.fractal_rows import mean_of_few
from fracjax.reproduce.references import measured, parts
from fracjax.reproduce.rows import Findings, compare, describe
from fracjax.reproduce.run import as_document, run

from references import REFERENCES


def experiment(calls, *, fails=()):
    def part(name):
        def make(key, size):
            if name in fails:
                raise KeyboardInterrupt
            calls.append(name)
            return [compare(name, "exponent", (1.0, 0.1), (1.2, 0.0, "exact"))]

        return make

    return Experiment("toy", "", {name: part(name) for name in ("a", "b", "c")})


def test_agreement_is_within_four_joint_errors():
    row = compare("s", "q", (1.0, 0.3), (2.0, 0.4, "exact"))
    assert row.z == pytest.approx(-2.0)
    assert row.agrees
    assert (row.low, row.high) == pytest.approx((1 - 1.96 * 0.3, 1 + 1.96 * 0.3))
    assert not compare("s", "q", (1.0, 0.1), (1.5, 0.05, "exact")).agrees
    assert compare("s", "q", (1.0, 0.1), (1.5, 0.05, "exact"), systematic=0.1).agrees


def test_exact_numbers_need_only_rounding_and_nan_never_agrees():
    assert compare("s", "q", (math.log(2) + 1e-13, 0.0), (math.log(2), 0.0, "exact")).agrees
    assert not compare("s", "q", (math.log(2) + 1e-7, 0.0), (math.log(2), 0.0, "exact")).agrees
    assert not compare("s", "q", (math.nan, 0.1), (1.0, 0.1, "exact")).agrees


def test_what_is_stated_is_what_is_tested():
    """A row to 1e-12 must not pass by the rounding that is granted where nothing is stated."""
    assert not compare("s", "q", (1e-11, 0.0), (0.0, 1e-12 / 4, "exact")).agrees
    assert not compare("s", "q", (1 + 1e-11, 1e-12 / 4), (1.0, 0.0, "exact")).agrees
    assert compare("s", "q", (0.9e-12, 0.0), (0.0, 1e-12 / 4, "exact")).agrees
    assert compare("s", "q", (1 + 4e-16, 1e-17), (1.0, 0.0, "exact")).agrees


def test_means_of_few_have_students_interval():
    values = np.array([1.0, 2.0, 4.0, 4.5, 6.0])
    row = describe("s", "q", mean_of_few(values))
    exact = scipy.stats.t.interval(0.95, 4, values.mean(), scipy.stats.sem(values))
    assert (row.low, row.high) == pytest.approx(exact)


def test_rows_of_single_precision_are_written(tmp_path):
    single = np.float32(0.5), np.float32(0.25)
    rows = [compare("s", "q", single, (*single, "exact")), describe("s", "q", single)]
    toy = Experiment("toy", "", {"a": lambda key, size: rows})
    assert [row.value for row in run(toy, folder=tmp_path)] == [0.5, 0.5]
    assert json.loads((tmp_path / "rows.json").read_text())["parts"]["a"][0]["value"] == 0.5


def test_a_killed_run_goes_on(tmp_path):
    calls = []
    with pytest.raises(KeyboardInterrupt):
        run(experiment(calls, fails=("b",)), folder=tmp_path)
    assert calls == ["a"]
    rows = run(experiment(calls), folder=tmp_path)
    assert calls == ["a", "b", "c"]
    assert rows == run(experiment([]), folder=tmp_path) == run(experiment([]))


def test_a_page_shows_rows_misses_and_figures(tmp_path):
    def draw():
        from fracjax.plotting.style import new_figure

        figure = new_figure(1.0, 1.0)
        figure.subplots()
        return figure

    def part(key, size):
        rows = [
            compare("loop | x", "α", (1.0, 0.1), (1.2, 0.05, "exact")),
            compare("loop | x", "λ*", (2.0, 0.01), (1.0, 0.0, "exact")),
            describe("loop | x", "return", (3.0, 0.5)),
        ]
        return Findings(rows, {"picture": draw})

    both = Experiment("toy", "toys", {"a": part, "b": lambda key, size: []})
    run(both, folder=tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert page.startswith("# toy: toys\n\n1 of 2 compared numbers agree")
    assert r"| loop \| x | α | 1.00 ± 0.20 | 1.200 ± 0.050 | -1.8 | exact |" in page
    assert r"|  | λ\* | 2.000 ± 0.020 | 1 | +100.0 (misses) | exact |" in page
    assert r"| loop \| x | return | 3 | 2.02 to 3.98 |" in page
    assert "## b" not in page  # empty
    assert "![picture](picture.png)" in page
    assert (tmp_path / "picture.png").exists()
    (tmp_path / "README.md").unlink()
    run(both, folder=tmp_path)  # from what is kept
    assert (tmp_path / "README.md").read_text() == page


def test_rows_of_other_settings_are_left_alone(tmp_path):
    run(experiment([]), folder=tmp_path)
    before = (tmp_path / "rows.json").read_bytes()
    with pytest.raises(ValueError, match="seed 0 there, 1 now"):
        run(experiment([]), folder=tmp_path, seed=1)
    assert (tmp_path / "rows.json").read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "[]", '{"settings": {}}', '{"settings": {}, "parts": {"a": [1]}}']
)
def test_a_file_that_holds_no_rows_is_named(tmp_path, text):
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(ValueError, match=r"rows\.json"):
        run(experiment([]), folder=tmp_path)


def test_documents_are_valid_json_with_the_agreed_keys():
    rows = [compare("s", "q", (math.nan, 0.1), (1.0, 0.1, "exact"))]
    document = json.loads(json.dumps(as_document(rows), allow_nan=False))
    agreed = {"quantity", "value", "low", "high", "reference", "source", "agrees"}
    assert agreed <= set(document["rows"][0])
    assert document["rows"][0]["value"] is None


def test_every_known_value_can_be_measured():
    assert {system for system, _ in REFERENCES} <= set(measured())
    assert set(parts()) == {system for system, _ in REFERENCES}
    assert "references" in experiments()
