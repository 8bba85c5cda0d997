"""The command line as a user meets it: outputs, exit codes, and what is left on disk."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from fracjax.cli import app
from fracjax.cli.runtime import WITHOUT_GREEK, bad_input_is_exit_code_2
from fracjax.rl import initialize
from fracjax.rl.checkpoints import save_policy

SMALL = "--quick --horizon 60 --directions 8 --samples 8 --states 2 --return-states 1"


@pytest.fixture(autouse=True)
def keep_jax_settings():
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


def run(*arguments):
    words = [word for argument in arguments for word in str(argument).split("\n")]
    return CliRunner().invoke(app, words)


def small(*arguments):
    return run("diagnose", *arguments, *SMALL.split())


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory):
    before = jax.config.jax_enable_x64
    folder = tmp_path_factory.mktemp("diagnosis")
    result = small("pendulum", "--json", "--out", folder)
    jax.config.update("jax_enable_x64", before)
    return folder, result


def test_diagnose_prints_one_json_object_and_nothing_else_on_stdout(diagnosed):
    _, result = diagnosed
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    case = document["cases"][0]
    assert [finding["discount"] for finding in case["by_discount"]] == [0.99, 0.9]
    for finding in case["by_discount"]:
        assert finding["verdict"] in {"smooth", "fractal", "discontinuous", "undecided"}
        assert set(finding["predicted"]) == {"mean", "second moment", "worst"}
    assert document["versions"]["jax"] == jax.__version__
    assert case["points"] > 500


def test_diagnose_writes_a_self_contained_page_numbers_and_figures(diagnosed):
    folder, result = diagnosed
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    sources = re.findall(r'(?:src|href)="(.{5})', page)
    assert set(sources) == {"data:"}
    assert "<script" not in page
    assert "<link" not in page
    assert len(list(folder.glob("*.png"))) == 4
    assert json.loads((folder / "results.json").read_text()) == json.loads(result.stdout)
    assert not list(folder.glob(".*"))


def test_results_of_another_configuration_are_not_overwritten(diagnosed):
    folder, _ = diagnosed
    before = (folder / "results.json").read_bytes()
    result = small("pendulum", "--out", folder, "--seed", 1)
    assert result.exit_code == 2
    assert "seed" in result.stderr
    assert "--overwrite" in result.stderr
    assert (folder / "results.json").read_bytes() == before


@pytest.fixture
def bad_policies(tmp_path):
    """Files that cannot be used for the pendulum (3 observations, 1 action)."""
    good = initialize(jax.random.key(0), 3, 1, hidden=(4,))
    save_policy(good, tmp_path / "good.msgpack")
    content = (tmp_path / "good.msgpack").read_bytes()
    (tmp_path / "truncated.msgpack").write_bytes(content[: len(content) // 2])
    save_policy(initialize(jax.random.key(0), 11, 3, hidden=(4,)), tmp_path / "hopper.msgpack")
    poisoned = jax.tree.map(lambda leaf: leaf.at[0].set(np.nan), good.params)
    save_policy(good.replace(params=poisoned), tmp_path / "nan.npz")
    (tmp_path / "brax").write_bytes(pickle.dumps(({"mean": np.zeros(3)}, {}, {})))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.msgpack", ["missing.msgpack"]),
        ("truncated.msgpack", ["damaged"]),
        ("hopper.msgpack", ["11", "3", "1"]),
        ("nan.npz", ["finite"]),
        ("brax", ["--trust"]),
    ],
)
def test_a_policy_that_cannot_be_used_is_one_line_and_exit_code_2(bad_policies, name, words):
    out = bad_policies / "out"
    result = small("pendulum", "--policy", bad_policies / name, "--out", out)
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("fracjax: error: ")
    assert all(word in lines[0] for word in words)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["akrobot"], ["acrobot"]),
        (["inverted_pendulum", "--backend", "bullet"], ["backend", "spring"]),
        (["double_pendulum"], ["fracjax train", "untrained"]),
        (["--policy", "somewhere.npz"], ["--policy", "name of its environment"]),
        (["pendulum", "--policy", "."], ["Policy file"]),
        (["pendulum", "--gamma", "1.5"], ["--gamma", "1.5"]),
        (["pendulum", "--gamma", "0.9", "--gamma", "0.9"], ["repeat"]),
        (["pendulum", "--horizon", "3"], ["--horizon", "20"]),
        (["pendulum", "--samples", "2"], ["--samples"]),
        (["pendulum", "--exponents", "3"], ["--exponents", "2 coordinates"]),
        (["pendulum", "--states", "2", "--return-states", "4"], ["--return-states"]),
        (["pendulum", "--largest-scale", "-1"], ["--largest-scale"]),
        (
            ["pendulum", "--largest-scale", "0.1", "--smallest-scale", "0.05"],
            ["--smallest-scale", "hundredth"],
        ),
        (["pendulum", "--dtype", "float16"], ["float32 or float64"]),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, arguments, words):
    out = tmp_path / "out"
    result = run("diagnose", *arguments, "--out", out)
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines[0]
    assert not out.exists()


@pytest.mark.parametrize("command", ["diagnose", "train", "watch", "reproduce"])
@pytest.mark.parametrize("seed", [-1, 2**32, 10**20])
def test_a_seed_that_no_key_holds_is_one_line(tmp_path, monkeypatch, command, seed):
    monkeypatch.chdir(tmp_path)
    name = "references" if command == "reproduce" else "pendulum"
    result = run(command, name, "--seed", seed)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"fracjax: error: --seed must lie between 0 and 4294967295, but is {seed}."
    ]
    assert not list(tmp_path.iterdir())


def test_usage_errors_exit_with_2_as_well():
    assert run("diagnose", "--horizon", "many").exit_code == 2
    assert run("paint").exit_code == 2


def test_out_that_is_a_file(tmp_path):
    target = tmp_path / "file"
    target.write_text("mine")
    result = small("pendulum", "--out", target)
    assert result.exit_code == 2
    assert "is a file" in result.stderr
    assert target.read_text() == "mine"


@pytest.mark.skipif(shutil.which("true") is None, reason="needs a POSIX file system")
def test_out_that_cannot_be_written(tmp_path):
    result = small("pendulum", "--out", "/proc/fracjax-results")
    assert result.exit_code == 2
    assert "cannot write" in result.stderr


@pytest.mark.parametrize("command", typer.main.get_command(app).commands)
def test_help_shows_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: fracjax {command}" in " ".join(result.stdout.split())


@pytest.mark.parametrize("command", typer.main.get_command(app).commands.values())
def test_no_word_of_the_help_is_taken_for_markup(command):
    for text in [command.help, *(getattr(parameter, "help", "") for parameter in command.params)]:
        assert Text.from_markup(text or "").plain == (text or "")


def test_info(tmp_path):
    document = json.loads(run("info", "envs", "--json").stdout)
    names = {entry["name"]: entry for entry in document["environments"]}
    assert {"acrobot", "pendulum", "hopper", "swimmer"} <= set(names)
    assert names["swimmer"]["broken"]
    assert "acrobot" in run("info", "envs").stdout
    assert "jax" in json.loads(run("info", "--json").stdout)
    shipped = json.loads(run("info", "policies", "--json").stdout)["policies"]
    assert {"acrobot", "pendulum"} <= {policy["name"] for policy in shipped}
    assert run("info", "weather").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pendulum", "--algo", "alphazero"], ["error: --algo must be one of", "ppo"]),
        (["pendulum", "--hidden", "wide"], ["--hidden"]),
        (["nowhere"], ["environment"]),
        (["pendulum", "--out", "policy.txt"], [".msgpack or .npz"]),
        (["pendulum", "--out", "no-such-folder/p.npz"], ["folder"]),
        (["pendulum", "--activation", "sine"], ["error: --activation must be one of", "'sine'"]),
        (["pendulum", "--discount", "2"], ["error: --discount must lie in [0, 1), but is 2.0."]),
        (["pendulum", "--steps", "0"], ["error: --steps must be positive, but is 0."]),
        (["pendulum", "--envs", "3"], ["error: --envs must divide 2048, but is 3."]),
        (["pendulum", "--episode-length", "0"], ["error: --episode-length must be positive"]),
        (["pendulum", "--path-every", "0"], ["error: --path-every must be positive"]),
        (["pendulum", "--backend", "spring"], ["error: --backend of `pendulum`"]),
    ],
)
def test_bad_training_input_costs_no_training(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = run("train", *arguments)
    assert result.exit_code == 2, result.output
    assert all(word in result.stderr for word in words), result.stderr
    assert not list(tmp_path.iterdir())


def test_an_existing_policy_file_is_kept(tmp_path):
    target = tmp_path / "p.npz"
    target.write_text("mine")
    assert run("train", "pendulum", "--out", target).exit_code == 2
    assert target.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["diagnose", "--help"], "H?lder estimate"), (["info", "envs"], "acrobot")],
)
def test_a_terminal_without_greek_letters_is_no_error(arguments, words):
    program = "from fracjax.cli import main; main()"
    found = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "200"},
        capture_output=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert words in found.stdout.decode("ascii")


def test_a_bound_keeps_its_meaning_and_its_width_without_its_sign():
    assert "α ≥ 2 −1 ≥".encode("ascii", WITHOUT_GREEK) == b"? >=2 -1 >="


def test_control_c_is_one_line_and_exit_code_130(capsys):
    @bad_input_is_exit_code_2
    def command():
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_version():
    assert run("--version").stdout.startswith("fracjax ")


def test_reproduce_prints_rows_and_goes_on(tmp_path):
    folder = tmp_path / "rows"
    arguments = ["reproduce", "references", "--only", "cat", "--quick", "--json"]
    first = run(*arguments, "--out", folder)
    rows = json.loads(first.stdout)["rows"]
    assert first.exit_code == 0
    assert [row["agrees"] for row in rows] == [True, True]
    assert abs(rows[0]["value"] - 0.9624236501192069) < 1e-9
    again = run(*arguments, "--out", folder)
    assert json.loads(again.stdout)["rows"] == rows


@pytest.mark.parametrize("arguments", [["nothing"], ["references", "--only", "no such system"]])
def test_reproduce_names_what_there_is(arguments):
    result = run("reproduce", *arguments)
    assert result.exit_code == 2
    assert "references" in result.stderr or "cat" in result.stderr
