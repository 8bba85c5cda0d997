"""The fractal experiment: its parts, the cheap ones run, figures beside rows."""

import json

import jax
import numpy as np
import pytest

from fracjax.reproduce import fractal
from fracjax.reproduce.experiments import Experiment, experiments
from fracjax.reproduce.rows import Findings, compared
from fracjax.reproduce.run import run

KEY = jax.random.key(0)
FAST = ("clipped map", "logistic exponents")
ENVIRONMENTS = ("pendulum", "acrobot", "double pendulum", "inverted pendulum", "hopper")


def rows_of(found):
    return found.rows if isinstance(found, Findings) else found


def test_every_claim_has_a_part():
    parts = fractal.parts()
    assert set(experiments()["fractal"].parts) == set(parts)
    expected = {
        "clipped map",
        "weierstrass",
        "both estimators",
        "skew tent map",
        "jumps",
        "tent map, slope 1.9",
        "logistic map, r=4",
        "logistic map, r=3.8",
        "3x mod 1",
        "logistic exponents",
        "logistic landscapes",
        "stochastic policy",
        "mean over the noise",
        "pendulum",
        "acrobot",
        "gradients, exact",
        "gradients, chaotic map",
        "gradients, pendulum",
        "gradients, acrobot",
        "gradients, double pendulum",
        "updates, known roughness",
        "updates, pendulum",
        "updates, acrobot",
        "updates, double pendulum",
        *(f"{kind}: {name}" for kind in ("slices", "training") for name in ENVIRONMENTS),
    }
    assert set(parts) == expected


@pytest.mark.parametrize("name", FAST)
def test_cheap_parts_agree(name):
    before = jax.config.jax_enable_x64
    rows = rows_of(fractal.parts()[name](KEY, "quick"))
    assert rows
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]
    assert all(row.low <= row.value <= row.high for row in rows)
    assert jax.config.jax_enable_x64 == before


@pytest.mark.slow
def test_both_estimators_beside_each_other_and_the_figures(tmp_path):
    """In the mean each is near H; what has no reference says so."""
    found = fractal.parts()["both estimators"](KEY, "quick")
    assert all(row.agrees for row in found.rows), [row for row in found.rows if not row.agrees]
    assert len(compared(found)) == 2 * 2 * 5  # ladders, estimators, exponents
    spreads = {
        (row.system, row.quantity.split(", ")[1]): row.value
        for row in found.rows
        if row.quantity.startswith("spread")
    }
    name = "Weierstrass b=3, H=0.7, six decades"
    assert spreads[name, "second differences"] < 0.25 * spreads[name, "variance slope"]
    toy = Experiment("toy", "", {"both": lambda key, size: found})
    assert run(toy, folder=tmp_path, size="quick") == found.rows
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == ["both_estimators_four_decades.png", "both_estimators_six_decades.png"]
    assert (tmp_path / pictures[0]).read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((tmp_path / "rows.json").read_text())["parts"]["both"]) == len(found.rows)


def test_figures_are_not_drawn_without_a_folder_or_again(tmp_path):
    drawn = []

    def part(key, size):
        return Findings([], {"picture": lambda: drawn.append(1)})

    toy = Experiment("toy", "", {"a": part})
    assert run(toy) == []
    assert drawn == []
    with pytest.raises(AttributeError):  # the figure is asked to be saved
        run(toy, folder=tmp_path)
    assert drawn == [1]
    assert not (tmp_path / "rows.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*fractal.parts()} - {*FAST, "both estimators"}))
def test_every_part_agrees(name):
    found = fractal.parts()[name](jax.random.key(7), "quick")
    rows = rows_of(found)
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]
    assert np.isfinite([row.value for row in rows]).all()
    for draw in getattr(found, "figures", {}).values():
        assert draw().axes
