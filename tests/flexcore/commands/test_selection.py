"""`flexcore select` and `flexcore compare`, by their files and their output."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from flexcore.cli import app

Files = Callable[..., Path]
START = "2026-03-01T00:00:00Z"
SYNC = {"workflow_type": "sync", "data_size": "5GB", "complexity": "simple", "runtimes": ["meltano", "ray"]}


def row(runtime: str = "meltano", seconds: float = 100, success: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "workflow_type": "sync",
        "runtime": runtime,
        "data_size_bytes": 5 * 10**9,
        "rows": 10**6,
        "complexity": "simple",
        "started_at": START,
        "duration_s": seconds,
        "cost_usd": seconds / 1000,
        "success": success,
        **more,
    }


# Ray costs a tenth of Meltano, in every run.
KNOWN = [row(runtime, seconds + n) for n in range(8) for runtime, seconds in (("meltano", 1000), ("ray", 100))]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    def write(name: str, *values: Any) -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{value if isinstance(value, str) else json.dumps(value)}\n" for value in values))
        return path

    return write


def asked(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answers(result: Result) -> list[dict[str, Any]]:
    found = [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in result.stdout.splitlines()]
    assert all(set(each) >= {"runtime", "mode", "reason", "error", "candidates"} for each in found)
    return found


def test_one_line_of_output_answers_each_line_of_input(files: Files) -> None:
    workloads = files("w.jsonl", SYNC, {**SYNC, "data_size": "1TB"}, {**SYNC, "pin": "ray"})
    result = asked("select", "--workload", workloads, "--json")
    assert result.exit_code == 0 and not result.stderr
    assert [(each["runtime"], each["mode"]) for each in answers(result)] == [
        ("meltano", "rules"),
        ("ray", "rules"),
        ("ray", "pinned"),
    ]


def test_a_workload_alone_may_take_many_lines(files: Files) -> None:
    result = asked("select", "--workload", files("w.json", json.dumps(SYNC, indent=2)), "--json")
    assert [each["runtime"] for each in answers(result)] == ["meltano"]


def test_history_changes_the_choice_and_every_number_is_there(files: Files) -> None:
    history = files("h.jsonl", *KNOWN)
    (answer,) = answers(asked("select", "--workload", files("w", SYNC), "--history", history, "--json"))
    assert (answer["runtime"], answer["mode"]) == ("ray", "learned")
    ray, meltano, kubernetes = answer["candidates"]
    assert ray["samples"] == 8 and ray["eligible"] and ray["reason"].startswith("CHOSEN")
    assert 60 < ray["duration_s"]["p10"] < ray["duration_s"]["p50"] < ray["duration_s"]["p90"] < 160
    assert math.isclose(ray["cost_usd"]["p50"], ray["duration_s"]["p50"] / 1000, rel_tol=0.1)
    assert 0.8 < ray["success_probability"] < 1 and ray["deadline_probability"] is None
    assert meltano["reason"].startswith("not chosen: expected cost times expected time")
    assert not kubernetes["eligible"] and kubernetes["duration_s"] is None


def test_settings_say_who_may_run_and_from_how_many_runs_on_history_counts(files: Files) -> None:
    workload, history = files("w", SYNC), files("h", *KNOWN)
    more = files("s1", {"min_samples": 9})
    (answer,) = answers(asked("select", "--workload", workload, "--history", history, "--settings", more, "--json"))
    assert (answer["runtime"], answer["mode"]) == ("meltano", "rules") and "little history" in answer["reason"]
    off = files("s2", {"runtimes": {"ray": {"enabled": False}, "meltano": None}})
    (answer,) = answers(asked("select", "--workload", workload, "--history", history, "--settings", off, "--json"))
    assert answer["runtime"] == "meltano" and answer["candidates"][1]["reason"].startswith(
        "not eligible: it is disabled"
    )


def test_what_cannot_be_answered_is_an_answer_too_and_the_others_are_not_lost(files: Files) -> None:
    spoilt: list[dict[str, Any]] = [
        {"data_size": "5 bananas"},
        {"rows": -1},
        {"deadline_s": -5},
        {"data_size": math.nan},
        {"runtimes": ["spark"]},
        {"runtimes": []},
    ]
    bad = ["nonsense", "[" * 100_000, *({**SYNC, **each} for each in spoilt), 7]
    result = asked("select", "--workload", files("w", *bad, SYNC), "--json")
    *refused, good = answers(result)
    assert result.exit_code == 1 and len(refused) == len(bad)
    assert all(each["runtime"] is None and each["error"] for each in refused)
    assert "'5 bananas' is not a size" in refused[2]["error"] and "deadline has passed" in refused[4]["error"]
    assert refused[6]["error"] == refused[7]["error"] == "No suitable runtime available"
    assert "unknown runtime" in refused[6]["reason"]
    assert good["runtime"] == "meltano"


def test_rows_that_cannot_be_used_are_skipped_counted_and_told(files: Files) -> None:
    bad = [
        "nonsense",
        row(seconds=-1),
        row(seconds=math.nan),
        row(rows=-1),
        row(data_size_bytes="much"),
        [],
        {**row(), "success": None},
        row(started_at="yesterday"),
        row(seconds=0),
        row(cost_usd=1e300),
    ]
    extra = [{**each, "cluster": "a"} for each in KNOWN]
    result = asked("select", "--workload", files("w", SYNC), "--history", files("h", *bad, *extra), "--json")
    (answer,) = answers(result)
    assert answer["runtime"] == "ray" and f"{len(bad)} history rows could not be used" in answer["reason"]
    assert "skipped history row 1: " in result.stderr and f"skipped {len(bad)} rows" in result.stderr


def test_a_field_that_nobody_reads_is_told_and_does_not_stop_the_choice(files: Files) -> None:
    settings = files("s", {"runtimes": {"ray": {"colour": "red"}}, "region": "eu"})
    workload = files("w", {**SYNC, "dealine_s": 5, "resources": {"disk": 1}})
    result = asked("select", "--workload", workload, "--settings", settings, "--json")
    assert answers(result)[0]["runtime"] == "meltano" and result.exit_code == 0
    for name in (
        "workload 1.dealine_s",
        "workload 1.resources.disk",
        "settings.region",
        "settings.runtimes.ray.colour",
    ):
        assert f"{name} is not a field" in result.stderr


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ('{"min_samples": 0}', "settings.min_samples"),
        ('{"failure_cost_factor": NaN}', "settings.failure_cost_factor"),
        ('{"runtimes": {"ray": {"price": {"cpu_hour": -1}}}}', "settings.runtimes.ray.price.cpu_hour"),
        ("nonsense", "holds no JSON object"),
        ("", "holds no JSON object"),
    ],
)
def test_settings_that_are_wrong_stop_before_any_answer(files: Files, settings: str, told: str) -> None:
    result = asked("select", "--workload", files("w", SYNC), "--settings", files("s", settings), "--json")
    assert result.exit_code == 2 and told in result.stderr and not result.stdout


def test_files_that_are_missing_or_empty_are_told(files: Files) -> None:
    assert "cannot be read" in asked("select", "--workload", files("w").with_name("none")).stderr
    assert "holds no workload" in asked("select", "--workload", files("w")).stderr
    empty = asked("select", "--workload", files("w2", SYNC), "--history", files("h"), "--json")
    assert "there is no history of sync" in answers(empty)[0]["reason"] and empty.exit_code == 0


@pytest.mark.parametrize(
    "stored", ["nonsense", "{}x", '{"version": 2}', '{"runtimes": {"ray": {"duration": {}}}}', "null"]
)
def test_a_damaged_forecast_leaves_the_choice_to_the_rules_and_says_so(files: Files, stored: str) -> None:
    result = asked("select", "--workload", files("w", SYNC), "--forecast", files("m", stored), "--json")
    (answer,) = answers(result)
    assert (answer["runtime"], answer["mode"], result.exit_code) == ("meltano", "rules", 0)
    assert "stored forecast" in answer["reason"] and "stored forecast" in result.stderr


def test_people_get_a_table_and_sentences(files: Files) -> None:
    result = asked("select", "--workload", files("w", SYNC), "--history", files("h", *KNOWN))
    assert "ray (learned)" in result.stdout and "CHOSEN" in result.stdout and "not eligible" in result.stdout


def test_compare_tells_how_each_runtime_did_and_how_sure_it_is(files: Files) -> None:
    history = files("h", *KNOWN, row("ray", 50, success=False), row("spark", 1), {**row(), "workflow_type": "other"})
    result = asked("compare", "--history", history, "--workflow-type", "sync", "--json")
    found = json.loads(result.stdout)
    ray = next(each for each in found["runtimes"] if each["runtime"] == "ray")
    assert (ray["runs"], ray["samples"], ray["duration_p50_s"]) == (9, 8, 103.5)
    assert math.isclose(ray["success_rate"], 8 / 9)
    assert found["recommendation"]["runtime"] == "ray" and found["recommendation"]["confidence"] > 0.95
    assert "too few" in next(each for each in found["runtimes"] if each["runtime"] == "spark")["note"]
    assert "ray" in asked("compare", "--history", history, "--workflow-type", "sync").stdout
    later = asked("compare", "--history", history, "--workflow-type", "sync", "--since", "2027-01-01", "--json")
    assert json.loads(later.stdout)["runs"] == 0


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [*SYNC, *row(), "rows", "resources", "step_type", "deadline_s", "objective", "pin"]
SPOILT = st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(workload=SPOILT, rows=st.lists(SPOILT, max_size=12), stored=ANYTHING)
def test_no_garbage_ends_in_a_traceback(files: Files, workload: Any, rows: list[Any], stored: Any) -> None:
    history = files("h", *({**row(), **spoilt} for spoilt in rows), *KNOWN)
    result = asked("select", "--workload", files("w", {**SYNC, **workload}), "--history", history, "--json")
    assert result.exit_code in (0, 1) and len(answers(result)) == 1
    forecast = files("m", stored)
    assert asked("select", "--workload", files("w", SYNC), "--forecast", forecast, "--json").exit_code == 0
