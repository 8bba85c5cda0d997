"""Moments and left tails of returns, and their intervals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fracjax import Status
from fracjax.learning.return_distributions.distribution import return_distribution

KEY = jax.random.key(0)
ESTIMATES = ("mean", "deviation", "skewness", "left_tail", "outliers", "tail_mean")


def by_definition(x, tail, floor=0.0):
    """The definitions again, in NumPy."""
    counts, edges = np.histogram(x, bins=100)
    mode = edges[counts.argmax()] + (edges[1] - edges[0]) / 2
    quantile = np.quantile(x, tail)
    median = np.median(x)
    limit = median - 3 * 1.4826 * np.median(np.abs(x - median))
    return {
        "mean": x.mean(),
        "deviation": x.std(ddof=1),
        "skewness": stats.skew(x),
        "left_tail": np.mean(x < floor + (mode - floor) / 2),
        "outliers": np.mean(x < limit),
        "tail_mean": quantile + np.mean(np.minimum(x - quantile, 0)) / tail,
        "mode": mode,
    }


@pytest.mark.parametrize("floor", [0.0, -20.0])
def test_values_are_those_of_the_definitions(x64, floor):
    x = 100 - np.random.default_rng(1).gamma(2.0, 15.0, 200)
    found = return_distribution(jnp.asarray(x), KEY, floor=floor, num_resamples=40)
    expected = by_definition(x, 0.1, floor)
    np.testing.assert_allclose(found.mode, expected["mode"], rtol=1e-9)
    for name in ESTIMATES:
        estimate = getattr(found, name)
        np.testing.assert_allclose(estimate.value, expected[name], rtol=1e-9, err_msg=name)
        assert estimate.ok
        assert estimate.low <= estimate.value <= estimate.high
    assert 0 < expected["left_tail"] < 0.5


def test_two_levels_have_exact_tails(x64):
    """Exact: 30 of 200 at 1 and 170 at 10; CVaR at .1 is 1, half the mode lies between."""
    x = jnp.concatenate([jnp.full(30, 1.0), jnp.full(170, 10.0)])
    found = return_distribution(x, KEY, num_resamples=40)
    assert found.left_tail.value == pytest.approx(0.15)
    assert found.tail_mean.value == pytest.approx(1.0)
    assert found.skewness.value == pytest.approx((1 - 2 * 0.85) / np.sqrt(0.15 * 0.85))
    assert found.left_tail.low < 0.15 < found.left_tail.high
    assert found.outliers.status == Status.AT_NOISE_FLOOR  # most returns are equal


def test_outliers_keep_their_share_under_shift_and_scale(x64):
    x = np.random.default_rng(2).standard_t(3, 200)
    one, two = (
        return_distribution(jnp.asarray(y), KEY, num_resamples=40) for y in (x, 7 * x - 1000)
    )
    assert one.outliers.value == two.outliers.value > 0
    np.testing.assert_allclose(one.skewness.value, two.skewness.value, rtol=1e-9)
    assert two.left_tail.status == Status.AT_NOISE_FLOOR  # a mode of -1000 has no half
    assert np.isnan(two.left_tail.value)


def test_what_cannot_be_summarised_has_its_status(x64):
    still = return_distribution(jnp.full(200, 3.0), KEY, num_resamples=40)
    assert still.deviation.status == still.skewness.status == Status.AT_NOISE_FLOOR
    assert still.mean.ok
    assert still.mean.value == still.tail_mean.value == 3
    assert still.left_tail.value == 0
    assert still.left_tail.high > 0.01  # nothing seen in 200
    broken = return_distribution(jnp.arange(200.0).at[3].set(jnp.nan), KEY, num_resamples=40)
    few = return_distribution(jnp.arange(5.0), KEY, num_resamples=40)
    for name in ESTIMATES:
        assert getattr(broken, name).status == Status.DIVERGED
        assert np.isnan(getattr(broken, name).value)
        assert getattr(few, name).status == Status.TOO_FEW_POINTS
    with pytest.raises(ValueError, match="`tail` must"):
        return_distribution(jnp.ones(9), tail=1.0)
    with pytest.raises(ValueError, match="`returns` must"):
        return_distribution(jnp.ones(0))


@pytest.mark.slow
def test_single_precision_far_from_zero():
    """Third powers of 1e6 are gone in float32; deviations from the median are not."""
    x = np.float32(1e6) + np.random.default_rng(3).gamma(2.0, 50.0, 200).astype(np.float32)
    found = return_distribution(jnp.asarray(x), KEY, num_resamples=40)
    assert found.skewness.value.dtype == jnp.float32
    exact = by_definition(x.astype(float), 0.1)
    assert float(found.skewness.value) == pytest.approx(exact["skewness"], rel=1e-3)
    assert float(found.deviation.value) == pytest.approx(exact["deviation"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "least"),
    [
        (100, {"mean": 0.89, "deviation": 0.85, "skewness": 0.70, "tail_mean": 0.85}),
        (1000, {"mean": 0.89, "deviation": 0.89, "skewness": 0.83, "tail_mean": 0.89}),
    ],
)
def test_intervals_cover(x64, size, least):
    """30 - 2 Γ(4), 300 seeds: bounds 4 standard errors (1.3 to 2.5 %) below what was measured."""
    gamma = stats.gamma(4, scale=2)
    high = gamma.ppf(0.9)
    middle = gamma.median()
    low, top = 0.0, 20.0
    for _ in range(60):  # median absolute deviation, by bisection
        half = (low + top) / 2
        inside = gamma.cdf(middle + half) - gamma.cdf(middle - half)
        low, top = (half, top) if inside < 0.5 else (low, half)
    truth = {
        "mean": 22.0,
        "deviation": 4.0,
        "skewness": -1.0,
        "left_tail": gamma.sf(18.0),
        "outliers": gamma.sf(middle + 3 * 1.4826 * low),
        "tail_mean": 30 - gamma.expect(lambda x: x, lb=high) / 0.1,
    }

    def run(key):
        draw, own = jax.random.split(key)
        found = return_distribution(
            30 - 2 * jax.random.gamma(draw, 4.0, (size,)), own, num_resamples=300
        )
        return {
            name: (getattr(found, name).low <= value) & (getattr(found, name).high >= value)
            for name, value in truth.items()
        }

    keys = jax.random.split(KEY, 300)
    held = jax.jit(lambda keys: jax.lax.map(run, keys, batch_size=4))(keys)
    shares = {name: float(part.mean()) for name, part in held.items()}
    for name, share in shares.items():
        assert share > least.get(name, 0.90), shares
