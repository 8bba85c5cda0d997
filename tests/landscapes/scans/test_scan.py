"""Slices through parameter space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

from fracjax import landscapes
from fracjax._types import Estimate, Status

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}


def objective(params, key):
    return jnp.stack([jnp.sum(params["w"]), jnp.sum(params["b"] ** 2)])


def test_values_are_those_of_the_points():
    grid = landscapes.plane(PARAMS, jax.random.key(0), span=0.5, num_points=5)
    data = landscapes.scan(objective, PARAMS, grid, jax.random.key(1), chunk_size=4)
    assert dict(data.sizes) == {"a": 5, "b": 5, "output": 2}
    u, v = (jax.tree.map(lambda leaf, i=i: leaf[i], grid.directions) for i in range(2))
    point = jax.tree.map(lambda p, x, y: p + 0.25 * x - 0.5 * y, PARAMS, u, v)
    np.testing.assert_allclose(data["value"].sel(a=0.25, b=-0.5), objective(point, None), rtol=1e-5)


def test_padding_the_directions_changes_nothing():
    grid = landscapes.line(PARAMS, jax.random.key(0), num_points=9)
    plain = landscapes.scan(
        objective, PARAMS, grid, jax.random.key(1), chunk_size=4, evaluator="plain"
    )
    padded = landscapes.scan(
        objective, PARAMS, grid, jax.random.key(1), chunk_size=4, num_directions=16
    )
    np.testing.assert_array_equal(plain["value"], padded["value"])


def test_zoom_keeps_the_centre():
    grid = landscapes.line(PARAMS, jax.random.key(0), span=1.0, num_points=9)
    closer = landscapes.zoom(grid, 10.0)
    assert closer.axes[0][-1] == pytest.approx(0.1)
    assert closer.axes[0][4] == 0.0


def test_nonfinite_values_are_kept():
    def broken(params, key):
        return jnp.where(params["b"][0] > 1.0, jnp.nan, 1.0)

    grid = landscapes.line(PARAMS, jax.random.key(0), num_points=11)
    values = landscapes.scan(broken, PARAMS, grid, jax.random.key(1))["value"].values
    assert 0 < np.isnan(values).sum() < 11


@pytest.mark.parametrize("arguments", [{"num_points": 1}, {"span": 0.0}])
def test_bad_grids(arguments):
    with pytest.raises(ValueError, match="must be at least"):
        landscapes.line(PARAMS, jax.random.key(0), **arguments)


def test_outputs_by_name(tmp_path):
    """A dict, and an estimate in it, become variables; the same from a store."""

    def measured(params, key):
        level = jnp.sum(params["b"])
        estimate = Estimate(level, 0.1 * level, level - 1, level + 1, jnp.int32(Status.OK))
        return {"exponent": estimate, "spectrum": params["b"]}

    grid = landscapes.line(PARAMS, jax.random.key(0), num_points=9)
    data = landscapes.scan(measured, PARAMS, grid, jax.random.key(1))
    assert set(data) == {
        "exponent",
        "exponent_stderr",
        "exponent_low",
        "exponent_high",
        "exponent_status",
        "spectrum",
    }
    assert data["spectrum"].dims == ("a", "output")
    assert data["exponent_status"].dtype == np.int32
    np.testing.assert_allclose(data["exponent"], data["spectrum"].sum("output"), rtol=1e-6)
    kept = landscapes.scan(measured, PARAMS, grid, jax.random.key(1), store=tmp_path / "scan")
    xarray.testing.assert_equal(kept.drop_vars("done").load(), data)


@pytest.mark.parametrize("name", ["a", "b", "output", "done"])
def test_an_output_called_as_an_axis_is_refused_before_anything_is_evaluated(tmp_path, name):
    def objective(params, key):
        assert all(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(params))
        return {name: params["b"], "value": params["b"].sum()}

    grid = landscapes.plane(PARAMS, jax.random.key(0), num_points=3)
    for store in (tmp_path / "scan", None)[: 1 if name == "done" else 2]:
        with pytest.raises(ValueError, match=f"names of their own, but gives '{name}'.* Rename"):
            landscapes.scan(objective, PARAMS, grid, jax.random.key(1), store=store)
    assert not (tmp_path / "scan").exists()


def test_outputs_of_one_size_share_a_dimension(tmp_path):
    def measured(params, key):
        row = params["w"][0]
        return {"value": row[:2], "matrix": jnp.outer(row, row), "table": params["w"]}

    grid = landscapes.line(PARAMS, jax.random.key(0), num_points=9)
    data = landscapes.scan(measured, PARAMS, grid, jax.random.key(1), store=tmp_path / "scan")
    assert data["value"].dims == ("a", "output")
    assert data["matrix"].dims == ("a", "output1", "output2")
    assert data["table"].dims == ("a", "output", "output1")
    np.testing.assert_array_equal(
        data["matrix"], data["table"][:, 0].values[:, :, None] * data["table"][:, 0].values[:, None]
    )


def test_replicates_give_means_and_standard_errors():
    """Noise of standard deviation 2 in 64 replicates: .25, and as much scatter of the means."""

    def noisy(params, key):
        return jnp.sum(params["b"]) + 2 * jax.random.normal(key)

    grid = landscapes.line(PARAMS, jax.random.key(0), num_points=400)
    settings = {"num_replicates": 64, "common_random_numbers": False}
    data = landscapes.scan(noisy, PARAMS, grid, jax.random.key(1), **settings)
    exact = landscapes.scan(lambda p, k: jnp.sum(p["b"]), PARAMS, grid, jax.random.key(1))
    assert float(data["stderr"].mean()) == pytest.approx(0.25, abs=0.005)  # 4 standard errors
    scores = (data["value"] - exact["value"]) / data["stderr"]
    assert float(scores.std()) == pytest.approx(1.0, abs=0.15)
    assert abs(float(scores.mean())) < 4 / 20
    settings["common_random_numbers"] = True
    shared = landscapes.scan(noisy, PARAMS, grid, jax.random.key(1), **settings)
    difference = shared["value"] - exact["value"]
    np.testing.assert_allclose(difference, difference[0], atol=1e-5)


def test_own_keys_depend_on_the_place_alone():
    def drawn(params, key):
        return jax.random.normal(key)

    grid = landscapes.plane(PARAMS, jax.random.key(0), num_points=(5, 7))
    key = jax.random.key(1)
    expected = [jax.random.normal(jax.random.fold_in(key, i)) for i in range(35)]
    for evaluator in ("plain", "affine"):
        data = landscapes.scan(
            drawn, PARAMS, grid, key, common_random_numbers=False, evaluator=evaluator
        )
        np.testing.assert_array_equal(data["value"].values.ravel(), expected)


def test_both_evaluators_agree_to_rounding():
    params = {"w": jax.random.normal(jax.random.key(5), (4, 4)), "b": jnp.ones(4)}

    def network(params, key):
        x = jax.random.normal(key, (4,))
        return jax.lax.fori_loop(0, 20, lambda _, x: jnp.tanh(params["w"].T @ x + params["b"]), x)

    grid = landscapes.plane(params, jax.random.key(0), num_points=(5, 7))
    plain, affine = (
        landscapes.scan(network, params, grid, jax.random.key(1), evaluator=name)
        for name in ("plain", "affine")
    )
    np.testing.assert_allclose(plain["value"], affine["value"], rtol=2e-5, atol=2e-5)
    assert (plain.attrs["evaluator"], affine.attrs["evaluator"]) == ("plain", "affine")


def test_a_bound_of_memory_shrinks_the_chunk():
    params = {"w": jnp.ones((256, 256))}

    def layer(params, key):
        return jnp.sum(jnp.tanh(params["w"] @ params["w"]))

    grid = landscapes.line(params, jax.random.key(0), num_points=33)
    settings = {"evaluator": "plain"}
    free = landscapes.scan(layer, params, grid, jax.random.key(1), **settings)
    # 256 KiB a matrix, a few of them a point, on all devices.
    memory = 8 * 2**20 * jax.local_device_count()
    bound = landscapes.scan(layer, params, grid, jax.random.key(1), memory=memory, **settings)
    assert bound.attrs["chunk_size"] < free.attrs["chunk_size"]
    np.testing.assert_allclose(free["value"], bound["value"], rtol=1e-4)
    with pytest.raises(ValueError, match="One point needs"):
        landscapes.scan(layer, params, grid, jax.random.key(1), memory=2**18, **settings)


def test_a_store_that_goes_on_keeps_to_the_bound_or_is_refused(tmp_path):
    params = {"w": jnp.ones((256, 256))}

    def layer(params, key):
        return jnp.sum(jnp.tanh(params["w"] @ params["w"]))

    def stop(done):
        raise KeyboardInterrupt

    grid = landscapes.line(params, jax.random.key(0), num_points=33)
    settings = {"evaluator": "plain", "store": tmp_path / "scan"}
    with pytest.raises(KeyboardInterrupt):
        landscapes.scan(layer, params, grid, jax.random.key(1), on_progress=stop, **settings)
    little = 8 * 2**20 * jax.local_device_count()  # shrinks the chunk of a scan that begins
    with pytest.raises(ValueError, match="to go on with this store"):
        landscapes.scan(layer, params, grid, jax.random.key(1), memory=little, **settings)
    landscapes.scan(layer, params, grid, jax.random.key(1), memory=2**40, **settings)
    # Nothing is left to evaluate, and so nothing to refuse.
    data = landscapes.scan(layer, params, grid, jax.random.key(1), memory=little, **settings)
    assert bool(data["done"].all())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_replicates": 0}, "num_replicates"),
        ({"chunk_size": 0}, "chunk_size"),
    ],
)
def test_bad_settings(settings, named):
    grid = landscapes.line(PARAMS, jax.random.key(0), num_points=9)
    with pytest.raises(ValueError, match=named):
        landscapes.scan(objective, PARAMS, grid, jax.random.key(1), **settings)
