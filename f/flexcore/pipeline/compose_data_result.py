# requirements: flexcore_base
"""Last step of the data pipeline: choice and forecast beside what really happened; of a plan, what would be done."""

from typing import Any

from f.flexcore.lib.core import errors, pipeline_result
from f.flexcore.lib.pipeline import data_results


def main(
    analysis: dict, choice: dict, attempts: list | None = None, checks: list | None = None, explain_only: bool = False
) -> dict[str, Any]:
    if explain_only:
        return data_results.planned(analysis, choice, checks).plain()
    result = data_results.result_of(analysis, choice, attempts)
    if not result.success:
        raise failure_of(result)
    return result.plain()


def failure_of(result: pipeline_result.DataPipelineResult) -> errors.FlexcoreError:
    """With the runtime's own category and details, for whoever handles it."""
    extra = ((result.attempts[-1].error or {}).get("extra") or {}) if result.attempts else {}
    kind = errors.ExecutionFailed if result.runtime else errors.Unavailable
    category = str(extra.get("category") or "")
    subject = str(extra.get("subject") or result.runtime or "runtimes")
    return kind(result.error or "", subject=subject, category=category, **(extra.get("details") or {}))
