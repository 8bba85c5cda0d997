"""Gradients and updates at fractal and smooth places: the parts whose laws are known."""

import jax
import pytest

from fracjax.reproduce import fractal_gradients, fractal_places, fractal_updates

KEY = jax.random.key(0)


def test_every_environment_has_both_kinds_of_parts():
    for name in ("pendulum", "acrobot", "double pendulum"):
        assert f"gradients, {name}" in fractal_gradients.PARTS
        assert f"updates, {name}" in fractal_updates.PARTS


@pytest.mark.slow
def test_places_are_those_that_the_tables_name(x64):
    trained, untrained = fractal_places.places("pendulum", KEY, "quick")
    assert (trained.name, untrained.name) == ("pendulum, trained", "pendulum, untrained")
    returned = [float(jax.jit(p.objective)(p.policy.params, KEY)) for p in (trained, untrained)]
    assert returned[0] > returned[1] + 10
    (alone,) = fractal_places.places("double_pendulum", KEY, "quick")
    assert alone.name == "double_pendulum, untrained"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (fractal_gradients.PARTS, "gradients, exact"),
        (fractal_gradients.PARTS, "gradients, chaotic map"),
        (fractal_updates.PARTS, "updates, known roughness"),
    ],
)
def test_known_laws_agree(x64, parts, name):
    found = parts[name](KEY, "quick")
    assert all(row.agrees for row in found.rows), [row for row in found.rows if not row.agrees]
    assert len(found.figures) == 1
