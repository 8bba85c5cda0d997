"""Rows, agreement, and runs that go on after being killed."""

import json
import math

import numpy as np
import pytest
import scipy.stats

from fracjax import Estimate
from fracjax.reproduce.comparisons import mean_of
from fracjax.reproduce.experiments import Experiment, experiments
from fracjax.reproduce.reference_numbers import averaged
from fracjax.reproduce.references import _count_positive, measured, parts
from fracjax.reproduce.rows import (
    Findings,
    Measured,
    agreement_bound,
    compare,
    describe,
    with_error,
)
from fracjax.reproduce.run import as_document, kept_results, run

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
    exact = scipy.stats.t.interval(0.95, 4, values.mean(), scipy.stats.sem(values))
    for row in (
        describe("s", "q", mean_of(values)),
        compare("s", "q", mean_of(values), (3.0, 0.0, "exact")),
    ):
        assert (row.low, row.high) == pytest.approx(exact)


def test_an_error_from_few_samples_is_allowed_what_is_as_rare():
    """Of 16 orbits: Student's t of 15 degrees has the two tails of four normal errors at 5.48."""
    tails = 2 * scipy.stats.norm.sf(4)
    assert agreement_bound() == 4
    assert agreement_bound(15.0) == pytest.approx(5.4804, abs=1e-4)
    for degrees in (1.0, 3.0, 15.0, 17.7, 1e3, 1e12):
        assert 2 * scipy.stats.t.sf(agreement_bound(degrees), degrees) == pytest.approx(tails)
    row = compare("s", "q", Measured(1.5, 0.1, 15), (1.0, 0.0, "exact"))
    assert row.degrees == pytest.approx(15)
    assert row.agrees  # five errors
    assert not compare("s", "q", (1.5, 0.1), (1.0, 0.0, "exact")).agrees
    assert not compare("s", "q", Measured(1.56, 0.1, 15), (1.0, 0.0, "exact")).agrees


def test_only_the_sampled_part_of_a_joint_error_is_uncertain():
    """Welch and Satterthwaite: half of the variance from 16 orbits has 15 · 4 degrees."""
    row = compare("s", "q", Measured(1.0, 0.3, 15), (1.0, 0.3, "published"))
    assert row.degrees == pytest.approx(60)
    row = compare("s", "q", Measured(1.0, 0.3, 15), (1.0, 0.0, "exact"), systematic=0.3)
    assert row.degrees == pytest.approx(60)
    for known in (Measured(1.0, 0.0, 15), Measured(1.0, math.nan, 0), (1.0, 0.3)):
        assert compare("s", "q", known, (1.0, 0.3, "published")).degrees == math.inf


def test_true_numbers_of_few_orbits_miss_as_rarely_as_those_of_many():
    """Null: 20 000 means of 4 normal numbers. At four errors 2.8 % miss, here 1.3 in all.

    The Poisson probability of more than 9 is below 1e-5.
    """
    draws = np.random.default_rng(0).normal(size=(20_000, 4))
    rows = [compare("s", "q", mean_of(four), (0.0, 0.0, "exact")) for four in draws]
    assert sum(not row.agrees for row in rows) <= 9
    assert sum(abs(row.z) > 4 for row in rows) > 400


def test_degrees_of_freedom_are_kept_and_their_absence_means_known(tmp_path):
    rows = [
        compare("s", "few", Measured(1.5, 0.1, 15), (1.0, 0.0, "exact")),
        compare("s", "known", (1.1, 0.1), (1.0, 0.0, "exact")),
    ]
    toy = Experiment("toy", "", {"a": lambda key, size: rows})
    run(toy, folder=tmp_path)
    document = json.loads((tmp_path / "rows.json").read_text())
    few, known = document["parts"]["a"]
    assert few["degrees"] == pytest.approx(15)
    assert "degrees" not in known
    assert kept_results(tmp_path, document["settings"])[0]["a"] == rows
    page = (tmp_path / "README.md").read_text()
    assert "within four joint standard errors, or, where an error is from few samples" in page
    assert "| +5.0 (of 5.5) |" in page
    assert "| +1.0 |" in page


def test_exponents_that_16_orbits_cannot_tell_from_zero_are_not_counted():
    """Five errors from zero is not surely positive, six is."""
    scatter = np.linspace(-1, 1, 16)
    scatter /= scatter.std(ddof=1) / 4  # a standard error of 1

    def counted(*means):
        spectra = Estimate(np.array(means) + scatter[:, None], None, None, None, None)
        return tuple(map(float, _count_positive(spectra, 0)[:2]))

    assert counted(6.0, 6.0, -6.0) == (2.0, 0.0)
    assert counted(6.0, 5.0, -6.0) == (1.5, 0.5)
    assert averaged(scatter).degrees == 15


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


def test_a_folder_that_cannot_hold_rows_costs_no_work(tmp_path):
    calls = []
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file"):
        run(experiment(calls), folder=tmp_path / "file")
    with pytest.raises(ValueError, match="cannot write"):
        run(experiment(calls), folder=tmp_path / "file" / "rows")
    assert calls == []


def test_a_page_of_another_is_never_replaced(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("# My project\n")
    with pytest.raises(ValueError, match=r"README\.md is no page of toy"):
        run(experiment([]), folder=tmp_path)
    assert page.read_text() == "# My project\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["README.md"]
    page.unlink()
    run(experiment([]), folder=tmp_path)
    (tmp_path / "rows.json").unlink()
    run(experiment([]), folder=tmp_path)  # its own


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


@pytest.mark.parametrize(
    ("error", "text"),
    [(0.0123, "0.962 ± 0.012"), (0.0, "0.962424"), (math.inf, "0.962424"), (math.nan, "0.962424")],
)
def test_a_number_shows_the_digits_that_its_error_leaves(error, text):
    assert with_error(0.9624236, error) == text
