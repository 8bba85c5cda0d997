"""Hölder exponents against functions whose exponent is known."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators import holder_exponent, roughness, series_holder_exponent
from fracjax.estimators.lines import LineSampler, default_scales, root_mean_square
from fracjax.systems import maps, mdps, signals

exponent_from_lines = jax.jit(roughness.exponent_from_lines)
pytestmark = pytest.mark.usefixtures("x64")


def fbm_lines(seed: int, hurst: float, *, loudness: float = 0.0) -> tuple[jnp.ndarray, jnp.ndarray]:
    """Independent fractional Brownian lines, levels a factor of 4 apart, exact law."""
    directions, levels, points = 32, 5, 40
    key = jax.random.fold_in(jax.random.key(7), seed)
    keys = jax.random.split(key, directions * levels + 1)
    spacings = 4.0 ** -jnp.arange(levels)
    draw = jax.vmap(lambda k: signals.fractional_brownian_motion(k, hurst, points))
    lines = draw(keys[1:]).reshape(directions, levels, points) * (spacings**hurst)[None, :, None]
    loud = jnp.exp(loudness * jax.random.normal(keys[0], (directions, 1, 1)))
    return lines * loud, spacings


@pytest.mark.parametrize("hurst", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("loudness", [0.0, 1.0])
def test_interval_covers_the_exponent_of_brownian_lines(hurst, loudness):
    """Null: nominal 95 % coverage; 200 seeds, so 90 % is 3.2 standard errors away."""
    lines = jax.vmap(lambda seed: fbm_lines(seed, hurst, loudness=loudness)[0])(jnp.arange(200))
    spacings = fbm_lines(0, hurst)[1]
    estimates = jax.jit(jax.vmap(lambda values: exponent_from_lines(values, spacings)))(lines)
    covered = (estimates.low <= hurst) & (hurst <= estimates.high)
    assert (estimates.status == Status.OK).all()
    assert 0.90 <= covered.mean() <= 0.99
    assert abs(estimates.value.mean() - hurst) < 0.002
    assert estimates.value.std() < 0.012
    if loudness == 0:  # neither too narrow nor wide out of caution
        jackknife = jnp.sqrt(estimates.stderr**2 - estimates.details["misfit"] ** 2)
        assert 0.85 < jackknife.mean() / estimates.value.std() < 1.2
        assert jnp.median(estimates.stderr) < 1.25 * estimates.value.std()


def test_fit_p_value_is_uniform_for_a_power_law_and_small_for_a_bend():
    lines = jax.vmap(lambda seed: fbm_lines(seed, 0.5)[0])(jnp.arange(100))
    spacings = fbm_lines(0, 0.5)[1]
    straight = jax.jit(jax.vmap(lambda v: exponent_from_lines(v, spacings)))(lines)
    assert abs((straight.details["fit_p_value"] < 0.1).mean() - 0.1) < 0.1
    bend = jnp.array([1.0, 1.0, 1.0, 1.3, 1.8])[:, None]
    bent = exponent_from_lines(lines[0] * bend, spacings)
    assert bent.details["fit_p_value"] < 1e-3
    assert bent.stderr > 2 * straight.stderr[0]  # the misfit widens the interval


@pytest.mark.parametrize("hurst", [0.2, 0.5, 0.8])
def test_series_exponent_is_calibrated(hurst):
    """Null: 95 % coverage at n = 256; 400 seeds, 3.3 standard errors at 91 % and 99 %."""
    keys = jax.random.split(jax.random.key(3), 400)
    paths = jax.vmap(lambda k: signals.fractional_brownian_motion(k, hurst, 256))(keys)
    estimates = jax.jit(jax.vmap(series_holder_exponent))(paths)
    covered = (estimates.low <= hurst) & (hurst <= estimates.high)
    assert 0.91 <= covered.mean() <= 0.99
    assert abs(estimates.value.mean() - hurst) < 0.02
    assert 0.01 < (estimates.details["fit_p_value"] < 0.05).mean() < 0.1


def test_series_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match="at least 32"):
        series_holder_exponent(jnp.arange(10.0))
    run = jax.jit(series_holder_exponent)
    assert run(jnp.ones(64)).status == Status.AT_NOISE_FLOOR
    assert run(jnp.ones(64).at[3].set(jnp.nan)).status == Status.DIVERGED


@pytest.mark.parametrize("hurst", [0.3, 0.5, 0.8])
def test_weierstrass_landscape(hurst):
    objective = signals.weierstrass_field(jax.random.key(1), hurst, base=2.0)
    params = {"a": jnp.linspace(0.1, 0.4, 3), "b": jnp.array([[0.7]])}
    estimate = holder_exponent(objective, params, jax.random.key(2))
    assert estimate.status == Status.OK
    assert abs(estimate.value - hurst) < 0.02
    assert estimate.low - 0.01 <= hurst <= estimate.high + 0.01


def quadratic(params, key):
    return jnp.sum(params["w"] ** 2) + params["b"]


def linear(params, key):
    return 3.0 * jnp.sum(params["w"]) - params["b"]


def constant(params, key):
    return 0.0 * params["b"] + 2.0


def diverged(params, key):
    return jnp.nan * params["b"]


PARAMS = {"w": np.linspace(-1.0, 1.0, 6).reshape(3, 2), "b": np.asarray(0.3)}


def test_quadratic_is_smooth_at_the_cap():
    estimate = holder_exponent(quadratic, PARAMS, jax.random.key(0))
    assert estimate.status == Status.OK
    assert estimate.value == pytest.approx(2.0, abs=1e-3)
    assert estimate.details["at_cap"]
    assert estimate.details["order"] == 2


def test_linear_falls_back_to_first_differences():
    estimate = holder_exponent(linear, PARAMS, jax.random.key(0))
    assert estimate.status == Status.OK
    assert estimate.value == pytest.approx(1.0, abs=1e-6)
    assert estimate.details["order"] == 1


@pytest.mark.parametrize(
    ("objective", "status"), [(constant, Status.AT_NOISE_FLOOR), (diverged, Status.DIVERGED)]
)
@pytest.mark.parametrize("method", ["gls", "paper"])
def test_no_landscape_gives_a_status_and_no_number(objective, status, method):
    estimate = holder_exponent(objective, PARAMS, jax.random.key(0), method=method)
    assert estimate.status == status
    assert jnp.isnan(estimate.value)


def test_rough_below_the_noise_is_refused_and_above_it_is_not():
    """White noise of the size of the smallest increments must not read as roughness."""
    lines, spacings = fbm_lines(0, 0.5)
    variance = float(jnp.mean(jnp.diff(lines[:, -1], axis=-1) ** 2)) / 3
    noisy = lines + jnp.sqrt(variance) * jax.random.normal(jax.random.key(9), lines.shape)
    blind = exponent_from_lines(noisy, spacings)
    told = exponent_from_lines(noisy, spacings, noise_variance=variance)
    assert not told.details["window"][-1]
    assert abs(told.value - 0.5) < 0.05
    assert blind.details["local_slopes"][-1] < 0.5 - 0.05
    hopeless = exponent_from_lines(noisy, spacings, noise_variance=1e6)
    assert hopeless.status == Status.AT_NOISE_FLOOR


def test_lines_with_nonfinite_values_are_dropped_and_counted():
    lines, spacings = fbm_lines(0, 0.5)
    broken = lines.at[:5, 2, 7].set(jnp.inf)
    estimate = exponent_from_lines(broken, spacings)
    kept = exponent_from_lines(lines[5:], spacings)
    assert estimate.details["directions_used"] == 27
    assert estimate.value == pytest.approx(float(kept.value), abs=1e-9)
    assert exponent_from_lines(lines.at[:28].set(jnp.nan), spacings).status == Status.TOO_FEW_POINTS


def test_cusp_at_the_point_itself():
    """|x|^0.4 is seen with radius 0 only: its neighbourhood is smooth almost everywhere."""

    def cusp(x, key):
        return signals.cusp(x, 0.4)

    estimate = holder_exponent(
        cusp, np.asarray(0.0), jax.random.key(0), largest_scale=0.1, smallest_scale=1e-6, radius=0.0
    )
    assert estimate.value == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize("discount", [0.5, 0.7, 0.8, 0.9])
def test_tent_map_return_follows_the_law(discount):
    """α = -ln γ / ln 1.9 for constant expansion, within .02 + 3 %."""
    objective = mdps.chaotic_return(maps.tent(1.9), discount)
    estimate = holder_exponent(
        objective,
        jnp.asarray(0.5),
        jax.random.key(4),
        largest_scale=1e-4,
        smallest_scale=1e-8,
        radius=0.2,
    )
    expected = -np.log(discount) / np.log(1.9)
    assert estimate.status == Status.OK
    assert abs(estimate.value - expected) < 0.02 + 0.03 * expected
    assert abs(estimate.details["jump_gap"]) < 0.05


def test_several_objectives_at_once_equal_each_alone():
    def both(x, key):
        single = [mdps.chaotic_return(maps.tent(1.9), g, num_steps=80)(x, key) for g in (0.5, 0.8)]
        return jnp.stack(single)

    scales = {"largest_scale": 1e-4, "smallest_scale": 1e-8, "radius": 0.2, "measure_noise": False}
    joint = holder_exponent(both, jnp.asarray(0.5), jax.random.key(4), **scales)
    alone = mdps.chaotic_return(maps.tent(1.9), 0.8, num_steps=80)
    single = holder_exponent(alone, jnp.asarray(0.5), jax.random.key(4), **scales)
    assert joint.value.shape == (2,)
    assert joint.value[1] == pytest.approx(float(single.value), abs=2e-3)


def test_paper_method_on_the_clipped_linear_map():
    """The sharpness example: slope of ln Var on ln σ is 2α with α = -ln γ / ln θ."""

    def cost(start, key):
        return mdps.clipped_value(jnp.abs(start), 2.0, 0.9)

    estimate = holder_exponent(
        cost,
        np.asarray(0.0),
        jax.random.key(0),
        method="paper",
        largest_scale=1e-3,
        smallest_scale=1e-9,
        num_samples=2000,
        num_scales=13,
    )
    assert estimate.value == pytest.approx(0.1520, abs=0.01)
    assert estimate.details["slope"] == pytest.approx(2 * float(estimate.value))


def test_same_key_same_numbers_and_other_key_others():
    objective = signals.weierstrass_field(jax.random.key(1), 0.5)

    def run(seed):
        return holder_exponent(objective, jnp.ones(2) / 3, jax.random.key(seed)).value

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_jit_and_vmap_of_the_array_half_agree_with_eager():
    values = jnp.stack([fbm_lines(seed, 0.4)[0] for seed in range(3)])
    spacings = fbm_lines(0, 0.4)[1]
    eager = roughness.exponent_from_lines(values[0], spacings)
    batched = jax.jit(jax.vmap(lambda v: exponent_from_lines(v, spacings)))(values)
    np.testing.assert_allclose(batched.value[0], eager.value, rtol=1e-9)
    np.testing.assert_allclose(batched.stderr[0], eager.stderr, rtol=1e-6)
    alone = exponent_from_lines(values[2], spacings)
    np.testing.assert_allclose(batched.value[2], alone.value, rtol=1e-9)


def test_float32_reports_its_noise_floor():
    with jax.enable_x64(False):
        params = jnp.linspace(0.5, 1.5, 4, dtype=jnp.float32)
        objective = signals.weierstrass_field(jax.random.key(1), 0.5, num_terms=16)

        def lifted(params, key):
            return objective(params, key) + 1e5  # an offset that costs 17 bits

        estimate = holder_exponent(lifted, params, jax.random.key(0))
        assert estimate.value.dtype == jnp.float32
        assert estimate.details["noise_variogram"] > 0
        refused = estimate.status != Status.OK or not estimate.details["window"].all()
        assert refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "box"}, "method"),
        ({"largest_scale": 1e-3, "smallest_scale": 1e-2}, "smallest_scale"),
        ({"points_per_line": 20}, "points per line"),
        ({"num_directions": 4}, "directions"),
    ],
)
def test_bad_arguments_say_what_to_do(arguments, message):
    unchecked = inspect.unwrap(holder_exponent)  # past the tests' own type checks
    with pytest.raises(ValueError, match=message):
        unchecked(quadratic, PARAMS, jax.random.key(0), **arguments)


def test_integer_parameters_are_refused():
    with pytest.raises(ValueError, match="floating"):
        holder_exponent(quadratic, {"w": jnp.arange(3)}, jax.random.key(0))


def test_default_scales_follow_size_and_precision():
    params = jnp.full(5, 2.0)
    largest, smallest = default_scales(params)
    assert (largest, smallest) == (pytest.approx(0.2), pytest.approx(2e-7))
    assert default_scales(params.astype(jnp.float32))[1] > smallest
    assert root_mean_square(jnp.zeros(3)) == 1.0


def test_lines_are_what_they_say():
    """Values of a linear function give back the geometry: unit directions, even spacing."""
    sampler = LineSampler(
        lambda params, key: params, jnp.array([1.0, -2.0]), jax.random.key(0), 8, 0.5, 8
    )
    lines = sampler.ladder(0.8, 1e-3, points_per_line=5)
    steps = np.diff(lines.values, axis=2)
    size = np.sqrt((steps**2).mean(axis=-1))
    np.testing.assert_allclose(size, np.broadcast_to(lines.spacings[None, :, None], size.shape))
    assert lines.spacings[0] == pytest.approx(0.1)
    assert lines.spacings[-1] == pytest.approx(1e-3)


def test_an_estimate_that_one_line_carries_does_not_pass_as_one():
    """Quiet smooth lines and one wild one: the interval is wide, and the status says so."""
    lines, spacings = fbm_lines(0, 0.9)
    quiet = 1e-9 * lines
    wild = quiet.at[3].set(fbm_lines(1, 0.2)[0][3] * jnp.array([1.0, 3, 0.3, 2, 0.2])[:, None])
    estimate = exponent_from_lines(wild, spacings)
    assert estimate.status in (Status.NOT_CONVERGED, Status.NO_SCALING_REGION)
    assert estimate.details["largest_share"] > 0.99
