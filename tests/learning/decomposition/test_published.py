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
# As many updates as each process of the published code makes: 8000.
SHORT = {"num_epochs": 258, "decay_every": 25}
LARGE = {"num_epochs": 40, "decay_every": 4}


def targets(model, seeds, *, key=1, restarts=4, num_epochs=40, learning_rate=1e-2):
    train = functools.partial(
        train_toy, model, restarts=restarts, num_epochs=num_epochs, learning_rate=learning_rate
    )
    return jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(key), seeds))


def decomposed(model, toys, settings, *, key=2, num_samples=1000):
    def one(toy, key):
        first, second = jax.random.split(key)
        inputs = model.inputs(first, num_samples)
        return decompose(model.apply, toy.params, inputs, second, settings)

    keys = jax.random.split(jax.random.key(key), len(toys.loss))
    return jax.jit(jax.vmap(one))(toys, keys)


def plateau(found):
    """Mean loss of the last fifth of the epochs."""
    return np.asarray(found.loss[:, -found.loss.shape[1] // 5 :].mean(1))


@functools.cache
def features():
    """Sixteen targets of 5-2, of which those that represent all five features."""
    toys = targets(superposition(), 16)
    good = np.flatnonzero(np.asarray(toys.loss) < 0.01)
    assert len(good) >= 14
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
    assert whole.mean() >= 7 / 8
    errors = plateau(found)[whole]
    assert np.mean((errors > 0.17) & (errors < 0.2)) >= 0.9
    assert errors.mean() == pytest.approx(0.19, abs=0.01)
    cosines = jax.vmap(mean_max_cosine)(toys.params["encoder"], found.subnetworks["encoder"])
    assert np.all(np.asarray(cosines)[whole] >= 0.995)


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
    assert np.mean(ratio >= 8) >= 0.95
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
    assert whole.mean() >= 7 / 8
    errors = plateau(found)[whole]
    assert np.mean((errors > 0.1) & (errors < 0.13)) >= 0.8
    assert errors.mean() == pytest.approx(0.114, abs=0.01)


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


def test_groups_have_one_owner_each_at_any_rank():
    """L6, 30 inputs in 6 groups. The paper's curves, digitised by us: rank 1 .145, rank 5 .147."""
    model = circuits(30, 10, group=5)
    toys = targets(model, 3, restarts=2)
    rate = 0.05 / (1 - 0.95**6)  # share of samples in which a group is on
    errors = {}
    for rank in (1, 5):
        settings = FitSettings(
            10, ranks=rank, divergence=detached_product, norm="published", **SHORT
        )
        found = decomposed(model, toys, settings)
        errors[rank] = plateau(found)
        energy = feature_energy(found.subnetworks["encoder"].reshape(30, 30, 10))
        share = np.asarray(energy).reshape(3, 10, 6, 5).sum(3)
        owners = np.asarray(found.frequency) > rate / 2
        for of_seed, chosen in zip(share, owners, strict=True):
            assert sorted(of_seed[chosen].argmax(1).tolist()) == list(range(6))
            assert of_seed[chosen].max(1).min() > 0.95
    np.testing.assert_allclose(errors[1], 0.145, atol=0.02)
    assert abs(np.mean(errors[1] - errors[5])) < 0.01


def test_squares_need_enough_subnetworks():
    """L7. The paper's curves, digitised by us: .551, .369, .086, .033 for 3, 5, 10, 15."""
    model = square()
    toys = targets(model, 3, restarts=1, num_epochs=400, learning_rate=1e-3)
    assert np.all(np.asarray(toys.loss) < 2e-4)
    for count, expected in ((3, 0.551), (5, 0.369), (10, 0.086), (15, 0.033)):
        kept = (32 * count // 10 + 1) / (32 * count)
        settings = FitSettings(count, divergence=detached_product, fraction=kept, **SHORT)
        found = decomposed(model, toys, settings)
        assert plateau(found).mean() == pytest.approx(expected, rel=0.3), count


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize(("features", "hidden"), [(5, 2), (40, 10)])
def test_larger_superposition_and_hidden_identity(features, hidden, identity):
    """L8, which the paper leaves out. Related methods reach .996 (APD) and 1.000 (SPD)."""
    model = superposition(features, hidden, hidden_identity=identity)
    large = features == 40
    toys = targets(model, 2 if large else 4, restarts=1 if large else 4)
    count = features + (hidden if identity else 0)
    settings = FitSettings(count, **(LARGE if large else {}))
    found = decomposed(model, toys, settings, num_samples=10_000 if large else 1000)
    cosines = jax.vmap(mean_max_cosine)(toys.params["encoder"], found.subnetworks["encoder"])
    owners = jax.vmap(distinct_owners)(found.subnetworks)
    assert jnp.max(cosines) > 0.995
    assert jnp.max(owners) == features


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
