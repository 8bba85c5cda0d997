"""Laws of the plasticity probe and of its relatives that are known exactly."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fracjax import tree
from fracjax._types import Key
from fracjax.learning.plasticity.gradient_cosines import (
    ProbeNoise,
    gradient_cosines,
    probe_cosines,
)
from fracjax.learning.plasticity.probes import (
    fresh_probe,
    loss_of_plasticity,
    plasticity_probe,
    probe_sines,
)
from fracjax.learning.plasticity.random_walks import step_matched_walk
from fracjax.learning.plasticity.toy_mdps import prototype_observations, step, toy_mdp
from fracjax.learning.plasticity.toy_mdps import reset as reset_mdp
from fracjax.learning.plasticity.toy_networks import ToyNetwork
from fracjax.reproduce.comparisons import mean_of
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Measured, Row, compare

__all__ = ["PARTS"]


def _linear_laws(key: Key, size: Size) -> list[Row]:
    """Gradient descent on a linear network, and cosines of linear regression; in float64."""
    del size
    with jax.enable_x64(True):
        draws = np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32))
        inputs, params = draws.normal(size=(40, 8)), draws.normal(size=(8, 3))
        sines = np.sin(draws.uniform(0, 2 * np.pi, (5, 40, 3)))
        rate, steps = 0.1, 50
        found = jax.jit(
            functools.partial(
                plasticity_probe,
                lambda p, x: x @ p,
                optimizer=optax.sgd(rate),
                iterations=(0, steps),
                reduction="sum",
            )
        )(params, inputs, sines)
        power = np.linalg.matrix_power(np.eye(40) - rate * 2 / 40 * inputs @ inputs.T, steps)
        start = inputs @ params
        residuals = power @ (start - start.mean(axis=0) - sines)
        exact = (residuals**2).sum(axis=2).mean()
        rows = [
            compare(
                "linear network",
                f"probe loss after {steps} steps of gradient descent, over its closed form",
                (float(found.final_loss.value) / exact, 0.0),
                (1.0, 1e-7, "exact: (I - ηK)^k r, K = 2XXᵀ/N, to 1e-6"),
            ),
            compare(
                "linear network",
                "P + final loss, over the targets' variance",
                (
                    float(found.plasticity.value + found.final_loss.value)
                    / sines.var(axis=1).sum(axis=1).mean(),
                    0.0,
                ),
                (1.0, 1e-12, "definition"),
            ),
        ]
        target, one = draws.normal(size=40), params[:, 0]
        cosines = jax.jit(
            functools.partial(gradient_cosines, lambda p, row: (row[0] @ p - row[1]) ** 2)
        )(one, (inputs, target))
        unit = inputs / np.linalg.norm(inputs, axis=1, keepdims=True)
        signs = np.sign(inputs @ one - target)
        gap = np.abs(cosines.matrix - np.outer(signs, signs) * (unit @ unit.T)).max()
        rows.append(
            compare(
                "linear regression",
                "largest error of C_k, in 1e-10",
                (float(gap) / 1e-10, 0.0),
                (0.0, 0.25, "exact: sign(r_i r_j) cos(x_i, x_j)"),
            )
        )
    return rows


def _network_laws(key: Key, size: Size) -> list[Row]:
    """What holds for a network: variance of targets, noise of C_k, copies, nulls."""
    number = {"quick": 20, "default": 60, "full": 200}[size]
    network = ToyNetwork((8, 8), (64, 64))
    observations = prototype_observations(jax.random.fold_in(key, 0), num_per_class=20)
    images = jnp.asarray(observations.images)
    draw = functools.partial(probe_sines, network.apply, network.init, num_targets=number)
    sines = jax.jit(draw)(images, jax.random.fold_in(key, 1))
    squares = np.asarray(sines**2).mean(axis=(1, 2))
    rows = [
        compare(
            "sin(1e5 f)",
            "mean square over inputs and outputs",
            mean_of(squares),
            (0.5, 0.0, "exact for uniform phases"),
        )
    ]
    probe = functools.partial(
        fresh_probe, network.apply, network.init, optimizer=optax.adam(1e-3), iterations=(0, 100)
    )
    one, two = (jax.jit(probe)(images, sines, key=jax.random.fold_in(key, seed)) for seed in (2, 3))
    change = loss_of_plasticity(one, two).plotted
    rows.append(
        compare(
            "fresh networks",
            "loss of plasticity against other fresh networks, the same budget",
            Measured(float(change.value), float(change.stderr), number - 1.0),
            (0.0, 0.0, "exact: 0"),
        )
    )
    rows += _noise_laws(network, images, key, 8 if size == "quick" else 32)
    rows += _walk_laws(network, key)
    return rows


def _noise_laws(network: ToyNetwork, images: jax.Array, key: Key, number: int) -> list[Row]:
    """C_k of fresh networks at the first step, by the kind of noise."""
    run = functools.partial(probe_cosines, network.apply, optimizer=optax.sgd(0.0), iterations=(0,))

    @functools.partial(jax.jit, static_argnames="noise")
    def over_seeds(keys: jax.Array, noise: ProbeNoise) -> tuple[jax.Array, jax.Array]:
        def one(own: Key) -> tuple[jax.Array, jax.Array]:
            found = run(network.init(own), images[::2], jax.random.fold_in(own, 1), noise=noise)
            return found.fraction_negative[0], found.mean_off_diagonal[0]

        return jax.lax.map(one, keys)

    rows = []
    keys = jax.random.split(jax.random.fold_in(key, 4), number)
    negative, mean = (np.asarray(part) for part in over_seeds(keys, noise="independent"))
    where = "C_k, fresh network, independent noise, before the first step"
    for values, name, expected in ((negative, "share of negative pairs", 0.5), (mean, "mean", 0)):
        source = "exact: residuals are symmetric noise"
        rows.append(compare(where, name, mean_of(values), (expected, 0.0, source)))
    negative, mean = (np.asarray(part) for part in over_seeds(keys, noise="shared"))
    where = "C_k, fresh network, shared noise, before the first step"
    source = "computed for this package with perceptrons: none is negative"
    rows.append(
        compare(
            where, "share of negative pairs", (float(negative.mean()), 0.0), (0.0, 0.0025, source)
        )
    )
    return rows


def _walk_laws(network: ToyNetwork, key: Key) -> list[Row]:
    params = network.init(key)
    size = tree.size(params)
    points = step_matched_walk(params, jnp.full(5, 0.2), jax.random.fold_in(key, 5))
    end = jax.tree.map(lambda leaf, start: leaf[-1] - start, points, params)
    square = float(tree.dot(end, end))
    exact = (1.0, (2 / size) ** 0.5, "exact in the mean: Σ s²")
    return [compare("step-matched walk", "squared distance after Σ s² = 1", (square, 0.0), exact)]


def _truth_tables(key: Key, size: Size) -> list[Row]:
    """Rewards and next states of the three MDPs, from steps."""
    number = {"quick": 500, "default": 5000, "full": 50_000}[size]
    observations = prototype_observations(key, num_per_class=5)
    rows = []
    for reward in ("true-label", "random-label", "sparse-reward"):
        mdp = toy_mdp(reward, observations, key)
        pairs = np.array(list(itertools.product(range(10), range(10))))
        latent, action = (jnp.repeat(jnp.asarray(part), number) for part in pairs.T)
        state = reset_mdp(mdp, key, latent.shape)._replace(latent=latent)
        after, paid = jax.jit(step)(mdp, state, action, jax.random.fold_in(key, 1))
        right = np.asarray(latent == action)
        sparse = reward == "sparse-reward"
        due = right & (np.asarray(latent) == 9) if sparse else right
        wrong = float(np.mean(np.asarray(paid) != due))
        source = "truth table of arXiv 2303.01486, 5.1"
        rows.append(compare(reward, "share of wrong rewards", (wrong, 0.0), (0.0, 0.0, source)))
        following = np.asarray(after.latent) == (np.asarray(latent) + 1) % 10
        for name, chosen, expected in (
            ("right", right, 1.0 if sparse else 0.1),
            ("wrong", ~right, 0.1),
        ):
            share = float(following[chosen].mean())
            error = (expected * (1 - expected) / chosen.sum()) ** 0.5
            text = f"share of next states s + 1 (after 9: 0) after a {name} action"
            rows.append(compare(reward, text, (share, error), (expected, 0.0, source)))
    return rows


PARTS: dict[str, Part] = {
    "exact: linear networks": _linear_laws,
    "exact: probe": _network_laws,
    "exact: toy MDPs": _truth_tables,
}
