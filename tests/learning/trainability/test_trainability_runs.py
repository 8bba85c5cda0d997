"""Training runs of small networks against NumPy and autograd, and the planes they make."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import landscapes
from fracjax.landscapes.refinement.resolution_refinement import refined_boundary_dimension
from fracjax.learning.trainability.planes import hyperparameter_plane, trainability_objective
from fracjax.learning.trainability.problems import regression_problem
from fracjax.learning.trainability.speeds import TAIL, LossSums, convergence_speed

KEY = jax.random.key(0)
STEPS = 40


def reference_run(problem, rates, *, offset=0.0, drifts=True, batches=None, num_steps=STEPS):
    """Losses of one run, with gradients by autograd and the network written as published."""
    width = problem.width

    def loss(weights, inputs, targets):
        hidden = inputs @ weights[0] / width**0.5
        hidden = {
            "tanh": lambda z: jnp.tanh(z * 2**0.5),
            "relu": lambda z: jax.nn.relu(z) * 2**0.5,
            "identity": lambda z: z,
        }[problem.nonlinearity](hidden)
        outputs = hidden @ weights[1] / width**0.5 / width**0.5
        return jnp.mean((outputs - targets) ** 2)

    slope = jax.jit(jax.grad(loss))
    value = jax.jit(loss)
    weights = [problem.first + (0.0 if drifts else offset), problem.second]
    losses = []
    for index in range(num_steps):
        if drifts:
            weights[0] = weights[0] + offset
        losses.append(float(value(weights, problem.inputs, problem.targets)))
        part = slice(None) if batches is None else batches[index]
        slopes = slope(weights, problem.inputs[part], problem.targets[part])
        weights = [w - r * g for w, r, g in zip(weights, rates, slopes, strict=True)]
    return np.array(losses)


def reference_speed(losses):
    """The published summary, in NumPy."""
    with np.errstate(over="ignore", invalid="ignore"):
        relative = losses / losses[0]
    relative[~(relative <= 1e6)] = 1e6
    return -relative.sum() if relative[-20:].mean() < 1 else (1 / relative).sum()


# Converges; one layer grows for a while; diverges to infinity before the end.
EXPONENTS = ((0.0, 0.5), (1.5, 1.0), (1.2, 3.0))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "identity"])
def test_speeds_are_those_of_a_loop(nonlinearity):
    problem = regression_problem(KEY, width=4, nonlinearity=nonlinearity)
    assert problem.inputs.shape[0] == (4 if nonlinearity == "identity" else 20)
    objective = trainability_objective(problem, num_steps=STEPS)
    first, second = jnp.asarray(EXPONENTS).T
    point = {"log_first_rate": first, "log_second_rate": second}
    batch = jax.jit(jax.vmap(objective, (0, None)))(point, KEY)
    expected = [reference_speed(reference_run(problem, 10.0 ** np.array(e))) for e in EXPONENTS]
    assert min(expected) < 0 < max(expected)
    np.testing.assert_allclose(batch, expected, rtol=1e-7)
    one = jax.tree.map(lambda leaf: leaf[2], point)
    np.testing.assert_allclose(jax.jit(objective)(one, KEY), batch[2], rtol=1e-7)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_mini_batches_are_shared_and_the_loss_is_of_all_data():
    problem = regression_problem(KEY, width=4)
    objective = trainability_objective(problem, num_steps=STEPS, batch_size=8)
    batches = jax.random.randint(KEY, (STEPS, 8), 0, 20, jnp.int32)
    first, second = jnp.asarray(EXPONENTS[:2]).T
    point = {"log_first_rate": first, "log_second_rate": second}
    rates = 10.0 ** np.array(EXPONENTS[0])
    expected = reference_speed(reference_run(problem, rates, batches=batches))
    found = jax.jit(jax.vmap(objective, (0, None)))(point, KEY)
    np.testing.assert_allclose(found[0], expected, rtol=1e-7)
    # Keys of their own: the first has the same one, the second does not.
    own = jax.jit(jax.vmap(objective))(point, jnp.stack([KEY, jax.random.key(1)]))
    np.testing.assert_allclose(own[0], found[0], rtol=1e-7)
    assert abs(own[1] / found[1] - 1) > 1e-3


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("drifts", [True, False])
def test_the_offset_is_added_every_step_or_once(drifts):
    problem = regression_problem(KEY, width=4)
    objective = trainability_objective(
        problem, plane="offset", num_steps=STEPS, offset_drifts=drifts
    )
    found = jax.jit(objective)({"offset": jnp.asarray(0.3), "log_rate": jnp.asarray(0.5)}, KEY)
    rates = (10**0.5, 10**0.5)
    expected = reference_speed(reference_run(problem, rates, offset=0.3, drifts=drifts))
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def speed_of_losses(losses):
    sums = LossSums.zeros((), losses.dtype)
    for step, loss in enumerate(losses):
        sums = sums.add(loss / losses[0], jnp.asarray(step >= len(losses) - TAIL))
    return convergence_speed(sums, len(losses))


@pytest.mark.usefixtures("x64")
def test_labels_of_known_curves():
    falls = 0.5 ** jnp.arange(60.0)
    assert float(speed_of_losses(falls)) == pytest.approx(-2, rel=1e-6)
    # 1, 2, …, 2^19, then 40 steps at the cap.
    grows = 2.0 ** jnp.arange(60.0)
    assert float(speed_of_losses(grows)) == pytest.approx(2 - 2.0**-19 + 40e-6, rel=1e-6)
    ends = jnp.where(jnp.arange(60) < 10, 0.5, jnp.nan).at[0].set(1.0)
    assert float(speed_of_losses(ends)) == pytest.approx(1 + 18 + 50e-6, rel=1e-6)
    # Late steps decide: high for long, low in the last twenty.
    late = jnp.where(jnp.arange(60) < 40, 5.0, 0.5).at[0].set(1.0)
    assert float(speed_of_losses(late)) == pytest.approx(-(1 + 39 * 5 + 20 * 0.5))


@pytest.mark.usefixtures("x64")
def test_a_linear_model_has_the_boundary_of_its_largest_eigenvalue():
    """With the readout at rest the identity is linear regression: rate 2 / λ, a straight line."""
    problem = regression_problem(KEY, width=4, nonlinearity="identity")
    objective = trainability_objective(problem, num_steps=500)
    inputs, second = np.asarray(problem.inputs), np.asarray(problem.second)
    scale = problem.input_scale / 4  # of outputs, in W₀ x W₁
    curvature = 2 * scale**2 * second @ second * np.linalg.eigvalsh(inputs.T @ inputs / 4)[-1]
    rate = 2 / curvature
    exponents = np.log10(rate) + np.array([-0.3, -0.02, 0.02, 0.3])
    point = {
        "log_first_rate": jnp.asarray(exponents),
        "log_second_rate": jnp.full(4, -250.0),
    }
    labels = jax.vmap(objective, (0, None))(point, KEY) < 0
    np.testing.assert_array_equal(labels, [True, True, False, False])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("nonlinearity", "centre"),
    [("identity", (0.4, 1.0)), pytest.param("tanh", (0.0, 1.4), marks=pytest.mark.slow)],
)
def test_boundaries_of_networks_are_rough(nonlinearity, centre):
    """The whole interval is above a curve's dimension and below the plane's."""
    problem = regression_problem(KEY, width=8, nonlinearity=nonlinearity)
    objective = trainability_objective(problem, num_steps=100)
    middle, directions = hyperparameter_plane(centre=centre)
    grid = landscapes.along(directions, span=1.0, num_points=257)
    values = landscapes.scan(objective, middle, grid, KEY, evaluator="plain")["value"].values
    estimate = refined_boundary_dimension(values < 0)
    assert int(estimate.status) == 0
    assert 1.05 < float(estimate.low) < float(estimate.high) < 2


@pytest.mark.usefixtures("x64")
def test_the_dtype_is_that_of_the_hyperparameters():
    objective = trainability_objective(regression_problem(KEY, width=4), num_steps=STEPS)
    for dtype in (jnp.float32, jnp.float64):
        number = jax.ShapeDtypeStruct((), dtype)
        point = {"log_first_rate": number, "log_second_rate": number}
        assert jax.eval_shape(objective, point, KEY).dtype == dtype


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="nonlinearity"):
        inspect.unwrap(regression_problem)(KEY, nonlinearity="sine")
    with pytest.raises(ValueError, match="data"):
        inspect.unwrap(regression_problem)(KEY, data="half")
    problem = regression_problem(KEY, width=2)
    with pytest.raises(ValueError, match="plane"):
        inspect.unwrap(trainability_objective)(problem, plane="momentum")
    with pytest.raises(ValueError, match="num_steps"):
        trainability_objective(problem, num_steps=0)
