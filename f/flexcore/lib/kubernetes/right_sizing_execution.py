# requirements: flexcore_kubernetes
"""What kubernetes/suggest_resources and resize_model do on a cluster: measure and suggest, or apply on demand."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity, operation, resources
from f.flexcore.lib.kubernetes import (
    cluster_objects,
    connection,
    right_sizing,
    right_sizing_autoscalers,
    right_sizing_forms,
    right_sizing_usage,
)
from f.flexcore.lib.kubernetes_api import api_errors, client

Object = dict[str, Any]
CHECKSUM = "flexcore/model-checksum"


# --- suggest


def suggest(invocation: right_sizing_forms.Suggest) -> dict[str, Any]:
    """Requests with reasons. Raises NotFound, with the names that there are, and what connecting raises."""
    request = invocation.request
    session = connection.open_session(invocation)
    kubernetes, namespace = session.kubernetes, session.namespace
    deployment = find_deployment(kubernetes, namespace, request.name)
    container = choose_container(deployment, request.container)
    selector = join_selector(deployment)
    observation = right_sizing_usage.UsageObserver(kubernetes, namespace, selector).observe(request.observe_s)
    now, name = time.time(), str(container["name"])
    program = describe_program(deployment, container)
    earlier = right_sizing_usage.find_earlier_usage(
        right_sizing_usage.read_earlier_results(), deployment["metadata"]["uid"], program, name, now
    )
    measured = observation.usage.get(name)
    usages = [*([measured] if measured else []), *earlier]
    statuses = list_statuses(list_pods(kubernetes, namespace, selector), name)
    suggestion = right_sizing.suggest(usages, container, statuses, now, request.percentile, request.headroom)
    wanted = {"cpu": suggestion.cpu, "memory": suggestion.memory}
    suggestion.reasons += _describe_autoscalers(kubernetes, namespace, request.name, container, wanted)
    if observation.problem:
        suggestion.reasons.append(f"Nothing was measured in this run: {observation.problem}")
    data = {
        "namespace": namespace,
        "deployment": {"name": request.name, "uid": deployment["metadata"]["uid"]},
        "container": name,
        "program": program,
        "cpu": suggestion.cpu or None,
        "memory": suggestion.memory or None,
        "current": container.get("resources") or {},
        "reasons": suggestion.reasons,
        "not_measured": {item: observation.problem or "no sample" for item in suggestion.not_measured},
        "pods": sorted(observation.pods),
        "earlier_runs": len(earlier),
        "usage": measured.plain() if measured else None,
    }
    _report_suggestion(data)
    return _to_result(invocation, data, deployment, measure(usages, now)).plain()


def measure(usages: Sequence[right_sizing.Usage], now: float) -> dict[str, float | int | None]:
    """The figures behind a suggestion; what was not measured is null."""
    peaks = [peak for usage in usages for peak in usage.peaks]
    highest = [usage.max_cores for usage in usages if usage.max_cores is not None]
    return {
        "samples": sum(usage.samples for usage in usages),
        "cpu_p50": _rounded(right_sizing.cpu_percentile(usages, 0.5, now)),
        "cpu_p90": _rounded(right_sizing.cpu_percentile(usages, 0.9, now)),
        "cpu_max": _rounded(max(highest, default=None)),
        "memory_peak_p90_bytes": right_sizing.memory_percentile(peaks, 0.9),
        "memory_max_bytes": max(peaks, default=None),
    }


def _rounded(cores: float | None) -> float | None:
    return None if cores is None else round(cores, 4)


def _describe_autoscalers(
    kubernetes: client.Kubernetes, namespace: str, name: str, container: Object, wanted: Mapping[str, str]
) -> list[str]:
    try:
        horizontal = right_sizing_autoscalers.list_horizontal(kubernetes, namespace, name)
    except errors.FlexcoreError as error:
        return [f"Whether an autoscaler counts in these requests is not known: {str(error).partition('. ')[0]}"]
    return right_sizing_autoscalers.describe_effects(horizontal, container, wanted)


def _report_suggestion(data: Mapping[str, Any]) -> None:
    amounts = [f"{name} {data[name] or 'not measured'}" for name in ("cpu", "memory")]
    print(f"{data['deployment']['name']}/{data['container']}: {', '.join(amounts)}", flush=True)
    for reason in data["reasons"]:
        print(f"  {reason}", flush=True)


# --- resize


def resize(invocation: right_sizing_forms.Resize) -> dict[str, Any]:
    """What became of each pod, or of the template. Raises Conflict, Unavailable, InvalidInput or NotFound;
    error.details.undone then says what was put back."""
    request = invocation.request
    until = time.monotonic() + request.timeout_s
    session = connection.open_session(invocation)
    kubernetes, namespace = session.kubernetes, session.namespace
    deployment = find_deployment(kubernetes, namespace, request.name)
    cluster_objects.Namespace(kubernetes, namespace).check_ours(cluster_objects.DEPLOYMENTS, deployment)
    container = choose_container(deployment, request.container)
    notes = right_sizing_autoscalers.check_owners(
        kubernetes,
        namespace,
        request.name,
        container,
        {"cpu": request.cpu, "memory": request.memory},
        request.accept_autoscaler,
    )
    for note in notes:
        print(note, flush=True)
    if request.memory:
        _check_memory_in_use(kubernetes, namespace, join_selector(deployment), container, request.memory)
    data: Object = {
        "namespace": namespace,
        "container": container["name"],
        "autoscalers": notes,
        "apply": request.apply,
    }
    if request.apply == "template":
        from f.flexcore.lib.kubernetes import right_sizing_template

        template = right_sizing_template.TemplateResizer(
            kubernetes, namespace, request.name, container["name"], invocation.key.value
        )
        data["template"] = template.resize(deployment, request.cpu, request.memory, until)
    else:
        data |= _resize_pods(kubernetes, namespace, deployment, container, request, until)
    return _to_result(invocation, data, deployment, {}).plain()


def _resize_pods(
    kubernetes: client.Kubernetes,
    namespace: str,
    deployment: Object,
    container: Object,
    request: right_sizing_forms.ResizeRequest,
    until: float,
) -> dict[str, Any]:
    from f.flexcore.lib.kubernetes import right_sizing_pods

    pods = list_pods(kubernetes, namespace, join_selector(deployment), is_running=True)
    if not pods:
        raise errors.Conflict(
            f"{request.name} has no running pod in namespace {namespace}",
            subject="name",
            remedy="Use apply: template: new pods then have the requests.",
        )
    restarted = [
        name
        for name in ("cpu", "memory")
        if getattr(request, name) and right_sizing_pods.needs_restart(container, name)
    ]
    if restarted:
        print(
            f"The resizePolicy restarts the container for another {' and '.join(restarted)}: one pod at a time",
            flush=True,
        )
    rows = right_sizing_pods.PodResizer(kubernetes, namespace, str(container["name"])).resize(
        pods, request.cpu, request.memory, until
    )
    wanted = right_sizing.scale_resources(container, request.cpu, request.memory)
    is_same = right_sizing.same_resources(wanted, container.get("resources") or {})
    note = (
        "has the same"
        if is_same
        else "still has the old requests: new pods and the next rollout get those, until deploy_model or "
        "apply: template writes the new ones"
    )
    print(f"The template of {request.name} {note}", flush=True)
    return {"pods": rows, "template": {"state": note}}


def _check_memory_in_use(
    kubernetes: client.Kubernetes, namespace: str, selector: str, container: Object, memory: str
) -> None:
    """Raises Conflict where a pod uses more than its new limit would be: the node would not apply it, or kill it."""
    bound = right_sizing.read_amount(
        {"resources": right_sizing.scale_resources(container, "", memory)}, "limits", "memory"
    )
    observation = right_sizing_usage.UsageObserver(kubernetes, namespace, selector).observe(0)
    for (pod, name), used in sorted(observation.current.items()):
        if name == container["name"] and bound and used >= bound:
            raise errors.Conflict(
                f"memory: pod {pod} uses {right_sizing.format_memory(used)} now, and its limit would be "
                f"{right_sizing.format_memory(bound)}",
                subject="memory",
                category="memory_in_use",
                remedy="Ask for more than is used.",
            )
    if observation.problem:
        print(f"How much memory the pods use is not measured: {observation.problem}", flush=True)


# --- what both need


def find_deployment(kubernetes: client.Kubernetes, namespace: str, name: str) -> Object:
    """Raises NotFound with the deployed models that there are."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    found = kubernetes.get(f"{path}/{name}", api_errors.Call("get", "deployments.apps", namespace, name))
    if found is not None:
        return found
    query = {"labelSelector": f"{identity.MANAGED_BY}=flexcore,{identity.OUTLIVES_RUN}=true"}
    page = kubernetes.list(path, query, api_errors.Call("list", "deployments.apps", namespace))
    names = sorted(str(item["metadata"]["name"]) for item in page.get("items") or ())
    raise errors.NotFound(
        f"{name} does not exist in namespace {namespace}",
        subject="name",
        remedy=f"Deployed models there: {', '.join(names) or 'none'}.",
    )


def choose_container(deployment: Object, requested: str) -> Object:
    """The container that is meant, as the template has it. Raises InvalidInput with those that there are."""
    containers: dict[str, Object] = {
        item["name"]: item for item in deployment["spec"]["template"]["spec"]["containers"]
    }
    name = requested or next(iter(containers))
    if name not in containers:
        raise errors.InvalidInput(
            f"container: there is no {name!r}", subject="container", remedy=f"Use one of {', '.join(containers)}."
        )
    return containers[name]


def join_selector(deployment: Object) -> str:
    labels = (deployment["spec"].get("selector") or {}).get("matchLabels") or {}
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


def list_pods(kubernetes: client.Kubernetes, namespace: str, selector: str, is_running: bool = False) -> list[Object]:
    """The Deployment's pods by name; is_running: those alone that run and are not being deleted."""
    page = kubernetes.list(
        f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": selector}, api_errors.Call("list", "pods", namespace)
    )
    pods = sorted(page.get("items") or (), key=lambda pod: str(pod["metadata"]["name"]))
    if not is_running:
        return pods
    return [
        pod
        for pod in pods
        if (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
    ]


def list_statuses(pods: Sequence[Object], container: str) -> list[Object]:
    return [
        status
        for pod in pods
        for status in (pod.get("status") or {}).get("containerStatuses") or ()
        if status.get("name") == container
    ]


def describe_program(deployment: Object, container: Object) -> str:
    """What runs in it: measurements of another image or another model say nothing about this one."""
    notes = deployment["spec"]["template"]["metadata"].get("annotations") or {}
    return "@".join(filter(None, [str(container.get("image") or ""), notes.get(CHECKSUM)]))


def plan(invocation: operation.Invocation[Any, resources.KubernetesCluster]) -> contracts.StepResult:
    """Which Deployment and container are meant, and what its pods request. Raises as execute does."""
    request = invocation.request
    session = connection.open_session(invocation)
    deployment = find_deployment(session.kubernetes, session.namespace, request.name)
    container = choose_container(deployment, request.container)
    pods = list_pods(session.kubernetes, session.namespace, join_selector(deployment), is_running=True)
    data = {
        "namespace": session.namespace,
        "container": container["name"],
        "current": container.get("resources") or {},
        "pods": [pod["metadata"]["name"] for pod in pods],
    }
    return _to_result(invocation, data, deployment, {})


def _to_result(
    invocation: operation.Invocation[Any, resources.KubernetesCluster],
    data: Object,
    deployment: Object,
    metrics: dict[str, float | int | None],
) -> contracts.StepResult:
    return contracts.StepResult(
        success=True,
        runtime="kubernetes",
        execution_key=invocation.key.value,
        attempt=1,
        data=data,
        metrics=metrics,
        remote=contracts.Remote(
            kind="Deployment", name=deployment["metadata"]["name"], uid=deployment["metadata"]["uid"]
        ),
    )
