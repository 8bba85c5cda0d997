"""Metrics of networks: conformance vectors, published conventions, batches, failures."""

import dataclasses
import functools
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fracjax.learning
from fracjax import Status
from fracjax.learning.network_metrics import ranks, units
from fracjax.learning.network_metrics.aliases import ALIASES, find_aliases
from fracjax.learning.network_metrics.metrics import (
    WholeMetrics,
    average_metrics,
    measure_network,
)

SIGMA = np.array([2.0, 0.0, 3.0, 1.0])  # in no order
ENTROPY = -sum(p * math.log(p) for p in (1 / 2, 1 / 3, 1 / 6))
STRENGTHS = (0.0, 0.05, 1.0, 2.95)
RANKS = {
    "effective rank": (ranks.effective_rank, math.exp(ENTROPY)),
    "srank": (ranks.srank, 3),
    "approximate rank": (ranks.approximate_rank, 3),
    "approximate rank of 90 %": (functools.partial(ranks.approximate_rank, share=0.9), 2),
    "stable rank": (ranks.stable_rank, 14 / 9),
    "participation ratio": (ranks.participation_ratio, 2),
    "numerical rank": (functools.partial(ranks.numerical_rank, shape=(4, 4)), 3),
    # σ/√n above .01: of n = 40 000 samples, those above 2.
    "feature rank": (functools.partial(ranks.feature_rank, num_samples=40_000), 1),
}


@jax.jit
def every_rank(values):
    return {name: function(values) for name, (function, _) in RANKS.items()}


def test_conformance_vectors_of_ranks(x64):
    """Exact: σ = (3, 2, 1, 0), by hand. Zeros give 0, NaN gives NaN, scale does not matter."""
    assert math.isclose(ENTROPY, 1.0114, abs_tol=5e-5)  # the number of the reference
    for dtype, rtol in ((np.float32, 2e-6), (np.float64, 1e-14)):
        found = every_rank(SIGMA.astype(dtype))
        tiny = every_rank((1e-30 * SIGMA).astype(dtype))
        for name, (_, expected) in RANKS.items():
            assert found[name].dtype == dtype
            np.testing.assert_allclose(found[name], expected, rtol=rtol, err_msg=name)
            if name != "feature rank":
                np.testing.assert_allclose(tiny[name], expected, rtol=1e-5, err_msg=name)
    assert tiny["feature rank"] == 0
    assert not any(every_rank(np.zeros(4)).values())
    assert np.isnan(list(every_rank(np.array([1.0, np.nan, 0.0, 0.0])).values())).all()


def test_conformance_vectors_of_dormant_units():
    """Exact: E|h| = (0, .05, 1, 2.95), in dense layers and in channels, of either sign."""
    rows = np.array([1.5, 0.5])[:, None] * np.array(STRENGTHS)  # mean |h| over samples as given
    images = np.array([1.0, -3.0, 0.0, 0.0]).reshape(1, 2, 2, 1) * np.array(STRENGTHS)
    second = np.array([[0.0, 1.0]])

    @jax.jit
    def measure(rows, images, second):
        layers = {"a": rows, "b": second}
        return (
            [units.dormant_scores(layer) for layer in (rows, images)],
            [[units.dormant_units(h, tau) for tau in (0.0, 0.025, 0.1)] for h in (rows, images)],
            measure_network(layers, taus=(0.1,)).network.dormant_units[0],
            units.dormant_units(0 * rows, 0.0),
        )

    scores, shares, network, silent = measure(*(jnp.asarray(h) for h in (rows, images, second)))
    np.testing.assert_allclose(scores, [STRENGTHS] * 2, rtol=1e-6)
    np.testing.assert_array_equal(shares, [[0.25, 0.25, 0.5]] * 2)
    # Scores are by layer, shares over all units: 2 of 4 and 1 of 2 are 3 of 6.
    np.testing.assert_allclose(network, 0.5, rtol=1e-6)
    assert silent == 1  # not NaN


def test_dead_rare_zero_saturated_and_duplicate_units():
    """Exact: units that are 0 always, on all but 1 in 200, on half, never; thresholds by name."""
    h = np.zeros((200, 4), np.float32)
    h[0, 1] = h[:100, 2] = 1
    h[:, 3] = 5e-8
    ends = np.array([[-0.995, 0.995, 0.5, 0.005]], np.float32)
    # Three equal units but for scale, one dead, one orthogonal: two can go.
    one = np.array([1.0, 2.0, 0.0])
    same = np.stack([one, 1e-30 * one, 0 * one, [0.0, 0.0, 1.0], 3 * one], axis=1)

    @jax.jit
    def measure(h, ends, same):
        return (
            units.dead_units(h),
            units.dead_units(h, threshold=1e-7),
            units.soft_dead_units(h, "dohare_2024"),
            units.soft_dead_units(h, "joudaki_2025"),
            units.zero_activations(h),
            units.saturated_activations(ends, "tanh"),
            units.saturated_activations(ends, "sigmoid"),
            units.duplicate_units(same),
            units.duplicate_units(-same),
        )

    found = measure(h, ends, same.astype(np.float32))
    expected = 0.25, 0.5, 0.5, 0.75, 499 / 800, 0.5, 0.75, 0.4, 0.4
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@jax.jit
def measure(layer, inputs):
    hidden = jax.nn.relu(inputs @ layer["w"] + layer["b"])
    grads = jax.tree.map(lambda leaf: 2 * leaf, layer)
    return measure_network({"first": hidden}, layer, grads, jax.tree.map(jnp.negative, layer))


def test_over_checkpoints_it_is_a_loop_over_checkpoints():
    """vmap and jit equal the call of one; norms are NumPy's; every number has a name."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((32, 5), np.float32)
    stacked = {"w": rng.standard_normal((3, 5, 8), np.float32), "b": np.ones((3, 8), np.float32)}
    together = jax.jit(jax.vmap(measure, in_axes=(0, None)))(stacked, inputs).scalars()
    one = {name: leaf[2] for name, leaf in stacked.items()}
    alone = measure(one, inputs)
    single = alone.scalars()
    assert together.keys() == single.keys()
    for name, value in single.items():
        np.testing.assert_allclose(together[name][2], value, rtol=1e-5, err_msg=name)
    flat = np.concatenate([leaf.ravel() for leaf in one.values()])
    norm = np.linalg.norm(flat)
    spectrum = np.linalg.svd(one["w"], compute_uv=False)
    for name, expected in {
        "weight_norm": norm,
        "gradient_norm": 2 * norm,
        "update_norm": norm,
        "mean_weight": abs(flat).mean(),
        "weight_gini": abs(abs(flat)[:, None] - abs(flat)).mean() / (2 * abs(flat).mean()),
        "kernel_largest_singular_value/w": spectrum[0],
        "kernel_norm/w": np.linalg.norm(spectrum),
    }.items():
        np.testing.assert_allclose(single[name], expected, rtol=1e-5, err_msg=name)
    assert "kernel_norm/b" not in single
    assert {"dead_units/first", "dormant_units_0.025/first", "dormant_units_0.1"} <= single.keys()
    assert alone.status == alone.layers["first"].status == Status.OK


def test_failures_have_a_status_and_do_not_hide():
    layer = {"w": np.ones((5, 8), np.float32), "b": np.ones(8, np.float32)}
    inputs = np.ones((32, 5), np.float32)
    inputs[3, 2] = np.nan
    found = measure(layer, inputs)
    bad = found.layers["first"]
    assert found.status == bad.status == Status.DIVERGED
    fields = {field.name for field in dataclasses.fields(bad)} - {"status", "taus"}
    numbers = [np.ravel(getattr(bad, name)) for name in fields]
    assert np.isnan(np.concatenate(numbers)).all()
    assert np.isnan(found.network.dormant_units).all()
    assert found.kernels["w"].status == Status.OK
    nothing = measure(jax.tree.map(np.zeros_like, layer), np.ones((32, 5), np.float32))
    silent = nothing.layers["first"]
    assert silent.status == nothing.kernels["w"].status == Status.AT_NOISE_FLOOR
    assert nothing.status == Status.OK
    assert silent.dead_units == 1
    assert silent.effective_rank == 0
    alone = measure_network({})
    assert alone.scalars() == {}


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: measure_network({"a": jnp.ones(3)}), "activations"),
        (lambda: measure_network({}, taus=(-1.0,)), "taus"),
        (lambda: measure_network({}, delta=2.0), "delta"),
        (lambda: units.soft_dead_units.__wrapped__(jnp.ones((2, 2)), "mine"), "definition"),
    ],
)
def test_bad_settings_are_named(call, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        call()


def test_means_over_seeds_have_student_intervals():
    """Exact: mean 2, standard error 1/√3, t(2) = 4.3027; coverage of 95 % over 4000 draws."""
    found = jax.jit(average_metrics)({"x": np.array([1.0, 2.0, 3.0], np.float32)})["x"]
    np.testing.assert_allclose(found.value, 2)
    np.testing.assert_allclose(found.high - found.value, 4.302653 / math.sqrt(3), rtol=1e-5)
    assert average_metrics({"x": np.ones(1, np.float32)})["x"].status == Status.TOO_FEW_POINTS
    assert average_metrics({"x": np.array([1, np.inf], np.float32)})["x"].status == Status.DIVERGED
    draws = np.random.default_rng(0).standard_normal((5, 4000), np.float32)
    many = jax.jit(average_metrics)({"x": draws})["x"]
    inside = np.mean((many.low <= 0) & (many.high >= 0))
    assert abs(inside - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)


def test_every_alias_leads_to_a_metric():
    # The package of that name has a function of the module's name.
    recycled = importlib.import_module("fracjax.learning.interventions.continual_backprop")
    known = {*units.__all__, *ranks.__all__, *recycled.__all__, *fracjax.learning.__all__}
    known |= {field.name for field in dataclasses.fields(WholeMetrics)}
    assert {alias.metric for alias in ALIASES} <= known
    # The names that are in conflict lead to different metrics.
    for name, least in (("stable rank", 3), ("effective rank", 2), ("dead", 3)):
        assert len({alias.metric for alias in find_aliases(name)}) >= least
    assert find_aliases("STABLE_RANK") == find_aliases("stable rank")
