"""Notebooks: scripts and their pairs are the same, and all run at the size that tests take."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
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
