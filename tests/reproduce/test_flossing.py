"""What the flossing experiment would not let pass."""

import jax
import numpy as np
import pytest

from fracjax.learning.recurrent_training.updates import Look
from fracjax.reproduce import flossing_cells, flossing_exact, flossing_tasks
from fracjax.reproduce.flossing import PARTS
from fracjax.reproduce.rows import compared

KEY = jax.random.key(0)


def looks(final, condition, *, delays=2, seeds=8, first=0.5):
    """Runs of three looks, with a scatter over seeds; `final` by delay."""
    shape = (delays, seeds, 3)
    scatter = 0.002 * np.arange(seeds)[None, :, None] - 0.007
    accuracy = np.full(shape, first) + scatter
    accuracy[..., -1] = np.asarray(final)[:, None]
    accuracy[..., 1] = (accuracy[..., 0] + accuracy[..., 2]) / 2
    zeros = np.zeros(shape)
    return Look(
        updates=np.broadcast_to([0, 100, 200], shape),
        loss=zeros,
        accuracy=accuracy,
        training_loss=zeros,
        gradient_norm=zeros + 1,
        exponents=np.zeros((*shape, 3)),
        log10_condition=condition + 10 * scatter * np.ones(shape),
        status=zeros.astype(int),
        tangent_status=zeros.astype(int),
    )


def test_claims_have_the_sign_of_the_abstract_or_are_not_met():
    """A share of delays solved, speed, horizon, and condition number at first and along."""
    found = {
        "none": looks([0.99, 0.55], 15.0),
        "pre": looks([1.0, 0.95], 4.0),
        "pre + inter": looks([1.0, 0.99], 3.0),
        "readout alone": looks([0.7, 0.5], 15.0),
    }
    # Seeds must not all agree to the last digit, or Student's interval has no width.
    for run, table in enumerate(found.values()):
        table.accuracy[..., -1] -= 1e-3 * (np.arange(8) % (2 + run))
        table.log10_condition[...] += 0.1 * (np.arange(8) % (2 + run))[None, :, None]
    rows = flossing_tasks._claims("delayed copy", found, "default")
    assert [row.agrees for row in rows] == [True] * 5
    turned = {**found, "none": found["pre + inter"], "pre + inter": found["none"]}
    rows = flossing_tasks._claims("delayed copy", turned, "default")
    assert not any(row.agrees for row in rows)
    assert not compared(flossing_tasks._claims("delayed copy", found, "quick"))
    (null,) = flossing_tasks._null("delayed copy", found)
    assert null.agrees
    (null,) = flossing_tasks._null("delayed copy", {"none": looks([1.0, 1.0], 15.0, first=0.6)})
    assert not null.agrees


def test_a_diverged_run_counts_as_a_failure_and_is_reported():
    found = {name: looks([1.0, 1.0], 5.0) for name in flossing_tasks.CONDITIONS}
    lost = looks([1.0, np.nan], 5.0)
    lost.status[1, :, -1] = 1
    found["pre"] = lost
    rows = {
        (row.system, row.quantity): row
        for row in flossing_tasks._rates("delayed copy", (10, 20), found)
    }
    assert rows["delayed copy, pre", "success rate at delay 20, 8 seeds"].value == 0
    assert rows["delayed copy, pre", "success rate at delay 10, 8 seeds"].low > 0.6
    assert rows["delayed copy, pre", "share that diverged"].value == 0.5
    text = "success at delay 20, minus none (McNemar p = 0.0078)"
    assert rows["delayed copy, pre", text].high < 0


def test_the_golden_run_is_held_to_its_tolerance_after_flossing():
    """Six seeds about the anchor agree, half a decade away they do not."""
    scatter = 0.02 * np.arange(-3, 3)
    condition = np.stack([1.8 + 10 * scatter, 0.5 + scatter], axis=1)
    # Thirty steps of a diagonal coupling: σ_1/σ_16 is 10^1.8.
    coupling = np.ones((6, 80))
    coupling[:, 15:] = 10 ** (-(1.8 + scatter[:, None]) / 30)
    found = {
        "loss": np.full((6, 2), 1e-3),
        "condition": condition,
        "coupling": coupling[:, :, None] * np.eye(80),
    }
    found["loss"][:, 1] *= 1e-8
    rows = compared(flossing_exact._golden_rows(16, found))
    assert [row.agrees for row in rows] == [True, True, True]
    found["condition"] = condition + np.array([0.0, 0.5])
    rows = compared(flossing_exact._golden_rows(16, found))
    assert [row.agrees for row in rows] == [True, False, True]


def test_the_full_size_is_the_papers():
    setting = flossing_tasks.SETTINGS["full"]
    training = setting.training
    assert (setting.size, training.num_steps, training.num_exponents) == (80, 300, 75)
    assert (training.batch_size, training.learning_rate, training.clip) == (16, 1e-3, 0.03)
    assert (training.window, training.discard, setting.num_updates) == (55, 16, 10_000)
    assert setting.schedule.pre_updates == setting.schedule.every == 500
    assert min(setting.num_seeds, flossing_cells._SETTINGS["full"].num_seeds) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("part", ["exact: exponent gradients", "law of condition numbers"])
def test_parts_agree(part):
    rows = compared(PARTS[part](KEY, "quick"))
    assert rows
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]
