"""Averages over a chain against plain means; scores of probabilities against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.learning.langevin_sampling.calibration import calibration
from fracjax.learning.langevin_sampling.posterior_averages import posterior_average

KEY = jax.random.key(0)
LENGTH, BURN_IN, THINNING = 23, 5, 4
KEPT = range(BURN_IN, LENGTH, THINNING)


def predict(params):
    return jax.nn.log_softmax(params["w"] * jnp.arange(3.0))


def path():
    return {"w": jnp.asarray(np.random.default_rng(0).normal(size=(LENGTH, 2)) * 3, jnp.float32)}


def averaged(points, predict, **settings):
    average = posterior_average(predict, burn_in=BURN_IN, thinning=THINNING, **settings)

    def step(state, params):
        return average.update(state, params), None

    first = jax.tree.map(lambda leaf: leaf[0], points)
    return jax.lax.scan(step, average.init(first), points)[0]


@pytest.mark.parametrize("mean_rate", ["uniform", "inverse_root"])
def test_averages_are_over_the_members_that_are_kept(mean_rate):
    points = path()

    def rows(params):
        return jax.vmap(lambda w: predict({"w": w}))(params["w"])

    run = jax.jit(lambda points: averaged(points, rows, mean_rate=mean_rate, num_stored=3))
    found = run(points)
    members = np.asarray(points["w"])[list(KEPT)]
    log = np.asarray(jax.vmap(rows)({"w": members}))
    assert (found.step, found.num_members) == (LENGTH, len(KEPT))
    np.testing.assert_allclose(found.predictions, np.log(np.exp(log).mean(axis=0)), atol=1e-6)
    mean = 0.0
    for index, member in enumerate(members):
        rate = 1 / (index + 1) if mean_rate == "uniform" else (index + 1) ** -0.5
        mean = mean + rate * (member - mean)
    np.testing.assert_allclose(found.params["w"], mean, rtol=1e-5)
    ring = np.array([members[3], members[4], members[2]])  # members 3 and 4 overwrote 0 and 1
    np.testing.assert_array_equal(found.members["w"], ring)


def test_probabilities_that_underflow_are_averaged():
    """e^{-200} is zero in float32; its logarithm is not."""
    points = {"w": jnp.zeros(LENGTH)}
    found = jax.jit(lambda p: averaged(p, lambda params: params["w"] - jnp.array([0.0, 200.0])))(
        points
    )
    np.testing.assert_allclose(found.predictions, [0.0, -200.0], atol=1e-4)
    plain = jax.jit(lambda p: averaged(p, lambda q: q["w"] + 1.0, logarithms=False))(points)
    np.testing.assert_allclose(plain.predictions, 1.0, rtol=1e-6)
    assert plain.members == ()


def test_predictions_are_made_for_members_alone_also_under_vmap():
    """The branch stays a branch: both would be computed where it became a selection."""
    both = {"w": jnp.stack([path()["w"][:, 0], path()["w"][:, 1]])}
    program = str(jax.make_jaxpr(jax.vmap(lambda points: averaged(points, predict)))(both))
    assert "cond[" in program


def test_bad_settings_of_averages_are_named():
    for name, settings in (
        ("burn_in", {"burn_in": -1}),
        ("thinning", {"thinning": 0}),
        ("num_stored", {"num_stored": -1}),
    ):
        with pytest.raises(ValueError, match=f"Argument `{name}` must"):
            posterior_average(predict, **settings)
    with pytest.raises(ValueError, match="Argument `num_bins` must"):
        calibration(jnp.zeros((4, 2)), jnp.zeros(4, int), num_bins=0)


def test_scores_are_their_definitions(x64):
    probabilities = np.array(
        [[0.7, 0.2, 0.1], [0.1, 0.75, 0.15], [0.4, 0.35, 0.25], [0.3, 0.1, 0.6]]
    )
    labels = np.array([0, 2, 0, 2])
    found = jax.jit(calibration)(jnp.log(probabilities), jnp.asarray(labels))
    np.testing.assert_allclose(found.accuracy.value, 0.75)
    np.testing.assert_allclose(found.nll.value, -np.log([0.7, 0.15, 0.4, 0.6]).mean())
    squares = ((probabilities - np.eye(3)[labels]) ** 2).sum(axis=1)
    np.testing.assert_allclose(found.brier.value, squares.mean())
    np.testing.assert_allclose(found.brier.stderr, squares.std(ddof=1) / 2)
    # Bins of 1/15: .7 and .75 in two, .4 and .6 in two more.
    np.testing.assert_allclose(found.ece.value, (0.3 + 0.75 + 0.6 + 0.4) / 4)
    assert found.ece.details["members"].sum() == 4


def test_a_forecast_that_is_not_a_number_has_a_status():
    log = jnp.log(jnp.full((6, 3), 1 / 3)).at[2, 1].set(jnp.nan)
    score = jax.jit(calibration)
    found = score(log, jnp.zeros(6, int))
    for one in found:
        assert one.status == Status.DIVERGED
        assert np.isnan(one.value)
        assert np.isnan(one.low)
    certain = jnp.log(jnp.tile(jnp.eye(3), (2, 1)))
    wrong = score(certain, jnp.array([0, 1, 0, 0, 1, 0]))
    assert np.isposinf(wrong.nll.value)
    np.testing.assert_allclose(wrong.accuracy.value, 2 / 3)


def forecasts(key, sharpness, count=400):
    """Forecasts of three classes whose logits are multiplied after the labels were drawn."""
    logits = 1.5 * jax.random.normal(key, (count, 3))
    labels = jax.random.categorical(jax.random.fold_in(key, 1), logits)
    return jax.nn.log_softmax(sharpness * logits), labels


@pytest.mark.slow
def test_intervals_cover_and_the_floor_is_that_of_honest_forecasts():
    """400 sets of 400 forecasts, against one set of 100 000; nominal 95 %, bounds at 3.3 errors.

    The calibration error's interval is wide on purpose, 95 % is its lower bound. Honest forecasts
    score the floor on average, and 95 % of them are called silent.
    """
    keys = jax.random.split(KEY, 400)
    large = jax.jit(lambda sharpness: calibration(*forecasts(KEY, sharpness, 100_000)))
    small = jax.jit(
        lambda sharpness: jax.vmap(lambda key: calibration(*forecasts(key, sharpness)))(keys)
    )
    for sharpness in (1.0, 3.0):
        exact, many = large(sharpness), small(sharpness)
        for name in ("accuracy", "nll", "brier"):
            found, truth = getattr(many, name), getattr(exact, name).value
            share = np.mean((found.low <= truth) & (truth <= found.high))
            assert 0.91 < share < 0.985, (name, sharpness, share)
        ece = many.ece
        truth = 0.0 if sharpness == 1 else exact.ece.value
        assert np.mean((ece.low <= truth) & (truth <= ece.high)) > 0.914
        silent = np.mean(ece.status == Status.AT_NOISE_FLOOR)
        if sharpness == 1:
            # The scatter of the mean over 400 sets is 1/20 of a set's.
            floor, scatter = ece.details["floor"].mean(), ece.value.std() / 20
            assert abs(ece.value.mean() - floor) < 4 * scatter
            assert silent > 0.9
        else:
            assert silent < 0.05
            assert ece.value.mean() > exact.ece.value
