"""Commands set JAX's precision, which the next test must not see."""

import jax
import pytest


@pytest.fixture(autouse=True)
def keep_jax_settings():
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)
