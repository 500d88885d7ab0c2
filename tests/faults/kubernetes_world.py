"""The world's Kubernetes API, and the real JobAdapter and KubernetesObjects on it without threads."""

from __future__ import annotations

import json
import queue
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

from f.flexcore.lib.core.driver import Driver
from f.flexcore.lib.core.errors import FlexcoreError, Unreachable
from f.flexcore.lib.core.identity import ExecutionKey
from f.flexcore.lib.kubernetes import cluster_objects
from f.flexcore.lib.kubernetes.container_job import JobAdapter
from f.flexcore.lib.kubernetes.job_manifest import JobRequest
from f.flexcore.lib.kubernetes.job_observer import JobObserver, Outcome, Snapshot
from f.flexcore.lib.kubernetes.pod_logs import PodLogs
from f.flexcore.lib.kubernetes.remote_objects import KubernetesObjects
from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.kubernetes_api.client import Kubernetes, is_transient
from f.flexcore.lib.kubernetes_api.credentials import Access
from f.flexcore.lib.kubernetes_api.watcher import MAX_OUTAGE_S, Report
from f.flexcore.lib.operations.reconciler import ReconcilePass, ReconcileRow
from tests.faults.invariants import Created, NotFound, Text
from tests.faults.world import REQUEST_S, SECRET, Answer, Cut, Jobs, Json, Thing, World, reconcile, run_step

NAMESPACE = "work"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
CONDITIONS = {"succeeded": "Complete", "failed": "Failed", "stopped": "Failed"}


class Cluster:
    """Answers requests for Jobs and their pods. A deletion takes `linger_s`, as pods need to end."""

    def __init__(self, world: World) -> None:
        self.world = world

    def answer(self, method: str, path: str, query: Json, body: Any) -> Answer:
        self.world.advance(REQUEST_S)
        self.world.interact()
        bad = self.world.passing_fault()
        if bad:
            return bad
        lost = self.world.cut_after()
        answer = self._answer(method, path, query, body)
        if lost:
            raise Cut
        return answer

    def _answer(self, method: str, path: str, query: Json, body: Any) -> Answer:
        if path in ("/apis/batch/v1/jobs", JOBS) and method == "GET":
            return self._listed([job_of(thing) for thing in self._selected(query)])
        if path == JOBS:
            return self._create(body)
        if path.startswith(JOBS):
            return self._one(method, path.rsplit("/", 1)[-1], body)
        if path.endswith("/pods"):
            uid = query["labelSelector"].split("=")[1]
            return self._listed(
                [pod_of(item) for item in self.world.things.values() if item.uid == uid and not item.suspended]
            )
        if path.endswith(("/events", "/limitranges")) or path == "/apis/apps/v1/deployments":
            return self._listed([])
        if path == "/apis":
            # A cluster without KubeRay and KServe.
            return Answer(200, {"kind": "APIGroupList", "groups": []})
        raise AssertionError(f"{method} {path}")

    def _listed(self, items: list[Json]) -> Answer:
        return Answer(200, {"metadata": {"resourceVersion": "1"}, "items": items})

    def _selected(self, query: Json) -> list[Thing]:
        found = list(self.world.things.values())
        for term in filter(None, query.get("labelSelector", "").split(",")):
            name, _, value = term.partition("=")
            found = [thing for thing in found if thing.labels.get(name) == value]
        for term in filter(None, query.get("fieldSelector", "").split(",")):
            found = [thing for thing in found if thing.name == term.partition("=")[2]]
        for thing in found:
            self.world.shown(thing)
        return found

    def _create(self, body: Json) -> Answer:
        world, metadata = self.world, body["metadata"]
        if metadata["name"] in world.things:
            return Answer(409, status(409, "already exists"))
        labels = metadata["labels"]
        world.note(Text(world.now, "body of the Job", json.dumps(body)))
        thing = Thing(
            uid=world.new_uid(),
            name=metadata["name"],
            key=labels["flexcore/key"],
            owner=labels["flexcore/owner-job"],
            labels=labels,
            body=body,
            made_at=world.now,
            deadline=world.now + body["spec"]["activeDeadlineSeconds"],
        )
        world.things[thing.name] = thing
        attempt = int(labels["flexcore/attempt"])
        world.note(Created(world.now, thing.uid, thing.key, thing.owner, attempt))
        return Answer(201, job_of(thing))

    def _one(self, method: str, name: str, body: Json) -> Answer:
        thing = self.world.things.get(name)
        if thing is None:
            return Answer(404, status(404, "not found"))
        if method == "DELETE":
            if body["preconditions"]["uid"] != thing.uid:
                return Answer(409, status(409, "the UID in the precondition differs"))
            self.world.stop(thing, leave=True)
            return Answer(200, {"kind": "Status", "status": "Success"})
        self.world.shown(thing)
        return Answer(200, job_of(thing))


def status(code: int, message: str) -> Json:
    return {"kind": "Status", "code": code, "message": message}


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def job_of(thing: Thing) -> Json:
    metadata = {**thing.body["metadata"], "uid": thing.uid, "creationTimestamp": moment(thing.made_at)}
    if thing.leaving is not None:
        metadata["deletionTimestamp"] = moment(thing.leaving)
    kind = CONDITIONS.get(thing.status)
    conditions = [{"type": kind, "status": "True", "reason": "BackoffLimitExceeded"}] if kind else []
    spec = thing.body["spec"] | ({"suspend": True} if thing.suspended else {})
    return {**thing.body, "metadata": metadata, "spec": spec, "status": {"conditions": conditions}}


def pod_of(thing: Thing) -> Json:
    phase = {"pending": "Pending", "running": "Running", "succeeded": "Succeeded"}.get(thing.status, "Failed")
    metadata = {"name": f"{thing.name}-x", "uid": f"pod-{thing.uid}", "creationTimestamp": moment(thing.made_at)}
    return {"metadata": metadata, "spec": {"containers": [{"name": "main"}]}, "status": {"phase": phase}}


@dataclass(frozen=True, slots=True)
class Response:
    """What the client reads of urllib3's response."""

    status: int
    data: bytes
    headers: dict[str, str]

    def read(self) -> bytes:
        return self.data

    def getheader(self, name: str) -> str | None:
        return self.headers.get(name)


class WorldKubernetes(Kubernetes):
    """The real client from its repeating and judging upwards; below it is the world."""

    def __init__(self, world: World) -> None:
        super().__init__(Access("http://cluster", token=SECRET), sleep=world.sleep, clock=world.monotonic)
        self.world, self.cluster = world, Cluster(world)

    def _send(self, method: str, path: str, query: Any, body: Any, call: Call, read_s: float, accept: str = "") -> Any:
        try:
            answer = self.cluster.answer(method, unquote(path), dict(query), body)
        except Cut:
            raise Unreachable(f"The cluster does not answer to {call}") from None
        date = format_datetime(datetime.fromtimestamp(self.world.now, UTC), usegmt=True)
        return Response(answer.status, json.dumps(answer.body).encode(), {"Date": date, **answer.headers})


class Reports:
    """A queue whose reports come from a list at each look, in place of the two watching threads."""

    def __init__(self, observer: JobObserver, job: Json, world: World) -> None:
        self.subjects = [observer.job_subject(job["metadata"]["name"]), observer.pods_subject(job)]
        self.observer, self.world, self.ready, self.looked = observer, world, list[Report](), False
        self.heard = world.now

    def get(self, timeout: float) -> Report:
        if self.looked:
            self.world.sleep(timeout)
        self.looked = True
        for subject in self.subjects:
            try:
                page = self.observer.kubernetes.list(subject.path, subject.query, subject.call, retry_s=0)
                self.heard = self.world.now
                self.ready.append(Report(subject.source, page["items"]))
                if subject.source == "job" and not page["items"]:
                    self.world.note(NotFound(self.world.now, subject.path))
            except FlexcoreError as error:
                if not is_transient(error) or self.world.now - self.heard > MAX_OUTAGE_S:
                    self.ready.append(Report(subject.source, error=error))
        return self.get_nowait()

    def get_nowait(self) -> Report:
        if not self.ready:
            raise queue.Empty
        return self.ready.pop(0)


@dataclass(slots=True)
class WorldObserver(JobObserver):
    world: World | None = None

    def watch(self, job: Json, logs: PodLogs) -> Snapshot | Outcome:
        assert self.world
        reports: Any = Reports(self, job, self.world)
        return self._follow(job, reports, logs)


@dataclass(slots=True)
class WorldAdapter(JobAdapter):
    world: World | None = None

    def _observer(self) -> WorldObserver:
        request = self.request
        return WorldObserver(
            self.kubernetes,
            self.namespace,
            request.time_limit_s,
            request.queue_timeout_s,
            self.report,
            self.clock,
            self.sleep,
            world=self.world,
        )


class KubernetesWorld:
    """One cluster; what the histories do with it."""

    def __init__(self, world: World) -> None:
        self.world = world

    def run(self, key: ExecutionKey, call: str, timeout_s: int, defer: bool = False) -> bool | None:
        def work() -> tuple[str | None, str] | None:
            request = JobRequest(image="busybox", timeout_s=timeout_s, queue_timeout_s=timeout_s)
            adapter = WorldAdapter(
                WorldKubernetes(self.world),
                key,
                NAMESPACE,
                call,
                request,
                defer,
                report=self.world.say,
                clock=self.world.monotonic,
                sleep=self.world.sleep,
                world=self.world,
            )
            driver = Driver(adapter, call, self.world.say)
            if defer:
                driver.submit()
                return None
            result = driver.run()
            return result.remote.uid if result.remote else None, result.model_dump_json()

        return run_step(self.world, key.value, work)

    def reconcile(self, most: int = 50) -> list[ReconcileRow]:
        objects = KubernetesObjects.__new__(KubernetesObjects)
        objects.place, objects.kubernetes, objects.namespace = "c", WorldKubernetes(self.world), NAMESPACE
        objects.place_in_cluster = cluster_objects.Namespace(objects.kubernetes, NAMESPACE)
        return reconcile(
            self.world, lambda: ReconcilePass(Jobs(self.world), self.world.clock(), most).run([("c", objects)])
        )
