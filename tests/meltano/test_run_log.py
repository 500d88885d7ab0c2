"""What log lines say, and what a failure is called."""

from __future__ import annotations

import json
from typing import Any

import pytest

from f.flexcore.lib.core.errors import DeadlineExceeded, ExecutionFailed, Unavailable
from f.flexcore.lib.core.redaction import Redactor
from f.flexcore.lib.meltano.diagnosis import run_error
from f.flexcore.lib.meltano.extraction_run import count_rows, find_differences, find_shared_streams, sum_rows
from f.flexcore.lib.meltano.process import MAX_BURST_LINES, MAX_LINE_CHARACTERS, LogPrinter, Outcome
from f.flexcore.lib.meltano.run_log import TAIL_LINES, RunLog
from tests.agreed import check_agreed


def log_of(*events: dict[str, Any]) -> RunLog:
    log = RunLog(taps=("tap-a", "tap-b"))
    for event in events:
        log.add(json.dumps(event))
    return log


def said(plugin: str, text: str, level: str = "info") -> dict[str, Any]:
    return {"stdio": "stderr", "string_id": plugin, "event": text, "level": level}


def count(value: int, plugin: str = "tap-a", stream: str = "orders", structured: bool = False) -> dict[str, Any]:
    metric = {"type": "counter", "metric": "record_count", "value": value, "tags": {"stream": stream}}
    if structured:
        return {**said(plugin, "METRIC"), "metric_info": metric}
    return said(plugin, f"METRIC: {json.dumps(metric)}")


def block(number: int, **codes: int) -> dict[str, Any]:
    return {"event": "Block run completed", "set_number": number, "success": not codes, "exit_codes": codes}


def test_record_counts_of_all_intervals_are_summed_in_either_form() -> None:
    log = log_of(count(10), count(5, structured=True), count(2, stream="lines"))
    assert log.rows == {"tap-a": {"orders": 15, "lines": 2}}


def test_a_targets_count_of_the_same_rows_is_not_added() -> None:
    assert log_of(count(10), count(10, plugin="target-x")).rows == {"tap-a": {"orders": 10}}


def test_a_line_that_is_not_json_is_shown_as_it_is() -> None:
    log = RunLog()
    assert log.add("Segmentation fault") == "Segmentation fault"
    assert log.add('"just a string"') == '"just a string"'


def test_lines_are_readable_and_the_tail_is_bounded() -> None:
    log = RunLog()
    assert log.add(json.dumps(said("tap-a", "no route", "error"))) == "ERROR tap-a: no route"
    for number in range(200):
        log.add(f"line {number}")
    assert len(log.tail) == TAIL_LINES and log.tail[-1] == "line 199"


TRACEBACK = [
    said("tap-a", "Traceback (most recent call last):"),
    said("tap-a", '  File "tap.py", line 3, in sync'),
    said("tap-a", "requests.exceptions.HTTPError: 401 Client Error"),
    said("tap-a", "DeprecationWarning: old"),
]
NOT_DISCOVERED = "Cannot start plugin tap-a: Catalog discovery failed: command ['tap'] returned 1 with stderr:\n Trace"
# The discovery of an heir runs under its parent's name.
DISCOVERY = [
    {"stdio": "stderr", "type": "discovery", "name": "tap-parent", "event": text, "level": "info"}
    for text in ("sqlalchemy.exc.OperationalError: refused", "\tIs it running?", "(Background on this error at: x)")
]
LOCKED = "Another 'dev:a-to-b' pipeline is already running which started at 2026-01-01 10:00:00.1+00:00. Wait until"


FAILURES = [
    (
        [*TRACEBACK, block(0, extractors=1)],
        Outcome(1),
        ExecutionFailed,
        "extractor_failed",
        r"tap-a failed with exit code 1: requests.exceptions.HTTPError: 401",
    ),
    (
        [
            said("tap-a", "BrokenPipeError: pipe"),
            said("target-x", "ValueError: disk full"),
            block(0, extractors=1, loaders=1),
        ],
        Outcome(1),
        ExecutionFailed,
        "loader_failed",
        r"target-x failed with exit code 1: ValueError: disk full",
    ),
    (
        [block(0), said("tap-b", "KeyError: 'id'"), block(1, extractors=3)],
        Outcome(1),
        ExecutionFailed,
        "extractor_failed",
        r"tap-b failed with exit code 3: KeyError",
    ),
    (
        [*DISCOVERY, {**block(0), "success": False, "err": NOT_DISCOVERED}],
        Outcome(1),
        ExecutionFailed,
        "extractor_failed",
        r"The discovery of tap-a failed with exit code 1: sqlalchemy.exc.OperationalError: refused",
    ),
    (
        [{**block(0), "success": False, "err": "Cannot start plugin target-x: Executable 'x' could not be found."}],
        Outcome(1),
        ExecutionFailed,
        "loader_failed",
        r"target-x cannot start: Executable 'x' could not be found",
    ),
    ([block(0, extractors=-9)], Outcome(1), ExecutionFailed, "out_of_memory", r"tap-a was killed"),
    (
        [{"event": "Failed to load manifest", "level": "error"}],
        Outcome(2),
        ExecutionFailed,
        "meltano_failed",
        r"Meltano failed with exit code 2: Failed to load manifest",
    ),
    (
        [
            {"event": "(sqlite3.OperationalError) database or disk is full", "level": "error"},
            {"event": "Cannot upgrade the system database. It might be corrupted", "level": "error"},
        ],
        Outcome(1),
        Unavailable,
        "disk",
        r"disk cannot hold Meltano's files: database or disk is full",
    ),
    (
        [
            {"event": '(psycopg.errors.DuplicateTable) relation "job" already exists', "level": "error"},
            {"event": "Cannot upgrade the system database. It might be corrupted", "level": "error"},
        ],
        Outcome(1),
        Unavailable,
        "database",
        r"could not make the tables of its system database",
    ),
    ([], Outcome(139), ExecutionFailed, "meltano_failed", r"exit code 139: its log gives no reason"),
    ([block(0)], Outcome(143, "deadline"), DeadlineExceeded, "deadline", r"tap-b into target-x did not end within"),
    (
        [{"event": LOCKED, "level": "error"}],
        Outcome(1),
        Unavailable,
        "locked",
        r"Another run of dev:a-to-b holds its state since 2026-01-01 10:00:00",
    ),
]


@pytest.mark.parametrize(
    ("events", "outcome", "error", "category", "message"),
    FAILURES,
)
def test_a_failed_run_names_the_plugin_its_code_and_its_own_last_error(
    events: list[dict[str, Any]], outcome: Outcome, error: type[Exception], category: str, message: str
) -> None:
    found = run_error(outcome, log_of(*events), ["tap-a", "tap-b"], "target-x", 5, Redactor())
    assert type(found) is error
    assert found.category == category == found.details["diagnosis"]["category"]
    with pytest.raises(error, match=message):
        raise found


def test_a_failure_holds_no_secret() -> None:
    log = log_of(said("tap-a", "ValueError: bad login hunter2-secret", "error"), block(0, extractors=1))
    found = run_error(Outcome(1), log, ["tap-a"], "target-x", 5, Redactor(["hunter2-secret"]))
    assert "hunter2" not in str(found) + json.dumps(found.details)


def test_a_secret_at_the_place_where_a_line_is_cut_is_masked_whole() -> None:
    long = "x" * (MAX_LINE_CHARACTERS - 10)
    log = log_of(said("tap-a", f"ValueError: {long[20:]} hunter2-secret is wrong", "error"), block(0, extractors=1))
    shown = log.format_tail(Redactor(["hunter2-secret"])) + json.dumps(
        run_error(Outcome(1), log, ["tap-a"], "target-x", 5, Redactor(["hunter2-secret"])).details
    )
    assert "hunt" not in shown and "characters left out" in shown
    lines = list[str]()
    LogPrinter(Redactor(["hunter2-secret"]), write=lines.append).print(f"{long} hunter2-secret is wrong")
    assert "hunt" not in lines[0] and len(lines[0]) < MAX_LINE_CHARACTERS + 50


def test_a_bar_in_an_event_is_shown_as_its_last_state() -> None:
    log = RunLog(("tap-a",))
    assert log.add(json.dumps(said("tap-a", "\r 1%|\r\x1b[32m99%\x1b[0m|"))) == "tap-a: 99%|"


def test_a_private_key_is_masked_to_its_end_though_its_begin_was_left_out() -> None:
    now, shown = [0.0], list[str]()
    printer = LogPrinter(Redactor(), clock=lambda: now[0], write=shown.append)
    for number in range(MAX_BURST_LINES):
        printer.print(f"line {number}")
    printer.print("-----BEGIN PRIVATE KEY-----")
    now[0] += 60
    printer.print("MIIE" + "A" * 60)
    assert shown[-1] == "***"


def test_a_failure_lists_what_finished_before_it() -> None:
    found = run_error(
        Outcome(1), log_of(count(4), block(0), block(1, extractors=1)), ["tap-a", "tap-b"], "t", 5, Redactor()
    )
    assert found.details["finished_taps"] == ["tap-a"]
    assert found.details["streams"] == {"tap-a": {"orders": 4}}


def test_a_flood_of_lines_is_thinned_and_says_so() -> None:
    now, shown = [0.0], list[str]()
    printer = LogPrinter(Redactor(["s3cret-value"]), clock=lambda: now[0], write=shown.append)
    for number in range(MAX_BURST_LINES + 300):
        printer.print(f"line {number} s3cret-value")
    now[0] += 1
    printer.print("later")
    assert shown[0] == "line 0 ***" and len(shown) == MAX_BURST_LINES + 2
    assert shown[-2:] == ["… 300 lines left out", "later"]


def test_rows_are_what_is_known_of_them() -> None:
    rows = {"tap-a": {"orders": 3}, "tap-b": {"orders": 2, "empty": 0}}
    assert count_rows(rows, None) == {"orders": 5, "empty": 0}
    assert sum_rows(count_rows(rows, None), False, None) == 5
    assert sum_rows({}, False, None) is None
    assert sum_rows({"a": None}, False, None) is None
    assert sum_rows({"a": 4}, True, None) == 0
    assert find_shared_streams(rows) == {"orders": ["tap-a", "tap-b"]}
    assert find_differences(rows, None) == {}


def observed(kind: str, **content: Any) -> dict[str, Any]:
    return {"flexcore": kind, **content}


def odd(
    plugin: str, line: str, problem: str = "a line that is not a Singer message", number: int = 3
) -> dict[str, Any]:
    return observed("odd_line", tap="tap-a", plugin=plugin, number=number, problem=problem, line=line)


def test_what_passes_to_the_target_counts_more_than_what_a_tap_says() -> None:
    log = log_of(count(10), observed("rows", tap="tap-a", rows={"orders": 12}, batches={}))
    assert log.rows == {"tap-a": {"orders": 12}}
    log = log_of(
        *(observed("schema", tap="tap-a", stream="s", columns={"a": kind}) for kind in ("integer", "number", ""))
    )
    assert log.columns == {"s": {"a": "number"}}


MISLEADING = [
    (
        [
            odd("tap-a", "", "an empty line", 1),
            odd("tap-a", "Fetched"),
            said("target-x", "ValueError: line 3"),
            block(0, loaders=1),
        ],
        "tap-a",
        "extractor_failed",
        r"tap-a printed a line that is not .*\(line 3\): 'Fetched'; target-x failed: ValueError: line 3",
    ),
    (
        [odd("map-m", "Mapping"), said("target-x", "ValueError: no"), block(0, loaders=1)],
        "map-m",
        "mapper_failed",
        r"map-m printed .*'Mapping'; target-x failed",
    ),
    (
        [odd("tap-a", "Login refused"), block(0, extractors=1)],
        "tap-a",
        "extractor_failed",
        r"tap-a failed with exit code 1: Login refused",
    ),
    (
        [odd("tap-a", "Fetched"), said("tap-a", "ValueError: own"), block(0, extractors=1)],
        "tap-a",
        "extractor_failed",
        r"tap-a failed with exit code 1: ValueError: own",
    ),
    (
        [
            odd("target-x", "Loading", "a line that is not a state"),
            said("target-x", "ValueError: disk"),
            block(0, loaders=1),
        ],
        "target-x",
        "loader_failed",
        r"target-x failed with exit code 1: ValueError: disk",
    ),
    (
        [
            observed(
                "refused",
                tap="tap-a",
                message="no stream",
                remedy="Write 'a'.",
                subject="select",
                category="invalid_input",
            )
        ],
        "select",
        "invalid_input",
        r"no stream\. Write 'a'\.",
    ),
    (
        [
            observed("discovery", tap="tap-a", printed="Bad login"),
            {**block(0), "success": False, "err": NOT_DISCOVERED},
        ],
        "tap-a",
        "extractor_failed",
        r"The discovery of tap-a failed with exit code 1: Bad login",
    ),
    (
        [{**block(0), "success": False, "err": NOT_DISCOVERED}],
        "tap-a",
        "extractor_failed",
        r"The discovery of tap-a failed with exit code 1: it printed nothing",
    ),
    (
        [{**block(0), "success": False, "err": NOT_DISCOVERED.replace("returned 1", "returned -9")}],
        "tap-a",
        "out_of_memory",
        r"The discovery of tap-a was killed \(SIGKILL\)",
    ),
]


@pytest.mark.parametrize(
    ("events", "subject", "category", "message"),
    MISLEADING,
)
def test_the_plugin_that_printed_an_unreadable_line_is_to_blame(
    events: list[dict[str, Any]], subject: str, category: str, message: str
) -> None:
    found = run_error(Outcome(1), log_of(*events), ["tap-a", "tap-b"], "target-x", 5, Redactor(), ["map-m"])
    assert (found.subject, found.category) == (subject, category)
    with pytest.raises(type(found), match=message):
        raise found


def test_a_secret_is_masked_before_a_long_text_is_cut() -> None:
    secret = "hunter2-" * 8
    log = RunLog(taps=("tap-a",), redact=Redactor([secret]).text)
    for event in (
        odd("tap-a", "x" * 180 + secret + "y" * 200),
        said("tap-a", "ValueError: " + "x" * 370 + secret, "error"),
        said("tap-a", "x" * 1980 + secret),
    ):
        log.add(json.dumps(event))
    log.add(json.dumps(block(0, extractors=1)))
    found = run_error(Outcome(1), log, ["tap-a"], "target-x", 5, Redactor([secret]))
    assert "hunter2" not in str(found) + json.dumps(found.details) + "".join(log.tail)


def broken(*codes: dict[str, int], err: str = "") -> dict[str, Any]:
    return {"event": "Block run completed", "set_number": 0, "success": False, "exit_codes": list(codes), "err": err}


# Of a run with tap-a and tap-b through map-m into target-x.
SITUATIONS: dict[str, tuple[list[dict[str, Any]], Outcome]] = {
    "stopped": ([], Outcome(143, "SIGTERM")),
    "late, before any tap ended": ([], Outcome(143, "deadline")),
    "late, when all had ended": ([block(0), block(1)], Outcome(143, "deadline")),
    "a mapper's code": ([broken({"map-m": 4}), said("map-m", "KeyError: 'x'")], Outcome(1)),
    "killed": ([block(1, extractors=137)], Outcome(1)),
    "a tap beyond the list": ([block(7, extractors=2)], Outcome(1)),
    "a batch": (
        [odd("tap-a", "{}", "a BATCH message"), said("target-x", "ValueError: no"), block(0, loaders=1)],
        Outcome(1),
    ),
    "an empty line alone": (
        [odd("tap-a", "", "an empty line"), said("target-x", "ValueError: no"), block(0, loaders=1)],
        Outcome(1),
    ),
    "an empty line of its own": ([odd("tap-a", "", "an empty line"), block(0, extractors=1)], Outcome(1)),
    "a stream that is a path": (
        [
            observed("schema", tap="tap-a", stream="a/b", columns={"id": "integer"}),
            said("target-x", "FileNotFoundError: out/a/b.csv", "error"),
            block(0, loaders=1),
        ],
        Outcome(1),
    ),
    "a file that may not run": (
        [broken(err="Cannot start plugin tap-a: [Errno 13] Permission denied: 'tap.sh'\nat line 3")],
        Outcome(1),
    ),
    "a start that says nothing we know": (
        [broken(err="Something else"), {"event": "Boom", "level": "error"}],
        Outcome(1),
    ),
    "a certificate": (
        [said("tap-a", "SSLError: CERTIFICATE_VERIFY_FAILED", "error"), block(0, extractors=1)],
        Outcome(1),
    ),
    "a chain that broke without a word": (
        [{"event": "Intermediate block in sequence failed.", "level": "info"}, broken(err="Intermediate block")],
        Outcome(1),
    ),
    "a chain that its mapper broke": (
        [
            said("map-m", "KeyError: 'price'", "error"),
            said("target-x", "closing", "info"),
            {"event": "Intermediate block in sequence failed.", "level": "info"},
            broken({"map-m": 1}, err="Intermediate block in sequence failed."),
        ],
        Outcome(1),
    ),
    "a chain that its target broke": (
        [
            said("target-x", "ValueError: no such table", "error"),
            {"event": "Intermediate block in sequence failed.", "level": "info"},
            broken(err="Intermediate block in sequence failed."),
        ],
        Outcome(1),
    ),
    "a chain whose end is known by its code": (
        [{"event": "Intermediate block in sequence failed.", "level": "info"}, block(0, loaders=3)],
        Outcome(1),
    ),
    "a line that broke a mapper": (
        [
            odd("tap-a", "Fetched"),
            said("map-m", "JSONDecodeError: line 3", "error"),
            {"event": "Intermediate block in sequence failed.", "level": "info"},
            broken(err="Intermediate block in sequence failed."),
        ],
        Outcome(1),
    ),
    "a long last word": ([said("tap-a", "ValueError: " + "x" * 2000, "error"), block(0, extractors=1)], Outcome(1)),
}


@pytest.mark.parametrize("mappers", [[], ["map-m"]])
def test_diagnoses_read_as_agreed(mappers: list[str]) -> None:
    cases = {f"failure {number}": (events, outcome) for number, (events, outcome, *_) in enumerate(FAILURES)}
    cases |= {f"misleading {number}": (events, Outcome(1)) for number, (events, *_) in enumerate(MISLEADING)}
    found = {}
    for name, (events, outcome) in (cases | SITUATIONS).items():
        error = run_error(outcome, log_of(*events), ["tap-a", "tap-b"], "target-x", 5, Redactor(), mappers)
        kept = {key: value for key, value in error.details.items() if value}
        found[name] = {"error": type(error).__name__, "subject": error.subject, "says": str(error), **kept}
    check_agreed(f"meltano_failures{'_mapped' if mappers else ''}.json", found)
