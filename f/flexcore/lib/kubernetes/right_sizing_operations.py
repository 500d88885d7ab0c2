# requirements: flexcore_kubernetes
"""The operations behind kubernetes/suggest_resources and resize_model, and what of them needs no cluster.

suggest   Deployment → its pods' use (metrics API, earlier runs) → requests with reasons; changes nothing
resize    pods       running pods by pods/resize, without a restart where their resizePolicy allows it
          template   the Deployment's template; its rollout replaces the pods
"""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import contracts, dimensions, errors, operation, resources
from f.flexcore.lib.kubernetes import connection, pod_spec, right_sizing_forms


def check_suggestion(
    request: right_sizing_forms.SuggestionRequest,
    service: resources.KubernetesCluster | None,
    settings: resources.Settings,
) -> None:
    """Raises InvalidInput or MissingSetting for everything that can be known without a cluster."""
    pod_spec.check_name(request.name, "name")
    connection.check_place(request.namespace, service, settings)


def check_resize(
    request: right_sizing_forms.ResizeRequest, service: resources.KubernetesCluster | None, settings: resources.Settings
) -> None:
    """Raises InvalidInput or MissingSetting for everything that can be known without a cluster."""
    pod_spec.check_name(request.name, "name")
    connection.check_place(request.namespace, service, settings)
    if not (request.cpu or request.memory):
        raise errors.InvalidInput(
            "cpu and memory are empty: give at least one",
            subject="cpu",
            remedy="Take what kubernetes/suggest_resources says.",
        )
    for name in ("cpu", "memory"):
        if value := getattr(request, name):
            dimensions.check_amount(name, value, name)
            if not dimensions.parse_amount(value):
                raise errors.InvalidInput(
                    f"{name}: {value} is nothing", subject=name, remedy="Leave it empty, or ask for more."
                )


def plan(invocation: operation.Invocation[Any, resources.KubernetesCluster]) -> contracts.StepResult:
    """Which Deployment and container are meant, and what its pods request. Raises as execute does."""
    from f.flexcore.lib.kubernetes import right_sizing_execution

    return right_sizing_execution.plan(invocation)


def execute_suggestion(invocation: right_sizing_forms.Suggest) -> dict[str, Any]:
    """Requests with reasons. Raises NotFound, with the names that there are, and what connecting raises."""
    from f.flexcore.lib.kubernetes import right_sizing_execution

    return right_sizing_execution.suggest(invocation)


def execute_resize(invocation: right_sizing_forms.Resize) -> dict[str, Any]:
    """What became of each pod, or of the template. Raises Conflict, Unavailable, InvalidInput or NotFound;
    error.details.undone then says what was put back."""
    from f.flexcore.lib.kubernetes import right_sizing_execution

    return right_sizing_execution.resize(invocation)


SUGGEST_RESOURCES = operation.Operation(
    runtime="kubernetes",
    name="suggest_resources",
    request=right_sizing_forms.SuggestionRequest,
    service=resources.KubernetesCluster,
    check=check_suggestion,
    plan=plan,
    execute=execute_suggestion,
)
RESIZE_MODEL = operation.Operation(
    runtime="kubernetes",
    name="resize_model",
    request=right_sizing_forms.ResizeRequest,
    service=resources.KubernetesCluster,
    check=check_resize,
    plan=plan,
    execute=execute_resize,
)
