"""The registry, and Brax's environments seen through it."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.rl import envs

KEY = jax.random.PRNGKey(0)
ANALYTIC = [entry for entry in envs.entries() if entry.source == "analytic"]
BRAX = [
    (entry.name, backend)
    for entry in envs.entries()
    if entry.source == "brax"
    for backend in entry.backends
]


def test_entries_are_consistent():
    names = [entry.name for entry in envs.entries()]
    assert len(set(names)) == len(names)
    for entry in envs.entries():
        assert (entry.broken is None) == bool(entry.backends)
        assert entry.broken or entry.default_backend in entry.backends


@pytest.mark.parametrize("entry", ANALYTIC, ids=lambda entry: entry.name)
def test_entries_tell_the_truth(entry):
    check_entry(entry, envs.make(entry.name))


def check_entry(entry, environment):
    for field in ("name", "observation_size", "action_size", "state_size"):
        assert getattr(environment, field) == getattr(entry, field)
    assert environment.backend == entry.default_backend
    assert np.isclose(environment.dt, entry.dt)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("walker_walk", "mujoco_playground", "playground"),
        ("dmc_walker_walk", "mujoco_playground", "playground"),
        ("Pendulum-v1", "gymnax", "gymnax"),
    ],
)
def test_a_missing_extra_is_named(monkeypatch, name, module, extra):
    """Hypothesis: in the error and in the list, and DM Control's prefix may be left out."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf"pip install 'fracjax\[{extra}\]'"):
        envs.make(name)
    (entry,) = (entry for entry in envs.entries() if entry.name.endswith(name))
    assert entry.extra == extra
    assert f"pip install 'fracjax[{extra}]'" in entry.note


def test_a_name_of_ours_is_not_dm_controls():
    """Hypothesis: both have a cart-pole to swing up."""
    assert envs.make("cartpole_swingup").backend == "analytic"


def test_options_reach_the_environment():
    assert envs.make("double_pendulum", actuated="first").action_size == 1


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "pendulm"}, "name.*pendulum"),
        ({"name": "xyzzy"}, "name.*acrobot.*pendulum"),
        ({"name": "pendulum", "backend": "spring"}, "backend.*analytic.*spring"),
        ({"name": "hopper", "backend": "warp"}, "backend.*spring.*warp"),
        ({"name": "swimmer"}, "does not work"),
        ({"name": "pendulum", "dtype": "float16"}, "dtype"),
        ({"name": "pendulum", "dtype": "float64"}, "jax_enable_x64"),
    ],
)
def test_mistakes_are_named_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        envs.make(**arguments)
    assert "\n" not in str(caught.value)


def test_analytic_dtypes_hold_with_and_without_x64():
    narrow = envs.make("acrobot").reset(KEY)
    with jax.enable_x64(True):
        assert jnp.array_equal(envs.make("acrobot").reset(KEY), narrow)
        assert envs.make("acrobot", dtype="float64").reset(KEY).dtype == jnp.float64


def roll(environment, state, steps=5):
    """Coordinates, rewards and dtypes of a few steps under a varying action."""

    def advance(state, time):
        action = jnp.full(environment.action_size, 0.3) * jnp.cos(time)
        transition = environment.step(state, action)
        return transition.state, (transition.reward, transition.done)

    times = jnp.arange(steps, dtype=jnp.float32)
    state, (rewards, dones) = jax.lax.scan(advance, state, times)
    return state, rewards, dones


def floating_dtypes(tree):
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(tree)}
    return {str(dtype) for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)}


@pytest.mark.slow
@pytest.mark.brax
def test_a_brax_trajectory_is_the_one_of_its_own_step():
    """Hypothesis: bit for bit, and in float32 though `jax_enable_x64` is on."""
    from fracjax.rl import brax_envs

    with brax_envs.quiet_brax():
        from brax import envs as brax

        own = brax.get_environment("inverted_pendulum", backend="spring")

    def trajectory(key):
        actions = 0.3 * jnp.cos(jnp.arange(5, dtype=jnp.float32))[:, None]
        state = own.reset(key)
        return jax.lax.scan(lambda s, a: (own.step(s, a), None), state, actions)[0]

    expected = jax.jit(trajectory)(KEY)
    environment = envs.make("inverted_pendulum")
    found, rewards, _ = jax.jit(lambda key: roll(environment, environment.reset(key)))(KEY)
    np.testing.assert_array_equal(environment.observe(found), expected.obs)
    np.testing.assert_array_equal(
        environment.coordinates(found),
        np.concatenate([expected.pipeline_state.q, expected.pipeline_state.qd]),
    )
    np.testing.assert_array_equal(found.pipeline_state.x.pos, expected.pipeline_state.x.pos)
    np.testing.assert_array_equal(rewards, np.ones(5))
    assert not np.allclose(environment.observe(found), environment.observe(environment.reset(KEY)))
    with jax.enable_x64(True):
        environment = envs.make("inverted_pendulum", dtype="float32")
        wide = jax.eval_shape(lambda key: roll(environment, environment.reset(key)), KEY)
    assert floating_dtypes(wide) == {"float32"}


@pytest.mark.brax
def test_a_step_leaves_its_input_alone():
    """Brax's hopper writes into the dictionaries of the state that it is given."""
    environment = envs.make("hopper")

    def keep(key):
        state = environment.reset(key)
        environment.step(state, jnp.zeros(environment.action_size))
        return state

    before, after = (jax.eval_shape(function, KEY) for function in (environment.reset, keep))
    assert jax.tree.leaves(before) == jax.tree.leaves(after)


def check_tangents(name, backend):
    environment = envs.make(name, backend=backend, dtype="float64")
    template = jax.jit(environment.reset)(KEY)
    start = environment.coordinates(template)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=start.shape))

    def end(coordinates):
        state = environment.from_coordinates(coordinates, template)
        state, _, _ = roll(environment, state)
        assert floating_dtypes(state) == {"float64"}
        return jnp.concatenate([environment.coordinates(state), environment.observe(state)])

    # One program for values and tangents: compiling takes all the time.
    run = jax.jit(lambda coordinates: jax.jvp(end, (coordinates,), (direction,)))
    h = 1e-5
    (plus, _), (minus, _) = run(start + h * direction), run(start - h * direction)
    found, expected = run(start)[1], (plus - minus) / (2 * h)
    assert jnp.linalg.norm(found) > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * jnp.abs(found).max())
    return environment


@pytest.mark.brax
def test_brax_tangents_equal_finite_differences(x64):
    """Hypothesis: tangents through `from_coordinates` agree to 1e-5 over 5 steps."""
    check_tangents("inverted_pendulum", "spring")


@pytest.mark.slow
@pytest.mark.brax
@pytest.mark.parametrize(("name", "backend"), BRAX)
def test_every_offered_backend_works(x64, name, backend):
    environment = check_tangents(name, backend)
    entry = next(entry for entry in envs.entries() if entry.name == name)
    if backend == entry.default_backend:
        check_entry(entry, environment)


def test_brax_can_train_on_our_environments():
    """Hypothesis: under Brax's training wrappers the physics is ours, clipped and auto-reset."""
    from fracjax.rl import brax_envs

    environment = envs.make("pendulum")
    with brax_envs.quiet_brax():
        from brax.envs.wrappers import training
    adapted = brax_envs.as_brax(environment)
    assert (adapted.observation_size, adapted.action_size, adapted.dt) == (3, 1, environment.dt)
    wrapped = training.wrap(adapted, episode_length=4)
    state = jax.jit(wrapped.reset)(jax.random.split(KEY, 3))
    first = state.pipeline_state
    step = jax.jit(wrapped.step)
    own = jax.jit(jax.vmap(environment.step))
    expected = first
    for index in range(4):
        state = step(state, jnp.full((3, 1), 5.0))
        transition = own(expected, jnp.ones((3, 1)))
        expected = transition.state
        np.testing.assert_allclose(state.reward, transition.reward, rtol=1e-6)
        if index < 3:
            np.testing.assert_allclose(state.pipeline_state, expected, rtol=1e-6)
    assert state.done.all()
    np.testing.assert_array_equal(state.pipeline_state, first)


def test_brax_is_quiet(tmp_path):
    """Hypothesis: nothing is printed, nothing is written to the working directory."""
    code = "from fracjax.rl.brax_envs import create; create('reacher', backend='spring')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout == ""
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_warning_of_a_brax_model_does_not_abort_the_process():
    """Hypothesis: half-cheetah's deprecated attribute is silent, with warnings as errors."""
    envs.make("halfcheetah")


def test_what_matters_is_not_swallowed(tmp_path, monkeypatch, capsys):
    """Hypothesis: MuJoCo's warnings, errors and other prints come through."""
    from fracjax.rl import brax_envs

    monkeypatch.chdir(tmp_path)

    def complain():
        import mujoco

        model = mujoco.MjModel.from_xml_string(
            "<mujoco><worldbody><body><freejoint/><geom size='1'/></body></worldbody></mujoco>"
        )
        data = mujoco.MjData(model)
        data.qpos[0] = np.nan
        with brax_envs.quiet_brax():
            print("Failed to import warp")
            print("printed")
            mujoco.mj_step(model, data)

    with pytest.warns(RuntimeWarning, match="MuJoCo"):
        complain()
    shown = capsys.readouterr()
    assert shown.err == "printed\n"
    assert shown.out == ""  # which belongs to `--json`
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), brax_envs.quiet_brax():
        1 / 0  # noqa: B018
