"""Laws of the samplers: exact variances, posteriors by quadrature, and what settings mean."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fracjax.learning.langevin_sampling.preconditioners import diagonal
from fracjax.learning.langevin_sampling.priors import conjugate_prior, gaussian_prior
from fracjax.learning.langevin_sampling.sample_moments import (
    SampleMoments,
    apply_dense,
    gradient_moments,
)
from fracjax.learning.langevin_sampling.schedules import (
    effective_temperature,
    halving_schedule,
    inverse_root_rate,
)
from fracjax.learning.langevin_sampling.transformations import (
    natural_langevin,
    preconditioned_sgld,
    sgld,
)

pytestmark = pytest.mark.usefixtures("optimised")

KEY = jax.random.key(0)
CURVATURES = np.array([0.5, 2.0, 8.0])
DATA = 40


def chains(make, gradient, start, *, num_steps, num_chains, key=KEY):
    """Last points of independent chains; `gradient(params, key)`, `make(key)` the sampler."""

    def one(key):
        sampler = make(key)
        batches = jax.random.fold_in(key, 7)

        def step(carry, index):
            params, state = carry
            slope = gradient(params, jax.random.fold_in(batches, index))
            change, state = sampler.update(slope, state, params)
            return (optax.apply_updates(params, change), state), None

        (params, _), _ = jax.lax.scan(step, (start, sampler.init(start)), jnp.arange(num_steps))
        return params

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(jax.random.split(key, num_chains)))


@pytest.mark.usefixtures("single_precision")
def test_the_stationary_variance_is_exact():
    """T/(N h (1 - η c h/2)), for C = H⁻¹ and for another diagonal; the first is H⁻¹/(N (1 - η/2)).

    40 000 variances scatter by √(2/40 000) = .7 %: the bound of 3 % is 4 of them.
    """
    eta, temperature = 0.2, 0.5
    curvatures = np.tile(CURVATURES, 2)
    inverse = np.concatenate([1 / CURVATURES, [0.3, 1.0, 0.2]])
    metric = diagonal(lambda params: jnp.asarray(inverse, params.dtype))
    found = chains(
        lambda key: preconditioned_sgld(
            eta, metric, num_data=DATA, key=key, temperature=temperature
        ),
        lambda params, key: jnp.asarray(curvatures, params.dtype) * params,
        jnp.zeros(6),
        num_steps=100,
        num_chains=40_000,
    )
    expected = temperature / (DATA * curvatures * (1 - eta * inverse * curvatures / 2))
    np.testing.assert_allclose(found.var(axis=0), expected, rtol=0.03)
    assert np.all(abs(found.mean(axis=0)) < 4 * np.sqrt(expected / 40_000))
    assert found.dtype == np.float32


@pytest.mark.slow
def test_batches_heat_a_sampler(x64):
    """Gaussian means with known variance 1/h, batches of 5 of 40 with replacement: T = 1.8 at η=.2.

    Per-sample gradients h (θ - y) have covariance h wherever θ is, so that the law is exact.
    The bound of 4 % is four standard errors of 20 000 variances.
    """
    eta, batch = 0.2, 5
    y = np.random.default_rng(0).normal(size=(DATA, 3))
    y = jnp.asarray((y - y.mean(axis=0)) / y.std(axis=0) / np.sqrt(CURVATURES))

    def gradient(params, key):
        drawn = y[jax.random.randint(key, (batch,), 0, DATA)]
        return CURVATURES * (params - drawn.mean(axis=0))

    metric = diagonal(lambda params: 1 / jnp.asarray(CURVATURES), drift="none")
    found = chains(
        lambda key: preconditioned_sgld(eta, metric, num_data=DATA, key=key),
        gradient,
        jnp.zeros(3),
        num_steps=60,
        num_chains=20_000,
    )
    heat = effective_temperature(eta, num_data=DATA, batch_size=batch)
    assert math.isclose(heat, (1 + eta * DATA / (2 * batch)) / (1 - eta / 2))
    np.testing.assert_allclose(found.var(axis=0), heat / (DATA * CURVATURES), rtol=0.04)


@pytest.mark.parametrize(
    ("drift", "size", "expected"),
    [
        ("separable", 1, 1.0),
        ("none", 1, 2.0),
        ("probes", 2, 1.0),
        pytest.param("none", 2, 5 / 3, marks=pytest.mark.slow),
    ],
)
def test_without_gamma_the_law_is_another(drift, size, expected):
    """C = 1/(1 + |θ|²), standard normal target: without Γ the law is (1 + |θ|²) φ(θ).

    Its variance is 2 in one dimension and 5/3 in two. The bound of 7 % is four standard errors of
    12 000 chains (1 to 1.3 %), and 2 % that the finite step makes.
    """

    def inverse(params):
        return jnp.ones(size) / (1 + jnp.sum(params**2))

    metric = diagonal(inverse, drift=drift)
    found = chains(
        lambda key: preconditioned_sgld(0.03, metric, num_data=1, key=key),
        lambda params, key: params,
        jnp.full(size, 0.7),
        num_steps=700,
        num_chains=12_000,
    )
    np.testing.assert_allclose((found**2).mean(), expected, rtol=0.07)


def test_a_gaussian_posterior_has_its_exact_moments(x64):
    """Linear regression with correlated inputs and a prior: mean and covariance, in 10 000 chains.

    The law of the discrete chain is known: covariance Σ (1 - η/2 Σ⁻¹/N)⁻¹, Σ the posterior's.
    """
    draws = np.random.default_rng(0)
    x = draws.normal(size=(DATA, 3)) @ np.array([[1, 0.8, 0], [0, 0.6, 0.3], [0, 0, 0.5]])
    y = x @ np.array([1.0, -1.0, 0.5]) + draws.normal(size=DATA)
    x = np.column_stack([x, np.ones(DATA)])
    # Kernel: fan-in 3; bias: unit variance.
    precision = x.T @ x + np.diag([3.0, 3.0, 3.0, 1.0])
    mean = np.linalg.solve(precision, x.T @ y)
    eta = 0.3
    discrete = np.linalg.inv(precision) @ np.linalg.inv(np.eye(4) - eta / 2 * precision / DATA)

    def gradient(params, key):
        residual = x[:, :3] @ params["kernel"][:, 0] + params["bias"][0] - y
        return {"kernel": (residual @ x[:, :3])[:, None] / DATA, "bias": residual.mean()[None]}

    found = chains(
        lambda key: sgld(eta, num_data=DATA, key=key, prior=gaussian_prior()),
        gradient,
        {"kernel": jnp.zeros((3, 1)), "bias": jnp.zeros(1)},
        num_steps=200,
        num_chains=10_000,
    )
    found = np.concatenate([found["kernel"][..., 0], found["bias"]], axis=1)
    variances = np.diag(discrete)
    assert np.all(abs(found.mean(axis=0) - mean) < 4 * np.sqrt(variances / len(found)))
    error = np.sqrt((np.outer(variances, variances) + discrete**2) / len(found))
    assert np.all(abs(np.cov(found.T) - discrete) < 4.5 * error)


def logistic(params, batch):
    logits = apply_dense(params, batch["x"])[:, 0]
    return jnp.logaddexp(0.0, logits) - batch["y"] * logits


def logistic_moments(x, y, kernel_precision=1.0):
    """Mean and covariance of (weight, bias) by quadrature on a grid, exact to 1e-8."""
    w, b = np.meshgrid(np.linspace(-4, 8, 401), np.linspace(-6, 6, 401), indexing="ij")
    logits = w[..., None] * x + b[..., None]
    log = (y * logits - np.logaddexp(0, logits)).sum(axis=-1)
    log = log - kernel_precision * w**2 / 2 - b**2 / 2
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    points = np.stack([w, b]).reshape(2, -1)
    mean = points @ weight.ravel()
    return mean, (points - mean[:, None]) * weight.ravel() @ (points - mean[:, None]).T


@pytest.mark.parametrize("metric", ["qdop", pytest.param("dop", marks=pytest.mark.slow)])
def test_a_logistic_posterior_has_the_moments_of_quadrature(metric):
    """One input and a bias, 60 data, full gradients; 4000 chains.

    Over 10 000 chains means were .03 posterior widths off (the left out Γ, and the metric's
    correlation with the point) and covariances 7 % too wide, of which the finite step makes 2.6 %.
    The bounds are .1, and 15 %: 3.5 standard errors (2.2 %) from there.
    """
    draws = np.random.default_rng(2)
    x = 1.0 + draws.normal(size=60)
    y = (draws.uniform(size=60) < 1 / (1 + np.exp(1 - 1.5 * x))).astype(float)
    mean, covariance = logistic_moments(x, y)
    batch = {"x": jnp.asarray(x[:, None], jnp.float32), "y": jnp.asarray(y, jnp.float32)}
    start = {"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}

    def one(key):
        sampler = natural_langevin(
            0.05, num_data=60, key=key, metric=metric, prior=gaussian_prior()
        )

        def step(carry, _):
            params, state = carry
            _, gradient, moments = gradient_moments(logistic, params, batch)
            change, state = sampler.update(gradient, state, params, moments=moments)
            return (optax.apply_updates(params, change), state), None

        (params, _), _ = jax.lax.scan(step, (start, sampler.init(start)), length=400)
        return jnp.concatenate([params["kernel"][0], params["bias"]])

    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, 4000)))
    scale = np.sqrt(np.diag(covariance))
    assert np.all(abs(found.mean(axis=0) - mean) < 0.1 * scale)
    difference = (np.cov(found.T) - covariance) / np.outer(scale, scale)
    assert np.all(abs(difference) < 0.15)


def test_settings_mean_what_they_say(x64):
    """Temperature 0 is gradient descent on the posterior; metrics are averages as documented."""
    params = {"kernel": jnp.array([[1.0], [-2.0]]), "bias": jnp.array([0.5])}
    batch = {"x": jnp.array([[1.0, 2.0], [0.3, -1.0], [2.0, 0.0]]), "y": jnp.array([1.0, 0.0, 1.0])}
    _, gradient, moments = jax.jit(gradient_moments, static_argnums=0)(logistic, params, batch)
    cold = sgld(0.1, num_data=3, key=KEY, temperature=0.0, prior=gaussian_prior())
    change, _ = jax.jit(cold.update)(gradient, cold.init(params), params)
    # The prior's precisions: fan-in 2 for the kernel, 1 for the bias.
    expected = -0.1 * (gradient["kernel"] + 2 * params["kernel"] / 3)
    np.testing.assert_allclose(change["kernel"], expected, rtol=1e-12)
    np.testing.assert_allclose(
        change["bias"], -0.1 * (gradient["bias"] + params["bias"] / 3), rtol=1e-12
    )

    rmsprop = preconditioned_sgld(0.1, "rmsprop", num_data=3, key=KEY, temperature=0.0)
    change, state = jax.jit(rmsprop.update)(gradient, rmsprop.init(params), params)
    average = 0.5 + 0.5 * (gradient["kernel"] ** 2 + 1e-7)
    np.testing.assert_allclose(state.metric["kernel"], average, rtol=1e-12)
    expected = -0.1 * gradient["kernel"] / np.sqrt(average)
    np.testing.assert_allclose(change["kernel"], expected, rtol=1e-12)

    sampler = natural_langevin(halving_schedule(0.1, every=2), num_data=3, key=KEY)
    state, update = sampler.init(params), jax.jit(sampler.update)
    average, cross, rate = 1.0, 0.0, 0.5
    for _ in range(3):
        _, state = update(gradient, state, params, moments=moments)
        average += rate * (np.asarray(moments.squares["kernel"]) + 1e-7 - average)
        cross += rate * (np.asarray(moments.crosses["kernel"]) - cross)
        rate = 1 / math.sqrt(1 / rate**2 + 1)
    np.testing.assert_allclose(state.metric.squares["kernel"], average, rtol=1e-12)
    np.testing.assert_allclose(state.metric.crosses["kernel"], cross, rtol=1e-12)
    assert state.step == 3
    np.testing.assert_allclose(
        [halving_schedule(0.1, every=2)(t) for t in (0, 1, 2, 5)], [0.1, 0.1, 0.05, 0.025]
    )
    np.testing.assert_allclose(inverse_root_rate()(jnp.arange(3)), [0.5, 5**-0.5, 6**-0.5])


def test_noise_is_of_the_key_and_the_step():
    params = {"a": jnp.zeros(4), "b": jnp.zeros(4)}
    sampler = sgld(0.5, num_data=4, key=KEY)
    state = sampler.init(params)
    first, after = jax.jit(sampler.update)(params, state, params)
    again, _ = sampler.update(params, state, params)
    second, _ = jax.jit(sampler.update)(params, after, params)
    np.testing.assert_allclose(first["a"], again["a"], rtol=1e-6)
    others = (first["b"], second["a"], second["b"])
    assert all(np.all(abs(first["a"] - other) > 1e-4) for other in others)

    def one(key):
        mine = sgld(0.5, num_data=4, key=key)
        return mine.update(params, mine.init(params), params)[0]

    many = jax.jit(jax.vmap(one))(jnp.stack([jax.random.key(1), KEY]))
    np.testing.assert_allclose(many["a"][1], first["a"], rtol=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "rmsprop", "dop", "qdop"])
def test_dtypes_follow_the_parameters(x64, metric):
    """In a process with float64 on, float32 parameters stay float32, and so does the state."""
    params = {
        "a": {"kernel": np.ones((3, 2), np.float32), "bias": np.ones(2, np.float32)},
        "b": {"kernel": np.ones((2, 4))},
    }
    sampler = preconditioned_sgld(
        halving_schedule(0.1), metric, num_data=3, key=KEY, prior=gaussian_prior()
    )
    moments = SampleMoments(params, params)

    def twice(params):
        _, state = sampler.update(params, sampler.init(params), params, moments=moments)
        return sampler.update(params, state, params, moments=moments)

    change, after = jax.eval_shape(twice, params)
    before = jax.eval_shape(sampler.init, params)
    assert jax.tree.map(lambda leaf: leaf.dtype, change) == jax.tree.map(
        lambda leaf: leaf.dtype, params
    )
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), before
    )


@pytest.mark.parametrize("prior", [gaussian_prior(kernel_variance=0.3), conjugate_prior(shape=2.0)])
def test_a_priors_score_is_the_gradient_of_its_density(x64, prior):
    params = {"kernel": jnp.array([[1.0, -2.0], [0.3, 0.2]]), "bias": jnp.array([0.5, -1.0])}
    gradient = jax.jit(jax.grad(prior.log_density))(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), gradient, prior.score(params)
    )
    assert all(leaf > 0 for leaf in jax.tree.leaves(prior.precision(params)))


def test_a_conjugate_prior_is_the_average_over_precisions(x64):
    """Against quadrature over the Gamma-distributed precision."""
    from scipy import integrate, stats

    def marginal(theta, shape, rate):
        def integrand(tau):
            return stats.gamma.pdf(tau, shape, scale=1 / rate) * np.prod(
                stats.norm.pdf(theta, scale=tau**-0.5)
            )

        return integrate.quad(integrand, 0, np.inf)[0]

    prior = conjugate_prior(shape=1.5, scale=0.7)
    points = np.array([[0.3, -1.0], [2.0, 0.1]])
    found = [float(prior.log_density({"bias": jnp.asarray(point)})) for point in points]
    expected = [np.log(marginal(point, 1.5, 0.7)) for point in points]
    np.testing.assert_allclose(found[1] - found[0], expected[1] - expected[0], rtol=1e-6)


def test_bad_settings_are_named():
    params = {"kernel": np.ones((2, 1), np.float32)}
    cases = [
        (lambda: sgld(0.0, num_data=3, key=KEY), "step_size"),
        (lambda: sgld(0.1, num_data=0, key=KEY), "num_data"),
        (lambda: sgld(0.1, num_data=3, key=KEY, temperature=-1.0), "temperature"),
        (lambda: gaussian_prior(variance=0.0), "variance"),
        (lambda: conjugate_prior(shape=-1.0), "shape"),
        (lambda: inverse_root_rate(offset=0.5), "offset"),
    ]
    for call, name in cases:
        with pytest.raises(ValueError, match=f"Argument `{name}` must"):
            call()
    sampler = natural_langevin(0.1, num_data=9, key=KEY)
    state = sampler.init(params)
    with pytest.raises(ValueError, match="Argument `params` must be given to `update`"):
        sampler.update(params, state)
    with pytest.raises(ValueError, match="Argument `moments` must be given to `update`"):
        sampler.update(params, state, params)
