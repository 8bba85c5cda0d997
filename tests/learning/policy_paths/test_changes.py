"""Changes along a path: small cases by hand, walks by their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.learning.policy_paths.changes import (
    gini_coefficient,
    path_changes,
    top_share,
    walk_gini,
    walk_top_share,
)
from fracjax.learning.policy_paths.path_matrix import path_matrices
from fracjax.learning.policy_paths.walks import coordinate_detour_cdf, coordinate_detour_median

KEY = jax.random.key(0)


def test_small_paths_by_hand():
    """There and back, a monotone one whose float32 sums round, one at rest, one that returns."""
    uneven = np.cumsum(np.random.default_rng(0).uniform(0, 0.1, 60))
    path = np.zeros((60, 4), np.float32)
    path[:4, 0] = [0, 1, 0, 2]
    path[4:, 0] = 2
    path[:, 1] = uneven
    path[:, 2] = 7
    path[1:59, 3] = 1
    found = path_changes(jnp.asarray(path), stride=25)
    np.testing.assert_array_equal(found.accumulated[jnp.array([0, 2, 3])], [4, 0, 2])
    np.testing.assert_array_equal(found.final[jnp.array([0, 2, 3])], [2, 0, 0])
    assert found.detour[0] == 2
    assert found.detour[1] == 1  # to the last bit
    assert np.isnan(found.detour[2])
    assert np.isposinf(found.detour[3])
    assert found.detour_median == 2
    assert found.status == Status.OK
    assert found.stride == 25


def test_broken_paths_have_a_status():
    still = path_changes(jnp.ones((5, 3)))
    assert still.status == Status.AT_NOISE_FLOOR
    assert np.isnan(still.detour).all()
    broken = path_changes(jnp.ones((5, 3)).at[2, 1].set(jnp.nan))
    assert broken.status == Status.DIVERGED
    assert np.isnan(broken.detour_median)
    with pytest.raises(ValueError, match="at least two rows"):
        path_changes(jnp.ones((1, 3)))


def test_asymmetry_of_known_spreads():
    """Gini: 0 if equal, 1 - 1/m for one of m, 1/3 for uniform and 1/2 for exponential values."""
    assert gini_coefficient(jnp.full(100, 3.0)) == pytest.approx(0, abs=1e-6)
    assert gini_coefficient(jnp.zeros(100).at[3].set(2.0)) == pytest.approx(0.99, rel=1e-6)
    grid = (jnp.arange(20_000) + 0.5) / 20_000
    assert gini_coefficient(grid) == pytest.approx(1 / 3, rel=1e-4)
    assert gini_coefficient(-jnp.log(grid)) == pytest.approx(0.5, rel=1e-3)
    assert top_share(grid) == pytest.approx(0.19, rel=1e-3)
    assert top_share(jnp.ones(7), share=0.01) == pytest.approx(1 / 7)
    with pytest.raises(ValueError, match="`share` must lie in"):
        top_share(grid, share=0.0)


@pytest.mark.parametrize("growing", [False, True])
def test_a_walk_has_its_laws(growing):
    """Gini, top share, median and distribution of detours, also for steps of unequal length.

    20 000 parameters. Standard errors: of the Gini 1 %/√2, of the median of detours 1.1 %/√2;
    the laws hold for many steps, and 200 are off by less than half of the tolerances.
    """
    lengths = jnp.linspace(0.2, 1.8, 200) if growing else jnp.ones(200)
    steps = lengths[:, None] * jax.random.normal(KEY, (200, 20_000))
    path = jnp.concatenate([jnp.zeros((1, 20_000)), jnp.cumsum(steps, axis=0)])
    found = path_changes(path)
    number = float(lengths.sum() ** 2 / (lengths**2).sum())
    assert found.effective_steps == pytest.approx(number, rel=1e-3)
    assert found.gini == pytest.approx(float(walk_gini(number)), rel=0.03)
    assert found.top_share == pytest.approx(float(walk_top_share(number)), rel=0.005)
    assert found.detour_median == pytest.approx(coordinate_detour_median(number), rel=0.02)
    ordered = np.sort(np.asarray(found.detour))
    shares = (np.arange(ordered.size) + 0.5) / ordered.size
    assert np.abs(coordinate_detour_cdf(ordered, number) - shares).max() < 0.02


@pytest.mark.slow
def test_batches_equal_single_paths_and_precisions_agree(x64):
    paths = jnp.cumsum(jax.random.normal(KEY, (3, 30, 50)), axis=1)
    single = [path_changes(path) for path in paths]
    batch = jax.jit(jax.vmap(path_changes))(paths)
    narrow = path_changes(paths[0].astype(jnp.float32))
    for name in ("accumulated", "final", "detour", "gini", "top_share", "effective_steps"):
        np.testing.assert_allclose(
            getattr(batch, name), [getattr(one, name) for one in single], rtol=1e-10
        )
        assert getattr(narrow, name).dtype == jnp.float32
        np.testing.assert_allclose(getattr(narrow, name), getattr(single[0], name), rtol=2e-3)


def test_layers_are_modules_and_leaves_at_the_top():
    tree = {
        "params": {"Dense_0": {"kernel": jnp.ones((5, 3, 2)), "bias": jnp.ones((5, 2))}},
        "scale": jnp.ones(5),
    }
    sizes = {name: one.shape for name, one in path_matrices(tree).items()}
    assert sizes == {"params/Dense_0": (5, 8), "scale": (5, 1)}
    assert path_matrices(tree, group="network")["network"].shape == (5, 9)
    assert len(path_matrices(tree, group="leaf")) == 3
    assert list(path_matrices(tree, group=lambda path: str(len(path)))) == ["3", "1"]
    assert list(path_matrices(jnp.ones((5, 4)))) == ["network"]
    with pytest.raises(ValueError, match="one first length"):
        path_matrices([jnp.ones((5, 2)), jnp.ones((4, 2))])
