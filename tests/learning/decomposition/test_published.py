"""Toy models decomposed at full length: what was published, and what our fits give.

Anchors: the paper's errors (19 % for 5-2, 6.4 % for circuits, .32 for x → x²) and component
cosines of related methods. Curves were digitised by us from the paper's figures, or come from an
independent implementation of ours, where it is said so. All seeds of a test run at once.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.decomposition.coefficient_correlations import coefficient_correlations
from fracjax.learning.decomposition.divergences import detached_product
from fracjax.learning.decomposition.feature_owners import (
    distinct_owners,
    feature_energy,
    mean_max_cosine,
)
from fracjax.learning.decomposition.fits import decompose
from fracjax.learning.decomposition.settings import FitSettings
from fracjax.learning.decomposition.subnetwork_interventions import (
    intervened_outputs,
    median_changes,
    selectivity,
)
from fracjax.learning.decomposition.toy_models import circuits, square, superposition, train_toy

pytestmark = pytest.mark.slow

# The published cut keeps ⌊.1 · 160⌋ + 1 of the 160 entries of a batch.
PUBLISHED = 17 / 160


def targets(model, seeds, *, key=1, restarts=4, num_epochs=40, learning_rate=1e-2):
    train = functools.partial(
        train_toy, model, restarts=restarts, num_epochs=num_epochs, learning_rate=learning_rate
    )
    return jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(key), seeds))


def decomposed(model, toys, settings, *, key=2):
    def one(toy, key):
        first, second = jax.random.split(key)
        return decompose(model.apply, toy.params, model.inputs(first, 1000), second, settings)

    keys = jax.random.split(jax.random.key(key), len(toys.loss))
    return jax.jit(jax.vmap(one))(toys, keys)


def plateau(found):
    """Mean loss of the last fifth of the epochs."""
    return np.asarray(found.loss[:, -found.loss.shape[1] // 5 :].mean(1))


@functools.cache
def features():
    """Eight targets of 5-2, of which those that represent all five features."""
    toys = targets(superposition(), 8)
    good = np.flatnonzero(np.asarray(toys.loss) < 0.01)
    assert len(good) >= 6
    return jax.tree.map(lambda leaf: leaf[good], toys)


@functools.cache
def feature_fits(fraction=PUBLISHED):
    settings = FitSettings(num_subnetworks=5, fraction=fraction)
    return decomposed(superposition(), features(), settings)


def test_superposition_errors_owners_and_geometry():
    """L1 and L2. Paper: 19 %; ours, independently, .174 to .195."""
    toys, found = features(), feature_fits()
    owners = np.asarray(jax.vmap(distinct_owners)(found.subnetworks))
    whole = owners == 5
    assert whole.mean() >= 6 / 8
    errors = plateau(found)[whole]
    assert np.all((errors > 0.17) & (errors < 0.205))
    cosines = jax.vmap(mean_max_cosine)(toys.params["encoder"], found.subnetworks["encoder"])
    assert np.all(np.asarray(cosines)[whole] >= 0.995)
    # A fit that leaves a feature out shows it in its error.
    assert np.all(plateau(found)[~whole] > 0.22)


def test_superposition_interventions():
    """L3. Paper's curves, digitised by us: 1.17 to 1.23 and at least 8:1, floor -.134 to -.166."""
    toys, found = features(), feature_fits()
    model, sizes = superposition(), jnp.linspace(-3, 3, 31)
    inputs = model.inputs(jax.random.key(3), 1000)

    @jax.jit
    @jax.vmap
    def measured(params, subnetworks):
        after = intervened_outputs(model.apply, params, inputs, subnetworks, sizes)
        return selectivity(median_changes(model.apply(params, inputs), after), sizes)

    seen = measured(toys.params, found.subnetworks)
    whole = np.asarray(jax.vmap(distinct_owners)(found.subnetworks)) == 5
    own, ratio, floor = (np.asarray(x)[whole] for x in (seen.own, seen.ratio, seen.floor))
    assert own.min() >= 1.1
    assert np.mean(ratio >= 8) >= 0.9
    # Medians over the samples in which the output was on, which differ between features.
    assert -0.18 < np.median(floor) < -0.13
    assert floor.min() > -0.25
    outputs = np.sort(np.asarray(seen.output)[whole], axis=1)
    np.testing.assert_array_equal(outputs, np.tile(np.arange(5), (whole.sum(), 1)))


def test_the_published_divergence_leaves_less():
    """L4. Ours, independently: .103 to .125, where true errors are .174 to .195."""
    settings = FitSettings(num_subnetworks=5, fraction=PUBLISHED, divergence=detached_product)
    found = decomposed(superposition(), features(), settings)
    whole = np.asarray(jax.vmap(distinct_owners)(found.subnetworks)) == 5
    assert whole.mean() >= 6 / 8
    errors = plateau(found)[whole]
    assert np.all((errors > 0.1) & (errors < 0.13))


def test_circuits():
    """L5. Paper: 6.4 % by the code's divergence; r = .92, printed as r²."""
    model = circuits()
    toys = targets(model, 4)
    settings = FitSettings(num_subnetworks=10, divergence=detached_product)
    found = decomposed(model, toys, settings)
    seen = jax.jit(jax.vmap(coefficient_correlations))(
        toys.params, found.subnetworks, toys.coefficients
    )
    owners = [len(set(np.asarray(owned).tolist())) for owned in seen.owned]
    assert max(owners) == 10
    assert np.mean(owners) >= 9
    errors = plateau(found)
    assert np.all((errors > 0.04) & (errors < 0.1))
    best = np.asarray(owners) == 10
    assert np.median(np.asarray(seen.each)[best]) > 0.85
    assert np.all(np.asarray(seen.pooled)[best] < 0.95)
    np.testing.assert_allclose(seen.pooled_squared, np.asarray(seen.pooled) ** 2, rtol=1e-6)
    # A subnetwork tells its coefficients about as well as the network itself does.
    gap = np.median(np.asarray(seen.each - seen.ceiling_each)[best])
    assert abs(gap) < 0.05


def test_groups_take_one_subnetwork_each():
    """L6, 30 inputs in 6 groups. The paper's curves, digitised by us: rank 1 .145, rank 5 .147."""
    model = circuits(30, 10, group=5)
    toys = targets(model, 2, restarts=2)
    errors, whole = {}, {}
    for rank in (1, 5):
        settings = FitSettings(num_subnetworks=10, ranks=rank, divergence=detached_product)
        found = decomposed(model, toys, settings)
        errors[rank] = plateau(found).min()
        energy = feature_energy(found.subnetworks["encoder"].reshape(20, 30, 10))
        share = np.asarray(energy).reshape(2, 10, 6, 5).sum(3)
        live = np.asarray(found.frequency) > 0.05
        whole[rank] = [
            sorted(of_seed[alive].argmax(1).tolist()) == list(range(6))
            for of_seed, alive in zip(share, live, strict=True)
        ]
    assert any(whole[1])
    assert abs(errors[1] - errors[5]) < 0.01


def test_squares_need_enough_subnetworks():
    """L7. The paper's curves, digitised by us: .551, .369 and .086 for 3, 5 and 10 subnetworks.

    Theirs are by the code's divergence; by the true error ours end at .15 for 10, not at .086.
    """
    model = square()
    toys = targets(model, 2, restarts=1, num_epochs=100, learning_rate=2e-3)
    assert np.all(np.asarray(toys.loss) < 1e-3)
    errors = {}
    for count in (3, 5, 10):
        found = decomposed(model, toys, FitSettings(num_subnetworks=count))
        errors[count] = plateau(found).min()
    for count, expected in ((3, 0.551), (5, 0.369)):
        assert abs(errors[count] / expected - 1) < 0.3
    assert errors[10] < 0.6 * errors[5]


@pytest.mark.parametrize(("features", "hidden"), [(40, 10), (5, 2)])
def test_larger_superposition_and_hidden_identity(features, hidden):
    """L8, which the paper leaves out. Related methods reach .996 (APD) and 1.000 (SPD).

    Ours does not at 40-10: .948, with 38 of 40 features owned. The model 5-2 has a fixed identity
    between its layers, which is decomposed with them.
    """
    model = superposition(features, hidden, hidden_identity=features == 5)
    seeds = 1 if features == 40 else 4
    toys = targets(model, seeds, restarts=1 if features == 40 else 4)
    found = decomposed(model, toys, FitSettings(num_subnetworks=features))
    cosines = jax.vmap(mean_max_cosine)(toys.params["encoder"], found.subnetworks["encoder"])
    owners = jax.vmap(distinct_owners)(found.subnetworks)
    assert jnp.max(cosines) > (0.93 if features == 40 else 0.98)
    assert jnp.max(owners) >= 0.9 * features


def test_one_run_takes_less_than_25_seconds():
    """L10. An unbatched run of an earlier implementation took 24 to 34 s."""
    toys = jax.tree.map(lambda leaf: leaf[0], features())
    model = superposition()
    inputs = model.inputs(jax.random.key(3), 1000)
    settings = FitSettings(num_subnetworks=5)
    begin = time.process_time()
    fit = jax.jit(lambda key: decompose(model.apply, toys.params, inputs, key, settings))
    jax.block_until_ready(fit(jax.random.key(4)))
    assert time.process_time() - begin < 25  # compilation included
