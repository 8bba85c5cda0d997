"""Gradients through the spectrum are good enough to train on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fracjax.estimators import lyapunov_spectrum
from fracjax.systems import recurrent

SIZE, COUNT, DISCARDED, AVERAGED, UPDATES, HORIZON = 80, 16, 16, 39, 500, 30


def exponents(coupling, state):
    settings = {"num_transient": DISCARDED, "num_steps": AVERAGED, "num_exponents": COUNT}
    return lyapunov_spectrum(recurrent.tanh_network(coupling), state, **settings).value


def log_condition(coupling, state):
    """Decades between the first and the last followed singular value of a long Jacobian."""
    step = recurrent.tanh_network(coupling)

    def move(steps):
        return lambda x: jax.lax.fori_loop(0, steps, lambda _, y: step(y), x)

    jacobian = jax.jacfwd(move(HORIZON))(move(DISCARDED)(state))
    singular = jnp.linalg.svd(jacobian, compute_uv=False)
    return jnp.log10(singular[0] / singular[COUNT - 1])


@pytest.mark.slow
def test_pushing_exponents_to_zero_flattens_the_long_jacobian(x64):
    """A run on record: mean square 6e-3 to 2e-13, 1.63 to 0.49 decades, one draw unknown to us.

    Four draws here: 1.4 to 2.9 decades before, 0.66 to 0.80 after, mean 0.72 ± 0.03.
    """
    optimizer = optax.adam(1e-3)

    def loss(coupling, state):
        return jnp.mean(exponents(coupling, state) ** 2)

    def floss(key):
        first, second = jax.random.split(key)
        coupling = recurrent.gaussian_coupling(first, SIZE, 1.0).astype(jnp.float64)
        state = jax.random.normal(second, (SIZE,))

        def update(carry, _):
            coupling, moments = carry
            gradient = jax.grad(loss)(coupling, state)
            change, moments = optimizer.update(gradient, moments)
            return (optax.apply_updates(coupling, change), moments), None

        begin = (coupling, optimizer.init(coupling))
        flossed = jax.lax.scan(update, begin, length=UPDATES)[0][0]
        return [(loss(c, state), log_condition(c, state)) for c in (coupling, flossed)]

    found = [jax.jit(floss)(key) for key in jax.random.split(jax.random.key(0), 4)]
    (before, steep), (after, flat) = np.moveaxis(np.asarray(found), 0, -1)
    assert np.all(before > 1e-3)
    assert np.all(after < 1e-9)
    assert np.all(flat < steep - 0.5)
    assert abs(flat.mean() - 0.49) < 0.3
