"""Barriers and curves in valleys whose shape is known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fracjax import Status
from fracjax.landscapes.connectivity.barriers import linear_barrier
from fracjax.landscapes.connectivity.connecting import connecting_curve
from fracjax.landscapes.connectivity.curves import point_on_curve

KEY = jax.random.key(0)
EAST, WEST = {"x": jnp.array([1.0, 0.0])}, {"x": jnp.array([-1.0, 0.0])}


def ring(params, key):
    """Zero on the unit circle, 1 in its middle."""
    return (jnp.sum(params["x"] ** 2) - 1) ** 2


def parabola(params, key):
    """Zero on y = 1 - x², the Bézier curve from (1, 0) to (-1, 0) with control point (0, 2)."""
    x, y = params["x"]
    return (y - 1 + x**2) ** 2


def noisy_ring(params, key):
    return ring(params, key) + 0.5 * jax.random.normal(key) * params["x"][1]


# --- the straight line ------------------------------------------------------------------------


def test_the_barrier_of_a_known_line():
    """(x² - 1)² along the diameter, on top of a slope that the definition takes off."""
    found = linear_barrier(ring, EAST, WEST, KEY)
    t = np.linspace(0, 1, 61)
    np.testing.assert_allclose(found["value"], ((1 - 2 * t) ** 2 - 1) ** 2, atol=1e-6)
    assert found["barrier"] == pytest.approx(1.0)
    assert found["barrier_at"] == 0.5
    assert found["coarse_barrier"] == pytest.approx(1.0)
    assert found["status"] == Status.OK
    tilted = linear_barrier(lambda p, k: ring(p, k) + 3 * p["x"][0], EAST, WEST, KEY)
    assert tilted["barrier"] == pytest.approx(1.0, abs=1e-5)
    assert tilted["value"].max() == pytest.approx(3.0, abs=0.5)


def test_a_return_has_its_barrier_below():
    found = linear_barrier(lambda p, k: -ring(p, k), EAST, WEST, KEY, maximize=True)
    assert found["barrier"] == pytest.approx(1.0)
    bowl = linear_barrier(lambda p, k: jnp.sum(p["x"] ** 2), EAST, WEST, KEY)
    assert bowl["barrier"] == 0
    assert linear_barrier(ring, EAST, EAST, KEY)["barrier"] == 0


def test_replicates_give_the_barrier_an_error(x64):
    """Noise z y along y = x: the excess at the middle is known but for z. 200 barriers, 95 %."""

    def objective(params, key):
        x, _ = params["x"]
        return (x**2 - 1) ** 2 * (1 + 0.3 * jax.random.normal(key))

    covered = 0
    for seed in range(200):
        found = linear_barrier(
            objective, EAST, WEST, jax.random.key(seed), num_points=5, num_replicates=16
        )
        covered += bool(found["low"] <= 1.0 <= found["high"])
        assert found["stderr"] > 0
    assert 180 <= covered <= 199  # binomial, 0.1 % on each side
    np.testing.assert_allclose(found["value_stderr"][2], found["stderr"], rtol=1e-6)


def test_a_value_that_is_not_finite_is_said():
    found = linear_barrier(
        lambda p, k: jnp.where(jnp.abs(p["x"][0]) < 0.1, jnp.nan, 1.0), EAST, WEST, KEY
    )
    assert found["status"] == Status.DIVERGED
    assert np.isnan(found["barrier"])


# --- curves -----------------------------------------------------------------------------------


def test_points_on_curves_follow_their_definition(x64):
    bends = {"x": jnp.array([[1.0, 0.0], [0.5, 3.0], [-2.0, 1.0], [-1.0, 0.0]])}
    for t in (0.0, 0.3, 0.5, 1.0):
        row = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]
        found = point_on_curve(bends, t)["x"]
        np.testing.assert_allclose(found, np.array(row) @ bends["x"], atol=1e-12)
        pieces = [np.interp(t, np.linspace(0, 1, 4), bends["x"][:, i]) for i in range(2)]
        found = jax.jit(lambda t: point_on_curve(bends, t, kind="polyline"))(t)["x"]
        np.testing.assert_allclose(found, pieces, atol=1e-12)


def test_a_curve_finds_the_valley_that_is_one():
    curve = connecting_curve(parabola, EAST, WEST, KEY)
    np.testing.assert_allclose(curve.bends["x"], [[1, 0], [0, 2], [-1, 0]], atol=1e-3)
    assert curve.data["line_barrier"] == pytest.approx(1.0)
    assert curve.data["barrier"] < 1e-5
    assert curve.data["status"] == Status.OK
    np.testing.assert_allclose(curve.at(0.25)["x"], [0.5, 0.75], atol=1e-3)
    # Length of y = 1 - x² from -1 to 1, over 2.
    expected = (np.sqrt(5) + np.arcsinh(2) / 2) / 2
    assert curve.data["length_ratio"] == pytest.approx(expected, rel=1e-3)


def test_the_best_bend_around_a_ring_is_known():
    """∫ (|θ(t)|² - 1)² dt over θ with control point (0, c) is least at c² = 4.5.

    With u = 1 - 2 t, |θ|² - 1 = (1 - u²) (c² (1 - u²) / 4 - 1), and the least of a quadratic in
    c² / 4 is ∫ (1 - u²)³ / ∫ (1 - u²)⁴ = 9/8. The barrier is then at most 1/16 of the line's.
    """
    curve = connecting_curve(ring, EAST, WEST, KEY, num_steps=3000, learning_rate=0.003)
    x, y = curve.bends["x"][1]
    # Steps at random points leave a few hundredths.
    assert abs(x) < 0.1
    assert abs(abs(y) - 4.5**0.5) < 0.1
    assert curve.data["barrier"] < 1 / 16
    assert curve.data["line_barrier"] == pytest.approx(1.0)


def test_a_polyline_goes_around_too_with_any_optimiser():
    """A regular half of a 12-gon leaves 1 - cos²(15°) at the middle of its sides."""
    curve = connecting_curve(
        ring,
        EAST,
        WEST,
        KEY,
        kind="polyline",
        num_bends=7,
        optimiser=optax.sgd(0.05, momentum=0.9),
        samples_per_step=4,
    )
    assert curve.data["barrier"] < 2 * (1 - np.cos(np.pi / 12) ** 2) ** 2
    assert curve.data["length_ratio"] == pytest.approx(np.pi / 2, rel=0.05)


@pytest.mark.slow
def test_a_return_is_climbed_and_noise_averaged():
    curve = connecting_curve(
        lambda p, k: -noisy_ring(p, k),
        EAST,
        WEST,
        KEY,
        maximize=True,
        num_replicates=8,
        samples_per_step=4,
        learning_rate=0.01,
    )
    assert curve.data["barrier"] < 0.3 < curve.data["line_barrier"]
    assert curve.data["value_stderr"].max() > 0
    line = linear_barrier(noisy_ring, EAST, WEST, KEY, num_replicates=8)
    np.testing.assert_allclose(curve.data["line_value"], -line["value"], atol=1e-6)
    assert curve.data["training"][-50:].mean() > curve.data["training"][:50].mean()


def test_training_that_is_not_done_says_so():
    curve = connecting_curve(parabola, EAST, WEST, KEY, num_steps=100, learning_rate=0.005)
    assert curve.data["status"] == Status.NOT_CONVERGED


def test_gradients_that_are_not_finite_are_left_out():
    def objective(params, key):
        x = params["x"]
        return ring(params, key) + 0 * jnp.sqrt(jnp.maximum(x[0], 0.0))  # NaN slope for x < 0

    curve = connecting_curve(objective, EAST, WEST, KEY, num_steps=100)
    assert curve.data["status"] == Status.NONFINITE_TANGENT
    assert 20 < curve.data["num_nonfinite"] < 80
    assert np.isfinite(curve.bends["x"]).all()


def test_runs_repeat_and_keep_their_dtype():
    first, second = (connecting_curve(parabola, EAST, WEST, KEY) for _ in range(2))
    np.testing.assert_array_equal(first.bends["x"], second.bends["x"])
    assert first.bends["x"].dtype == EAST["x"].dtype


# --- refusals ---------------------------------------------------------------------------------


def stepped(params, key):
    return jnp.round(10 * ring(params, key))


def looped(params, key):
    start = jnp.sum(params["x"] ** 2) + 0.1
    return jax.lax.while_loop(lambda c: c < 3, lambda c: 1.1 * c, start)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: connecting_curve(stepped, EAST, WEST, KEY), "exactly zero.*linear_barrier"),
        (lambda: connecting_curve(looped, EAST, WEST, KEY), "reverse mode.*linear_barrier"),
        (lambda: connecting_curve(ring, EAST, WEST, KEY, num_bends=2), "`num_bends`"),
        (lambda: connecting_curve(ring, EAST, WEST, KEY, num_steps=5), "`num_steps`"),
        (lambda: linear_barrier(ring, EAST, WEST, KEY, num_points=4), "`num_points` must be odd"),
        (lambda: linear_barrier(ring, EAST, WEST, KEY, num_replicates=0), "`num_replicates`"),
        (lambda: linear_barrier(ring, EAST, {"x": jnp.zeros(3)}, KEY), "`second` must"),
        (lambda: linear_barrier(ring, {"x": 1}, {"x": 2}, KEY), "floating"),
        (lambda: linear_barrier(lambda p, k: p["x"], EAST, WEST, KEY), "return a scalar"),
    ],
)
def test_what_cannot_be_done_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
