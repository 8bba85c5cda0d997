"""Exponents from lines of Gaussian processes whose variogram is known: bias and coverage.

Coverage: null of 95 %, 200 seeds, so that 90 % is 3.2 standard errors away. The standard
error includes the search for the window, which costs width where there is nothing to search:
on pure power laws it is about 1.2 times the scatter, and all but 1 % may be covered.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from fracjax import Status
from fracjax.estimators.roughness import from_lines
from fracjax.estimators.roughness.anisotropy import compare_directions
from fracjax.estimators.roughness.resampling import bootstrap_quantiles, jackknife_variance
from fracjax.estimators.roughness.windows import candidates, chi_square_tail

pytestmark = pytest.mark.usefixtures("x64")

SEEDS, LINES, LEVELS, POINTS = 200, 32, 6, 40
SPACINGS = 4.0 ** -np.arange(LEVELS)


def power_law(hurst):
    return lambda h: np.abs(h) ** (2 * hurst)


def bent(hurst, *, inner=0.0, outer=np.inf):
    """Variogram (h² + inner²)^H, bounded beyond `outer`; a valid covariance for H < 1."""

    def variogram(h):
        rough = (h**2 + inner**2) ** hurst - inner ** (2 * hurst)
        return rough if np.isinf(outer) else -np.expm1(-rough / outer ** (2 * hurst))

    return variogram


def draw(variogram, *, seed=0, loudness=0.0, noise=0.0):
    """Independent lines with stationary Gaussian increments; exact law."""
    rng = np.random.default_rng(seed)
    lines = np.zeros((SEEDS, LINES, LEVELS, POINTS))
    index = np.arange(1, POINTS)
    for level, spacing in enumerate(SPACINGS):
        v = variogram(spacing * np.arange(POINTS))
        covariance = v[index][:, None] + v[index] - v[abs(index[:, None] - index)]
        size = np.abs(covariance).max()
        root = np.linalg.cholesky(covariance / size + 1e-13 * np.eye(POINTS - 1))
        draws = rng.normal(size=(SEEDS, LINES, POINTS - 1))
        lines[:, :, level, 1:] = draws @ root.T * size**0.5
    loud = np.exp(loudness * rng.normal(size=(SEEDS, LINES, 1, 1)))
    return lines * loud + noise * rng.normal(size=lines.shape)


@functools.lru_cache
def batched(**settings):
    """One program for all seeds; compiled without optimisation, which takes half the time."""

    def one(values, noise):
        estimate = functools.partial(from_lines.exponent_from_lines, **settings)
        return estimate(values, jnp.asarray(SPACINGS), noise_variance=noise)

    def every(lines, noise):
        return jax.lax.map(lambda values: one(values, noise), lines)

    return jax.jit(every, compiler_options={"xla_backend_optimization_level": 0})


def single(values, noise=0.0):
    """Estimate from the first lines of a batch, by the program of the batch."""
    padded = jnp.broadcast_to(jnp.asarray(values), (SEEDS, *values.shape))
    return jax.tree.map(lambda leaf: leaf[0], batched()(padded, noise))


def coverage(estimate, hurst):
    return float(jnp.mean((estimate.low <= hurst) & (hurst <= estimate.high)))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("hurst", "loudness"),
    [
        (0.1, 0.0),
        (0.5, 1.0),
        (0.9, 0.0),
        *(pytest.param(hurst, 0.0, marks=SLOW) for hurst in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
        *(pytest.param(hurst, 1.0, marks=SLOW) for hurst in (0.1, 0.3, 0.7, 0.9)),
    ],
)
def test_gate_h1_interval_covers_the_exponent_of_brownian_lines(hurst, loudness):
    estimate = batched()(draw(power_law(hurst), loudness=loudness), 0.0)
    assert (estimate.status == Status.OK).all()
    assert abs(estimate.value.mean() - hurst) < 0.002
    scatter = float(estimate.value.std())
    assert 0.91 <= coverage(estimate, hurst) <= 0.995
    assert scatter < 0.005
    assert 0.9 < jnp.median(estimate.stderr) / scatter < 1.45
    details = estimate.details
    assert 0.8 < jnp.median(details["naive_stderr"]) / scatter < 1.2
    if loudness == 0:  # the model has lines of equal size
        assert 0.8 < jnp.median(details["model_stderr"]) / scatter < 1.2
    assert 0.01 < (details["power_law_p_value"] < 0.05).mean() < 0.12
    assert (details["homogeneity_p_value"] < 0.05).mean() < 0.1
    assert not details["jump_alarm"].any()
    assert abs(details["minimum_exponent"].mean() - hurst) < 0.01


@pytest.mark.parametrize("hurst", [0.3, 0.5, 0.7])
def test_a_smooth_bend_at_the_outer_scale_is_searched_around(hurst):
    """Bounded beyond scale 1, with lags up to 8: a line through all levels is off by .01 to .04."""
    estimate = batched()(draw(bent(hurst, outer=1.0)), 0.0)
    assert (estimate.status == Status.OK).mean() > 0.98
    assert abs(jnp.mean(estimate.value) - hurst) < 0.015
    assert coverage(estimate, hurst) >= 0.85
    details = estimate.details
    # What the search costs, and what the error would be without it.
    naive = jnp.abs(estimate.value - hurst) < 1.96 * details["naive_stderr"]
    assert naive.mean() < coverage(estimate, hurst) - 0.05
    assert (details["power_law_p_value"] < 0.01).mean() > 0.9
    if hurst > 0.3:
        assert 1 < jnp.median(details["outer_scale"]) < 5


def test_an_inner_scale_is_searched_around():
    """Smooth below .01, of six levels down to .001: the upper levels carry the estimate."""
    estimate = batched()(draw(bent(0.7, inner=0.01)), 0.0)
    assert abs(jnp.nanmean(estimate.value) - 0.7) < 0.03
    assert coverage(estimate, 0.7) >= 0.85
    assert estimate.details["window"][:, -1].mean() < 0.05


@pytest.mark.parametrize("ratio", [0.3, 1.0])
def test_gate_h2_noise_that_is_a_bound_an_exact_number_or_unknown(ratio):
    """White noise of `ratio` times the smallest first difference, H = .5."""
    size = ratio * SPACINGS[-1] ** 0.5
    lines = draw(power_law(0.5), noise=size)
    known = batched(noise_is_known=True)(lines, size**2)
    assert (known.status == Status.OK).all()
    assert abs(known.value.mean() - 0.5) < 0.003
    assert 0.91 <= coverage(known, 0.5) <= 0.995
    bound = batched()(lines, size**2)
    assert abs(bound.value.mean() - 0.5) < 0.01
    assert coverage(bound, 0.5) >= 0.91
    assert (bound.details["noise_stderr"] > 0).all()
    blind = batched()(lines, 0.0)
    assert abs(blind.value.mean() - 0.5) < 0.015
    assert coverage(blind, 0.5) >= 0.8
    if ratio == 1:
        nugget = jnp.median(blind.details["nugget"])
        assert nugget == pytest.approx(6 * size**2, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("hurst", [0.1, 0.5, 0.9])
def test_bootstrap_interval_covers(hurst):
    estimate = batched(interval="bootstrap")(draw(power_law(hurst)), 0.0)
    assert 0.92 <= coverage(estimate, hurst) <= 0.999
    assert (estimate.low < estimate.value).all()
    assert (estimate.value < estimate.high).all()


@pytest.mark.slow
def test_bootstrap_repeats_the_search():
    lines = draw(bent(0.3, outer=1.0))
    estimate = batched(interval="bootstrap")(lines, 0.0)
    assert coverage(estimate, 0.3) >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize("hurst", [0.3, 0.7])
@pytest.mark.parametrize("order", [1, 3])
def test_other_orders_cover(hurst, order):
    """First differences of H = .7 lines are close to where they stop being normal."""
    estimate = batched(order=order)(draw(power_law(hurst)), 0.0)
    assert abs(estimate.value.mean() - hurst) < 0.004
    assert 0.9 <= coverage(estimate, hurst) <= 0.999


def test_what_bends_beyond_repair_is_marked():
    lines = draw(power_law(0.5))
    kink = np.array([1.0, 1.0, 1.0, 1.3, 1.8, 2.4])[:, None]
    straight, broken = single(lines[0]), single(lines[0] * kink)
    assert straight.details["power_law_p_value"] > 0.01
    assert broken.details["power_law_p_value"] < 1e-6
    assert broken.stderr > 2 * straight.stderr
    saw = np.array([1.0, 9.0, 1.0, 9.0, 1.0, 9.0])[:, None]
    assert single(lines[0] * saw).status == Status.NO_SCALING_REGION


def test_noise_above_everything_is_refused():
    lines = draw(power_law(0.5))[0]
    assert single(lines, 1e6).status == Status.AT_NOISE_FLOOR
    assert jnp.isnan(single(lines, 1e6).value)
    assert single(np.zeros_like(lines)).status == Status.AT_NOISE_FLOOR


def test_a_plateau_that_was_taken_for_half_its_size_is_no_exponent():
    """White noise whose variance is known too small must not pass as an exponent near 0."""
    noise = np.random.default_rng(0).normal(size=(LINES, LEVELS, POINTS))
    for told in (0.5, 0.7):
        assert single(noise, told).status == Status.AT_NOISE_FLOOR


def test_lines_with_nonfinite_values_are_dropped_and_counted():
    lines = draw(power_law(0.5))[0]
    broken, absent = lines.copy(), lines.copy()
    broken[:5, 2, 7], absent[:5] = np.inf, np.nan
    estimate, other = single(broken), single(absent)
    assert estimate.details["directions_used"] == 27
    assert estimate.value == pytest.approx(float(other.value), abs=1e-12)
    assert estimate.stderr == pytest.approx(float(other.stderr), rel=1e-9)
    assert jnp.isnan(estimate.details["line_exponents"]).sum() == 5
    lines[:28] = np.nan
    assert single(lines).status == Status.TOO_FEW_POINTS
    assert single(np.full_like(lines, np.nan)).status == Status.DIVERGED


def test_an_estimate_that_one_line_carries_does_not_pass_as_one():
    """Quiet smooth lines and one wild one: the interval is wide, and the status says so."""
    lines = 1e-9 * draw(power_law(0.9))[0]
    wild = np.array([1.0, 3.0, 0.3, 2.0, 0.2, 1.0])[:, None]
    lines[3] = draw(power_law(0.2), seed=1)[0, 3] * wild
    estimate = single(lines)
    assert estimate.status in (Status.NOT_CONVERGED, Status.NO_SCALING_REGION)
    assert estimate.details["largest_share"] > 0.99


def test_gate_h5_paths_that_jump_raise_the_alarm():
    """Lévy flights of stability 1.5: typical increments scale with 1/1.5, squares with 1/2."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(-np.pi / 2, np.pi / 2, (LINES, LEVELS, POINTS))
    wait = rng.exponential(size=angle.shape)
    stable = np.sin(1.5 * angle) / np.cos(angle) ** (1 / 1.5)
    stable *= (np.cos(0.5 * angle) / wait) ** (-0.5 / 1.5)
    estimate = single(np.cumsum(stable, axis=-1) * SPACINGS[:, None] ** (1 / 1.5))
    assert estimate.details["lag_gap"] == pytest.approx(1 / 1.5 - 1 / 2, abs=0.06)
    assert estimate.details["jump_alarm"]


def test_lines_that_differ_are_found():
    """A third of the lines with H = .4 among H = .6."""
    rough, smooth = draw(power_law(0.4)), draw(power_law(0.6))
    lines = smooth.copy()
    lines[:, ::3] = rough[:, ::3]
    details = batched()(lines, 0.0).details
    assert (details["homogeneity_p_value"] < 1e-3).all()
    assert jnp.median(details["direction_spread"]) == pytest.approx(0.094, abs=0.02)
    assert (details["minimum_direction"] % 3 == 0).all()
    assert abs(details["minimum_exponent"].mean() - 0.4) < 0.04


def test_the_minimum_of_equal_directions_is_their_mean():
    """And of a single direction there is nothing to compare: the last row."""
    rng = np.random.default_rng(0)
    errors = rng.uniform(0.5, 2.0, (501, 12))
    measured = 1.0 + errors * rng.normal(size=errors.shape)
    used = np.ones(errors.shape, bool)
    used[-1, 1:] = False
    compared = jax.jit(jax.vmap(compare_directions))(*map(jnp.asarray, (measured, errors, used)))
    assert abs((compared.p_value[:-1] < 0.1).mean() - 0.1) < 4 * (0.09 / 500) ** 0.5
    assert measured[:-1].min(axis=1).mean() < -0.6
    assert abs(compared.minimum[:-1].mean() - 1.0) < 0.35
    assert jnp.isnan(compared.minimum[-1])
    assert compared.minimum_index[-1] == -1


def test_replicates_leave_the_roughness_of_the_mean():
    """Noise rougher than the signal and as large, the same in no two replicates."""
    signal = draw(power_law(0.7), seed=1)[..., None]
    size = SPACINGS[-1] ** 0.7
    noise = size * np.random.default_rng(2).normal(size=(SEEDS, LINES, LEVELS, POINTS, 3))
    estimate = batched()(signal + noise, 0.0)
    assert (estimate.status == Status.OK).all()
    assert abs(estimate.value.mean() - 0.7) < 0.004
    assert 0.91 <= coverage(estimate, 0.7) <= 0.995
    plain = batched()((signal + noise).mean(axis=-1), 0.0)
    assert abs(plain.value.mean() - 0.7) > abs(estimate.value.mean() - 0.7)


@pytest.mark.slow
def test_vmap_is_the_loop_and_precision_is_kept():
    """Single precision, two batches of lines at once, and a third with its scales upside down."""
    lines = draw(power_law(0.4))[:2]
    values = jnp.asarray(lines[[0, 1, 0]], jnp.float32)
    spacings = jnp.asarray([SPACINGS, SPACINGS, SPACINGS[::-1]], jnp.float32)
    with jax.enable_x64(False):
        estimate = jax.vmap(from_lines.exponent_from_lines)
        fast = {"xla_backend_optimization_level": 0}
        coarse = jax.jit(estimate, compiler_options=fast)(values, spacings)
    assert coarse.value.dtype == coarse.stderr.dtype == coarse.low.dtype == jnp.float32
    for index in range(2):
        alone = single(lines[index])
        np.testing.assert_allclose(coarse.value[index], alone.value, atol=2e-5)
        np.testing.assert_allclose(coarse.stderr[index], alone.stderr, rtol=2e-2)
    assert coarse.status.tolist() == [Status.OK, Status.OK, Status.NO_SCALING_REGION]
    assert jnp.isnan(coarse.value[2])


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((32, 5, 20), {}, "points per line"),
        ((4, 5, 40), {}, "directions"),
        ((32, 2, 40), {}, "levels"),
        ((32, 5, 40, 1), {}, "replicates"),
        ((32, 5), {}, "axes"),
        ((32, 5, 40), {"interval": "none"}, "interval"),
        ((32, 5, 40), {"order": 4}, "order"),
        ((32, 5, 40), {"interval": "bootstrap", "num_bootstrap": 10}, "num_bootstrap"),
    ],
)
def test_bad_arguments_say_what_to_do(shape, settings, message):
    unchecked = inspect.unwrap(from_lines.exponent_from_lines)
    with pytest.raises(ValueError, match=message):
        unchecked(jnp.zeros(shape), 0.5 ** jnp.arange(shape[1]), **settings)


@pytest.mark.parametrize(
    "spacings", [[1.0, 2.0, 3.0], [3.0, 1.0, 0.0], [3.0, np.nan, 1.0], [2.0, 1.0]]
)
def test_scales_that_do_not_fall_are_named(spacings):
    unchecked = inspect.unwrap(from_lines.exponent_from_lines)
    with pytest.raises(ValueError, match="spacings"):
        unchecked(jnp.zeros((32, 3, 40)), np.asarray(spacings))


# --- pieces ---------------------------------------------------------------------------------


def test_candidates_are_runs_with_residuals_left():
    table = candidates(4, 2)
    assert table.windows[0].all()
    assert (table.freedom >= 1).all()
    assert len(table.windows) == 6 + 2 * 3  # windows of 2 to 4 levels; corrections from 3
    means = candidates(8, 1)
    assert (means.freedom >= 3).all()
    assert (means.freedom == means.windows.sum(axis=1) - 2 - abs(means.terms)).all()
    assert len(candidates(3, 1).windows) == 1


def test_jackknife_of_a_mean_is_its_variance():
    rng = np.random.default_rng(0)
    sample = rng.normal(size=10)
    left_out = (sample.sum() - sample) / 9
    used, padded = np.insert(np.ones(10), 4, 0.0), np.insert(left_out, 4, 99.0)
    found = jackknife_variance(jnp.asarray(padded), jnp.asarray(used))
    np.testing.assert_allclose(found, sample.var(ddof=1) / 10)


def test_tail_of_chi_square():
    for freedom in (2, 5, 20):
        probability = np.array([0.9, 0.5, 0.1, 0.01])
        quantile = jnp.asarray(chi2.isf(probability, freedom))
        np.testing.assert_allclose(chi_square_tail(quantile, freedom), probability, atol=0.01)


def test_bootstrap_quantiles_are_those_of_the_deviations():
    draws = jnp.asarray(np.random.default_rng(0).permutation(np.arange(1.0, 40.0)))
    low, high = bootstrap_quantiles(jnp.asarray(20.0), draws, jnp.ones(39))
    assert (low, high) == (-19.0, 19.0)
