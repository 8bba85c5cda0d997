"""Whole diagnoses of systems whose landscape is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.diagnosis import Problem, Settings, Verdict, diagnose, summary
from fracjax.systems import maps, mdps

pytestmark = pytest.mark.usefixtures("x64")

QUICK = Settings(
    num_exponents=1, num_directions=16, num_scales=6, num_samples=16, line_points=9, plane_points=3
)


def tent_problem(discounts, horizon):
    """The tent-map process; its state has one coordinate and its exponent is ln 1.9."""
    parameter = jnp.asarray(0.5)
    returns = [mdps.chaotic_return(maps.tent(1.9), g, num_steps=horizon) for g in discounts]

    def objective(params, key):
        return jnp.stack([one(params, key) for one in returns])

    return Problem(
        step=mdps.chaotic_step(maps.tent(1.9), parameter),
        states=jnp.linspace(0.1, 0.9, 8),
        objective=objective,
        params=parameter,
        discounts=discounts,
        dt=0.5,
        horizon=horizon,
        observable=lambda x: jnp.cos(2 * jnp.pi * x),
    )


@pytest.fixture(scope="module")
def tent():
    with jax.enable_x64(True):
        settings = Settings(
            num_exponents=1,
            num_directions=24,
            num_scales=6,
            num_samples=16,
            line_points=9,
            plane_points=3,
            largest_scale=1e-3,
        )
        return diagnose(tent_problem((0.8, 0.4), 36), jax.random.key(0), settings)


def test_tent_map_is_fractal_at_one_discount_and_smooth_at_another(tent):
    rough, smooth = tent.by_discount
    assert rough.verdict == Verdict.FRACTAL
    assert smooth.verdict == Verdict.SMOOTH
    for finding in tent.by_discount:
        expected = -np.log(finding.discount) / np.log(1.9)
        assert finding.predictions["mean"].value == pytest.approx(expected, rel=0.06)
        assert float(finding.holder.value) == pytest.approx(expected, rel=0.1)
    assert "mean" in rough.agrees


def test_tent_map_exponents(tent):
    spectrum = tent.chaos.spectrum
    assert float(spectrum.value[0]) == pytest.approx(np.log(1.9) / 0.5, rel=0.05)
    assert float(tent.chaos.reward.value) == pytest.approx(np.log(1.9) / 0.5, rel=0.1)
    assert tent.smooth_below == pytest.approx(np.exp(-36 * np.log(1.9)), rel=1.0)
    assert tent.chaos.failed_states == 0
    assert tent.nonfinite_points == 0


def test_summary_is_json_and_counts_every_point(tent):
    import json

    document = json.loads(json.dumps(summary(tent, dt=0.5), allow_nan=False))
    lines = np.prod(tent.lines.values.shape[:3])
    assert document["points"] >= lines + 2 * 9 + 2 * 9
    assert document["lyapunov"]["nats_per_step"][0]["value"] == pytest.approx(
        0.5 * document["lyapunov"]["nats_per_second"][0]["value"]
    )
    for finding in document["by_discount"]:
        mean, star = finding["predicted"]["mean"], finding["alpha_star"]
        assert star["value"] == min(1.0, mean["value"])
    assert [f["verdict"] for f in document["by_discount"]] == ["fractal", "smooth"]


def contracting(state):
    return 0.5 * state


def contracting_problem(objective, horizon=50):
    return Problem(
        step=contracting,
        states=jnp.ones((4, 2)),
        objective=objective,
        params={"w": jnp.linspace(0.5, 1.5, 6)},
        discounts=(0.9,),
        dt=1.0,
        horizon=horizon,
    )


@pytest.mark.slow
def test_a_stable_loop_with_a_quadratic_return_is_smooth():
    def objective(params, key):
        return jnp.sum(params["w"] ** 2)[None]

    found = diagnose(contracting_problem(objective), jax.random.key(0), QUICK)
    assert float(found.chaos.spectrum.value[0]) == pytest.approx(np.log(0.5), abs=1e-9)
    assert found.by_discount[0].verdict == Verdict.SMOOTH
    assert found.by_discount[0].agrees == ("mean", "second moment", "worst")


def test_jumps_read_as_discontinuous_and_not_as_fractal():
    def objective(params, key):
        position = params["w"].sum()
        return (jnp.sin(position) + jnp.floor(position / 0.05))[None]

    found = diagnose(contracting_problem(objective), jax.random.key(0), QUICK)
    assert found.by_discount[0].verdict == Verdict.DISCONTINUOUS
    assert found.by_discount[0].jumps.largest == pytest.approx(1.0, abs=1e-3)


def test_diverged_points_are_counted_and_do_not_stop_the_run():
    def objective(params, key):
        value = jnp.sum(params["w"] ** 2)
        return jnp.where(params["w"][0] > 0.53, jnp.nan, value)[None]

    found = diagnose(contracting_problem(objective), jax.random.key(0), QUICK)
    assert 0 < found.nonfinite_points < found.num_points
    assert int(found.by_discount[0].holder.details["directions_used"]) < 16


@pytest.mark.slow
def test_a_horizon_too_short_for_the_chaos_is_undecided():
    """λT = 3.9: everything below e^-3.9 is smooth, though λ predicts α = 0.16."""
    problem = tent_problem((0.9,), 6)
    found = diagnose(problem, jax.random.key(0), QUICK)
    assert found.by_discount[0].verdict == Verdict.UNDECIDED
    assert "horizon is too short" in found.by_discount[0].reason


def test_discounts_are_checked():
    with pytest.raises(ValueError, match="discounts"):
        diagnose(tent_problem((1.0,), 6), jax.random.key(0), QUICK)
