# requirements: flexcore_kubernetes
"""The plan of a request by itself: what the step kubernetes/plan_work returns."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import errors, operation
from f.flexcore.lib.kubernetes_api import progress

# Only the one that is asked for is loaded.
OPERATIONS = {
    "job": "f.flexcore.lib.kubernetes.job_operation:RUN_JOB",
    "deploy_model": "f.flexcore.lib.kubernetes.model_deployment:DEPLOY_MODEL",
}


def plan_request(cluster: Any, name: str, request: Any, settings: Any) -> dict[str, Any]:
    """The plain result; its summary is printed as well. Raises InvalidInput, Unreachable, Forbidden or NotFound."""
    address = OPERATIONS.get(errors.check_value(str, name, "operation"))
    if address is None:
        raise errors.InvalidInput(
            f"operation: {name!r} is not known", subject="operation", remedy=f"Use one of {', '.join(OPERATIONS)}."
        )
    chosen: operation.Operation[Any, Any] = operation.resolve(address)
    fields = errors.check_value(dict[str, Any], request or {}, "request")
    result = chosen.plan(chosen.invoke({**fields, "cluster": cluster, "settings": settings}))
    for line in result.data["summary"]:
        progress.report_now(line)
    return result.plain()
