"""Watching stays within its budget, on a clock that the test sets: exactly, without sleeping."""

import itertools

import jax
import numpy as np
import pytest
from watched_runs import Clock, MadeUpMeasurement

from fracjax.diagnosis.watching import Budget, Watch, problem_of_objective
from fracjax.diagnosis.watching.budget import Pace

KEY = jax.random.key(0)
PROBLEM = problem_of_objective(lambda params, key: params.sum(), np.ones(3))


def run(
    seed, *, budget=0.1, compiling=4.0, noisy=True, total=None, calls=200, first=5.0, drawing=0.0
):
    """A training of calls that take .5 s on average; returns what held after each of them."""
    generator = np.random.default_rng(seed)
    clock = Clock()
    dear = 10.0 ** generator.uniform(-2.5, -1)

    def per_line():
        return dear * (generator.lognormal(0, 1) if noisy else 1.0)

    measurement = MadeUpMeasurement(clock, compiling, per_line)
    watch = Watch(
        PROBLEM,
        KEY,
        budget=budget,
        total_steps=calls - 1 if total else None,
        first_compiling=first,
        clock=clock,
        measurement=measurement,
        on_record=lambda *_: clock.pass_(drawing),
    )
    rows, last = [], 0.0
    for step in range(calls):
        clock.pass_(generator.exponential(0.5) if noisy else 0.5)
        begun = watch.budget.watching
        if watch(step, np.ones(3)) is not None:
            last = watch.budget.watching - begun
        spent = watch.budget
        rows.append((spent.training(), spent.watching, spent.compiling, last))
    return watch, measurement, np.array(rows)


@pytest.mark.parametrize("seed", range(6))
def test_predicted_costs_never_exceed_the_budget(seed):
    """Equal costs per line, a length that nobody knows: W ≤ b T after every call."""
    _, measurement, rows = run(seed, noisy=False, calls=250)
    training, watching = rows[:, 0], rows[:, 1]
    assert (watching <= 0.1 * training * (1 + 1e-12)).all()
    assert measurement.asked


@pytest.mark.parametrize("total", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_the_worst_overshoot_is_one_estimate(seed, total):
    """Costs that nobody can predict: W ≤ max(b T + C, C) + the last estimate, at all times.

    C only where it is written off over the run: b T without it otherwise.
    """
    watch, _, rows = run(seed, total=total, drawing=0.05, calls=120)
    training, watching, compiling, last = rows.T
    open_ = compiling if total else 0.0
    allowed = np.maximum(0.1 * training + open_, compiling) + last
    assert (watching <= allowed + 1e-9).all()
    # And nothing begins while more is spent than allowed.
    begins = np.flatnonzero(np.diff(watching) > 0) + 1
    before = watching[begins] - last[begins] - np.where(compiling[begins - 1] == 0, 4.0, 0.0)
    assert (before <= 0.1 * training[begins] + open_max(open_, begins) + 1e-9).all()
    assert watch.budget.watching == pytest.approx(watching[-1])


def open_max(open_, begins):
    return open_[begins] if np.ndim(open_) else 0.0


def test_a_run_that_ends_as_expected_ends_within_the_budget():
    """Equal paces and costs: compiling is written off to the end and W ≤ b T there."""
    for seed in range(5):
        watch, measurement, rows = run(seed, noisy=False, total=True, calls=200)
        assert rows[-1, 1] <= 0.1 * rows[-1, 0] * (1 + 1e-9)
        first = rows[np.flatnonzero(rows[:, 2])[0]]
        # It compiled before the whole of it had been earned: 4 s need 40 s of training.
        assert first[0] < 39
        assert measurement.asked
        assert watch.records[-1].cost.share == pytest.approx(rows[-1, 1] / rows[-1, 0], rel=0.2)


def test_records_say_what_was_used_drawing_included():
    watch, _, rows = run(3, noisy=False, drawing=0.3, calls=250)
    costs = [record.cost for record in watch.records]
    assert all(0 < cost.share <= 0.1 + 1e-12 for cost in costs[1:])
    assert all(cost.share_without_compiling < cost.share for cost in costs)
    for earlier, later in itertools.pairwise(costs):
        assert later.watching == pytest.approx(earlier.watching + 0.3 + later.last)
    summary = watch.summary()
    assert summary["share"] == pytest.approx(rows[-1, 1] / rows[-1, 0])
    assert summary["compiling_seconds"] == 4.0


def test_the_budget_chooses_the_size():
    """.01 s a line: .08, .16 and .32 s. Half a second a call affords .05 of 10 %, .5 of 100 %."""
    names = {}
    for budget in (0.1, 1.0):
        clock = Clock()
        measurement = MadeUpMeasurement(clock, 0.0, lambda: 0.01)
        options = {"clock": clock, "measurement": measurement, "first_compiling": 0.0}
        watch = Watch(PROBLEM, KEY, budget=budget, **options)
        for step in range(50):
            clock.pass_(0.5)
            watch(step, np.ones(3))
        names[budget] = [size for _, size in measurement.asked[5:]]
    assert set(names[1.0]) == {"large"}
    assert set(names[0.1]) == {"small"}


def test_the_first_look_is_the_smallest():
    """Nobody knows yet what it takes, and the worst overshoot is what one estimate takes."""
    clock = Clock()
    measurement = MadeUpMeasurement(clock, 0.0, lambda: 0.01)
    options = {"clock": clock, "measurement": measurement, "first_compiling": 0.0}
    watch = Watch(PROBLEM, KEY, **options)
    clock.pass_(1000.0)
    watch(0, np.ones(3))
    watch(1, np.ones(3))
    assert [size for _, size in measurement.asked] == ["small", "large"]


def test_fewer_looks_are_closer_ones_and_passed_calls_are_counted():
    clock = Clock()
    measurement = MadeUpMeasurement(clock, 0.0, lambda: 0.01)
    options = {"clock": clock, "measurement": measurement, "first_compiling": 0.0}
    watch = Watch(PROBLEM, KEY, every=10, **options)
    for step in range(100):
        clock.pass_(0.5)
        watch(step, np.ones(3))
    steps = [step for step, _ in measurement.asked]
    assert min(np.diff(steps)) >= 10
    assert {size for _, size in measurement.asked[1:]} == {"large"}
    assert watch.records[0].skipped == steps[0]


def test_nothing_is_compiled_that_there_is_no_time_to_use():
    watch, measurement, rows = run(0, calls=50, first=5.0)
    assert rows[-1, 1] == 0
    assert not measurement.asked
    assert watch.summary()["share"] == 0


def test_the_end_is_expected_from_the_pace_after_compiling():
    pace = Pace(100)
    pace.note(0, 10.0)
    assert pace.progress(0, 10.0) is None
    pace.note(10, 50.0)  # training compiled
    assert pace.progress(10, 50.0) is None
    pace.note(20, 80.0)  # and once more
    assert pace.progress(20, 80.0) is None
    pace.note(30, 90.0)
    assert pace.progress(30, 90.0) == pytest.approx(90 / (90 + 70))
    pace.note(40, 110.0)  # slower: the fastest counts
    assert pace.progress(40, 110.0) == pytest.approx(110 / (110 + 60))
    assert Pace(None).progress(5, 1.0) is None


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"budget": 0.0}, "budget"), ({"every": 0}, "every"), ({"sizes": ()}, "sizes")],
)
def test_bad_settings_are_named(settings, named):
    with pytest.raises(ValueError, match=f"`{named}`"):
        Watch(PROBLEM, KEY, **settings)
    with pytest.raises(ValueError, match="`fraction`"):
        Budget(-1.0)
