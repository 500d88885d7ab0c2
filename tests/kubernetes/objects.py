"""Jobs, pods and events as the API server writes them, for tables of tests."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
SERVER_PARTS = ("name", "image", "ready", "restartCount")


def at(seconds: int) -> str:
    """A time in the first hour of a day."""
    return f"2026-05-01T10:{seconds // 60:02d}:{seconds % 60:02d}Z"


def ended(code: int, reason: str = "", message: str = "", start: int = 5, end: int = 60) -> Object:
    said = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "containerID": "containerd://1"}
    return {"terminated": {**said, "message": message, "startedAt": at(start), "finishedAt": at(end)}}


def waits(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


def runs(start: int = 5) -> Object:
    return {"running": {"startedAt": at(start)}}


def container(name: str, state: Object, last: Object | None = None, restarts: int = 0, image: str = "img:1") -> Object:
    found = {"name": name, "image": image, "state": state, "restartCount": restarts}
    return {**found, "lastState": last} if last else found


def pod(
    *containers: Object,
    init: list[Object] | None = None,
    native: tuple[str, ...] = (),
    name: str = "train-x7k2p",
    phase: str = "Running",
    index: int | None = None,
    created: int = 0,
    metadata: Object | None = None,
    spec: Object | None = None,
    **status: Any,
) -> Object:
    """native: which of the init containers are sidecars."""
    first = [
        {"name": item["name"], **({"restartPolicy": "Always"} if item["name"] in native else {})} for item in init or []
    ]
    labels = {} if index is None else {"batch.kubernetes.io/job-completion-index": str(index)}
    about = {
        "name": name,
        "namespace": "work",
        "uid": f"uid-{name}",
        "creationTimestamp": at(created),
        "labels": labels,
    }
    shape = {"restartPolicy": "Never", "containers": [{"name": item["name"]} for item in containers]}
    shape |= {"initContainers": first} if first else {}
    seen = {"phase": phase, "containerStatuses": list(containers), "initContainerStatuses": init or []}
    return {"metadata": {**about, **(metadata or {})}, "spec": {**shape, **(spec or {})}, "status": {**seen, **status}}


def true(kind: str, reason: str = "", message: str = "", when: int = 65) -> Object:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": at(when)}


def job(*conditions: Object, spec: Object | None = None, name: str = "train", **status: Any) -> Object:
    metadata = {"name": name, "namespace": "work", "uid": f"uid-{name}", "creationTimestamp": at(0)}
    return {"metadata": metadata, "spec": spec or {}, "status": {"conditions": list(conditions), **status}}


def failed_job(
    reason: str = "BackoffLimitExceeded", message: str = "Job has reached the specified backoff limit", **more: Any
) -> Object:
    return job(true("FailureTarget", reason, message), true("Failed", reason, message), **more)


def complete_job(reason: str = "CompletionsReached", message: str = "Reached expected number", **more: Any) -> Object:
    return job(true("SuccessCriteriaMet", reason, message), true("Complete", reason, message), **more)


def event(about: Object, reason: str, message: str, when: int = 61, kind: str = "Pod", path: str = "") -> Object:
    metadata = about["metadata"]
    place = {"kind": kind, "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "metadata": {"name": f"{metadata['name']}.{reason}", "namespace": "work"},
        "reason": reason,
        "message": message,
        "lastTimestamp": at(when),
        "involvedObject": {**place, **({"fieldPath": path} if path else {})},
    }


def dump(*items: tuple[str, Object]) -> Object:
    """What `kubectl get job,pod,event -o json` prints. items: (kind, object)."""
    return {"apiVersion": "v1", "kind": "List", "items": [{"kind": kind, **item} for kind, item in items]}
