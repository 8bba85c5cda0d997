"""What the decomposition experiment finds, and what its rows would not let pass."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from fracjax.reproduce import l3d_circuits, l3d_networks, l3d_policies, l3d_rows, l3d_superposition
from fracjax.reproduce.l3d import PARTS
from fracjax.reproduce.l3d_toys import Fits, published_fraction
from fracjax.reproduce.rows import compared

KEY = jax.random.key(0)


def test_rows_of_bounds_want_the_whole_interval():
    """Mean 1, SE .1: Student's 95 % of three runs is ± .43."""
    values = np.array([1 - 0.1 * 3**0.5, 1.0, 1 + 0.1 * 3**0.5])
    row = l3d_rows.bounded("s", "q", values, 0.5, "why")
    assert row.agrees
    assert row.low == pytest.approx(1 - 4.303 * 0.1, rel=1e-3)
    assert not l3d_rows.bounded("s", "q", values, 0.6, "why").agrees
    assert l3d_rows.bounded("s", "q", values, 1.5, "why", below=True).agrees
    assert not l3d_rows.bounded("s", "q", values, 1.4, "why", below=True).agrees
    for few in (values[:1], values[:0], np.array([1.0, np.nan, 1.0])):
        assert not l3d_rows.bounded("s", "q", few, -9.0, "why").agrees
        assert not l3d_rows.against_one_run("s", "q", few, 1.0, "why").agrees


def test_rows_of_one_published_run_know_its_spread():
    """SD .1 of four runs, SE .05: joint error .112, of 75 degrees of freedom; 4.24 are .474."""
    values = 0.5 + 0.1 * np.sqrt(3 / 4) * np.array([1, 1, -1, -1])
    assert values.std(ddof=1) == pytest.approx(0.1)
    assert l3d_rows.against_one_run("s", "q", values, 0.97, "why").agrees
    assert not l3d_rows.against_one_run("s", "q", values, 0.98, "why").agrees


def test_rows_of_rates_fail_below_their_interval():
    """Clopper and Pearson: 4 of 8 are [.157, .843], 8 of 8 [.631, 1]."""
    row = l3d_rows.rate("s", "q", 4, 8, 0.875, "why")
    assert not row.agrees
    assert (row.low, row.high) == pytest.approx((0.157, 0.843), abs=1e-3)
    row = l3d_rows.rate("s", "q", 8, 8, 0.875, "why")
    assert row.agrees
    assert (row.low, row.high) == pytest.approx((0.631, 1.0), abs=1e-3)
    assert l3d_rows.rate("s", "q", 0, 8, 0.875, "why").low == 0


def test_the_code_keeps_one_entry_more():
    assert published_fraction(5) == 17 / 160
    assert published_fraction(10) == 33 / 320


def test_cosines_are_one_for_a_row_alone():
    weights = np.array([[1.0, 2.0], [2.0, -1.0], [0.5, 0.5]])
    alone = np.zeros((2, 3, 2))
    alone[0, 1] = -3 * weights[1]
    alone[1, 0], alone[1, 2] = weights[0], weights[0]
    found = l3d_superposition.feature_cosines(weights, alone)
    np.testing.assert_allclose(found[0], [0, 1, 0], atol=1e-12)
    # Half the squared norm; the third row is at an angle of cos 3/√10 to it.
    np.testing.assert_allclose(found[1], [0.5**0.5, 0, 0.5**0.5 * 3 / 10**0.5], atol=1e-12)


def test_squares_are_held_to_thirty_per_cent():
    near = l3d_circuits._within("s", 0.551 * np.array([1.19, 1.2, 1.21]), 0.551, "why")
    far = l3d_circuits._within("s", 0.551 * np.array([1.39, 1.4, 1.41]), 0.551, "why")
    assert near.agrees
    assert not far.agrees
    assert "mean share 0.661" in near.quantity


def test_groups_want_one_owner_each_and_the_rest_unused():
    """Six groups of five inputs; a group is on in .19 of the samples."""

    def rows(frequency):
        encoder = np.zeros((3, 10, 30, 2))
        for subnetwork in range(10):
            encoder[:, subnetwork, 5 * (subnetwork % 6) : 5 * (subnetwork % 6) + 5] = 1
        found = SimpleNamespace(
            subnetworks={"encoder": encoder}, frequency=np.array([frequency] * 3)
        )
        fits = Fits(found, np.array([0.14, 0.145, 0.15]), 1.0)
        return [row.agrees for row in compared(l3d_circuits._group_rows(1, fits))]

    owners = [0.16] * 6
    assert rows([*owners, 0.0, 0.0, 0.0, 0.0]) == [True, True, True]
    assert rows([*owners, 0.05, 0.0, 0.0, 0.0]) == [True, True, False]
    assert rows([*owners, 0.12, 0.0, 0.0, 0.0]) == [True, False, False]


def test_classes_share_what_is_used():
    rows = np.array([[1.0, 3.0, 0.0, 2.0]])
    found = l3d_networks._by_class(jax.numpy.asarray(rows), jax.numpy.array([0, 0, 1, 1]), 2)
    np.testing.assert_allclose(found, [[2 / 3, 1 / 3]], rtol=1e-6)


def test_claims_on_classes_can_fail():
    """Two classes; a first share of .9 against .6 at random, and of .6 against .6."""

    def found(share, moved):
        pair = np.array([share, 1 - share])
        noise = 0.001 * np.arange(4)[:, None, None]
        used = np.broadcast_to(pair, (4, 3, 2)) + noise * np.array([1, -1])
        null = np.broadcast_to([0.6, 0.4], (4, 3, 2))
        away = np.broadcast_to([moved, 1 - moved], (4, 3, 2)) + noise * np.array([1, -1])
        frequency = np.array([[0.5, 0.2, 0.0]] * 4)
        return {
            "loss": np.full((4, 10), 0.5),
            "frequency": frequency,
            "used": np.concatenate([used, null], axis=1),
            "moved": away,
        }

    good = compared(l3d_networks._rows("s", found(0.9, 0.8), "digit", "default"))
    assert [row.agrees for row in good] == [True, True]
    bad = compared(l3d_networks._rows("s", found(0.59, 0.49), "digit", "default"))
    assert [row.agrees for row in bad] == [False, False]
    assert not compared(l3d_networks._rows("s", found(0.9, 0.8), "digit", "quick"))


def test_subnetworks_that_move_outputs_like_random_ones_fail_the_claim():
    nulls = np.linspace(0.0, 1.0, 99)
    far, near = (
        compared(l3d_policies._output_rows("s", values, nulls))
        for values in (np.full(16, 2.0), np.linspace(0, 1, 16))
    )
    assert [row.agrees for row in far + near] == [True, False]


def test_parts_are_those_of_the_paper_and_what_is_new():
    assert list(PARTS) == [
        "TMS 5-2",
        "TMS 5-2 with identity",
        "TMS 40-10",
        "TMS 40-10 with identity",
        "TMCS",
        "TMCS in groups",
        "squares",
        "transformer",
        "convolutions",
        "policy: pendulum",
        "policy: inverted double pendulum",
        "policy: hopper",
    ]


@pytest.mark.slow
def test_a_policy_is_decomposed_and_moved():
    """The rows that are exact agree, and what is described is finite."""
    found = PARTS["policy: pendulum"](KEY, "quick")
    rows = compared(found)
    assert len(rows) == 4
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]
    assert list(found.figures) == ["l3d-policy-pendulum"]


@pytest.mark.slow
def test_the_transformer_learns_its_source():
    rows = compared(PARTS["transformer"](KEY, "quick"))
    assert len(rows) == 2
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]
