"""What the Langevin experiment finds, where it is quick; posteriors and networks take minutes."""

import jax
import numpy as np
import pytest

from fracjax.reproduce import langevin_digits
from fracjax.reproduce.langevin import PARTS
from fracjax.reproduce.nuts import nuts_moments
from fracjax.reproduce.rows import compared

KEY = jax.random.key(0)


def test_the_metrics_rows_agree_and_could_fail():
    rows = PARTS["exact: metrics"](KEY, "quick")
    assert len(compared(rows)) == 4
    assert all(row.agrees for row in rows)
    moved = [row.value for row in rows if row.system == "dop" and not row.is_compared]
    assert min(moved) > 0.1  # dop is not invariant: in the same unit 1e9


def test_every_predictor_takes_its_own_best_setting():
    """The choice is by validation NLL, averaged over seeds; what diverged is never chosen."""
    validation = np.full((4, 2, 3, 4), 5.0)
    validation[1, :, 0, 0] = 1.0, 3.0  # mean 2
    validation[2, :, 0, 0] = 0.0, np.nan
    validation[3, :, 1, 0] = 1.0
    validation[0, :, 2, 0] = 4.0
    test = np.arange(96.0).reshape(4, 2, 3, 4)
    index, scores = langevin_digits._chosen(validation, test)
    assert index.tolist() == [1, 3, 0]
    np.testing.assert_array_equal(scores[1], test[3, :, 1])


def test_the_abstracts_order_is_tested_pair_by_pair():
    """Ensembles that are worse than QDOP's by .1 on every seed agree; a tie does not."""
    seeds = np.arange(60.0).reshape(3, 5, 4) / 64  # whose differences have no rounding
    best = {method: seeds + 0.1 for method in langevin_digits.METHODS}
    best["QDOP SGLD"] = seeds
    best["DOP SGLD"] = seeds + np.array([[1.0, -1.0, 0.5, -0.5, 0.0]]).reshape(1, 5, 1)
    rows = compared(langevin_digits._compared(best))
    assert [row.agrees for row in rows] == [True, True, False]
    assert [row.value for row in rows] == [1, 1, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["exact: variances", "exact: drift", "gaussian posterior", "logistic posterior"]
)
def test_samplers_have_the_moments_of_their_posteriors(part):
    """Against exact laws, and for the logistic posterior against NUTS."""
    found = PARTS[part](KEY, "quick")
    rows = compared(found)
    assert len(rows) >= 4
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]


@pytest.mark.slow
def test_nuts_has_the_moments_of_a_gaussian():
    precision = np.array([[2.0, 0.6], [0.6, 1.0]])

    def log_density(params):
        return -0.5 * params["a"] @ precision @ params["a"]

    found = nuts_moments(log_density, {"a": np.zeros(2, np.float32)}, KEY, num_draws=2000)
    assert np.all(abs(found.mean) < 4 * found.mean_error)
    assert np.all(found.mean_error < 0.05)
    covariance = np.linalg.inv(precision)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert np.all(abs(found.covariance - covariance) / scale < 4 * found.relative_error)
    assert found.relative_error < 0.05


@pytest.mark.slow
def test_the_digits_are_learned_by_every_method():
    found = PARTS["digits"](KEY, "quick")
    scores = {
        row.system: row.value
        for row in found.rows
        if row.quantity.startswith("accuracy of the ensemble")
    }
    assert set(scores) == set(langevin_digits.METHODS)
    assert all(0.6 < score < 1 for score in scores.values()), scores
    figure = found.figures["langevin-digits"]()
    assert len(figure.axes) == 4
