"""Regimes by intervals, at every corner of the table."""

import math

import jax
import jax.numpy as jnp
import pytest

from fracjax import Estimate, Status
from fracjax.learning import Regime, classify, neutral_growth

OK = jnp.asarray(int(Status.OK))


def interval(low, high, status=OK):
    low, high = jnp.asarray(low), jnp.asarray(high)
    return Estimate((low + high) / 2, (high - low) / 4, low, high, status)


@pytest.mark.parametrize(
    ("largest", "total", "regime"),
    [
        ((-0.2, -0.1), (-1.0, -0.9), Regime.STABLE),
        ((-0.2, -0.1), (math.nan, math.nan), Regime.STABLE),
        ((0.002, 0.005), (-0.2, -0.1), Regime.STABLE),  # of a bare sign: chaotic
        ((0.1, 0.2), (-1.0, -0.9), Regime.CHAOTIC),
        ((0.1, 0.2), (0.3, 0.4), Regime.UNSTABLE),
        ((0.1, 0.2), (-0.001, 0.002), Regime.CONSERVATIVE),
        ((0.1, 0.2), (-0.1, 0.1), Regime.UNDECIDED),
        ((0.1, 0.2), (math.nan, math.nan), Regime.UNDECIDED),
        ((-0.1, 0.1), (-1.0, -0.9), Regime.UNDECIDED),
        ((math.nan, math.nan), (-1.0, -0.9), Regime.UNDECIDED),
    ],
)
def test_the_table(largest, total, regime):
    found = classify(interval(*largest), interval(*total), tolerance=neutral_growth(1000))
    assert Regime(int(found)) == regime
    assert Regime(int(found)).label == regime.name.lower()


def test_upper_bounds_show_contraction_only():
    floor = jnp.asarray(int(Status.AT_NOISE_FLOOR))
    grows = interval(0.1, 0.2)
    assert classify(grows, interval(0.3, 0.4, floor)) == Regime.UNDECIDED
    assert classify(grows, interval(-0.001, 0.001, floor), tolerance=0.01) == Regime.UNDECIDED
    assert classify(grows, interval(-0.5, -0.4, floor)) == Regime.CHAOTIC
    for bounds in ((0.1, 0.2), (-0.2, -0.1)):
        assert classify(interval(*bounds, floor), interval(-0.5, -0.4)) == Regime.UNDECIDED


def test_a_shear_reads_the_neutral_growth():
    """Separation in proportion to time: ln(T)/T, up to the start's angle."""
    steps = 1000
    separation = jnp.array([[1.0, float(steps)], [0.0, 1.0]]) @ jnp.array([0.0, 1.0])
    growth = float(jnp.log(jnp.linalg.norm(separation))) / steps
    assert growth == pytest.approx(neutral_growth(steps), rel=1e-4)
    assert neutral_growth(1000, 0.01) == pytest.approx(0.690776, rel=1e-5)
    with pytest.raises(ValueError, match="`num_steps` must"):
        neutral_growth(1)


def test_batches():
    tests = jnp.array([-0.2, 0.1])
    largest = Estimate(tests, tests, tests, tests + 0.1, OK)
    found = jax.jit(
        jax.vmap(
            lambda one: classify(one, interval(-1.0, -0.9)), in_axes=(Estimate(0, 0, 0, 0, None),)
        )
    )(largest)
    assert found.tolist() == [Regime.STABLE, Regime.CHAOTIC]
