"""Notebooks: scripts and their pairs are the same, and all run at the size that tests take."""

import ast
import importlib
import inspect
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
PUBLIC_NAMES = FOLDER.parent / "docs" / "_extensions" / "public_names.py"
SCRIPTS = sorted(FOLDER.glob("*.py"))
NAMES = [script.stem for script in SCRIPTS]
COLAB = "https://colab.research.google.com/github/fracjax/fracjax/blob/main/notebooks"
INSTALLS = re.compile(r"fracjax(\[[a-z,]+\])? @ git\+https://github\.com/fracjax/fracjax'")
# Warnings whose cause is in libraries below, as in the options of pytest.
FOREIGN = ("brax", "mujoco", "flax", "orbax", "jaxopt", "etils", "tensorboardX", "google")

RUN = f"""
import runpy, sys, warnings
warnings.simplefilter("error")
for module in {FOREIGN}:
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=module)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def text(name):
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8")


def pair(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def contents(notebook):
    return [(cell.cell_type, cell.source.strip()) for cell in notebook.cells]


def private_names(script, public_modules, public_names):
    """Names of fracjax that a script imports or reaches by dots and the reference does not hold."""
    program = ast.parse(script)
    known, found = {}, []
    for node in ast.walk(program):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names if each.name.startswith("fracjax.")]
            found += [name for name in names if name not in public_modules]
        if not isinstance(node, ast.ImportFrom) or node.module.split(".")[0] != "fracjax":
            continue
        for each in node.names:
            if node.module in public_modules and each.name in public_names(node.module):
                thing = getattr(importlib.import_module(node.module), each.name)
                known[each.asname or each.name] = thing
            else:
                found.append(f"{node.module}.{each.name}")

    def reached(node):
        if isinstance(node, ast.Name):
            return known.get(node.id)
        owner = reached(node.value) if isinstance(node, ast.Attribute) else None
        if not inspect.ismodule(owner):
            return None
        if owner.__name__ not in public_modules or node.attr not in public_names(owner.__name__):
            found.append(f"{owner.__name__}.{node.attr}")
        return getattr(owner, node.attr, None)

    for node in ast.walk(program):
        reached(node)
    return set(found)


@pytest.fixture(scope="module")
def reference():
    module = runpy.run_path(str(PUBLIC_NAMES))
    return module["public_modules"](), module["public_names"]


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_use_what_the_reference_holds(name, reference):
    """They are what users copy, scripts inside of them included."""
    scripts = [
        text(name),
        *re.findall(r'^\w+ = """\n(.*?)"""', text(name), re.DOTALL | re.MULTILINE),
    ]
    assert set().union(*(private_names(each, *reference) for each in scripts)) == set()


def test_private_names_are_noticed(reference):
    script = """
import fracjax.plotting.style
import fracjax.tree
from fracjax import estimators, learning, systems
from fracjax.learning.gravity_wells.bandits import bandit_value
from fracjax.systems.training_maps.phases import orbit_phase
systems.maps.linear, learning.policy_path.__doc__, estimators.intervals
"""
    assert private_names(script, *reference) == {
        "fracjax.plotting.style",
        "fracjax.learning.gravity_wells.bandits.bandit_value",
        "fracjax.estimators.intervals",
    }


def test_there_is_a_notebook_for_every_pair_and_the_other_way_round():
    assert len(NAMES) == 14
    assert NAMES == sorted(path.stem for path in FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("name", NAMES)
def test_script_and_notebook_have_the_same_cells(name):
    assert contents(jupytext.reads(text(name), fmt="py:percent")) == contents(pair(name))


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_stripped_and_valid(name):
    notebook = pair(name)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_cells_are_title_badge_and_installation(name):
    title, install = pair(name).cells[:2]
    assert title.source.startswith("# ")
    badges = re.findall(r"\]\((https://colab[^)]*\.ipynb)\)", title.source)
    assert badges == [f"{COLAB}/{name}.ipynb"]
    assert '"google.colab" in sys.modules' in install.source
    assert INSTALLS.search(install.source)


@pytest.mark.parametrize("name", NAMES)
def test_sizes_come_from_one_switch_and_the_device_is_named(name):
    content = text(name)
    assert content.count('QUICK = bool(os.environ.get("FRACJAX_QUICK"))') == 1
    assert content.count("QUICK") > 1
    assert "jax.default_backend()" in content


def test_the_readme_lists_every_notebook():
    listed = re.findall(r"\]\(([a-z_]+)\.ipynb\)", (FOLDER / "README.md").read_text("utf-8"))
    assert sorted(listed) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_at_quick_size(name):
    """Every warning is an error, but for those of the libraries named above."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, f"{name}.py"],
        cwd=FOLDER,
        env={**os.environ, "FRACJAX_QUICK": "1", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
