# requirements: flexcore_kubernetes
"""A plan as a StepResult: data for programs, and `summary`, its lines for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import contracts, identity, redaction
from f.flexcore.lib.kubernetes import (
    health,
    plan_findings,
    plan_nodes,
    plan_objects,
    plan_pod,
    plan_price,
    plan_reads,
    plan_reasons,
    plan_tools,
)


@dataclass(frozen=True, slots=True)
class Report:
    """queue: what the Job's queue says of itself; unseen: what the credentials may not look at."""

    snapshot: plan_reads.Snapshot
    tried: Sequence[plan_objects.Tried]
    shape: plan_nodes.Shape
    copies: int
    findings: plan_findings.Findings
    tools: Mapping[str, Mapping[str, Any]]
    queue: dict[str, Any] | None
    unseen: Sequence[str]


def make_result(
    report: Report,
    operation: str,
    prices: dict[str, float | None],
    hours: float | None,
    key: identity.ExecutionKey,
    redactor: redaction.Redactor,
) -> contracts.StepResult:
    """success: it would run, at once or when what it waits for has ended."""
    snapshot, findings = report.snapshot, report.findings
    price = plan_price.compute_price(report.shape.requests, report.copies, prices, hours)
    quotas = snapshot.lists["quotas"]
    data = {
        "version": snapshot.version,
        "namespace": snapshot.namespace,
        "namespace_exists": snapshot.has_namespace,
        "operation": operation,
        "missing_rights": snapshot.missing,
        "quotas": None if quotas is None else health.describe_quotas(quotas),
        "verdict": findings.verdict,
        "is_refused": findings.is_certain,
        "subject": next((reason.subject for reason in findings.reasons if not reason.waits), ""),
        "reasons": [reason.plain() for reason in findings.reasons],
        "objects": [item.plain() for item in report.tried],
        "pod": {
            "copies": report.copies,
            "requests": _show_amounts(report.shape.requests),
            "limits": _show_amounts(plan_pod.sum_limits(report.shape.pod)),
            "priority": plan_nodes.read_priority(report.shape.pod),
        },
        "nodes": findings.placement.plain() if findings.placement else None,
        "copies_placed": findings.placement.placed if findings.placement else None,
        "queue": report.queue,
        "tools": report.tools,
        "price": price,
        "notes": findings.notes,
        "unseen": list(report.unseen),
    }
    data["summary"] = make_summary(report, price)
    nodes = snapshot.lists["nodes"]
    measured = health.measure_capacity(health.schedulable_nodes(nodes), snapshot.lists["pods"]) if nodes else None
    return contracts.StepResult(
        success=findings.is_possible,
        runtime="kubernetes",
        execution_key=key.value,
        attempt=1,
        data=redactor.data(data),
        metrics=measured or health.NOT_MEASURED,
        diagnosis=_redact(plan_reasons.to_diagnosis(findings.reasons), redactor),
    )


def _redact(diagnosis: contracts.Diagnosis | None, redactor: redaction.Redactor) -> contracts.Diagnosis | None:
    return diagnosis and diagnosis.model_copy(update={"detail": redactor.text(diagnosis.detail)})


def _show_amounts(amounts: Mapping[str, float]) -> dict[str, str]:
    return {name: plan_pod.format_amount(name, amount) for name, amount in sorted(amounts.items())}


def make_summary(report: Report, price: Mapping[str, Any]) -> list[str]:
    """What a person reads, the verdict first."""
    findings = report.findings
    placement = findings.placement
    asked = ", ".join(f"{amount} {name}" for name, amount in _show_amounts(report.shape.requests).items())
    lines = [f"{findings.verdict.capitalize()}: {_explain_verdict(report)}"]
    lines += [f"  {reason}" for reason in findings.reasons]
    lines += [line for item in report.tried for line in item.lines()]
    count = "1 pod" if report.copies == 1 else f"{report.copies} pods"
    lines.append(f"{count} with {asked or 'no requests'}{_show_price(price)}")
    lines += [f"Nodes: {placement.summarize()}"] if placement else []
    lines += [f"Note: {note}" for note in findings.notes]
    if names := plan_tools.list_tool_names(report.tools):
        lines.append(f"There: {', '.join(names)}")
    if report.unseen:
        lines.append(f"Not seen: {', '.join(report.unseen)} (rights as in Role and ClusterRole flexcore-plan)")
    return lines


def _explain_verdict(report: Report) -> str:
    reasons = report.findings.reasons
    if reasons:
        ends = "it waits" if report.findings.is_possible else "it does not start as it is asked for"
        return f"{ends}, {len(reasons)} reason{'s' if len(reasons) > 1 else ''}"
    return "nothing that was asked keeps it from running; the scheduler decides when it is made"


def _show_price(price: Mapping[str, Any]) -> str:
    if price["usd_per_hour"] is None:
        return f" (price not known: {', '.join(price['unknown'])})" if price["unknown"] else ""
    most = f", at most {price['usd_at_most']:g} USD" if price["usd_at_most"] is not None else ""
    return f" ({price['usd_per_hour']:g} USD an hour{most})"
