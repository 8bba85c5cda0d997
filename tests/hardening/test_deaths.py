"""Processes that are killed at any act on the disk, and disks that are full: then the same bytes.

The acts are opening to write, renaming, making and removing, as Python's audit events see them;
what lies between two of them is tried by kills after random times.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MORTAL = Path(__file__).with_name("mortal.py")
TRAININGS = {"descent": 12, "penalised": 5, "seeds": 4}  # how often each is killed
COMMANDS = {"command_scan": 29, "command_reproduce": 3}  # at one in so many of its acts
JOBS = ("request", "journal", "experiment", "path", "scan_store")


def outcomes(folder, *words, seconds=600):
    done = subprocess.run(
        [sys.executable, str(MORTAL), str(folder), *map(str, words)],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def check(found, jobs):
    assert found.keys() == set(jobs)
    for job, kinds in found.items():
        for kind, outcome in kinds.items():
            assert not outcome["different"], (job, kind, outcome["different"][:3])
            if kind != "random":
                assert outcome["acts"] >= 4, (job, kind)
            if kind == "full":
                assert outcome["refused"] > 0, job


def test_death_and_a_full_disk_at_some_acts(tmp_path):
    jobs = ("request", "journal", "path", "scan_store")
    check(outcomes(tmp_path, *jobs, "--every", 41), jobs)


@pytest.mark.slow
def test_death_and_a_full_disk_at_every_act(tmp_path):
    check(outcomes(tmp_path, *JOBS, seconds=3600), JOBS)


@pytest.mark.slow
@pytest.mark.parametrize("job", [*JOBS, "scan"])
def test_fifty_deaths_at_random_times(tmp_path, job):
    found = outcomes(tmp_path, job, "--random", 50, seconds=3600)
    assert found[job]["random"]["killed"] >= 50
    assert found[job]["random"]["finished"] > 0
    check(found, (job,))


@pytest.mark.slow
@pytest.mark.parametrize("job", TRAININGS)
def test_a_training_that_dies_again_and_again_ends_in_the_same_bits(tmp_path, job):
    found = outcomes(tmp_path, job, "--random", TRAININGS[job], seconds=1200)
    assert found[job]["random"]["killed"] >= TRAININGS[job]
    check(found, (job,))


@pytest.mark.slow
@pytest.mark.parametrize("job", COMMANDS)
def test_death_and_a_full_disk_under_whole_commands(tmp_path, job):
    check(outcomes(tmp_path, job, "--every", COMMANDS[job], seconds=1200), (job,))
