"""What controllers do to the objects of a fake cluster, as short plays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.kubernetes.fake_cluster import Api, now

Object = dict[str, Any]
Story = Callable[[Api, str, Object], Awaitable[None]]
REVISION = "deployment.kubernetes.io/revision"


def true(kind: str, reason: str = "", message: str = "") -> Object:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


def pod_of(job: Object, container: Object | None = None, **status: Any) -> Object:
    """A pod of the Job with one container whose state is `container`."""
    metadata, spec = job["metadata"], job["spec"]["template"]["spec"]
    states = [] if container is None else [{"name": spec["containers"][0]["name"], "image": "i", "state": container}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{metadata['name']}-abcde",
            "namespace": metadata["namespace"],
            "uid": f"pod-of-{metadata['uid']}",
            "creationTimestamp": now(),
            "labels": {"batch.kubernetes.io/controller-uid": metadata["uid"]},
            "ownerReferences": [{"uid": metadata["uid"]}],
        },
        "spec": {**spec, "nodeName": "node-1"},
        "status": {"phase": "Pending", "containerStatuses": states, **status},
    }


def ended(code: int, reason: str = "", message: str = "") -> Object:
    end = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "message": message}
    return {"terminated": {**end, "containerID": "containerd://1", "startedAt": now(), "finishedAt": now()}}


def job_story(*scenes: Callable[[Object], Object], conditions: list[Object] | None = None) -> Story:
    """Plays pods one after the other when a Job is created; then the Job gets its conditions (None: none)."""

    async def play(api: Api, resource: str, item: Object) -> None:
        if resource != "batch/v1/jobs":
            return
        for scene in scenes:
            await api.keep("v1/pods", scene(item))
            await asyncio.sleep(0)
        if conditions is not None:
            item["status"] = {"conditions": conditions, "succeeded": 1}
            await api.keep("batch/v1/jobs", item)

    return play


def waits(reason: str, message: str = "") -> Callable[[Object], Object]:
    return lambda job: pod_of(job, {"waiting": {"reason": reason, "message": message}})


def runs(job: Object) -> Object:
    return pod_of(job, {"running": {"startedAt": now()}}, phase="Running")


def ends(code: int = 0, reason: str = "", message: str = "") -> Callable[[Object], Object]:
    phase = "Failed" if code else "Succeeded"
    return lambda job: pod_of(job, ended(code, reason, message), phase=phase)


def succeeds() -> Story:
    return job_story(waits("ContainerCreating"), runs, ends(), conditions=[true("Complete", "CompletionsReached")])


def fails(code: int, reason: str = "", message: str = "") -> Story:
    failed = true("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    return job_story(runs, ends(code, reason, message), conditions=[failed])


def find_next_revision(replica_sets: list[Object], uid: str, digest: str) -> int:
    """As the Deployment controller numbers them: another template is a new revision, also one that comes back."""
    known = {
        item["metadata"]["labels"]["flexcore/rollout"]: int(item["metadata"]["annotations"][REVISION])
        for item in replica_sets
        if item["metadata"]["ownerReferences"][0]["uid"] == uid
    }
    newest = max(known.values(), default=0)
    return newest if newest and known.get(digest) == newest else newest + 1


def deployment_story(container: Object | None = None, available: bool = True, init: Object | None = None) -> Story:
    """Rolls each new generation of a Deployment out: one pod in the state `container`, or every replica available."""

    async def play(api: Api, resource: str, item: Object) -> None:
        if resource != "apps/v1/deployments" or item["spec"].get("paused"):
            return
        spec, metadata = item["spec"], item["metadata"]
        template = spec["template"]
        digest = template["metadata"]["labels"]["flexcore/rollout"]
        owner = [{"uid": metadata["uid"]}]
        revision = {REVISION: str(find_next_revision(api.all("apps/v1/replicasets"), metadata["uid"], digest))}
        labels = template["metadata"]["labels"]
        replica_set = {
            "metadata": {
                "name": f"{metadata['name']}-{digest}",
                "namespace": "work",
                "labels": labels,
                "annotations": revision,
                "ownerReferences": owner,
            },
            "spec": {"template": template},
            "status": {"availableReplicas": 1} if available else {},
        }
        await api.keep("apps/v1/replicasets", replica_set)
        state = {
            "name": "model-server",
            "image": spec["template"]["spec"]["containers"][0]["image"],
            "state": container or {},
        }
        first = {"name": "fetch-model", "image": "i", "state": init or ended(0)}
        pod_metadata = {
            "name": f"{metadata['name']}-{digest}-x",
            "namespace": "work",
            "labels": labels,
            "ownerReferences": owner,
        }
        status = {"phase": "Pending", "containerStatuses": [state], "initContainerStatuses": [first]}
        await api.keep("v1/pods", {"metadata": pod_metadata, "spec": template["spec"], "status": status})
        wanted = spec["replicas"] if available else 0
        counts = {"updatedReplicas": wanted, "replicas": wanted, "availableReplicas": wanted}
        item["status"] = {"observedGeneration": metadata["generation"], **counts}
        metadata.setdefault("annotations", {}).update(revision)
        await api.keep("apps/v1/deployments", item)

    return play


def kserve_story(container: Object | None = None, available: bool = True) -> Story:
    """KServe in its Standard mode: a Deployment, a Service and the conditions of each new InferenceService."""
    roll_out = deployment_story(container, available)

    async def play(api: Api, resource: str, item: Object) -> None:
        if resource != "serving.kserve.io/v1beta1/inferenceservices":
            return
        predictor = dict(item["spec"]["predictor"])
        labels, notes = predictor.pop("labels"), predictor.pop("annotations")
        name = f"{item['metadata']['name']}-predictor"
        owner = [{"kind": "InferenceService", "uid": item["metadata"]["uid"], "controller": True}]
        known = {each["metadata"]["name"]: each for each in api.all("apps/v1/deployments")}
        uid = {"uid": known[name]["metadata"]["uid"]} if name in known else {}
        metadata = {"name": name, "namespace": "work", "ownerReferences": owner, "generation": 1, **uid}
        pod = {key: value for key, value in predictor.items() if key in ("containers", "initContainers", "volumes")}
        template = {"metadata": {"labels": {**labels, "app": f"isvc.{name}"}, "annotations": notes}, "spec": pod}
        selector = {"matchLabels": {"app": f"isvc.{name}"}}
        spec = {"replicas": predictor["minReplicas"], "selector": selector, "template": template}
        port = {"name": "http", "port": 80, "targetPort": 8080}
        service = {"metadata": {"name": name, "namespace": "work", "ownerReferences": owner}, "spec": {"ports": [port]}}
        await api.keep("v1/services", service)
        deployment = await api.keep("apps/v1/deployments", {"metadata": metadata, "spec": spec})
        await roll_out(api, "apps/v1/deployments", deployment)
        if available:
            item["status"] = {"conditions": [true("PredictorReady"), true("Ready")]}
            await api.keep(resource, item)

    return play
