"""Results that are committed belong to experiments that there are, and their pages to them."""

import json
from pathlib import Path

import pytest

from fracjax.reproduce import pages
from fracjax.reproduce.experiments import experiments
from fracjax.reproduce.run import kept_results

RESULTS = Path(__file__).parents[2] / "notebooks" / "results"
FOLDERS = sorted(path.parent for path in RESULTS.glob("*/rows.json"))


def test_there_are_results():
    assert {folder.name for folder in FOLDERS} <= set(experiments())
    present = {folder.name for folder in FOLDERS}
    chaos = {"fractal", "remedies", "robustness"}
    paths = {"ladder", "diffusion", "langevin", "plasticity"}
    assert chaos | paths | {"flossing", "twofactor", "trainability", "gravity", "l3d"} <= present


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_page_is_that_of_the_rows(folder):
    settings = json.loads((folder / "rows.json").read_text())["settings"]
    assert settings["experiment"] == folder.name
    assert settings["size"] == "default"
    rows, figures = kept_results(folder, settings)
    page = pages.render(experiments()[folder.name].description, settings, rows, figures)
    assert (folder / "README.md").read_text() == page
    named = {name for names in figures.values() for name in names}
    assert named == {path.name for path in folder.glob("*.png")}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_parts_are_those_that_there_are(folder):
    """The one left out stands for DM Control where its extra is missing."""
    rows = json.loads((folder / "rows.json").read_text())["parts"]
    missing = set(experiments()[folder.name].parts) - set(rows)
    assert missing <= {"no action: DM Control left out"}
