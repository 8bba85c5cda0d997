"""Every system of the catalogue against its own invariants; the slow gates against values."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.systems import catalogue

from references import REFERENCES

EXACT = (
    "logistic r=4",
    "tent 1.9",
    "expanding 3",
    "cat",
    "baker 1/2",
    "baker 1/3",
    "ginibre 2",
    "ginibre 8",
    "bernoulli ring 3, N=16",
    "orthogonal 0.9, N=16",
    "product map, ellipse 1.5",
    "damped 0.9",
    "stuart-landau",
)
SYMPLECTIC = (
    "cat",
    "baker 1/2",
    "baker 1/3",
    "standard K=1",
    "standard K=2",
    "standard K=5",
    "standard K=10",
    "henon-heiles",
)
# Its modes are damped below rounding within a step, so that it has no determinant.
DAMPED = "kuramoto-sivashinsky L=22"
# As much code as the others run, in the time of the default tests.
VOLUME = (
    "logistic r=3.8",
    "tent 1.9",
    "baker 1/3",
    "henon",
    "ikeda 0.9",
    "folded towel",
    "ginibre 2",
    "tent ring 1.9, N=16",
    "tanh network g=3, N=64",
    "stuart-landau",
    "lorenz63",
    "lorenz84 G=1",
    "chen",
    "rossler",
    "hyper-rossler",
    "duffing",
    "lorenz96 N=4, F=20",
)
SPECTRA = ("tent 1.9", "ginibre 2", "stuart-landau")


def slow_unless(names, quick):
    marks = {name: () if name in quick else pytest.mark.slow for name in names}
    return [pytest.param(name, marks=mark) for name, mark in marks.items()]


def ensemble(name, num_orbits, *, spread, **settings):
    """Estimate from orbits that start apart by `spread`, and average over them.

    Returns:
        Mean exponents, their standard errors from the spread between orbits, and all of them.
    """
    system = catalogue.get(name)
    draws = np.random.default_rng(1).normal(size=(num_orbits, *system.start.shape))
    run = functools.partial(
        lyapunov_spectrum,
        system.step,
        num_transient=system.num_transient,
        dt=system.dt,
        **{"num_exponents": system.num_exponents, **settings},
    )
    values = jax.jit(jax.vmap(run))(jnp.asarray(system.start + spread * draws)).value
    return values.mean(axis=0), values.std(axis=0, ddof=1) / num_orbits**0.5, values


def kaplan_yorke(exponents):
    sums = np.cumsum(exponents)
    last = int(np.flatnonzero(sums >= 0)[-1])
    return last + 1 + sums[last] / abs(exponents[last + 1])


# --- definitions ----------------------------------------------------------------------------


def numeric(state):
    """Split a start such as (key, vector) into its vector and a way back."""
    if isinstance(state, tuple):
        key, vector = state
        return vector, lambda moved: (key, moved), lambda whole: whole[1]
    return state, lambda moved: moved, lambda whole: whole


@pytest.mark.parametrize("name", slow_unless((n for n in catalogue.names() if n != DAMPED), VOLUME))
def test_volume_grows_as_declared(name, x64):
    """ln|det| of one step of a map; for a flow the mean divergence of its ends, to 1 %."""
    system = catalogue.get(name)
    vector, join, split = numeric(system.state)
    growth = system.invariants.volume_growth

    def both(vector):
        jacobian = jnp.atleast_2d(jax.jacfwd(lambda moved: split(system.step(join(moved))))(vector))
        moved = system.step(join(vector))
        ends = (join(vector), moved) if system.dt != 1 else (join(vector),)
        declared = jnp.stack([growth(end) if callable(growth) else growth for end in ends])
        return jnp.linalg.slogdet(jacobian)[1] / system.dt, declared.mean()

    measured, declared = jax.jit(both)(vector)
    tolerance = 1e-9 if system.dt == 1 else 0.01
    assert abs(float(measured - declared)) < tolerance * max(1, abs(float(declared)))


@pytest.mark.parametrize("name", slow_unless(EXACT, SPECTRA))
def test_exact_spectra(name, x64):
    """Constant growth to 1e-6; else within 5 standard errors of at most .03."""
    system = catalogue.get(name)
    settings = {"num_steps": 4000, "num_transient": system.num_transient, "dt": system.dt}
    estimate = lyapunov_spectrum(system.step, system.state, **settings)
    gap = np.abs(estimate.value - np.array(system.exact))
    assert np.all(gap < np.maximum(5 * estimate.stderr, 1e-6))
    assert np.all(estimate.stderr < 0.03)


@pytest.mark.parametrize("name", SYMPLECTIC)
def test_symplectic_steps(name, x64):
    system = catalogue.get(name)
    half = len(system.start) // 2
    form = np.kron([[0.0, 1.0], [-1.0, 0.0]], np.eye(half))
    jacobian = np.asarray(jax.jacfwd(system.step)(system.state))
    np.testing.assert_allclose(jacobian.T @ form @ jacobian, form, atol=1e-13)


def test_the_lists_above_are_complete():
    systems = [catalogue.get(name) for name in catalogue.names()]
    assert tuple(system.name for system in systems if system.exact is not None) == EXACT
    assert tuple(system.name for system in systems if system.invariants.symplectic) == SYMPLECTIC
    assert {DAMPED, *VOLUME, *SPECTRA} <= set(catalogue.names())


@pytest.mark.parametrize("name", EXACT)
def test_exact_spectra_obey_their_own_invariants(name):
    system = catalogue.get(name)
    growth, exact = system.invariants.volume_growth, np.array(system.exact)
    assert np.all(np.diff(exact) <= 0)
    assert callable(growth) or abs(exact.sum() - growth) < 1e-9
    assert np.sum(np.abs(exact) < 1e-12) == system.invariants.num_neutral
    if system.invariants.symplectic:
        np.testing.assert_allclose(exact, -exact[::-1])


def test_references_and_catalogue_share_names():
    """All systems with exponents or their sum; exact values are the same on both sides."""
    for (name, quantity), reference in REFERENCES.items():
        if quantity not in {"exponent", "exponents", "sum"}:
            continue
        system = catalogue.get(name)
        if reference.source.startswith("exact") and quantity == "sum":
            assert abs(system.invariants.volume_growth - reference.value) < 1e-12
        elif reference.source.startswith("exact"):
            np.testing.assert_allclose(system.exact, np.atleast_1d(reference.value), atol=1e-12)


@pytest.mark.usefixtures("single_precision")
def test_entries_are_shared_and_follow_the_precision():
    system = catalogue.get("lorenz63")
    assert system is catalogue.get("lorenz63")
    assert system.name == "lorenz63"
    assert system.state.dtype == jnp.float32
    with jax.enable_x64(True):
        assert system.state.dtype == jnp.float64
    with pytest.raises(
        ValueError, match=r"Argument `name` must be one of logistic r=4, .*'lorenz'"
    ):
        catalogue.get("lorenz")


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize("name", ["tanh network g=3, N=64", "quadratic ring N=32", "chen"])
def test_a_system_made_in_single_precision_also_steps_in_double(name):
    system = catalogue.get(name)
    single = system.step(system.state)
    with jax.enable_x64(True):
        double = system.step(system.state)
    assert (single.dtype, double.dtype) == (jnp.float32, jnp.float64)
    np.testing.assert_allclose(single, double, rtol=1e-5, atol=1e-5)


# --- gates ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_rossler_ensemble(x64):
    """64 orbits of 6250 units of time; the errors are those of the ensemble."""
    mean, error, _ = ensemble("rossler", 64, spread=0.2, num_steps=625_000)
    assert abs(mean[0] - 0.0714) < 1e-3
    assert abs(mean[1]) < 1e-4
    assert abs(mean[2] + 5.3943) < 1e-3 + 4 * error[2]


@pytest.mark.slow
def test_lorenz96_spectrum(x64):
    """13 positive exponents, dimension 27.1 ± .2, sum -40, over 8 orbits of 400 units."""
    settings = {"num_steps": 20_000, "qr_every": 2}
    mean, error, values = ensemble("lorenz96 N=40", 8, spread=0.5, **settings)
    assert np.sum(mean > 3 * error) == 13
    assert abs(mean[13]) < 0.01
    assert abs(kaplan_yorke(mean) - 27.1) < 0.2
    assert np.all(np.abs(values.sum(axis=1) + 40) < 1e-3)
    assert abs(mean[0] - 1.69) < 0.05


@pytest.mark.slow
def test_kuramoto_sivashinsky_spectrum(x64):
    """16 orbits of 1500 units. Pairs to .005, as two groups have published them."""
    mean, _, _ = ensemble("kuramoto-sivashinsky L=22", 16, spread=0.02, num_steps=15_000)
    assert abs(mean[0] - 0.048) < 4e-3
    assert np.all(np.abs(mean[1:3]) < 3e-3)
    expected = [-0.003, -0.189, -0.256, -0.290, -0.310]
    np.testing.assert_allclose(mean[3:8], expected, atol=6e-3)
    expected = [-1.963, -1.967, -5.605, -5.605, -11.92, -11.92]
    np.testing.assert_allclose(mean[8:14], expected, atol=5e-3)


@pytest.mark.slow
def test_ikeda_and_standard_ensembles(x64):
    mean, error, values = ensemble("ikeda 0.9", 64, spread=0.05, num_steps=100_000)
    assert abs(mean[0] - 0.5076) < 1e-3
    assert np.all(np.abs(values.sum(axis=1) - 2 * math.log(0.9)) < 1e-12)
    mean, error, values = ensemble("standard K=10", 64, spread=0.05, num_steps=100_000)
    assert abs(mean[0] - 1.6197) < 2e-3
    assert error[0] < 1e-3
    assert np.all(np.abs(values.sum(axis=1)) < 1e-9)
