# requirements: flexcore_base
"""The result of a job on a leased cluster, handed on after the release: a flow that goes on to release its cluster
whatever became of the job fails afterwards, with the job's own error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import errors

KEPT = ("subject", "remedy", "category")


def hand_on(job: Mapping[str, Any], release: Mapping[str, Any] | None) -> dict[str, Any]:
    """The job's plain result. Raises the error with which the job failed; a release that failed is only reported:
    reconcile ends the lease once the flow has ended."""
    if (failed := find_error(release or {})) is not None:
        print(f"Warning: the cluster was not released, reconcile does it: {failed.get('message')}", flush=True)
    if (failed := find_error(job)) is not None:
        raise restore(failed)
    return dict(job)


def find_error(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The error that stands as the result of a step which was let go on; None for a result."""
    error = result.get("error")
    return error if isinstance(error, Mapping) and "success" not in result else None


def restore(error: Mapping[str, Any]) -> errors.FlexcoreError:
    """Windmill's form of an error, {name, message, extra}, as the exception that it was."""
    extra = error.get("extra")
    attributes: Mapping[str, Any] = extra if isinstance(extra, Mapping) else {}
    details = attributes.get("details")
    fields = {name: str(attributes.get(name) or "") for name in KEPT}
    restored = errors.restore_error(
        {
            "type": str(error.get("name") or ""),
            "message": str(error.get("message") or "The job failed and did not say why"),
            "details": dict(details) if isinstance(details, Mapping) else {},
            **fields,
        }
    )
    restored.retryable = attributes.get("retryable") is True
    return restored
