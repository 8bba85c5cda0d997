"""A monitor writes what the metrics are, on the steps that are due, to where others can read."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib.figure import Figure

from fracjax import tree
from fracjax.learning.network_metrics.metrics import measure_network
from fracjax.learning.network_metrics.units import dead_units
from fracjax.learning.paths.recorders import open_recorder
from fracjax.learning.paths.series import load_series, open_series
from fracjax.learning.paths.store import PathError
from fracjax.learning.plasticity_monitoring.brax_policies import measure_brax
from fracjax.learning.plasticity_monitoring.monitor import monitored, open_monitor
from fracjax.plotting.network_metrics import layer_curves, metrics_figure, named_curves
from fracjax.rl import classic
from fracjax.rl.networks import PolicyNetwork
from fracjax.rl.training import train
from fracjax.rl.training_settings import TrainingSettings

KEY = jax.random.key(0)
BATCH = jax.random.normal(jax.random.key(1), (16, 3))


def start(key=KEY):
    first, second = jax.random.split(key)
    return {"w": jax.random.normal(first, (3, 4)), "v": jax.random.normal(second, (4, 1))}


def hidden(params):
    return jax.nn.relu(BATCH @ params["w"])


def loss(params):
    return jnp.mean((hidden(params) @ params["v"] - 1) ** 2)


def measure(params, grads, updates):
    """Few of the numbers, for they compile fast; `measure_network` has tests of its own."""
    found = {"dead_units/0": dead_units(hidden(params)), "weight_norm": tree.norm(params)}
    if updates is not None:
        found |= {"gradient_norm": tree.norm(grads), "update_norm": tree.norm(updates)}
    return found


OPTIMIZER = optax.sgd(0.1)


@jax.jit
def learn(params, state):
    value, grads = jax.value_and_grad(loss)(params)
    updates, state = OPTIMIZER.update(grads, state, params)
    return optax.apply_updates(params, updates), state, grads, updates, value


def run(monitor, first, last, params=None):
    """An Optax loop; returns the parameters after every step."""
    params, path = start() if params is None else params, []
    state = OPTIMIZER.init(params)
    for step in range(first, last):
        params, state, grads, updates, value = learn(params, state)
        monitor.record(step, params, grads, updates, loss=value)
        path.append(params)
    return path


def test_an_optax_loop_is_measured_and_read_while_it_goes_on(tmp_path):
    """What is in the file is what the functions say, on due steps, before the run has ended."""
    place = tmp_path / "metrics.zarr"
    with open_monitor(place, measure, every=3) as monitor:
        path = run(monitor, 0, 8)
        found = load_series(tmp_path)  # while it is open, and by the folder of the run
        assert found.steps.tolist() == [0, 3, 6]
        for row, step in enumerate(found.steps):
            expected = measure(path[step], None, None)
            for name, value in expected.items():
                np.testing.assert_allclose(found.values[name][row], value, rtol=1e-6)
        np.testing.assert_allclose(
            found.values["update_norm"], 0.1 * found.values["gradient_norm"], rtol=1e-5
        )
        assert np.all(np.diff(found.values["loss"]) < 0)
        with pytest.raises(PathError, match="being written"):
            open_series(place, tuple(found.values), every=3)
    with pytest.raises(ValueError, match="closed"):
        monitor.record(9, path[-1])
    # The process was killed at step 8, and repeats itself from a checkpoint of step 5.
    with open_monitor(place, measure, every=3) as monitor:
        run(monitor, 6, 11, path[5])
    after = load_series(place)
    assert after.steps.tolist() == [0, 3, 6, 9]
    np.testing.assert_array_equal(after.values["loss"][:3], found.values["loss"])
    with pytest.raises(ValueError, match="layout"), open_monitor(place, measure) as monitor:
        monitor.record(12, path[-1])  # neither gradient nor loss: other names


def test_a_run_that_goes_on_between_two_rows_keeps_to_its_steps(tmp_path):
    """As uninterrupted: rows every 4 steps of 13, though it was resumed at step 6."""
    place = tmp_path / "metrics.zarr"
    with open_monitor(place, measure, every=4) as monitor:
        path = run(monitor, 0, 6)
    with open_monitor(place, measure, every=4) as monitor:
        run(monitor, 6, 13, path[-1])
    assert load_series(place).steps.tolist() == [0, 4, 8, 12]


def test_a_compiled_loop_is_measured_on_the_device(tmp_path):
    """In `scan`, with the updates of the optimiser alone to the bit."""
    with open_monitor(tmp_path / "m", measure, every=2) as monitor:
        optimizer = monitored(OPTIMIZER, monitor)

        def loop(optimizer):
            def step(carry, _):
                params, state = carry
                updates, state = optimizer.update(jax.grad(loss)(params), state, params)
                params = optax.apply_updates(params, updates)
                return (params, state), params

            return jax.lax.scan(step, (start(), optimizer.init(start())), length=5)[1]

        path = jax.jit(lambda: loop(optimizer))()
    found = load_series(tmp_path / "m")
    assert found.steps.tolist() == [2, 4]
    jax.tree.map(np.testing.assert_array_equal, path, jax.jit(lambda: loop(OPTIMIZER))())
    norms = jnp.sqrt(sum((leaf**2).sum(axis=(1, 2)) for leaf in path.values()))
    np.testing.assert_allclose(found.values["weight_norm"], norms[1::2], rtol=1e-6)


def test_seeds_and_the_path_beside_them(tmp_path):
    params = jax.vmap(start)(jax.random.split(KEY, 3))
    with (
        open_monitor(tmp_path / "metrics.zarr", measure, num_seeds=3) as monitor,
        open_recorder(tmp_path / "path.zarr", params, num_seeds=3) as recorder,
    ):
        monitor.record(0, params, loss=np.arange(3.0))
        recorder.record(0, params)
        monitor.record(1, params)  # a number may be missing
    found = load_series(tmp_path)
    np.testing.assert_array_equal(found.values["loss"][:, 0], np.arange(3.0))
    assert np.isnan(found.values["loss"][:, 1]).all()
    expected = jax.vmap(tree.norm)(params)
    np.testing.assert_allclose(found.values["weight_norm"][:, 0], expected, rtol=1e-6)
    with pytest.raises(ValueError, match="load_path"):
        load_series(tmp_path / "path.zarr")
    figure = Figure()
    axes = layer_curves(figure.subplots(), found, "dead_units")
    assert len(axes.lines) == 3 + 1
    mean = found.values["dead_units/0"].mean(axis=0)
    np.testing.assert_array_equal(axes.lines[-1].get_ydata(), mean)
    with pytest.raises(ValueError, match="dead_units"):
        layer_curves(axes, found, "srank")
    named = named_curves(Figure().subplots(), found, ("weight_norm", "not_there"))
    assert [line.get_label() for line in named.lines if line.get_label()[0] != "_"] == [
        "weight norm"
    ]
    assert named.get_yscale() == "linear"
    steep = dataclasses.replace(found, values={"a": np.array([1.0, 1e3])})
    assert named_curves(Figure().subplots(), steep, ("a",)).get_yscale() == "log"
    drawn = metrics_figure(found, title="a run", metrics=("dead_units",))
    drawn.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_names_of_series_are_checked(tmp_path):
    with pytest.raises(ValueError, match="`names`"):
        open_series(tmp_path / "a", ("x", "x"))
    with open_series(tmp_path / "b", ("x", "y/z")) as series:
        with pytest.raises(ValueError, match="`numbers`"):
            series.record(0, {"other": 1.0})
        with pytest.raises(ValueError, match="`numbers`"):
            series.record(0, {"x": np.ones(2)})
        assert series.record(0, {"y/z": 1 / 3})
        assert series.last_step == 0
        assert not series.is_due(0)
    found = load_series(tmp_path / "b")
    assert found.values["y/z"].tolist() == [1 / 3]  # in float64
    assert np.isnan(found.values["x"]).all()
    with pytest.raises(ValueError, match="`every`"):
        open_monitor(tmp_path / "c", measure, every=0)


@pytest.mark.slow
def test_brax_ppo_is_measured_through_its_callback(tmp_path):
    """The whole metric set of the policy at every evaluation, and the figure of it."""
    environment = classic.pendulum()
    network = PolicyNetwork(environment.observation_size, environment.action_size, hidden=(16, 16))
    observations = jax.random.normal(KEY, (64, environment.observation_size))
    settings = TrainingSettings(
        num_timesteps=4000, num_envs=8, episode_length=50, batch_size=8, num_minibatches=4,
        unroll_length=10, hidden=(16, 16), activation=network.activation,
    )  # fmt: skip
    handed = []
    with open_monitor(tmp_path / "metrics.zarr", measure_brax(network, observations)) as monitor:
        watch = monitor.policy_params_fn()

        def on_params(step, make_policy, params):
            handed.append((step, jax.device_get(params)))
            watch(step, make_policy, params)

        train(environment, settings=settings, num_reports=3, on_params=on_params)
    found = load_series(tmp_path)
    assert found.steps.tolist() == [step for step, _ in handed]
    assert len(found) >= 3
    assert {"dormant_units_0.025/policy/hidden_1", "weight_norm"} <= found.values.keys()
    for row, (_, params) in enumerate(handed):
        statistics, policy = params[0], params[1]["params"]
        inputs = (observations - statistics.mean) / statistics.std
        first = jax.nn.swish(inputs @ policy["hidden_0"]["kernel"] + policy["hidden_0"]["bias"])
        expected = measure_network({"policy/hidden_0": first}, params[1]).scalars()
        for name in ("effective_rank/policy/hidden_0", "weight_norm"):
            np.testing.assert_allclose(found.values[name][row], expected[name], rtol=1e-4)
    assert found.values["weight_norm"][0] != found.values["weight_norm"][-1]
    metrics_figure(found).savefig(tmp_path / "figure.png")
