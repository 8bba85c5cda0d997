"""Vector fields: divergences, equilibria and energies in closed form."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.systems import flows

STATE = np.array([1.0, -0.7, 0.4, 0.3, 1.2, -0.5])

FIELDS = {
    "lorenz63": (flows.lorenz63(), 3, lambda s: -41 / 3),
    "rossler": (flows.rossler(), 3, lambda s: 0.2 + s[0] - 5.7),
    "lorenz84": (flows.lorenz84(), 3, lambda s: 2 * s[0] - 2.25),
    "chen": (flows.chen(), 3, lambda s: -10.0),
    "hyper-rossler": (flows.hyper_rossler(), 4, lambda s: 0.3 + s[0]),
    "duffing": (flows.duffing(), 3, lambda s: -0.05),
    "stuart-landau": (flows.stuart_landau(), 2, lambda s: 2 - 4 * (s[0] ** 2 + s[1] ** 2)),
    "henon-heiles": (flows.henon_heiles(), 4, lambda s: 0.0),
    "lorenz96": (flows.lorenz96(), 6, lambda s: -6.0),
    "damped": (flows.damped_linear(0.9), 2, lambda s: -1.8),
}


@pytest.mark.parametrize("name", FIELDS)
def test_divergence_and_dtype(name, x64):
    field, size, divergence = FIELDS[name]
    state = jnp.asarray(STATE[:size])
    jacobian = jax.jit(jax.jacfwd(field))(state)
    chex.assert_trees_all_close(jnp.trace(jacobian), divergence(state), atol=1e-12)
    assert jax.eval_shape(field, state.astype(jnp.float32)).dtype == jnp.float32


def _rossler_rest(a, b, c):
    """Solve a y² + c y + b = 0, x = -a y, z = -y."""
    y = (-c + (c**2 - 4 * a * b) ** 0.5) / (2 * a)
    return [-a * y, y, -y]


@pytest.mark.parametrize(
    ("field", "rest"),
    [
        (flows.lorenz63(), [72**0.5, 72**0.5, 27.0]),
        (flows.lorenz63(16.0, 45.92, 4.0), [-(179.68**0.5), -(179.68**0.5), 44.92]),
        (flows.chen(), [63**0.5, 63**0.5, 21.0]),
        (flows.chen(), [-(63**0.5), -(63**0.5), 21.0]),
        (flows.rossler(), _rossler_rest(0.2, 0.2, 5.7)),
        (flows.lorenz96(), [8.0] * 5),
        (flows.lorenz84(meridional=0.0), [8.0, 0.0, 0.0]),
        (flows.henon_heiles(), [0.0, 1.0, 0.0, 0.0]),
    ],
)
def test_equilibria(field, rest, x64):
    chex.assert_trees_all_close(field(jnp.array(rest)), jnp.zeros(len(rest)), atol=1e-12)


def test_hyper_rossler_by_hand(x64):
    moved = flows.hyper_rossler()(jnp.array([1.0, 2.0, 3.0, 4.0]))
    chex.assert_trees_all_close(moved, jnp.array([-5.0, 5.5, 6.0, -1.3]), atol=1e-14)


def test_energy_budgets(x64):
    """Rates of change of an energy, where the nonlinear terms conserve it or are its gradient."""
    x, y, z = state = jnp.asarray(STATE[:3])
    budget = -0.25 * x**2 - y**2 - z**2 + 0.25 * 8 * x + y
    chex.assert_trees_all_close(state @ flows.lorenz84()(state), budget, atol=1e-12)

    ring = jnp.asarray(STATE)
    budget = 8 * jnp.sum(ring) - ring @ ring
    chex.assert_trees_all_close(ring @ flows.lorenz96()(ring), budget, atol=1e-12)

    duffing = flows.duffing(damping=0.2, linear=-1.0, cubic=0.5, amplitude=0.3)
    rate = jax.grad(lambda s: s[1] ** 2 / 2 - s[0] ** 2 / 2 + s[0] ** 4 / 8)(state)
    budget = -0.2 * y**2 + 0.3 * y * jnp.cos(z)
    chex.assert_trees_all_close(rate @ duffing(state), budget, atol=1e-12)


def test_henon_heiles_is_the_flow_of_its_energy_with_its_symmetry(x64):
    state = jnp.asarray(STATE[:4])
    slope = jax.grad(flows.henon_heiles_energy)(state)
    turned = jnp.concatenate([slope[2:], -slope[:2]])
    chex.assert_trees_all_close(flows.henon_heiles()(state), turned, atol=1e-14)
    turn = jnp.array([[-0.5, -(0.75**0.5)], [0.75**0.5, -0.5]])
    rotated = (turn @ state.reshape(2, 2).T).T.reshape(-1)
    energies = [flows.henon_heiles_energy(s) for s in (state, rotated)]
    chex.assert_trees_all_close(*energies, atol=1e-14)


def test_stuart_landau_turns_on_its_circle(x64):
    """At |z|² = growth it moves at `frequency`, nowhere else in radius."""
    field = flows.stuart_landau(growth=2.0, frequency=3.0)
    state = jnp.array([1.0, -1.0])
    chex.assert_trees_all_close(field(state), jnp.array([3.0, 3.0]), atol=1e-14)
