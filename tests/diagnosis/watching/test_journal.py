"""Records on disk: appended, healed, never twice, read while another writes."""

import dataclasses
import json
import math
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from watched_runs import COST, FRACTAL, SILENT, SMOOTH, Clock, MadeUpMeasurement, record

from fracjax.diagnosis.watching import (
    Journal,
    JournalError,
    Watch,
    problem_of_objective,
    read_configuration,
    read_records,
    read_state,
)
from fracjax.diagnosis.watching.records import Record

CONFIGURATION = {"seed": 0, "discounts": (0.9,)}
ROWS = [
    record(0, SMOOTH, cost=COST),
    record(10, FRACTAL, SMOOTH, value=math.nan),
    record(20, SILENT),
]


def same(first, second):
    """Whether two records are equal, NaN being equal to itself."""
    return repr(first) == repr(second)


@pytest.mark.parametrize("row", ROWS)
def test_a_record_survives_the_way_to_json_and_back(row):
    line = row.to_json()
    assert "\n" not in line
    assert "NaN" not in line
    assert same(Record.from_json(line), row)


@pytest.fixture
def folder(tmp_path):
    journal = Journal(tmp_path, CONFIGURATION)
    assert [journal.append(row) for row in ROWS] == [True] * 3
    return tmp_path


def test_readers_see_whole_records_whatever_was_written(folder):
    """Cut anywhere, even between the two bytes of a letter: the whole lines are read."""
    path = folder / "records.jsonl"
    content = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    for cut in [*range(0, len(content), 97), *ends, *(end - 1 for end in ends)]:
        path.write_bytes(content[:cut])
        assert len(read_records(folder)) == sum(end <= cut for end in ends)
        assert path.stat().st_size == cut  # a reader changes nothing


def test_the_next_writer_cuts_a_torn_line_off_and_goes_on(folder):
    path = folder / "records.jsonl"
    content = path.read_bytes()
    for cut in (len(content) - 1, len(content) - 40, content.index(b"\n") + 2, 5, 0):
        path.write_bytes(content[:cut])
        journal = Journal(folder, CONFIGURATION)
        for row in ROWS:
            journal.append(row)
        assert path.read_bytes() == content


def test_a_step_has_one_record(folder):
    journal = Journal(folder, CONFIGURATION)
    before = (folder / "records.jsonl").read_bytes()
    assert not journal.append(dataclasses.replace(ROWS[1], size="large"))
    assert (folder / "records.jsonl").read_bytes() == before
    assert journal.append(record(5))
    assert [row.step for row in read_records(folder)] == [0, 5, 10, 20]


def test_damage_before_the_end_is_named(folder):
    path = folder / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for broken in (b"{}\n", b'{"step": 1\n', b"[1]\n", b"\xff\n"):
        path.write_bytes(lines[0] + broken + lines[2])
        with pytest.raises(JournalError, match="line 2"):
            read_records(folder)


def test_another_configuration_is_refused_and_nothing_changes(folder):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(JournalError, match=r"\(seed differ\)"):
        Journal(folder, CONFIGURATION | {"seed": 1})
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
    (folder / "watch.json").write_text("[]")
    with pytest.raises(JournalError, match="damaged"):
        read_configuration(folder)


def test_who_writes_is_known_and_a_dead_process_counts_as_interrupted(folder):
    assert read_state(folder)["state"] == "unknown"
    journal = Journal(folder, CONFIGURATION)
    journal.note("running", step=3)
    assert read_state(folder) == {
        "state": "running",
        "process": os.getpid(),
        "step": 3,
        "alive": True,
    }
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        state = {"state": "running", "process": other.pid}
        (folder / "state.json").write_text(json.dumps(state))
        with pytest.raises(JournalError, match="being written by process"):
            Journal(folder, CONFIGURATION)
        other.communicate(b"\n")
    assert read_state(folder) == {**state, "state": "interrupted", "alive": False}
    Journal(folder, CONFIGURATION).note("finished")
    assert not read_state(folder)["alive"]


def watch_in(folder, clock, **options):
    measurement = MadeUpMeasurement(clock, 2.0, lambda: 0.02)
    watch = Watch(
        problem_of_objective(lambda params, key: params.sum(), np.ones(3)),
        jax.random.key(0),
        folder=folder,
        clock=clock,
        measurement=measurement,
        first_compiling=1.0,
        **options,
    )
    return watch, measurement


def test_an_interrupted_watch_repeats_no_step_and_goes_on_counting_time(tmp_path):
    clock = Clock()
    watch, _ = watch_in(tmp_path, clock)
    for step in range(60):
        clock.pass_(1.0)
        watch(step, np.ones(3))
    spent = watch.records[-1].cost
    clock.pass_(1e6)  # the night in between is no training
    again, measurement = watch_in(tmp_path, clock)
    assert again.budget.training() == pytest.approx(spent.training)
    assert again.budget.watching == spent.watching
    first = watch.records[-1].step
    for step in range(first - 5, first + 60):  # training begins again a little earlier
        clock.pass_(1.0)
        again(step, np.ones(3))
    steps = [row.step for row in read_records(tmp_path)]
    assert len(steps) == len(set(steps))
    assert all(step > first for step, _ in measurement.asked)
    costs = [row.cost for row in again.records]
    assert costs[-1].compiling == 4.0
    assert all(cost.share <= 0.1 + 1e-9 for cost in costs)
    with pytest.raises(JournalError, match=r"\(every differ\)"):
        watch_in(tmp_path, clock, every=7)


def test_looking_afterwards_writes_the_same_bytes_however_often_it_is_interrupted(tmp_path):
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    clock = Clock()
    whole, _ = watch_in(straight, clock)
    for step in (0, 10, 20, 30):
        whole.look(step, np.ones(3))
    content = (straight / "records.jsonl").read_bytes()
    for size in (0, 100, len(content) // 2, len(content) - 1):
        cut.mkdir(exist_ok=True)
        (cut / "records.jsonl").write_bytes(content[:size])
        watch, _ = watch_in(cut, clock)
        for step in (0, 10, 20, 30):
            watch.look(step, np.ones(3))
        assert (cut / "records.jsonl").read_bytes() == content
    assert not [file for file in cut.iterdir() if file.name.startswith(".")]
    assert watch.look(10, np.ones(3)) is None
