# requirements: flexcore_base
"""Results of each model, test, seed and snapshot of a dbt run, and a failed run as a typed error. Pure.

Source: dbt's artifacts run_results.json (v6) and manifest.json (v12), of which only stable fields are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from f.flexcore.lib.core import contracts, errors, redaction, tls_errors

FAILED_STATUSES = ("error", "fail", "runtime error", "partial success")
MAX_MESSAGE_CHARACTERS = 600
# Failures in the message; all of them are in the details.
MAX_NAMED_FAILURES = 5
# dbt's own words before a cause: `Compilation Error`, `Database Error in model orders (models/orders.sql)`.
CAUSE = re.compile(r"\b[A-Z][a-z]+ Error\b|\bError:|Exception|Could not|not found", re.ASCII)
STAMP = re.compile(r"^\d{2}:\d{2}:\d{2}\s+")


class Node(BaseModel):
    """One node of the run. rows: rows that the statement touched; failures: rows that a test found wrong; model: what a
    test is about, with its column. None: dbt does not say."""

    name: str
    kind: str
    status: str
    seconds: float | None = None
    rows: int | None = None
    failures: int | None = None
    message: str = ""
    model: str | None = None
    column: str | None = None
    relation: str | None = None

    @property
    def has_failed(self) -> bool:
        return self.status in FAILED_STATUSES


def parse_nodes(results: Any, manifest: Any) -> list[Node]:
    """The nodes in run_results.json; [] when it is none."""
    known = {**_as_mapping(_as_mapping(manifest).get("nodes")), **_as_mapping(_as_mapping(manifest).get("unit_tests"))}
    found = _as_mapping(results).get("results")
    return [_parse_node(item, known) for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def redact_node(node: Node, redactor: redaction.Redactor) -> Node:
    """The node as a result may hold it: masked first, then shortened."""
    known = redactor.data(node.model_dump())
    return Node(**{**known, "message": known["message"][:MAX_MESSAGE_CHARACTERS]})


def _parse_node(result: Mapping[str, Any], known: Mapping[str, Any]) -> Node:
    name = str(result.get("unique_id") or "")
    kind = name.split(".", 1)[0]
    definition = _as_mapping(known.get(name))
    response = _as_mapping(result.get("adapter_response"))
    about = _find_tested(definition) if kind in ("test", "unit_test") else None
    return Node(
        name=str(definition.get("name") or ".".join(name.split(".")[2:3]) or name),
        kind=kind,
        status=str(result.get("status") or "unknown"),
        seconds=_as_seconds(result.get("execution_time")),
        rows=_as_count(response.get("rows_affected")),
        failures=_as_count(result.get("failures")),
        message=str(result.get("message") or ""),
        model=about,
        column=definition.get("column_name") if about else None,
        relation=result.get("relation_name") if isinstance(result.get("relation_name"), str) else None,
    )


def _find_tested(test: Mapping[str, Any]) -> str | None:
    """The model, seed or source that a test is about."""
    attached = test.get("attached_node") or test.get("model")
    depends = _as_mapping(test.get("depends_on")).get("nodes")
    first = attached or (depends[0] if isinstance(depends, list) and depends else None)
    return ".".join(str(first).split(".")[2:]) or str(first) if first else None


def count_nodes(nodes: Sequence[Node]) -> dict[str, float | int | None]:
    """models, tests, … and how many of them failed; seconds of all nodes together."""
    counts: dict[str, float | int | None] = {}
    for kind in dict.fromkeys(node.kind for node in nodes):
        of_kind = [node for node in nodes if node.kind == kind]
        counts[f"{kind}s"] = len(of_kind)
        counts[f"{kind}s_failed"] = sum(node.has_failed for node in of_kind)
        counts[f"{kind}s_skipped"] = sum(node.status == "skipped" for node in of_kind)
    times = [node.seconds for node in nodes if node.seconds is not None]
    return {**counts, "node_seconds": round(sum(times), 3) if times else None}


def dbt_error(nodes: Sequence[Node], exit_code: int, log_tail: str) -> errors.ExecutionFailed:
    """The error of a run that did not end with exit code 0: what failed, by name, or why it did not begin."""
    failed = [node for node in nodes if node.has_failed]
    broken = [node for node in failed if node.kind not in ("test", "unit_test")]
    category: Literal["model_failed", "test_failed", "dbt_failed"] = (
        "model_failed" if broken else "test_failed" if failed else "dbt_failed"
    )
    failures = "; ".join(describe_failure(node) for node in (broken or failed)[:MAX_NAMED_FAILURES])
    more = f"; and {len(failed) - MAX_NAMED_FAILURES} more" if len(failed) > MAX_NAMED_FAILURES else ""
    detail = f"dbt: {failures}{more}" if failed else f"dbt failed with exit code {exit_code}: {find_cause(log_tail)}"
    remedy = {
        "model_failed": "Correct the model or what it reads, then run again.",
        "test_failed": "Look at the rows that the test found, correct data or test, then run again.",
        "dbt_failed": tls_errors.tls_remedy(detail)
        or "Check the dbt project, its profile and what dbt printed (log_tail).",
    }[category]
    subject = (broken or failed)[0].model or (broken or failed)[0].name if failed else "dbt"
    diagnosis = contracts.Diagnosis(category=category, detail=detail, remedy=remedy)
    return errors.ExecutionFailed(
        detail,
        subject=subject,
        remedy=remedy,
        category=category,
        diagnosis=diagnosis.model_dump(),
        exit_code=exit_code,
        nodes=[node.model_dump() for node in nodes],
        log_tail=log_tail,
    )


def describe_failure(node: Node) -> str:
    why = " ".join(node.message.split())[:200]
    if node.kind not in ("test", "unit_test"):
        return f"{node.kind} {node.name} failed ({why})" if why else f"{node.kind} {node.name} failed"
    place = f"{node.model}.{node.column}" if node.model and node.column else node.model or "the project"
    rows = f"{node.failures} rows" if node.failures else why
    return f"test {node.name} of {place} failed ({rows})"


def find_cause(log: str) -> str:
    """dbt's own explanation, out of its last lines."""
    lines = [STAMP.sub("", line).strip() for line in log.splitlines()]
    at = next((number for number, line in enumerate(lines) if CAUSE.search(line)), None)
    words = [line for line in lines[at : at + 4] if line] if at is not None else [line for line in lines if line][-1:]
    return " ".join(words)[:MAX_MESSAGE_CHARACTERS] or "its log gives no reason"


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _as_seconds(value: Any) -> float | None:
    return round(float(value), 3) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _as_count(value: Any) -> int | None:
    # Some adapters answer -1 for what they do not know.
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
