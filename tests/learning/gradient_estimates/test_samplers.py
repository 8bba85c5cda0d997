"""Samplers of gradients against moments in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_loops import Feedback, from_map

from fracjax.learning.gradient_estimates.blocks import exact_gradient, gradient_blocks
from fracjax.learning.gradient_estimates.known_moments import (
    quadratic_moments,
    step_moments,
    weierstrass_moments,
)
from fracjax.learning.gradient_estimates.moments import BlockMoments
from fracjax.learning.gradient_estimates.quality import summarize_gradients
from fracjax.learning.gradient_estimates.samplers import pathwise_gradient, smoothed_gradient
from fracjax.learning.gradient_estimates.score_function import (
    GaussianActions,
    reward_to_go_baseline,
    score_function_gradient,
)
from fracjax.rl import rollouts
from fracjax.systems import maps, signals

KEY = jax.random.key(0)
SAMPLES = 2**13
SETTINGS = {"num_samples": SAMPLES, "batch_size": 64}


def near(estimate, expected):
    """Within 4 standard errors; a rounding unit where there is no scatter."""
    bound = 4 * np.asarray(estimate.stderr) + 1e-9 * max(abs(expected), 1)
    assert abs(np.asarray(estimate.value) - expected) < bound, (estimate.value, expected)


# One program for all samplers of one number of parameters.
SUMMARY = jax.jit(summarize_gradients)


def judge(sampler, place, gradient=None):
    blocks = jax.jit(lambda key: gradient_blocks(sampler, place, key, **SETTINGS))(KEY)
    return SUMMARY(blocks, exact_gradient(jnp.zeros_like(place) if gradient is None else gradient))


def check(sampler, place, moments, variance, mean):
    true = moments.gradient
    found = judge(sampler, place, jnp.asarray(true))
    near(found.variance, variance)
    near(found.projection, float(np.vdot(mean, true) / np.vdot(true, true)))
    return found


def bowl():
    matrix = np.array([[1.0, 0.4, 0.0], [0.4, -2.0, 0.3], [0.0, 0.3, 0.5]])
    slope, place = np.array([0.5, -1.0, 2.0]), np.array([0.3, 1.0, -0.6])

    def quadratic(x, key):
        return 0.5 * x @ jnp.asarray(matrix) @ x + jnp.asarray(slope) @ x

    return quadratic, jnp.asarray(place), quadratic_moments(matrix, slope, place, 0.3)


def test_evolution_strategies_on_a_quadratic_function(x64):
    """Exact: (d + 1)|∇J|², whatever σ is."""
    quadratic, place, exact = bowl()
    check(smoothed_gradient(quadratic, 0.3), place, exact, exact.smoothed_variance, exact.gradient)


@pytest.mark.slow
def test_pathwise_gradients_of_a_quadratic_function(x64):
    """Exact: σ² tr A², and nothing without smoothing."""
    quadratic, place, exact = bowl()
    sampler = pathwise_gradient(quadratic, sigma=0.3)
    check(sampler, place, exact, exact.pathwise_variance, exact.gradient)
    still = check(pathwise_gradient(quadratic), place, exact, 0.0, exact.gradient)
    assert still.samples_needed.value == 0
    assert still.norm.ok
    np.testing.assert_allclose(still.mean, exact.gradient, rtol=1e-12)


@pytest.mark.slow
def test_one_sided_differences_pay_for_the_level(x64):
    """Exact for J = c + b x in one dimension: variance c²/σ² + 2 b²."""
    level, slope, sigma = 3.0, 0.7, 0.5
    sampler = smoothed_gradient(lambda x, key: level + slope * x, sigma, antithetic=False)
    found = judge(sampler, jnp.asarray(0.0), jnp.asarray(slope))
    near(found.projection, 1.0)
    # (level + slope σ ε) ε/σ: second moment level²/σ² + 3 slope².
    near(found.variance, level**2 / sigma**2 + 2 * slope**2)


def test_forward_mode_gives_the_samples_of_reverse_mode(x64):
    def wavy(params, key):
        return jnp.sin(params["a"] @ params["b"]) + jax.random.normal(key)

    params = {"a": jnp.array([0.3, 1.0]), "b": jnp.array([0.7, -0.2])}
    forward, reverse = (
        jax.jit(pathwise_gradient(wavy, sigma=0.1, method=method))(params, KEY)
        for method in ("forward", "reverse")
    )
    for name in params:
        np.testing.assert_allclose(forward[name], reverse[name], rtol=1e-12)
        assert np.abs(forward[name]).max() > 0.01


def test_a_jump_is_invisible_to_the_pathwise_gradient(x64):
    """Exact: 0 at every sample; evolution strategies have the mean of the Gaussian density."""
    exact = step_moments(0.2, 0.3)

    def step(x, key):
        return signals.heaviside(x)

    place = jnp.asarray(0.2)
    blind = check(pathwise_gradient(step, sigma=0.3), place, exact, 0.0, 0.0)
    assert blind.bias.value == 1
    assert not blind.norm.ok
    assert blind.samples_needed.value == np.inf
    check(smoothed_gradient(step, 0.3), place, exact, exact.smoothed_variance, exact.gradient)


def test_weierstrass_functions(x64):
    """Exact sums over pairs of cosines; the pathwise variance hardly knows σ."""
    place = jnp.asarray(0.3)

    def rough(x, key):
        return signals.weierstrass(x, 0.4, num_terms=10)

    @jax.jit
    def draw(sigma):
        samplers = pathwise_gradient(rough, sigma=sigma), smoothed_gradient(rough, sigma)
        return [gradient_blocks(sampler, place, KEY, **SETTINGS) for sampler in samplers]

    for sigma in (0.003, 0.05):
        exact = weierstrass_moments(0.3, 0.4, sigma, num_terms=10)
        variances = exact.pathwise_variance, exact.smoothed_variance
        for blocks, variance in zip(draw(jnp.asarray(sigma)), variances, strict=True):
            found = SUMMARY(blocks, exact_gradient(jnp.asarray(exact.gradient)))
            near(found.variance, variance)
            near(found.projection, 1.0)


def test_powers_of_the_smoothing(x64):
    """Law, in the mean over places: σ^{2H-2} for squared gradient and ES variance, σ^0 pathwise."""
    scales, hurst = 0.002 * 4.0 ** -np.arange(4), 0.4
    places = np.random.default_rng(0).uniform(size=200)
    table = [[weierstrass_moments(x, hurst, s, num_terms=24) for x in places] for s in scales]
    for of, power in (
        (lambda m: m.smoothed_variance, 2 * hurst - 2),
        (lambda m: m.gradient**2, 2 * hurst - 2),
        (lambda m: m.pathwise_variance, 0.0),
    ):
        mean = np.array([[of(m) for m in row] for row in table]).mean(axis=1)
        assert np.polyfit(np.log(scales), np.log(mean), 1)[0] == pytest.approx(power, abs=0.05)


def test_one_step_of_a_linear_loop(x64):
    """Exact: g = -(c + b s z)² x z/s, c the state after the mean action; E z⁴ = 3, E z⁶ = 15."""
    a, b, scale, gain, x = 0.8, 0.5, 0.3, -0.4, 1.2
    environment = from_map(
        lambda s, u: a * s + b * u, lambda s, u: -((a * s[0] + b * u[0]) ** 2), 1
    )
    sampler = score_function_gradient(
        environment,
        Feedback(),
        jnp.array([[x]]),
        horizon=1,
        discount=0.9,
        noise_scale=scale,
    )
    found = judge(sampler, jnp.array([[gain]]))
    c, d = (a + b * gain) * x, b * scale
    mean = -2 * c * d * x / scale
    second = (x / scale) ** 2 * (c**4 + 18 * c**2 * d**2 + 15 * d**4)
    near(found.variance, second - mean**2)
    deviation = np.sqrt((second - mean**2) / SAMPLES)
    assert abs(float(found.mean[0]) - mean) < 4 * deviation


def linear_loop():
    """x' = .8 x + .5 u, paying -x² for the state; E x² obeys a linear recursion."""
    environment = from_map(lambda s, u: 0.8 * s + 0.5 * u, lambda s, u: -(s[0] ** 2), 1)
    states, scale, horizon, discount = jnp.array([[1.0], [-0.5]]), 0.4, 12, 0.9

    def exact(gain):
        def step(moment, weight):
            following = (0.8 + 0.5 * gain) ** 2 * moment + (0.5 * scale) ** 2
            return following, -weight * moment

        weights = discount ** jnp.arange(horizon)
        return jax.lax.scan(step, jnp.mean(states**2), weights)[1].sum()

    rollout = {"horizon": horizon, "discount": discount}
    return environment, states, scale, rollout, exact


@pytest.mark.slow
def test_gradients_of_a_linear_gaussian_loop(x64):
    """Exact mean for all three; the pathwise one needs the fewest samples, plain the most."""
    environment, states, scale, rollout, exact = linear_loop()
    gain = jnp.array([[-0.6]])
    true = exact_gradient(jax.grad(exact)(gain[0, 0]))
    loop = environment, Feedback(), states
    make = reward_to_go_baseline(*loop, noise_scale=scale, num_episodes=256, **rollout)
    level = jax.jit(make)(gain, jax.random.key(7))

    @jax.jit
    def draw(level):
        sampler = score_function_gradient(*loop, noise_scale=scale, baseline=level, **rollout)
        return gradient_blocks(sampler, gain, KEY, **SETTINGS)

    noisy = GaussianActions(Feedback(), scale)
    path = pathwise_gradient(
        rollouts.expected_return(environment, noisy, states, stochastic=True, **rollout)
    )
    drawn = (
        jax.jit(lambda key: gradient_blocks(path, gain, key, **SETTINGS))(KEY),
        draw(level),
        draw(jnp.zeros((2, 12))),
    )
    needed = []
    for blocks in drawn:
        found = SUMMARY(blocks, true)
        near(found.projection, 1.0)
        assert found.samples_needed.ok
        needed.append(float(found.samples_needed.value))
    assert needed[0] < 0.5 * needed[1] < 0.25 * needed[2], needed


@pytest.mark.slow
def test_rewards_after_the_end_have_no_score(x64):
    """Termination after the first step: one reward and one score, whatever the baseline says."""
    environment = from_map(
        lambda s, u: s + u, lambda s, u: u[0], 1, done=lambda s: jnp.ones((), bool)
    )

    @jax.jit
    def draw(level):
        sampler = score_function_gradient(
            environment,
            Feedback(),
            jnp.array([[2.0]]),
            horizon=5,
            discount=0.9,
            noise_scale=1.0,
            baseline=level,
        )
        return gradient_blocks(sampler, jnp.array([[0.5]]), KEY, **SETTINGS)

    for level in (0.0, 3.0):
        found = SUMMARY(draw(jnp.full((1, 5), level)), exact_gradient(jnp.array(2.0)))
        # 2 z (1 + z - level) in the mean; a score of a later step would add to its square.
        near(found.projection, 1.0)
        near(found.variance, 4 * ((1.0 - level) ** 2 + 2))


def test_the_pathwise_deviation_of_a_chaotic_loop_grows_with_its_exponent(x64):
    """Law: ln variance grows by 2(λ + ln γ) per step on the noisy tent map, uniformly expanding."""
    slope, discount = 1.9, 0.8
    environment = from_map(
        lambda s, u: maps.tent(slope)((s + u) % 1.0),
        lambda s, u: jnp.cos(2 * jnp.pi * s[0]),
        1,
    )

    class Constant:
        def act(self, params, observation, key=None):
            return jnp.broadcast_to(params, observation.shape)

    horizons = np.array([10, 14, 18, 22])
    rewards = rollouts.reward_sequences(
        environment, GaussianActions(Constant(), 0.05), horizon=22, stochastic=True
    )
    states = jnp.array([[0.2345]])

    def at(row):
        sampler = pathwise_gradient(
            lambda params, key: jnp.sum(rewards(params, states, key)[0][0] * row), method="forward"
        )
        blocks = gradient_blocks(sampler, jnp.asarray(0.5), KEY, num_samples=4096, batch_size=32)
        return BlockMoments(blocks).variance

    times = np.arange(22)
    weights = (times < horizons[:, None]) * discount**times
    found = jax.jit(lambda table: jax.lax.map(at, table))(jnp.asarray(weights))
    growth = np.polyfit(horizons, np.log(found), 1)[0]
    # Relative errors of the variances are 1.5 to 2 %, over 12 steps: .0025 per step.
    assert growth == pytest.approx(2 * np.log(slope * discount), abs=0.02)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: smoothed_gradient(lambda p, k: p, 0.0), "sigma"),
        (lambda: pathwise_gradient(lambda p, k: p, sigma=-1.0), "sigma"),
        (lambda: score({"noise_scale": 0.0}), "noise_scale"),
        (lambda: score({"horizon": 0}), "horizon"),
        (lambda: score({"discount": 1.5}), "discount"),
        (lambda: score({"baseline": jnp.zeros((1, 2))}), "baseline"),
    ],
)
def test_settings_are_named(make, name):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        make()


def score(changes):
    environment, states, scale, rollout, _ = linear_loop()
    settings = {"noise_scale": scale, **rollout, **changes}
    return score_function_gradient(environment, Feedback(), states, **settings)
