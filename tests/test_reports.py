"""What is written, and what is refused."""

import json

import pytest
from matplotlib.figure import Figure

from fracjax.reports import Case, OutputError, check_output, write_results

SUMMARY = {
    "by_discount": [
        {
            "discount": 0.9,
            "verdict": "smooth",
            "reason": "because 1 < 2 & 3",
            "holder": {"value": 2.0, "low": 1.9, "high": 2.1, "status": "ok"},
            "paper": {"value": None, "low": None, "high": None, "status": "diverged"},
            "predicted": {
                name: {"value": 2.0, "low": 2.0, "high": 2.0}
                for name in ("mean", "second moment", "worst")
            },
            "agrees_with": ["mean"],
        }
    ],
    "lyapunov": {
        "nats_per_second": [{"value": -1.0, "low": -1.1, "high": -0.9, "status": "ok"}],
        "nats_per_step": [{"value": -0.1, "low": -0.11, "high": -0.09, "status": "ok"}],
        "reward_nats_per_second": None,
        "reward_nats_per_step": None,
        "initial_states": 4,
        "failed_states": 1,
        "mean_steps_before_termination": 12.0,
    },
    "points": 10,
    "nonfinite_points": 2,
}


def write(folder, configuration):
    figure = Figure()
    figure.subplots().plot([0, 1])
    case = Case("a <b> case", [("policy", "x & y")], SUMMARY, {"chaos": figure})
    document = {"configuration": configuration, "versions": {"jax": "0"}}
    return write_results(folder, [case], document, title="title", command="fracjax diagnose")


def test_page_escapes_and_embeds(tmp_path):
    files = write(tmp_path, {"a": 1})
    page = files[0].read_text()
    assert "a &lt;b&gt; case" in page
    assert "because 1 &lt; 2 &amp; 3" in page
    assert "diverged" in page
    assert page.count("data:image/png;base64,") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a-b-case-chaos.png",
        "report.html",
        "results.json",
    ]


def test_same_configuration_may_be_written_again_and_another_not(tmp_path):
    write(tmp_path, {"a": 1, "b": [1, 2]})
    check_output(tmp_path, {"a": 1, "b": (1, 2)}, overwrite=False)
    with pytest.raises(OutputError, match=r"\(a, c differ\)"):
        check_output(tmp_path, {"a": 2, "b": [1, 2], "c": 0}, overwrite=False)
    check_output(tmp_path, {"a": 2}, overwrite=True)


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"configuration": 3}', "\x00"])
def test_foreign_results_are_not_overwritten(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(OutputError, match="--overwrite"):
        check_output(tmp_path, {"a": 1}, overwrite=False)
    assert (tmp_path / "results.json").read_text() == content


def test_numbers_are_strict_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path, {"a": float("nan")})
    assert not (tmp_path / "results.json").exists()
    write(tmp_path, {"a": None})
    assert json.loads((tmp_path / "results.json").read_text())["configuration"] == {"a": None}
