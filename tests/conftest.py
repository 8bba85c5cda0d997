"""Several CPU devices, a compilation cache, shape checks, and float64 on request."""

import gc
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jaxlib.version
from jaxtyping import install_import_hook

# Workers share a GPU, if there is one.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# Compiling is most of the time. XLA's older way of emitting CPU code takes a third less of it, in
# one piece another fifth, and without optimisations what is left takes a third; no test here is
# about the code. Tests that run longer than they compile ask for `optimised`; the slow ones, as
# users do, take the default. A later jaxlib may not know a flag, and a process that names an
# unknown one ends.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")
if WORKER == "alone" and "slow" not in sys.argv:
    # Workers and the command line in processes of its own inherit it.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    if jaxlib.version.__version_info__ < (0, 11):
        flags = (
            "--xla_cpu_use_fusion_emitters=false",
            "--xla_backend_optimization_level=1",
            "--xla_cpu_parallel_codegen_split_count=1",
        )
        os.environ.setdefault("XLA_FLAGS", " ".join(flags))

# Before anything of the package is imported: shapes in signatures are checked in the tests.
install_import_hook("fracjax", "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402

# At least two, also on one core: results must not depend on their number.
DEVICES = int(os.environ.get("JAX_NUM_CPU_DEVICES") or os.cpu_count() or 1)
jax.config.update("jax_num_cpu_devices", max(2, DEVICES))
MOST_MAPS = 35_000
WIDE = jax.config.jax_enable_x64
PLAIN = os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1"


def pytest_configure(config: pytest.Config) -> None:
    # JAX_COMPILATION_CACHE_DIR moves it. A folder for each worker, because an entry that one
    # is writing would be read in half by another.
    folder = jax.config.jax_compilation_cache_dir or config.cache.mkdir("jax")
    jax.config.update("jax_compilation_cache_dir", str(Path(folder) / WORKER))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    # Tracing makes objects that live: a search at every 700 of them takes 5 % of the time.
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True, scope="module")
def few_memory_maps():
    """Forget compiled programs before there are too many.

    Each takes a few dozen memory maps, and a process may have 65530 of them: at the limit the
    next compilation aborts it.
    """
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or len(maps.read_bytes().splitlines()) > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def optimised():
    """Let the compiler take its time: for tests that run longer than they compile."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", PLAIN)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a module of the benchmarks by name: scripts, which import each other so."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module


@pytest.fixture(autouse=True)
def keep_precision():
    """Undo what a command line in this process chose."""
    yield
    if jax.config.jax_enable_x64 != WIDE:
        jax.config.update("jax_enable_x64", WIDE)


@pytest.fixture
def x64():
    """Run the test in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def single_precision():
    """Run the test in float32, which it is about, also where all others run in float64."""
    with jax.enable_x64(False):
        yield
