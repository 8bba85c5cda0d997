"""`fracjax watch` as a user meets it: what is refused, what is drawn, what a kill leaves."""

import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import jax
import pytest
from rich.console import Console
from typer.testing import CliRunner
from watched_runs import COST, FRACTAL, JUMPY, SILENT, SMOOTH, UNDECIDED, finding, record

from fracjax.cli import app
from fracjax.cli.sparklines import sparkline
from fracjax.cli.watch_view import view
from fracjax.diagnosis import Prediction
from fracjax.diagnosis.watching import Journal, read_records, read_state
from fracjax.plotting.watching import watch_figure
from fracjax.reports.watching import render_watch, write_watch
from fracjax.rl import gallery
from fracjax.rl.checkpoints import save_policy

RUN = (SMOOTH, FRACTAL, FRACTAL, UNDECIDED, JUMPY, JUMPY, SILENT, FRACTAL)


@pytest.fixture(autouse=True)
def keep_jax_settings():
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


def run(*arguments):
    return CliRunner().invoke(app, ["watch", *map(str, arguments)])


def records():
    return [record(1000 * i, one, cost=COST, rate=0.3) for i, one in enumerate(RUN)]


@pytest.fixture
def own_loop(tmp_path):
    """The folder of somebody's own loop: records and no snapshots."""
    journal = Journal(tmp_path / "loop", {"budget": 0.2, "maximize": True})
    for row in records():
        journal.append(row)
    journal.note("finished")
    return tmp_path / "loop"


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "neither an environment nor a folder"),
        (["pendulum", "--budget", 0], "--budget"),
        (["pendulum", "--discount", 1], "--discount"),
        (["pendulum", "--every", 0], "--every"),
        (["pendulum", "--horizon", 3], "--horizon"),
        (["pendulum", "--size", "huge"], "--size"),
        (["pendulum", "--algo", "ddpg"], "error: --algo must be one of"),
        (["pendulum", "--algo", "sac", "--resume"], "--resume needs ppo"),
        (["pendulum", "--resume", "--out", "nope"], "nope holds no run to resume"),
        (["pendulum", "--resume", "--out", "empty"], "empty holds no run to resume"),
        (["pendulum", "--member", 0], "--member goes with a run"),
        (["pendulum", "--algo", "sac", "--steps", 100], "smallest size must lie between"),
        (["pendulum", "--algo", "sac", "--steps", 100], "and --steps, but they"),
        (["pendulum", "--steps", 0], "error: --steps must be positive, but is 0."),
        (["pendulum", "--backend", "spring"], "error: --backend of `pendulum` must be one of"),
        (["pendulum", "--out", "old"], "--resume"),
        (["pendulum", "--out", "file"], "is a file"),
        (["old", "--out", "elsewhere"], "--out and --resume"),
        (["empty"], "no snapshots"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(
    tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "000000.npz").write_bytes(b"PK")
    before = sorted(tmp_path.rglob("*"))
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


# --- what is drawn --------------------------------------------------------------------------


def test_a_run_of_an_own_loop_is_drawn_again(own_loop):
    result = run(own_loop, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["records"], document["state"]) == (8, "finished")
    assert next(m["kind"] for m in document["messages"] if m["entered"]) == "fractal"
    assert document["advice"][0]["name"] == "lower the discount"
    page = (own_loop / "watch.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    assert set(re.findall(r'(?:src|href)="(.{5})', page)) == {"data:"}
    assert "http-equiv" not in page
    assert "fracjax reproduce remedies" in page
    assert (own_loop / "watch.png").read_bytes().startswith(b"\x89PNG")
    assert not list(own_loop.glob(".*"))
    # Plain lines where there is no terminal: one for every record and message.
    assert result.stderr.count("step 1,000:") == 1
    assert "entered a fractal stretch" in result.stderr


def test_the_page_of_a_running_run_loads_itself_again_and_an_empty_one_renders(tmp_path):
    options = {"title": "a <b>", "configuration": {"budget": 0.1}}
    write_watch(tmp_path, records(), state="running", **options)
    page = (tmp_path / "watch.html").read_text()
    assert page.index('http-equiv="refresh"') < page.index("</head>")
    assert "a &lt;b&gt;" in page
    write_watch(tmp_path, [], state="unknown", **options)
    assert "No record yet" in (tmp_path / "watch.html").read_text()


def test_returns_are_shown_to_the_digits_of_their_interval_and_caps_as_bounds():
    at_cap = finding(2.0, half=1e-4)
    at_cap = dataclasses.replace(at_cap, predicted={"mean": Prediction(2.0, 2.0, 2.0)})
    found = record(0, at_cap, finding(1.9, half=0.05), value=-399.48, half=0.5)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(view([found], "line"))
    text = console.export_text()
    row = next(line for line in text.splitlines() if line.split()[:1] == ["0"])
    numbers = ["0", "-399.48 ±0.5", "-0.1 ±0.0005"]
    shown = ["smooth", "≥ 2", "smooth", "smooth", "1.9 ±0.05", "2.00", "–"]
    assert re.findall(r"\S+(?: [±\d]\S*)?", row) == [*numbers, *shown]
    page = render_watch([found], b"", title="run", configuration={}, state="finished")
    cells = re.findall(r'<td class="number">([^<]*)</td>', page)
    assert cells[1:] == [
        "-399.48 [-399.98, -398.98]",
        "-0.1 [-0.1005, -0.0995]",
        "≥ 2",
        "smooth",
        "smooth",
        "1.9 [1.85, 1.95]",
        "2.00 [1.80, 2.20]",
        "smooth",
    ]


def test_the_figure_shows_what_was_measured():
    figure = watch_figure(records(), title="run", budget=0.2)
    value, lyapunov, holder, share = figure.axes
    assert [line.get_ydata()[0] for line in share.lines][-1] == pytest.approx(20)
    assert list(share.lines[0].get_ydata()) == pytest.approx([8.0] * 8)
    assert list(share.lines[1].get_ydata()) == pytest.approx([5.0] * 8)
    threshold = [line for line in lyapunov.lines if str(line.get_label()).startswith("−ln γ")]
    assert threshold[0].get_ydata()[0] == pytest.approx(0.10536, rel=1e-4)
    # Stretches: fractal from 1000, discontinuous from 4000, shaded in every panel.
    spans = [[patch for patch in axes.patches if patch.get_alpha() == 0.12] for axes in figure.axes]
    assert {len(found) for found in spans} == {2}
    assert spans[0][0].get_x() == 1000
    assert "shaded: fractal, discontinuous" in figure.get_suptitle()
    assert value.get_title(loc="left") == "Return of the deterministic policy"
    assert holder.get_ylim() == (-0.1, 2.2)


def test_sparklines_span_the_range_and_leave_gaps():
    assert sparkline([0.0, 1.0, float("nan"), 7.0]) == "▁▂ █"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([float("nan")]) == ""
    assert len(sparkline([float(i) for i in range(100)])) == 32


def test_a_run_that_another_process_writes_is_followed_to_its_end(own_loop):
    """The other process ends when told, by a thread that reaps it after a second."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        state = {"state": "running", "process": other.pid}
        (own_loop / "state.json").write_text(json.dumps(state))
        once = run(own_loop, "--no-follow", "--json")
        assert json.loads(once.stdout)["state"] == "running"
        assert 'http-equiv="refresh"' in (own_loop / "watch.html").read_text()
        ending = threading.Timer(1.0, other.communicate, (b"\n",))
        began = time.monotonic()
        ending.start()
        result = run(own_loop, "--json")
        ending.join()
    assert time.monotonic() - began >= 1.0
    assert json.loads(result.stdout)["state"] == "interrupted"


# --- whole runs -----------------------------------------------------------------------------


def kept_path(folder):
    """Three snapshots of pendulum policies, as `fracjax train --path` leaves them."""
    folder.mkdir()
    policy = gallery.shipped("pendulum")
    for index in range(3):
        training = {"steps": 1000 * index, "settings": {"discount": 0.9, "episode_length": 30}}
        info = policy.info.__class__("pendulum", "analytic", "trained", training)
        save_policy(policy.replace(info=info), folder / f"{index:06d}.npz")
    return folder


def started(folder):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "fracjax", "watch", str(folder), "--size", "small"]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said


def wait_for(folder, count):
    for _ in range(4800):
        if len(read_records(folder)) >= count:
            return
        time.sleep(0.05)
    pytest.fail("no record was written")


@pytest.mark.slow
def test_looking_back_is_interrupted_killed_and_gone_on_with_to_the_same_bytes(tmp_path):
    straight, cut = kept_path(tmp_path / "straight"), kept_path(tmp_path / "cut")
    finish(started(straight))

    first = started(cut)
    wait_for(cut, 1)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=60)
    if first.returncode:  # unless it had finished before the signal came
        assert first.returncode == 130
        assert "Traceback" not in said
        assert read_state(cut)["state"] == "interrupted"
    second = started(cut)
    wait_for(cut, 2)
    second.kill()
    second.communicate(timeout=60)
    with (cut / "records.jsonl").open("ab") as file:
        file.write(b'{"step": 2000, "si')  # what a kill in the middle of a line leaves
    finish(started(cut))
    name = "records.jsonl"
    assert (cut / name).read_bytes() == (straight / name).read_bytes()
    assert [row.step for row in read_records(cut)] == [0, 1000, 2000]
    assert read_state(cut)["state"] == "finished"


@pytest.mark.slow
@pytest.mark.brax
def test_a_training_is_watched_within_its_folder(tmp_path):
    folder = tmp_path / "run"
    result = run(
        *("pendulum", "--steps", 160_000, "--every", 40_000, "--horizon", 60),
        *("--budget", 5, "--out", folder, "--json"),
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["records"] == len(read_records(folder)) >= 1
    assert document["watching_seconds"] <= 5 * document["training_seconds"]
    assert document["share_without_compiling"] < document["share"]
    assert read_state(folder)["state"] == "finished"
    again = run(folder, "--size", "small", "--json")
    assert again.exit_code == 0, again.output
    steps = [row.step for row in read_records(folder)]
    assert steps == [0, 40960, 81920, 122880, 163840]
