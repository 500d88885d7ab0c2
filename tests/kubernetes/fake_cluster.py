"""A Kubernetes API on loopback: kmock's emulator, made to behave like a server where the steps depend on it.

Bodies are checked with kubernetes_validate; uids, resource versions, creation times, namespaces, selectors, conflicts
and deletion of dependents are as on a real server. There are no controllers: a `story` plays their part, told when an
object is created or replaced.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import datetime
import itertools
import re
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp.web
import attrs
import kmock
import kubernetes_validate

from tests.kubernetes import fake_apply

Object = dict[str, Any]
SCHEMA_VERSION = "1.36"
PLURALS = {
    "v1/pods",
    "v1/services",
    "v1/configmaps",
    "v1/secrets",
    "v1/events",
    "v1/nodes",
    "v1/resourcequotas",
    "v1/limitranges",
    "v1/persistentvolumeclaims",
    "v1/persistentvolumes",
    "coordination.k8s.io/v1/leases",
    "batch/v1/jobs",
    "apps/v1/deployments",
    "apps/v1/replicasets",
    "autoscaling/v2/horizontalpodautoscalers",
    "policy/v1/poddisruptionbudgets",
    "keda.sh/v1alpha1/scaledobjects",
    "serving.kserve.io/v1beta1/inferenceservices",
    "argoproj.io/v1alpha1/rollouts",
    "networking.k8s.io/v1/networkpolicies",
    "ray.io/v1/rayclusters",
    "kueue.x-k8s.io/v1beta2/workloads",
}
# API groups and their versions that are there without being asked for.
GROUPS = {
    "apps": ["v1"],
    "autoscaling": ["v2", "v1"],
    "batch": ["v1"],
    "policy": ["v1"],
    "networking.k8s.io": ["v1"],
    "metrics.k8s.io": ["v1beta1"],
}
CUSTOM_GROUPS = (
    "ray.io",
    "keda.sh",
    "serving.kserve.io",
    "argoproj.io",
    "gateway.networking.k8s.io",
    "networking.istio.io",
)
# Lists lack these, as on a real server; watches and single objects have them.
TYPES = {"pods": ("v1", "Pod"), "replicasets": ("apps/v1", "ReplicaSet")}


@attrs.define(kw_only=True)
class Fault:
    """An answer in place of the server's own, once. status 0 cuts the connection."""

    method: str
    path: str
    status: int
    body: Any = None
    headers: dict[str, str] = attrs.field(factory=dict)
    after: bool = False  # the request takes effect, and only its answer is lost


def status(code: int, reason: str, message: str, **details: Any) -> Object:
    common = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return {**common, "code": code, "reason": reason, "message": message, "details": details}


@attrs.define(kw_only=True)
class Api(kmock.KubernetesEmulator):
    kueue: bool = False
    namespaces: set[str] = attrs.field(factory=lambda: {"default", "work"})
    story: Callable[[Api, str, Object], Awaitable[None]] | None = None
    faults: list[Fault] = attrs.field(factory=list)
    denied: set[str] = attrs.field(factory=set)
    logs: dict[str, list[bytes]] = attrs.field(factory=dict)
    cut_logs: int | None = None  # a stream that breaks off after so many lines
    proxied: Callable[[str, str, Any], tuple[int, Any]] | None = None
    version: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1))
    tasks: set[asyncio.Task[None]] = attrs.field(factory=set)
    groups: dict[str, list[str]] = attrs.field(factory=lambda: dict(GROUPS))
    # Of the custom metrics API, as its list of resources names them: pods/NAME.
    custom_metrics: list[str] = attrs.field(factory=list)
    # Of the metrics API: PodMetrics, those of each request the next list (the last stays).
    usage: list[list[Object]] = attrs.field(factory=lambda: [[]])
    # What the node makes of a resize: it changes the pod's status.
    kubelet: Callable[[Object], None] | None = None
    # Conditions of namespaces that are being deleted.
    terminating: dict[str, list[Object]] = attrs.field(factory=dict)
    # What is checked before a change still holds when the change is made, as in a real server.
    writing: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    # A field that the server's CRD does not know, by plural: (field of the spec, how the server names it).
    unknown_fields: dict[str, tuple[str, str]] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        for name in PLURALS:
            self.resources[name] = kmock.ResourceInfo()
        self["get", re.compile(r"/api/v1/namespaces/[^/]+/pods/[^/]+/log")] << self._serve_log

    # --- state, for stories

    async def keep(self, resource: str, item: Object) -> Object:
        """Creates or replaces an object, as a controller would."""
        key = kmock.resource(resource)
        metadata = item["metadata"]
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", now())
        metadata["resourceVersion"] = str(next(self.version))
        address = (key, metadata.get("namespace"), metadata["name"])
        async with self._lock:
            known = address in self._objects and not self._objects[address].deleted
            self._objects[address] = copy.deepcopy(item)
            event = {"type": "MODIFIED" if known else "ADDED", "object": copy.deepcopy(item)}
            await self._buses[key].put(event)
        return item

    async def drop(self, resource: str, namespace: str, name: str) -> None:
        key = kmock.resource(resource)
        async with self._lock:
            item = self._objects[key, namespace, name]
            raw = copy.deepcopy(item.raw)
            item.delete()
            await self._buses[key].put({"type": "DELETED", "object": raw})

    def all(self, resource: str) -> list[Object]:
        key = kmock.resource(resource)
        # At one moment: a test asks in its own thread, and the server's goes on meanwhile.
        kept = self._objects._objects.copy()
        return [copy.deepcopy(item.raw) for (kind, _, _), item in kept.items() if kind == key and not item.deleted]

    # --- requests

    async def _handle(self, request: Any) -> aiohttp.web.StreamResponse:
        fault = next((item for item in self.faults if self._hits(item, request)), None)
        if fault and not fault.after:
            return await self._failed(fault, request)
        refused = self._refused(request)
        if refused is not None:
            return aiohttp.web.json_response(refused, status=refused["code"])
        answer = await self._admitted(request)
        if fault:
            return await self._failed(fault, request)
        return answer

    def _hits(self, fault: Fault, request: Any) -> bool:
        return fault.method == request.method.value and re.search(fault.path, str(request.url.path_qs)) is not None

    async def _failed(self, fault: Fault, request: Any) -> aiohttp.web.StreamResponse:
        self.faults.remove(fault)
        if fault.status == 0:
            request._raw_request.transport.close()
        return aiohttp.web.json_response(fault.body, status=fault.status or 500, headers=fault.headers)

    def _refused(self, request: Any) -> Object | None:
        plural, verb = (
            str(request.resource.plural) if request.resource else "",
            (request.action.value.lower() if request.action else ""),
        )
        if plural in self.denied or f"{verb} {plural}" in self.denied:
            message = f'{plural} is forbidden: User "u" cannot {verb} resource "{plural}"'
            return status(403, "Forbidden", message, kind=plural)
        if verb == "create" and request.namespace and request.namespace not in self.namespaces:
            message = f'namespaces "{request.namespace}" not found'
            return status(404, "NotFound", message, kind="namespaces", name=request.namespace)
        if plural == "selfsubjectaccessreviews" or request.subresource:
            return None
        if request.method.value == "POST" and plural in self.unknown_fields:
            field, named = self.unknown_fields[plural]
            if field in request.data.get("spec", {}):
                return status(400, "BadRequest", f'strict decoding error: unknown field "{named}"')
        is_custom = str((request.data or {}).get("apiVersion", "")).startswith(CUSTOM_GROUPS) if request.data else False
        is_whole = request.method.value in ("POST", "PUT") or "force" in request.params
        if is_whole and isinstance(request.data, dict) and not is_custom:
            try:
                kubernetes_validate.validate(request.data, SCHEMA_VERSION, strict=True)
            except kubernetes_validate.ValidationError as error:
                field = ".".join(str(part) for part in error.path)
                cause = {"field": field, "message": error.message}
                return status(422, "Invalid", f"invalid: {field}: {error.message}", causes=[cause])
        return None

    async def _admitted(self, request: Any) -> aiohttp.web.StreamResponse:
        plural, verb = (
            str(request.resource.plural) if request.resource else "",
            (request.action.value.lower() if request.action else ""),
        )
        if found := re.fullmatch(r"/api/v1/namespaces/([^/]+)", request.url.path):
            return self._namespace(found[1])
        if request.url.path == "/apis":
            return self._list_groups()
        if str(request.url.path).startswith("/apis/custom.metrics.k8s.io/"):
            items = [{"name": name, "namespaced": True} for name in self.custom_metrics]
            return aiohttp.web.json_response({"kind": "APIResourceList", "resources": items})
        if request.url.path == "/apis/kueue.x-k8s.io":
            body = {"preferredVersion": {"version": "v1beta2"}} if self.kueue else {}
            return aiohttp.web.json_response(body, status=200 if self.kueue else 404)
        if plural == "selfsubjectaccessreviews":
            return aiohttp.web.json_response(
                {**request.data, "status": {"allowed": self._may(request.data)}}, status=201
            )
        if str(request.url.path).startswith("/apis/metrics.k8s.io/"):
            if "metrics.k8s.io" not in self.groups:
                return aiohttp.web.Response(status=404, text="404 page not found\n")
            items = self.usage.pop(0) if len(self.usage) > 1 else self.usage[0]
            return aiohttp.web.json_response({"kind": "PodMetricsList", "metadata": {}, "items": items})
        if str(request.subresource) == "resize":
            return await self._resize(request)
        if str(request.subresource) == "scale":
            async with self.writing:
                return await self._scale(request)
        if str(request.subresource).startswith("proxy"):
            return self._proxy(request)
        if request.subresource or not plural:
            return await super()._handle(request)
        async with self.writing:
            if verb == "create":
                return await self._create(request)
            if request.method.value == "PUT":
                return await self._replace(request)
            if request.method.value == "PATCH" and "force" in request.params:
                return await self._apply(request)
            if request.method.value == "PATCH":
                return await self._patch(request)
            if verb == "delete":
                return await self._delete(request)
        return await super()._handle(request)

    def _namespace(self, name: str) -> aiohttp.web.StreamResponse:
        """kmock takes the path for a list within the namespace."""
        if "namespaces" in self.denied:
            body = status(403, "Forbidden", 'cannot get resource "namespaces"')
        elif name not in self.namespaces:
            body = status(404, "NotFound", "not found", kind="namespaces", name=name)
        else:
            phase = {"phase": "Terminating", "conditions": self.terminating[name]} if name in self.terminating else {}
            return aiohttp.web.json_response({"metadata": {"name": name}, "status": phase})
        return aiohttp.web.json_response(body, status=body["code"])

    def _list_groups(self) -> aiohttp.web.StreamResponse:
        groups = [
            {"name": name, "versions": [{"groupVersion": f"{name}/{each}", "version": each} for each in versions]}
            for name, versions in self.groups.items()
        ]
        return aiohttp.web.json_response({"kind": "APIGroupList", "groups": groups})

    def _may(self, review: Object) -> bool:
        asked = review["spec"]["resourceAttributes"]
        return not {asked["resource"], f"{asked['verb']} {asked['resource']}"} & self.denied

    async def _create(self, request: Any) -> aiohttp.web.StreamResponse:
        item = copy.deepcopy(request.data)
        address = (request.resource, request.namespace, item["metadata"].get("name"))
        if address in self._objects and not self._objects[address].deleted:
            return aiohttp.web.json_response(status(409, "AlreadyExists", "already exists"), status=409)
        account = item["spec"].get("serviceAccountName", "default") if request.resource.plural == "pods" else "default"
        if account != "default" and not self._has_account(request.namespace, account):
            text = f"pods is forbidden: error looking up service account {request.namespace}/{account}: not found"
            return aiohttp.web.json_response(status(403, "Forbidden", text), status=403)
        item["metadata"].setdefault("name", f"{item['metadata'].get('generateName')}x7k2p")
        item["metadata"] |= {"namespace": request.namespace, "generation": 1}
        if request.resource.plural in ("deployments", "inferenceservices"):
            set_defaults(item)
        fake_apply.record_update(None, item, manager_of(request))
        # Chosen by the server after that: held by nobody.
        if request.resource.plural == "services":
            item["spec"]["clusterIP"] = "10.96.0.7"
            if item["spec"]["type"] == "NodePort":
                item["spec"]["ports"][0]["nodePort"] = 30080
        return await self._stored(request, item, 201)

    def _has_account(self, namespace: str, name: str) -> bool:
        return any(
            resource.plural == "serviceaccounts" and (place, account) == (namespace, name) and not stored.deleted
            for (resource, place, account), stored in self._objects.items()
        )

    async def _replace(self, request: Any) -> aiohttp.web.StreamResponse:
        item = copy.deepcopy(request.data)
        address = (request.resource, request.namespace, request.name)
        if address not in self._objects or self._objects[address].deleted:
            return aiohttp.web.json_response(status(404, "NotFound", "not found"), status=404)
        before = self._objects[address].raw
        if item["metadata"].get("resourceVersion") != before["metadata"]["resourceVersion"]:
            return aiohttp.web.json_response(status(409, "Conflict", "the object has been modified"), status=409)
        item["metadata"] |= {name: before["metadata"][name] for name in ("uid", "creationTimestamp")}
        item["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
        item |= {"status": before["status"]} if "status" in before else {}
        fake_apply.record_update(before, item, manager_of(request))
        return await self._stored(request, item, 200)

    async def _patch(self, request: Any) -> aiohttp.web.StreamResponse:
        """A JSON merge patch, on the condition of the resourceVersion and uid that it names."""
        address = (request.resource, request.namespace, request.name)
        if address not in self._objects or self._objects[address].deleted:
            return aiohttp.web.json_response(status(404, "NotFound", "not found"), status=404)
        before = copy.deepcopy(self._objects[address].raw)
        given = request.data.get("metadata") or {}
        if any(
            given.get(name, before["metadata"][name]) != before["metadata"][name] for name in ("resourceVersion", "uid")
        ):
            return aiohttp.web.json_response(status(409, "Conflict", "the object has been modified"), status=409)
        after = merge(before, request.data)
        if after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
        if "managedFields" not in given:
            after["metadata"]["managedFields"] = before["metadata"].get("managedFields") or []
            fake_apply.record_update(before, after, manager_of(request))
        return await self._stored(request, after, 200)

    async def _resize(self, request: Any) -> aiohttp.web.StreamResponse:
        """New resources of a running pod; what becomes of them is the kubelet's to say."""
        address = (request.resource, request.namespace, request.name)
        if address not in self._objects or self._objects[address].deleted:
            return aiohttp.web.json_response(status(404, "NotFound", "not found"), status=404)
        before = copy.deepcopy(self._objects[address].raw)
        if request.data["metadata"].get("uid") != before["metadata"]["uid"]:
            return aiohttp.web.json_response(status(409, "Conflict", "the UID in the precondition differs"), status=409)
        after = merge(before, request.data)
        after["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
        (self.kubelet or take_resources)(after)
        return aiohttp.web.json_response(await self.keep("v1/pods", after))

    async def _scale(self, request: Any) -> aiohttp.web.StreamResponse:
        """Another number of replicas; the story is told of the object."""
        address = (request.resource, request.namespace, request.name)
        if address not in self._objects or self._objects[address].deleted:
            return aiohttp.web.json_response(status(404, "NotFound", "not found"), status=404)
        after = merge(copy.deepcopy(self._objects[address].raw), request.data)
        after["metadata"]["generation"] = after["metadata"].get("generation", 1) + 1
        return await self._stored(request, after, 200)

    async def _apply(self, request: Any) -> aiohttp.web.StreamResponse:
        """A server-side apply, never forced; a uid or resourceVersion that it names must be the object's."""
        body = copy.deepcopy(request.data)
        address = (request.resource, request.namespace, request.name)
        is_there = address in self._objects and not self._objects[address].deleted
        if not is_there and "uid" in body["metadata"]:
            return aiohttp.web.json_response(status(409, "Conflict", "uid mismatch: no existing object"), status=409)
        if not is_there:
            return await self._create(request)
        before = copy.deepcopy(self._objects[address].raw)
        for name in ("uid", "resourceVersion"):
            if body["metadata"].get(name, before["metadata"][name]) != before["metadata"][name]:
                return aiohttp.web.json_response(status(409, "Conflict", f"{name} mismatch"), status=409)
        try:
            after = fake_apply.apply(before, body, manager_of(request))
        except fake_apply.Conflicts as conflicts:
            return aiohttp.web.json_response(conflict_status(conflicts, before["apiVersion"]), status=409)
        if request.resource.plural in ("deployments", "inferenceservices"):
            set_defaults(after)
        if after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
        return await self._stored(request, after, 200)

    async def _stored(self, request: Any, item: Object, code: int) -> aiohttp.web.StreamResponse:
        name = f"{request.resource.group}/{request.resource.version}/{request.resource.plural}".lstrip("/")
        if "dryRun" in request.params:
            return aiohttp.web.json_response(item, status=code)
        if request.resource.plural == "secrets":
            texts = {key: base64.b64encode(text.encode()).decode() for key, text in item.get("stringData", {}).items()}
            item["data"] = {**item.get("data", {}), **texts}
        stored = await self.keep(name, item)
        if self.story:
            task = asyncio.create_task(self._tell(name, copy.deepcopy(stored)))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return aiohttp.web.json_response(stored, status=code)

    async def _tell(self, name: str, item: Object) -> None:
        assert self.story is not None
        await self.story(self, name, item)

    async def _delete(self, request: Any) -> aiohttp.web.StreamResponse:
        address = (request.resource, request.namespace, request.name)
        if address not in self._objects or self._objects[address].deleted:
            return aiohttp.web.json_response(status(404, "NotFound", "not found"), status=404)
        uid = self._objects[address]["metadata"]["uid"]
        wanted = (request.data or {}).get("preconditions") or {}
        if wanted.get("uid", uid) != uid:
            return aiohttp.web.json_response(status(409, "Conflict", "the UID in the precondition differs"), status=409)
        version = self._objects[address]["metadata"]["resourceVersion"]
        if wanted.get("resourceVersion", version) != version:
            return aiohttp.web.json_response(status(409, "Conflict", "the resourceVersion differs"), status=409)
        for kind, namespace, name in list(self._objects.keys()):
            item = self._objects[kind, namespace, name]
            if not item.deleted and any(o["uid"] == uid for o in item["metadata"].get("ownerReferences", [])):
                await self.drop(f"{kind.group}/{kind.version}/{kind.plural}".lstrip("/"), str(namespace), name)
        await self.drop(
            f"{request.resource.group}/{request.resource.version}/{request.resource.plural}".lstrip("/"),
            request.namespace,
            request.name,
        )
        return aiohttp.web.json_response({"kind": "Status", "status": "Success"})

    async def _serve_list(self, request: Any) -> Object:
        found = [item for item in self.all(resource_name(request)) if selected(request, item)]
        return {"metadata": {"resourceVersion": str(next(self.version))}, "items": found}

    async def _serve_watch(self, request: Any) -> AsyncIterator[Any]:
        async for event in super()._serve_watch(request):
            if not isinstance(event, dict) or selected(request, event["object"]):
                yield event

    async def _serve_log(self, request: Any) -> Any:
        """Lines of a pod, or of its container `pod/container`; its former run's as `pod/container!`. A line that begins
        with its own time keeps it."""
        container, query = request.params.get("container", ""), request.params
        if query.get("previous") == "true":
            lines = self.logs.get(f"{request.name}/{container}!", [])
        else:
            lines = self.logs.get(f"{request.name}/{container}", self.logs.get(request.name, []))
        dated = [line if line[:2] == b"20" else clock(index) + line for index, line in enumerate(lines)]
        dated = [line for line in dated if line.decode(errors="replace")[:19] >= query.get("sinceTime", "")[:19]]
        if "tailLines" in query:
            dated = dated[-int(query["tailLines"]) :]
        elif self.cut_logs is not None:
            dated = dated[: self.cut_logs]
        return tuple([b"", *(line + b"\n" for line in dated)])

    def _proxy(self, request: Any) -> aiohttp.web.StreamResponse:
        if self.proxied is None:
            body = status(503, "ServiceUnavailable", "no endpoints available")
            return aiohttp.web.json_response(body, status=503)
        path = str(request.url.path).split("/proxy", 1)[1]
        code, payload = self.proxied(request.method.value, path, request.data)
        return aiohttp.web.json_response(payload, status=code)


def take_resources(pod: Object) -> None:
    """The node gives every container what its spec says, at once."""
    pod["status"]["observedGeneration"] = pod["metadata"]["generation"]
    for shown, container in zip(pod["status"]["containerStatuses"], pod["spec"]["containers"], strict=True):
        shown["resources"] = copy.deepcopy(container["resources"])


def merge(before: Any, changes: Any) -> Any:
    """RFC 7386."""
    if not isinstance(changes, dict) or not isinstance(before, dict):
        return changes
    merged = {name: value for name, value in before.items() if changes.get(name, value) is not None}
    given = {name: value for name, value in changes.items() if value is not None}
    return merged | {name: merge(merged.get(name), value) for name, value in given.items()}


def set_defaults(item: Object) -> None:
    """Those of a Deployment or InferenceService that matter here: what keys a list, and what a field falls to that
    nobody sets."""
    if item["kind"] == "Deployment":
        item["spec"].setdefault("replicas", 1)
    pod = item["spec"]["predictor"] if item["kind"] == "InferenceService" else item["spec"]["template"]["spec"]
    for container in (*(pod.get("initContainers") or ()), *pod["containers"]):
        for port in container.get("ports") or ():
            port.setdefault("protocol", "TCP")


def manager_of(request: Any) -> str:
    return str(request.params.get("fieldManager") or "unknown")


def conflict_status(conflicts: fake_apply.Conflicts, version: str) -> Object:
    causes = []
    for field, manager, subresource in conflicts.found:
        by = f' with subresource "{subresource}"' if subresource else ""
        message = f'conflict with "{manager}"{by} using {version}'
        causes.append({"reason": "FieldManagerConflict", "message": message, "field": field})
    text = f"Apply failed with {len(causes)} conflict{'s' if len(causes) > 1 else ''}: {causes[0]['message']}"
    return status(409, "Conflict", text, causes=causes)


def resource_name(request: Any) -> str:
    return f"{request.resource.group}/{request.resource.version}/{request.resource.plural}".lstrip("/")


def selected(request: Any, item: Object) -> bool:
    """Whether the namespace and the label and field selectors (equality, and that a label is there) let it through."""
    if request.namespace and item["metadata"].get("namespace") != request.namespace:
        return False
    labels = item["metadata"].get("labels") or {}
    for term in filter(None, request.params.get("labelSelector", "").split(",")):
        key, equals, value = term.partition("=")
        if key not in labels if not equals else labels.get(key) != value:
            return False
    for term in filter(None, request.params.get("fieldSelector", "").split(",")):
        key, _, value = term.partition("=")
        if "!" in term:
            continue
        found: Any = item
        for part in key.split("."):
            found = (found or {}).get(part)
        if found != value:
            return False
    return True


def clock(seconds: int) -> bytes:
    minutes, second = divmod(seconds, 60)
    return b"2026-01-01T%02d:%02d:%02d.5Z " % (*divmod(minutes, 60), second)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeCluster:
    """The Api in a thread of its own, as the steps are synchronous."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._started, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self.api = Api()
        async with self.api, kmock.Server(self.api) as server:
            self.url = str(server.url).rstrip("/")
            self._started.set()
            await self._stop.wait()
            # Open watches would hold the server back.
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def do(self, work: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    @property
    def resource(self) -> Object:
        """A c_kubernetes_cluster for it."""
        return {"mode": "token", "server": self.url, "token": "sesame-open-1234", "namespace": "work"}

    def asked(self, method: str, pattern: str) -> list[Any]:
        """The requests so far that match."""
        found = [item for item in self.api._requests if item.method.value == method]
        return [item for item in found if re.search(pattern, str(item.url.path_qs))]
