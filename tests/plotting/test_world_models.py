"""Learning curves: a line per seed, a mean per arm, and the baseline."""

import numpy as np

from fracjax.plotting.style import new_figure, style
from fracjax.plotting.world_models import learning_curves


def test_every_seed_and_the_mean_are_drawn():
    steps = np.array([100, 200, 300])
    tables = {"a": np.arange(6.0).reshape(3, 2), "b": np.ones((3, 4))}
    with style():
        axes = learning_curves(new_figure(4.0, 3.0).subplots(), steps, tables, baseline=-5.0)
    lines = axes.get_lines()
    assert len(lines) == 2 + 1 + 4 + 1 + 1
    np.testing.assert_array_equal(lines[2].get_ydata(), [0.5, 2.5, 4.5])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["a", "b", "random actions"]
    assert len(learning_curves(new_figure(4.0, 3.0).subplots(), steps, tables).get_lines()) == 8
