"""Made-up paths of parameters, for tests of what reads and draws them."""

import jax
import numpy as np

from fracjax.learning.paths.reading import path_in_memory
from fracjax.learning.paths.recorders import open_recorder

ROWS = 24
SPACING = 10


def walk(rows=ROWS, seed=0, **shapes):
    """A random walk of unit steps in all parameters, snapshots stacked along the first axis."""
    rng = np.random.default_rng(seed)
    shapes = shapes or {"dense": (6, 5)}
    return {
        "params": {
            layer: {"kernel": rng.normal(size=(rows, *shape)).cumsum(0).astype(np.float32)}
            for layer, shape in shapes.items()
        }
    }


def metrics(rows=ROWS):
    return {"loss": 1.0 / (1 + np.arange(rows)), "score": np.full(rows, np.nan)}


def in_memory(rows=ROWS, **shapes):
    return path_in_memory(SPACING * np.arange(rows), walk(rows, **shapes), metrics=metrics(rows))


def recorder(folder, **options):
    tree = jax.tree.map(lambda leaf: leaf[0], walk())
    return open_recorder(folder, tree, metrics=tuple(metrics()), settings={"rate": 0.1}, **options)


def record(recorder, rows):
    """Record snapshots of the walk."""
    trees, numbers = walk(), metrics()
    for row in rows:
        tree = jax.tree.map(lambda leaf, row=row: leaf[row], trees)
        recorder.record(SPACING * row, tree, **{n: kept[row] for n, kept in numbers.items()})
