"""Axes to draw on."""

import os

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def axes():
    """Axes of a figure that is rendered after the test: what cannot be drawn fails."""
    figure = Figure()
    yield figure.subplots()
    figure.savefig(os.devnull, format="png")
