"""A path recorded inside a compiled run is the one that a loop records."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.paths.buffers import path_buffer
from fracjax.learning.paths.projections import Projection
from fracjax.learning.paths.reading import buffered_path, load_path
from fracjax.learning.paths.recorders import open_recorder

METRICS = ("loss", "norm")


def begin(key):
    return {"layer": {"w": jax.random.normal(key, (5, 7)), "b": jnp.ones(7)}, "out": jnp.ones(3)}


def update(params):
    return jax.tree.map(lambda leaf: 0.875 * leaf + 0.25, params)


def train(key, *, every, capacity, projection=None, steps=23):
    params = begin(key)
    options = {"every": every, "metrics": METRICS, "projection": projection}
    path = path_buffer(params, capacity=capacity, **options)

    def step(carry, number):
        params, path = carry
        path = path.record(number, params, loss=jnp.sum(params["out"]))
        return (update(params), path), None

    return jax.lax.scan(step, (params, path), jnp.arange(steps))[0][1]


@pytest.mark.usefixtures("single_precision")
def test_a_compiled_run_over_seeds_records_what_a_loop_does(tmp_path):
    keys = jax.random.split(jax.random.key(0), 3)
    run = jax.jit(jax.vmap(lambda key: train(key, every=5, capacity=8)))
    buffer = run(keys)
    np.testing.assert_array_equal(buffer.count, [5, 5, 5])
    np.testing.assert_array_equal(buffer.steps[0], [0, 5, 10, 15, 20, -1, -1, -1])
    assert np.isnan(buffer.values[:, 5:]).all()

    params = jax.jit(jax.vmap(begin))(keys)
    folders = tmp_path / "loop", tmp_path / "compiled"
    options = {"metrics": METRICS, "every": 5, "num_seeds": 3}
    with open_recorder(folders[0], params, **options) as recorder:
        now = params
        kept = []
        for number in range(23):
            kept.append(recorder.record(number, now, loss=now["out"].sum(axis=1)))
            now = jax.jit(update)(now)
    assert sum(kept) == 5
    with open_recorder(folders[1], params, **options) as recorder:
        assert recorder.record_buffer(buffer) == 5
        assert recorder.record_buffer(buffer) == 0
        assert (recorder.last_step, recorder.count) == (20, 5)
    loop, compiled, memory = *map(load_path, folders), buffered_path(buffer)
    for found in (compiled, memory):
        np.testing.assert_array_equal(found.steps, [0, 5, 10, 15, 20])
        np.testing.assert_allclose(found.values, loop.values, rtol=1e-6)
        np.testing.assert_allclose(found.metrics["loss"], loop.metrics["loss"], rtol=1e-6)
        assert np.isnan(found.metrics["norm"]).all()
        assert found.layers == loop.layers == ("layer", "out")
        one = found.seed(1)
        np.testing.assert_allclose(one.values, loop.values[1], rtol=1e-6)
    np.testing.assert_array_equal(compiled.values, memory.values)
    np.testing.assert_array_equal(loop.unravel(0)["layer"]["w"], params["layer"]["w"])


def test_one_seed_projected_and_without_a_trace():
    projection = Projection(16)
    run = jax.jit(functools.partial(train, every=10, capacity=3, projection=projection))
    buffer = run(jax.random.key(1))
    assert buffer.values.shape == (3, 7 + 16 + 3)
    first = jax.jit(lambda key: projection.leaf(begin(key)["layer"]["w"].ravel(), 1))(
        jax.random.key(1)
    )
    np.testing.assert_allclose(buffer.values[0, 7:23], first, rtol=1e-5, atol=1e-5)
    path = buffered_path(buffer)
    assert (path.projected, path.num_seeds, len(path)) == (True, None, 3)


def test_a_full_buffer_says_how_many_did_not_fit():
    buffer = jax.jit(functools.partial(train, every=5, capacity=3))(jax.random.key(1))
    assert (int(buffer.count), int(buffer.missed)) == (3, 2)
    with pytest.raises(ValueError, match="2 did not fit: make it with more `capacity`"):
        buffered_path(buffer)


def test_bad_input_is_named(tmp_path):
    params = {"out": jnp.ones(3)}
    for name, options in (("capacity", {"capacity": 0}), ("every", {"capacity": 1, "every": 0})):
        with pytest.raises(ValueError, match=f"`{name}` must be positive"):
            path_buffer(params, **options)
    buffer = path_buffer(params, capacity=2)
    with pytest.raises(ValueError, match=r"'loss': pass `metrics=` to `path_buffer`"):
        buffer.record(0, params, loss=1.0)
    with pytest.raises(ValueError, match="shapes"):
        buffer.record(0, {"out": jnp.ones(4)})
    with open_recorder(tmp_path / "other", {"w": jnp.ones(3)}) as recorder:
        with pytest.raises(ValueError, match="layout"):
            recorder.record_buffer(buffer)
