"""Chunked evaluation: same bits on any number of devices, every point once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.evaluation import cache_chunk_size, map_combinations, map_points


def chaotic(x, scale):
    """Amplifies the last bit, so that equality of bits means something."""
    return jax.lax.fori_loop(0, 200, lambda _, y: 3.9 * y * (1 - y), x) * scale


def test_device_count_does_not_change_a_bit():
    x = np.linspace(0.1, 0.9, 101, dtype=np.float32)
    devices = jax.local_devices()
    one = map_points(chaotic, x, jnp.float32(1), chunk_size=8, devices=devices[:1])
    all_ = map_points(chaotic, x, jnp.float32(1), chunk_size=8, devices=devices)
    np.testing.assert_array_equal(one, all_)
    assert len(devices) > 1


def test_every_point_once_and_padding_is_cut():
    x = np.arange(37.0)
    seen = []
    result = map_points(
        lambda row: {"double": 2 * row, "square": row**2},
        x,
        chunk_size=4,
        chunks_per_call=2,
        on_progress=seen.append,
    )
    np.testing.assert_array_equal(result["double"], 2 * x)
    np.testing.assert_array_equal(result["square"], x**2)
    assert seen[-1] == 37
    assert seen == sorted(seen)


def test_a_nonfinite_point_does_not_poison_its_chunk():
    x = np.array([1.0, -1.0, 4.0, 9.0])
    result = map_points(jnp.sqrt, x, chunk_size=4)
    np.testing.assert_array_equal(np.isnan(result), [False, True, False, False])


def test_combinations():
    params = {"a": jnp.ones(2), "b": jnp.zeros(())}
    table = {"a": jnp.arange(6.0).reshape(3, 2), "b": jnp.array([1.0, 2.0, 3.0])}
    rows = (np.array([0, 2]), np.array([1.0, 0.5]), np.array([1, 1]), np.array([0.0, 2.0]))
    got = map_combinations(
        lambda params, key: params, params, table, rows, jax.random.key(0), chunk_size=2
    )
    np.testing.assert_allclose(got["a"], [[1, 2], [1 + 2 + 4, 1 + 2.5 + 6]])
    np.testing.assert_allclose(got["b"], [1.0, 5.5])


def test_compiled_once_per_function():
    traces = []

    def traced(row):
        traces.append(row)
        return row + 1

    map_points(traced, np.arange(10.0), chunk_size=4)
    map_points(traced, np.arange(50.0), chunk_size=4)
    assert len(traces) == 1


@pytest.mark.usefixtures("single_precision")
def test_chunk_size_keeps_parameters_in_cache():
    assert cache_chunk_size(jnp.zeros(4_500), platform="cpu") == 16
    assert cache_chunk_size(jnp.zeros(10), platform="cpu") == 128
    assert cache_chunk_size(jnp.zeros(10**6), platform="cpu") == 8
    assert cache_chunk_size(jnp.zeros(4_500), platform="gpu") > 1000


@pytest.mark.parametrize(
    ("rows", "chunk_size", "message"), [(np.zeros(0), 4, "rows"), (np.zeros(3), 0, "chunk_size")]
)
def test_bad_arguments(rows, chunk_size, message):
    with pytest.raises(ValueError, match=message):
        map_points(lambda row: row, rows, chunk_size=chunk_size)
