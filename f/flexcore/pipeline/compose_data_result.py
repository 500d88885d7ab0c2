# requirements: flexcore_base
# py: ==3.11.*
"""Last step of the data pipeline: choice and forecast beside what really happened; of a plan, what would be done."""

from typing import Any

from f.flexcore.core.errors import ExecutionFailed, FlexcoreError, Unavailable
from f.flexcore.core.outcomes import DataPipelineResult
from f.flexcore.pipeline.data_results import planned, result_of


def main(
    analysis: dict, choice: dict, attempts: list | None = None, checks: list | None = None, explain_only: bool = False
) -> dict[str, Any]:
    if explain_only:
        return planned(analysis, choice, checks).plain()
    result = result_of(analysis, choice, attempts)
    if not result.success:
        raise failure_of(result)
    return result.plain()


def failure_of(result: DataPipelineResult) -> FlexcoreError:
    """With the runtime's own category and details, for whoever handles it."""
    extra = ((result.attempts[-1].error or {}).get("extra") or {}) if result.attempts else {}
    kind = ExecutionFailed if result.runtime else Unavailable
    category = str(extra.get("category") or "")
    subject = str(extra.get("subject") or result.runtime or "runtimes")
    return kind(result.error or "", subject=subject, category=category, **(extra.get("details") or {}))
