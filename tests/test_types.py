"""How results present themselves."""

import jax
import jax.numpy as jnp
import pytest

from fracjax import Estimate, Status
from fracjax._types import Label


def estimate(value, stderr, status=Status.OK):
    numbers = (value, stderr, value - 2 * stderr, value + 2 * stderr)
    return Estimate(*(jnp.asarray(number) for number in numbers), jnp.asarray(int(status)))


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (0.25, 0.01, "0.25 [0.23, 0.27]"),
        (2.062148, 7e-6, "2.062148 [2.062134, 2.062162]"),
        (0.0, 0.01, "0 [-0.02, 0.02]"),
        (float("nan"), float("nan"), "nan [nan, nan]"),
    ],
)
def test_an_estimate_prints_as_many_digits_as_it_has(value, stderr, text, x64):
    assert str(estimate(value, stderr)) == text


def test_an_estimate_prints_its_status():
    assert str(estimate(1.0, 0.1, Status.AT_NOISE_FLOOR)).endswith("(at_noise_floor)")
    batch = jax.vmap(lambda v: estimate(v, 0.1))(jnp.ones(3))
    assert str(batch) == "Estimate(shape=(3,), ok=3/3)"


def test_a_label_passes_through_transformations():
    def function(x):
        return {"x": x, "name": Label("exterior")}

    assert jax.jit(function)(1.0)["name"] == "exterior"
    assert jax.vmap(function)(jnp.ones(2))["name"] == "exterior"
