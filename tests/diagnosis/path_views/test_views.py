"""A view holds what the analyses give for the same snapshots, and says how it was made."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recorded_walks import ROWS, SPACING, in_memory, walk

from fracjax.diagnosis.path_views.summaries import last_finite, summarise_path
from fracjax.diagnosis.path_views.views import view_path
from fracjax.estimators.diffusion.displacements import displacement_at_lags
from fracjax.learning.paths.buffers import path_buffer
from fracjax.learning.paths.projections import Projection
from fracjax.learning.paths.reading import buffered_path, path_in_memory

KEY = jax.random.key(0)


def test_one_of_several_seeds_is_viewed():
    trees = [walk(seed=seed, dense=(4, 5)) for seed in (1, 2)]
    start = jax.tree.map(lambda leaf: leaf[0], trees[0])

    def record(tree):
        buffer = path_buffer(start, capacity=ROWS)
        return buffer.record(0, jax.tree.map(lambda leaf: leaf[3], tree))

    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    path = buffered_path(jax.vmap(record)(both))
    for member in (0, 1):
        view = view_path(path, KEY, member=member)
        assert f"seed {member} of 2" in view.notes
        np.testing.assert_array_equal(view.path.values, path.values[member])
    with pytest.raises(ValueError, match="`member` must be one of 2 seeds, but is 2"):
        view_path(path, KEY, member=2)


@pytest.mark.slow
def test_projections_of_many_seeds_show_no_changes_of_parameters():
    """Rows of the same width as above, from a buffer: the first of two seeds is viewed."""
    trees = [walk(seed=seed, dense=(40, 5)) for seed in (1, 2)]

    def record(tree):
        start = jax.tree.map(lambda leaf: leaf[0], tree)
        buffer = path_buffer(start, capacity=ROWS, projection=Projection(30))

        def step(buffer, row):
            return buffer.record(SPACING * row[0], row[1]), None

        return jax.lax.scan(step, buffer, (jnp.arange(ROWS), tree))[0]

    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    path = buffered_path(jax.jit(jax.vmap(record))(both))
    assert path.values.shape == (2, ROWS, 30)
    view = view_path(path, KEY)
    assert view.seeds == 2
    assert any("seed 0 of 2" in note for note in view.notes)
    assert any("random projections" in note for note in view.notes)
    document = summarise_path(view)
    assert document["layers"]["params/dense"]["changes"] is None
    assert document["parameters"] == 200
    # Squared distances within 5 standard errors of √(2/30), of which many share steps.
    flat = jnp.asarray(trees[0]["params"]["dense"]["kernel"].reshape(ROWS, -1))
    exact = displacement_at_lags(flat, (1, 4))
    found = displacement_at_lags(jnp.asarray(view.path.values), (1, 4))
    np.testing.assert_allclose(found, exact, rtol=5 * Projection(30).error)


def test_a_path_that_has_just_begun_has_metrics_only():
    for rows in (0, 1, 3):
        path = in_memory(ROWS).last(rows) if rows else in_memory(ROWS)._keep(slice(0, 0))
        view = view_path(path, KEY)
        assert (dict(view.layers), view.diffusion) == ({}, None)
        document = json.loads(json.dumps(summarise_path(view), allow_nan=False))
        assert document["snapshots"] == rows
    assert np.isnan(last_finite(np.array([np.nan])))


@pytest.mark.slow
def test_layers_stretches_and_uneven_steps():
    steps = np.cumsum(np.where(np.arange(250) % 3, 9, 12))
    shapes = {"a": (3, 4), "b": (20,), "c": (5, 6), "d": (2, 7)}
    path = path_in_memory(steps, walk(250, **shapes))
    view = view_path(path, KEY, max_layers=2, num_draws=7)
    assert list(view.layers) == ["params/b", "params/c", "network"]
    assert [one.changes.accumulated.size for one in view.layers.values()] == [20, 30, 76]
    assert view.num_decomposed == 64
    text = " ".join(view.notes)
    assert "the 2 largest of 4" in text
    assert "9 to 12 steps apart" in text
    found = view.diffusion
    assert found.segment_displacements.shape == (7, len(found.segment_lags))
    assert found.waiting_times[0] == steps[250 % 7]
    # A walk: 1, with intervals that hold it nearly always (7 of 95 %).
    inside = (found.segment_exponents.low < 1) & (found.segment_exponents.high > 1)
    assert inside.sum() >= 5
    assert abs(float(found.change.value)) < 4 * float(found.change.stderr)
    document = json.loads(json.dumps(summarise_path(view), allow_nan=False))
    assert len(document["diffusion"]["by_waiting_time"]) == 7
    # What does not fit into memory is left out evenly.
    small = view_path(path, KEY, max_bytes=40 * 76 * 4, max_layers=1, num_draws=7)
    assert small.num_decomposed == 32
    assert small.diffusion.lags[-1] <= steps[-1]
