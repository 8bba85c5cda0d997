"""Hölder exponents of objectives against functions whose exponent is known.

Objectives with several outputs save compilation: one program serves all of them, and the same
number of outputs on ladders of eight levels makes several tests share it.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators import holder_exponent
from fracjax.estimators.roughness.lines import LineSampler, default_scales, root_mean_square
from fracjax.estimators.roughness.orders import exponents_of_outputs
from fracjax.estimators.roughness.pointwise import local_holder_exponents
from fracjax.systems import maps, mdps, signals

from references import value

pytestmark = pytest.mark.usefixtures("x64")

# A ladder of eight levels, 17 octaves.
WIDE = {"largest_scale": 1e-1, "smallest_scale": 1e-6}
PARAMS = {"w": np.linspace(-1.0, 1.0, 6).reshape(3, 2), "b": np.asarray(0.3)}


def stacked(*objectives):
    return lambda params, key: jnp.stack([one(params, key) for one in objectives])


# --- rough ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_gate_h4_weierstrass_landscapes():
    """Base 2 and 2.7, random phases, over 17 and 12 periods of the base."""
    truth = [(hurst, base) for base in (2.0, 2.7) for hurst in (0.3, 0.5, 0.8)]
    fields = [
        signals.weierstrass_field(jax.random.key(number), hurst, base=base)
        for number, (hurst, base) in enumerate(truth)
    ]
    params = {"a": jnp.linspace(0.1, 0.4, 3), "b": jnp.array([[0.7]])}
    estimate = holder_exponent(stacked(*fields), params, jax.random.key(2), **WIDE)
    exact = np.array([hurst for hurst, _ in truth])
    assert (estimate.status == Status.OK).all()
    np.testing.assert_allclose(estimate.value, exact, atol=0.02)
    assert (abs(estimate.value - exact) < 4 * estimate.stderr).all()
    assert (estimate.details["order"] == 2).all()
    assert not estimate.details["jump_alarm"].any()


@pytest.mark.slow
def test_interval_covers_on_a_weierstrass_landscape():
    """Fresh directions and centres, 200 keys; null of 95 %, 90 % is 3.2 errors away."""
    field = signals.weierstrass_field(jax.random.key(1), 0.5, base=2.7)
    params = jnp.linspace(0.2, 0.9, 4)
    lines, spacings = [], None
    for seed in range(200):
        key = jax.random.key(seed)
        sampler = LineSampler(field, params, key, num_directions=32, radius=0.1, chunk_size=2048)
        sampled = sampler.ladder(0.1, 1e-5, points_per_line=40)
        lines.append(sampled.values)
        spacings = sampled.spacings
    estimate = exponents_of_outputs(np.stack(lines, axis=-1), spacings)
    covered = (estimate.low <= 0.5) & (0.5 <= estimate.high)
    assert 0.9 <= covered.mean() <= 0.995
    assert abs(estimate.value.mean() - 0.5) < 0.003


DISCOUNTS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
RETURNS = [mdps.chaotic_return(maps.tent(1.9), discount) for discount in DISCOUNTS]
TENT = {"largest_scale": 1e-3, "smallest_scale": 1e-8, "radius": 0.2}
together = functools.lru_cache(stacked)  # one function object, hence one program


def test_tent_map_return_follows_the_law():
    """α = -ln γ / ln 1.9 for constant expansion, within .02 + 3 %.

    At γ = .99 rounding reaches a share of the increments that no scale escapes. It acts as a
    shift of the parameter, which leaves the exponent as it is; that is one end of what the
    noise term allows.
    """
    key = jax.random.key(4)
    estimate = holder_exponent(together(*RETURNS), jnp.asarray(0.5), key, **TENT)
    expected = -np.log(DISCOUNTS) / np.log(1.9)
    assert (estimate.status == Status.OK).all()
    assert (abs(estimate.value - expected) < 0.02 + 0.03 * expected).all()
    assert (abs(estimate.details["jump_gap"]) < 0.05).all()
    assert not estimate.details["jump_alarm"].any()
    assert estimate.low[-1] < expected[-1] < estimate.high[-1]
    for discount in ("0.5", "0.9"):
        reference = value("tent 1.9, discount " + discount, "hölder")
        measured = estimate.value[DISCOUNTS.index(float(discount))]
        assert abs(measured - reference) < 0.02


@pytest.mark.slow
def test_several_objectives_at_once_equal_each_alone():
    key, alone = jax.random.key(4), RETURNS[2]
    joint = holder_exponent(together(*RETURNS), jnp.asarray(0.5), key, **TENT)
    single = holder_exponent(alone, jnp.asarray(0.5), key, **TENT)
    assert joint.value.shape == (6,)
    # Rounding differs between the programs, and the return is chaotic.
    assert joint.value[2] == pytest.approx(float(single.value), abs=2e-3)
    again = holder_exponent(alone, jnp.asarray(0.5), key, **TENT)
    assert again.value == single.value
    elsewhere = holder_exponent(alone, jnp.asarray(0.5), jax.random.key(5), **TENT)
    assert elsewhere.value != single.value


# --- smooth, linear, constant, nonfinite ------------------------------------------------------


def quadratic(params, key):
    return jnp.sum(params["w"] ** 2) + params["b"]


def cubic(params, key):
    return jnp.sum(params["w"] ** 3) + params["b"]


def rounded_corners(params, key):
    """|x|^2.5 in one parameter, through zero: seen by third differences only."""
    return jnp.sum(jnp.abs(jnp.sin(40 * params["w"])) ** 2.5)


def linear(params, key):
    return 3.0 * jnp.sum(params["w"]) - params["b"]


def constant(params, key):
    return 0.0 * params["b"] + 2.0


def diverged(params, key):
    return jnp.nan * params["b"]


@pytest.mark.slow
def test_gate_h5_order_follows_the_smoothness():
    objective = stacked(quadratic, cubic, rounded_corners, linear, constant, diverged)
    estimate = holder_exponent(objective, PARAMS, jax.random.key(0), **WIDE)
    ok = [Status.OK] * 4 + [Status.AT_NOISE_FLOOR, Status.DIVERGED]
    assert estimate.status.tolist() == ok
    assert estimate.details["order"][:4].tolist() == [2, 3, 3, 1]
    np.testing.assert_allclose(estimate.value[np.array([0, 1, 3])], [2, 3, 1], atol=5e-3)
    assert estimate.details["at_cap"].tolist()[:2] == [True, True]
    assert estimate.details["at_cap"][3]
    assert 2 < estimate.value[2] < 3
    assert jnp.isnan(estimate.value[4:]).all()
    capped = holder_exponent(objective, PARAMS, jax.random.key(0), **WIDE, max_order=2)
    np.testing.assert_allclose(capped.value[:2], 2.0, atol=5e-3)
    assert capped.details["order"].tolist()[:4] == [2, 2, 2, 1]
    assert capped.details["at_cap"][:2].all()


@pytest.mark.parametrize(
    ("objective", "status"), [(constant, Status.AT_NOISE_FLOOR), (diverged, Status.DIVERGED)]
)
def test_no_landscape_gives_a_status_to_the_paper_method(objective, status):
    estimate = holder_exponent(objective, PARAMS, jax.random.key(0), method="paper")
    assert estimate.status == status
    assert jnp.isnan(estimate.value)


# --- points, jumps ---------------------------------------------------------------------------


def test_gate_h5_a_cusp_is_seen_at_its_point_and_nowhere_else():
    def cusp(x, key):
        return signals.cusp(x, 0.4)

    centres = np.array([0.0, 0.3, -0.5, 1.0, 2.0, -3.0])
    estimate = local_holder_exponents(cusp, centres, jax.random.key(0), **WIDE, max_order=2)
    assert (estimate.status == Status.OK).all()
    assert estimate.value[0] == pytest.approx(0.4, abs=0.01)
    assert (estimate.value[1:] > 1.9).all()
    assert estimate.details["at_cap"].tolist() == [False] + [True] * 5
    assert estimate.details["minimum"] == estimate.value[0]
    assert (estimate.details["quantiles"][1:] > 1.9).all()

    def clipped(x, key):
        return mdps.clipped_value(jnp.abs(x), 2.0, 0.9)

    scales = {"largest_scale": 1e-2, "smallest_scale": 1e-9}
    rough = holder_exponent(
        clipped, jnp.asarray(1e-6), jax.random.key(0), radius=0.0, measure_noise=False, **scales
    )
    assert rough.low < value("clipped 2, discount 0.9", "hölder") < rough.high
    with pytest.raises(ValueError, match="leading axis"):
        local_holder_exponents(cusp, np.zeros(0), jax.random.key(0))
    with pytest.raises(ValueError, match="floating"):
        local_holder_exponents(cusp, np.arange(3), jax.random.key(0))


def test_gate_h5_steps_raise_the_alarm():
    """Exponent 1/2 by squares and 1 by absolute values; few lines cross a single step."""

    def staircase(x, key):
        return jnp.floor(40 * x) + x**2

    estimate = holder_exponent(staircase, jnp.asarray(0.3), jax.random.key(0), **WIDE)
    assert estimate.details["jump_alarm"]
    assert estimate.details["jump_gap"] == pytest.approx(0.5, abs=0.15)

    def step(x, key):
        return signals.heaviside(x - 0.31)

    alone = holder_exponent(step, jnp.asarray(0.3), jax.random.key(0), **WIDE)
    assert alone.details["jump_alarm"]
    assert alone.stderr > 0.05


# --- directions -------------------------------------------------------------------------------


def surface(seed, hurst):
    """A fractional Brownian surface from 12 waves per octave over 26 octaves, random angles."""
    octave = np.arange(0, 26, 1 / 12) - 3
    rng = np.random.default_rng(seed)
    angle, phase = rng.uniform(0, 2 * np.pi, (2, len(octave)))
    waves = 2 * np.pi * 2.0 ** octave[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    sizes = 2.0 ** (-hurst * octave)
    return lambda x, key: jnp.sum(sizes * jnp.cos(waves @ x + phase))


def along(hurst, axis):
    return lambda x, key: signals.weierstrass(x[axis], hurst, base=2.3, key=jax.random.key(axis))


@pytest.mark.slow
def test_gate_h6_surfaces_and_anisotropic_mixes():
    """Isotropic: both axes alike. Mixed: random lines read the rougher axis, axes differ."""

    def mix(first, second):
        return lambda x, key: along(first, 0)(x, key) + along(second, 1)(x, key)

    objective = stacked(
        surface(0, 0.3),
        surface(1, 0.5),
        surface(2, 0.7),
        mix(0.3, 0.8),
        mix(0.7, 0.4),
        along(0.5, 0),
    )
    centre = jnp.array([0.3, 0.6])
    estimate = holder_exponent(objective, centre, jax.random.key(1), directions="axes", **WIDE)
    np.testing.assert_allclose(estimate.value[:3], [0.3, 0.5, 0.7], atol=0.05)
    details = estimate.details
    axes = details["direction_exponents"]
    assert axes.shape == (6, 2)
    np.testing.assert_allclose(axes[:3], np.array([[0.3] * 2, [0.5] * 2, [0.7] * 2]), atol=0.05)
    np.testing.assert_allclose(axes[3:5], [[0.3, 0.8], [0.7, 0.4]], atol=0.05)
    assert axes[5, 0] == pytest.approx(0.5, abs=0.05)
    assert details["direction_statuses"][5, 1] == Status.AT_NOISE_FLOOR
    assert details["minimum_direction"][3:5].tolist() == [0, 1]
    np.testing.assert_allclose(details["minimum_exponent"][3:5], [0.3, 0.4], atol=0.05)
    assert (details["homogeneity_p_value"][3:5] < 1e-6).all()
    assert (details["homogeneity_p_value"][:3] > 1e-3).all()
    assert (details["direction_spread"][3:5] > 0.15).all()
    assert jnp.isnan(details["minimum_exponent"][5])


@pytest.mark.parametrize(
    ("directions", "settings", "message"),
    [
        ("diagonal", {}, "directions"),
        (np.ones((2, 3)), {}, "like `params`"),
        (np.array([[0.0, 0.0], [1.0, 0.0]]), {}, "length zero"),
        ("axes", {"num_directions": 14}, "at least 8 for each"),
    ],
)
def test_bad_directions_are_named(directions, settings, message):
    unchecked = inspect.unwrap(holder_exponent)
    with pytest.raises(ValueError, match=message):
        unchecked(
            lambda x, key: x.sum(),
            jnp.ones(2),
            jax.random.key(0),
            directions=directions,
            **settings,
        )


def test_given_directions_are_the_lines():
    """Values of a linear function give back the geometry: direction i modulo their number."""
    given = jnp.array([[3.0, 4.0], [0.0, -1.0]])
    sampler = LineSampler(
        lambda params, key: params, jnp.zeros(2), jax.random.key(0), 8, 0.5, 8, given=given
    )
    lines = sampler.ladder(0.8, 1e-3, points_per_line=3)
    step = np.diff(lines.values, axis=2)[:, 0, 0] / lines.spacings[0]
    np.testing.assert_allclose(step[0::2], np.tile([0.6, 0.8], (4, 1)) * 2**0.5, rtol=1e-9)
    np.testing.assert_allclose(step[1::2], np.tile([0.0, -1.0], (4, 1)) * 2**0.5, atol=1e-9)


# --- stochastic objectives ---------------------------------------------------------------------

FIELD = signals.weierstrass_field(jax.random.key(1), 0.5)


def noisy(params, key):
    """White noise for a fresh key; a constant for a common one."""
    return FIELD(params, key) + 0.1 * jax.random.normal(key)


def wavy(params, key):
    """At a fixed key rougher than the mean."""
    wave = signals.weierstrass(params[0], 0.3, key=key, num_terms=22)
    return FIELD(params, key) + 0.1 * wave


@pytest.mark.slow
@pytest.mark.parametrize("common_random_numbers", [True, False])
def test_replicates_leave_the_mean_objective(common_random_numbers):
    estimate = holder_exponent(
        stacked(noisy, wavy),
        jnp.array([0.3, 0.6, 0.2]),
        jax.random.key(3),
        num_replicates=3,
        common_random_numbers=common_random_numbers,
        largest_scale=1e-1,
        smallest_scale=1e-4,
    )
    assert (estimate.status == Status.OK).all()
    assert (abs(estimate.value - 0.5) < 0.03 + 2 * estimate.stderr).all()
    assert (estimate.stderr < 0.05).all()
    # A common key cancels white noise altogether, and all levels can be used.
    whole = estimate.details["window"][0].all()
    assert bool(whole) == common_random_numbers


# --- precision, arguments, geometry ------------------------------------------------------------


@pytest.mark.parametrize("offset", [1e5, 1e6])
def test_gate_h3_float32_reports_its_noise_floor(offset):
    """An offset that costs 17 or 20 bits: its rounding steps are .008 and .06."""
    with jax.enable_x64(False):
        params = jnp.linspace(0.5, 1.5, 4, dtype=jnp.float32)
        objective = signals.weierstrass_field(jax.random.key(1), 0.5, num_terms=16)

        def lifted(params, key):
            return objective(params, key) + offset

        estimate = holder_exponent(
            lifted, params, jax.random.key(0), largest_scale=1e-1, smallest_scale=1e-5
        )
        assert estimate.value.dtype == jnp.float32
        assert estimate.details["noise_variogram"] > 0.2 * np.spacing(np.float32(offset)) ** 2
        assert estimate.details["noise_stderr"] > 0
        assert (estimate.details["level_weights"] > 0.5).all() == (offset == 1e5)
        assert (estimate.status != Status.OK) | (estimate.low <= 0.5 <= estimate.high)


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
    assert estimate.value == pytest.approx(value("clipped 2, discount 0.9", "hölder"), abs=0.01)
    assert estimate.details["slope"] == pytest.approx(2 * float(estimate.value))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "box"}, "method"),
        ({"largest_scale": 1e-3, "smallest_scale": 1e-2}, "smallest_scale"),
        ({"points_per_line": 20}, "points per line"),
        ({"num_directions": 4}, "directions"),
        ({"num_replicates": 0}, "num_replicates"),
        ({"max_order": 4}, "max_order"),
    ],
)
def test_bad_arguments_say_what_to_do(arguments, message):
    unchecked = inspect.unwrap(holder_exponent)  # past the tests' own type checks
    with pytest.raises(ValueError, match=message):
        unchecked(quadratic, PARAMS, jax.random.key(0), measure_noise=False, **arguments)


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
