# requirements: flexcore_base
"""What to do about the causes of a report: a pipeline says what failed, and the step below it knows the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from f.flexcore.lib.core import errors, monitoring
from f.flexcore.lib.operations import weekly_report
from f.flexcore.lib.windmill import client, job_tree

# Of one example; a report has few causes.
MAX_JOBS = 60


def add_remedies(windmill: client.Client, report: weekly_report.WeeklyReport) -> weekly_report.WeeklyReport:
    """The report, each cause with category and remedy where a step of its example knows them. A run that cannot be read
    any more costs its remedy alone."""
    return replace(report, failures=[_explain(windmill, cause) for cause in report.failures])


def _explain(windmill: client.Client, cause: weekly_report.FailureCause) -> weekly_report.FailureCause:
    if cause.remedy:
        return cause
    try:
        root, _ = job_tree.read_job_tree(windmill, cause.example, MAX_JOBS)
    except errors.FlexcoreError:
        return cause
    found = next((failure for failure in _failures(root) if failure.remedy), None)
    if found is None:
        return cause
    return replace(cause, remedy=found.remedy or "", category=cause.category or found.category or "")


def _failures(node: monitoring.Node) -> Iterator[monitoring.Failure]:
    """The innermost first."""
    for child in node.children:
        yield from _failures(child)
    if failure := monitoring.failure_from_job(node.job or {}):
        yield failure
