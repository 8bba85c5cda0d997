"""Import rules that import-linter cannot state; it checks the order of the layers itself."""

import ast
import subprocess
import sys
from pathlib import Path

import fracjax

PACKAGE = Path(fracjax.__file__).parent
HEAVY = (
    "brax",
    "flax",
    "optax",
    "mujoco",
    "matplotlib",
    "plotly",
    "zarr",
    "scipy",
    "xarray",
    "typer",
)


def test_importing_the_package_loads_jax_and_nothing_heavy():
    code = f"import sys, fracjax; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_subpackages_load_on_first_use():
    assert fracjax.estimators.holder_exponent
    assert "estimators" in dir(fracjax)


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    modules = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return names | {f"{node.module}" for node in modules}


def test_only_devices_shards():
    users = {path.name for path in PACKAGE.rglob("*.py") if "jax.sharding" in imported(path)}
    assert users == {"devices.py"}


def test_classic_environments_need_no_simulator():
    code = "import sys; from fracjax.rl import classic; print('mujoco' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
