"""Label changes along learning rates against published counts, and where there is one change."""

import itertools

import jax
import numpy as np
import pytest

from fracjax.learning.trainability.one_dimensional import (
    boundary_counts,
    count_dimension,
    label_change_counts,
    rate_objective,
    roughness_threshold,
)

KEY = jax.random.key(0)
# Liu (2024), arXiv 2406.13971, data of its repository; N_n from n = 0.
MULTIPLICATIVE = (1, 1, 1, 1, 3, 5, 7, 13, 21, 27, 57, 115, 247, 423, 683, 1215, 2303, 4245)
ADDITIVE = (1,) * 14 + (9, 13, 31, 51)


def near_published(counts):
    """Within 1.5 √N: chaos shows the last bit, and 40 starts that differ there reach 1.3 √N."""
    published = np.array(MULTIPLICATIVE[: len(counts)])
    return np.abs(counts - published) <= 1.5 * np.sqrt(published)


@pytest.mark.usefixtures("x64")
def test_the_multiplicative_counts_are_the_published_ones():
    found = boundary_counts(rate_objective("multiplicative"), KEY, num_levels=12)
    assert near_published(found.counts).all(), found.counts
    # Another loss has others: this can fail.
    smoother = rate_objective("multiplicative", amplitude=0.05)
    other = boundary_counts(smoother, KEY, num_levels=12)
    assert not near_published(other.counts).all(), other.counts


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_all_counts_and_both_slopes():
    counts = boundary_counts(rate_objective("multiplicative"), KEY).counts
    assert near_published(counts).all(), counts
    np.testing.assert_allclose(counts[15:], MULTIPLICATIVE[15:], rtol=0.01)
    # Least-squares slopes of the published counts themselves are 0.819 and 0.866; an error of 1 %
    # in a count moves the second by .003.
    for first, expected in ((4, 0.819), (10, 0.866)):
        published = count_dimension(np.array(MULTIPLICATIVE), first=first)
        assert float(published.value) == pytest.approx(expected, abs=5e-4)
        assert float(count_dimension(counts, first=first).value) == pytest.approx(
            expected, abs=0.01
        )
    additive = boundary_counts(rate_objective("additive"), KEY).counts
    assert (additive[:12] == 1).all()
    # Few and of single rates: over last bits of the start 9 to 17 at n = 15.
    ratios = np.log2(additive[14:] / np.array(ADDITIVE[14:]))
    assert np.abs(ratios).max() <= 1, additive


@pytest.mark.usefixtures("x64")
def test_where_the_loss_is_convex_the_label_changes_once():
    # Below the threshold ε/l² = 1 / (2π²) the additive loss is convex.
    below = 0.9 * roughness_threshold() * 0.1**2
    for amplitude in (0.0, below):
        found = boundary_counts(rate_objective("additive", amplitude=amplitude), KEY, num_levels=12)
        assert (found.counts == 1).all()
        estimate = count_dimension(found.counts)
        assert (float(estimate.value), float(estimate.high)) == (0.0, 0.0)
    # A parabola's: where 1000 steps of 1 - 2 rate are enough to reach 10⁸.
    parabola = boundary_counts(rate_objective("multiplicative", amplitude=0.0), KEY, num_levels=12)
    growth = np.abs(1 - 2 * np.linspace(0, 1.5, 2**12 + 1))
    np.testing.assert_array_equal(parabola.diverged, 2000 * np.log10(growth) > 8)


def test_counts_are_those_of_a_loop_over_grids():
    labels = np.random.default_rng(0).uniform(size=2**6 + 1) < 0.4
    expected = []
    for level in range(7):
        places = np.round(np.linspace(0, 2**6, 2**level + 1)).astype(int)
        expected.append(sum(labels[i] != labels[j] for i, j in itertools.pairwise(places)))
    np.testing.assert_array_equal(label_change_counts(labels), expected)
    with pytest.raises(ValueError, match=r"2\^n"):
        label_change_counts(labels[:-2])


def test_slopes_of_counts_have_covering_intervals():
    """Ratios with a known mean and independent scatter: inside in 95 % of 400 seeds, ± 3 %."""
    draws = np.random.default_rng(1)
    inside = []
    for _ in range(400):
        logs = np.cumsum(draws.normal(0.8, 0.15, 14))
        estimate = count_dimension(2**logs)
        inside.append(float(estimate.low) <= 0.8 <= float(estimate.high))
    assert 0.90 <= np.mean(inside) <= 0.99
    assert int(count_dimension(np.array([1, 2])).status) == 3
    assert int(count_dimension(np.array([0, 1, 2, 4])).status) == 5


@pytest.mark.parametrize("settings", [{"wavelength": 0.0}, {"num_steps": 0}])
def test_bad_settings_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        rate_objective("additive", **settings)
