"""Association of labels against enumerated nulls, and its level under no association."""

import itertools

import numpy as np
import pytest
from scipy import stats

from fracjax.reproduce.association import associate, shuffled_counts, two_sided


def labels(*rows):
    return np.array([[mark == "x" for mark in row] for row in rows])


def test_one_run_is_fishers_exact_test():
    exposed, event = labels("xxxxxx......"), labels("xxxx..x.....")
    found = associate(exposed, event, np.ones_like(event))
    assert found.table.tolist() == [[4, 2], [1, 5]]
    expected = stats.fisher_exact(found.table).pvalue
    assert found.p_by_run == pytest.approx(expected, rel=1e-9)
    assert found.difference == pytest.approx(4 / 6 - 1 / 6)
    assert np.isnan(found.low)  # one run has no spread


def test_the_null_is_that_of_all_shuffles_within_strata():
    exposed, event = labels("xx..", "x..x", "...."), labels("x.x.", "x...", "xx..")
    usable = labels("xxxx", "xxx.", "xxxx")
    counts = []
    rows = [np.flatnonzero(kept) for kept in usable]
    for orders in itertools.product(*(itertools.permutations(row) for row in rows)):
        counts.append(
            sum(
                int((exposed[i, row] & event[i, list(order)]).sum())
                for i, (row, order) in enumerate(zip(rows, orders, strict=True))
            )
        )
    expected = np.bincount(counts) / len(counts)
    found = shuffled_counts(exposed, event, usable)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert two_sided(found, 0) == pytest.approx(expected[expected <= expected[0] + 1e-9].sum())


def test_a_common_trend_is_no_association_at_equal_times():
    """All runs are exposed early and eventful early; among runs nothing goes together."""
    generator = np.random.default_rng(0)
    early = np.arange(10) < 5
    exposed = generator.random((8, 10)) < np.where(early, 0.8, 0.1)
    event = generator.random((8, 10)) < np.where(early, 0.7, 0.05)
    found = associate(exposed, event, np.ones_like(event))
    assert found.p_by_run < 0.01
    assert found.p_by_time > 0.05
    assert found.low > 0


def test_levels_and_coverage_without_association():
    """Null: p below .05 in at most 5 % of 200, and the interval holds 0 in 95 %.

    Exact tests of discrete counts are conservative. Bounds are 4 standard errors away.
    """
    generator = np.random.default_rng(1)
    small, covered = [], []
    for seed in range(200):
        exposed = generator.random((8, 10)) < generator.random((8, 1))
        event = generator.random((8, 10)) < 0.3
        found = associate(exposed, event, np.ones_like(event), seed=seed)
        small.append((found.p_by_run < 0.05, found.p_by_time < 0.05))
        covered.append(found.low <= 0 <= found.high)
    assert (np.mean(small, axis=0) < 0.05 + 4 * (0.05 * 0.95 / 200) ** 0.5).all()
    assert 0.95 - 4 * (0.05 * 0.95 / 200) ** 0.5 < np.mean(covered)


def test_nothing_exposed_leaves_no_difference():
    nothing = np.zeros((3, 4), bool)
    found = associate(nothing, ~nothing, ~nothing)
    assert np.isnan(found.difference)
    assert found.null_by_run.tolist() == [1.0]
    assert found.p_by_run == found.p_by_time == 1.0
