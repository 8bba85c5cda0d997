"""Several CPU devices, a compilation cache, shape checks, and float64 on request."""

import os

from jaxtyping import install_import_hook

# Before anything of the package is imported: shapes in signatures are checked in the tests.
install_import_hook("fracjax", "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402

# At least two, also on one core: results must not depend on their number.
jax.config.update("jax_num_cpu_devices", max(2, os.cpu_count() or 1))


def pytest_configure(config: pytest.Config) -> None:
    if not jax.config.jax_compilation_cache_dir:  # set by JAX_COMPILATION_CACHE_DIR
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture
def x64():
    """Run the test in float64."""
    with jax.enable_x64(True):
        yield
