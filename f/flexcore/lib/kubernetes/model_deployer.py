# requirements: flexcore_kubernetes
"""Deploys a model and waits for its rollout; takes it down again.

Deployment (its owner-to-be comes first, paused when something must exist before its pods) → ConfigMap, Secret →
Deployment as it shall be → Service → rollout → endpoint address
A first deployment that fails is taken away; an update that fails is rolled back, and its pods before kept answering.
"""

from __future__ import annotations

import copy
import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import (
    api_errors,
    categories,
    client,
    deletion,
    pod_logs,
    progress,
    rollout,
    serving_manifests,
    watching,
)

Object = dict[str, Any]
Proven = TypeVar("Proven")

EVENTS_EVERY_S = 2.0
TICK_S = 1.0
# Somebody else may write between our reading and our writing; each time we look again.
MOST_CONFLICTS = 5
# Whether pods fit at all shows soon; an autoscaler needs minutes.
QUEUE_S = 300
OURS = f"app.kubernetes.io/managed-by=flexcore,{serving_manifests.OUTLIVES}=true"


@dataclass(frozen=True, slots=True)
class Kind:
    """A collection of the API and how rights name it."""

    prefix: str
    plural: str
    resource: str


DEPLOYMENTS = Kind("/apis/apps/v1", "deployments", "deployments.apps")
REPLICA_SETS = Kind("/apis/apps/v1", "replicasets", "replicasets.apps")
SERVICES = Kind("/api/v1", "services", "services")
CONFIG_MAPS = Kind("/api/v1", "configmaps", "configmaps")
SECRETS = Kind("/api/v1", "secrets", "secrets")
PODS = Kind("/api/v1", "pods", "pods")


@dataclass(slots=True)
class Seen:
    """What is known of a rollout. deployment is None once it is gone."""

    deployment: Object | None
    pods: list[Object] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)


@dataclass(slots=True)
class Deployer:
    """One deployed model on one cluster."""

    kubernetes: client.Kubernetes
    namespace: str
    say: Callable[[str], None] = progress.say_now
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    log_tail: str = ""

    # --- deploy

    def deploy(self, serving: serving_manifests.Serving, prove: Callable[[Object, Object], Proven]) -> Proven:
        """What `prove` makes of the rolled out Deployment and its Service. Raises the typed error of whatever prevents
        it; error.details.undone then says what became of the deployment."""
        before = self.get(DEPLOYMENTS, serving.name)
        for kind, item in ((DEPLOYMENTS, before), (SERVICES, self.get(SERVICES, serving.name))):
            if item is not None:
                self._claim(kind, item)
        replicas = before["spec"].get("replicas") if before else None
        until = self.clock() + serving.timeout_s
        stored = self._store_all(serving, before)
        rolled_out = False
        try:
            address = self._store(SERVICES, lambda: serving_manifests.service(serving, stored))
            done = self._until_rolled_out(serving, stored, until)
            rolled_out = True
            answer = prove(done, address)
            self._accept(done)
        except errors.FlexcoreError as error:
            # A cluster that does not answer says nothing about the model: another try goes on from here.
            if not error.retryable or error.details.get("diagnosis"):
                self._undo(serving.name, error, rolled_out, replicas)
            raise
        self._prune(serving)
        return answer

    def _store_all(self, serving: serving_manifests.Serving, before: Object | None) -> Object:
        body = serving_manifests.deployment(serving)
        if before is None:
            paused = copy.deepcopy(body)
            paused["spec"]["paused"] = True
            paused["metadata"]["annotations"] = {serving_manifests.ON_TRIAL: "true"}
            before = self._store(DEPLOYMENTS, lambda: paused)
            self.say(f"Created Deployment {serving.name} in namespace {self.namespace}")
        else:
            self.say(f"Updating Deployment {serving.name} in namespace {self.namespace}")
        owner = before
        if serving.delivery.secret:
            self._store(SECRETS, lambda: serving_manifests.secret(serving, owner))
        self._store_map(serving_manifests.config_map(serving, owner), owner["metadata"]["uid"])
        return self._store(DEPLOYMENTS, lambda: body)

    def _store_map(self, body: Object, owner: str) -> None:
        """Named by its content: what exists is the same, unless it goes with a Deployment that was there before."""
        name = body["metadata"]["name"]
        for _ in range(MOST_CONFLICTS):
            if self.kubernetes.create(self.path(CONFIG_MAPS), body, self.asking("create", CONFIG_MAPS, name)):
                return
            stored = self.get(CONFIG_MAPS, name)
            if stored and any(item["uid"] == owner for item in stored["metadata"].get("ownerReferences") or ()):
                return
            if stored:
                self.remove(CONFIG_MAPS, stored)
        raise errors.Unavailable(f"ConfigMap {name} of an earlier deployment stays", subject=name, remedy="Delete it.")

    def _store(self, kind: Kind, make: Callable[[], Object]) -> Object:
        """Creates the object, or makes ours of that name like it."""
        body = make()
        name = body["metadata"]["name"]
        for _ in range(MOST_CONFLICTS):
            stored = self.get(kind, name)
            if stored is None:
                done = self.kubernetes.create(self.path(kind), body, self.asking("create", kind, name))
            else:
                self._claim(kind, stored)
                next_one = serving_manifests.updated(body, stored)
                done = self.kubernetes.replace(self.path(kind, name), next_one, self.asking("update", kind, name))
            if done is not None:
                return done
        raise errors.Unavailable(
            f"{kind.resource} {name} is being changed by somebody else all the time",
            subject=name,
            remedy="See who writes it (kubectl get -o yaml --show-managed-fields), then run again.",
        )

    def _accept(self, item: Object) -> None:
        """Ends the trial of a first deployment that has answered: from now on it outlives its run."""
        name = item["metadata"]["name"]
        for _ in range(MOST_CONFLICTS):
            if serving_manifests.ON_TRIAL not in (item["metadata"].get("annotations") or {}):
                return
            path, call = self.path(DEPLOYMENTS, name), self.asking("update", DEPLOYMENTS, name)
            if self.kubernetes.replace(path, serving_manifests.proven(item), call) is not None:
                return
            item = self.get(DEPLOYMENTS, name) or item
        raise errors.Unavailable(
            f"deployments.apps {name} is being changed all the time", subject=name, remedy="Run again."
        )

    def _claim(self, kind: Kind, item: Mapping[str, Any]) -> None:
        """Raises InvalidInput unless the object is one that we deployed and that stays."""
        name = item["metadata"]["name"]
        if not serving_manifests.is_ours(item):
            raise errors.InvalidInput(
                f"{kind.resource} {name} exists in namespace {self.namespace} and was not made by flexcore",
                subject="name",
                remedy="Choose another name or namespace, or remove it.",
            )
        if item["metadata"].get("deletionTimestamp"):
            raise errors.Unavailable(
                f"{kind.resource} {name} is being deleted", subject="name", remedy="Run again when it is gone."
            )

    # --- observe

    def _until_rolled_out(self, serving: serving_manifests.Serving, stored: Object, until: float) -> Object:
        reports: queue.SimpleQueue[watching.Report] = queue.SimpleQueue()
        name = serving.name
        labels = ",".join(f"{key}={value}" for key, value in serving.selector().items())
        subjects = (
            watching.Subject(
                "deployment",
                self.path(DEPLOYMENTS),
                {"fieldSelector": f"metadata.name={name}"},
                self.asking("watch", DEPLOYMENTS, name),
            ),
            watching.Subject("pods", self.path(PODS), {"labelSelector": labels}, self.asking("watch", PODS)),
        )
        watchers = [watching.Watcher(self.kubernetes, subject, reports.put, clock=self.clock) for subject in subjects]
        logs = pod_logs.PodLogs(self.kubernetes, self.namespace, self.say)
        for watcher in watchers:
            watcher.start()
        try:
            return self._watch_rollout(reports, stored, logs, until)
        finally:
            for watcher in watchers:
                watcher.stop()
            self.log_tail = logs.tail()

    def _watch_rollout(
        self, reports: queue.SimpleQueue[watching.Report], stored: Object, logs: pod_logs.PodLogs, until: float
    ) -> Object:
        seen, uid = Seen(stored), stored["metadata"]["uid"]
        patience, looked = progress.Patience(self.clock), self.clock()
        told = progress.Told(lambda text: self.say(self.kubernetes.redactor.text(text)))
        while True:
            self._take(reports, seen, uid)
            item = seen.deployment
            if item is None:
                raise self._error(
                    categories.Problem(categories.Category.DELETED, "The Deployment was deleted meanwhile"),
                    stored,
                    logs,
                )
            told.once(f"Rollout: {rollout.progress(item)}")
            if rollout.complete(item):
                return item
            mine = rollout.newest(item, seen.pods)
            logs.see(mine)
            now = self.clock()
            if now - looked >= EVENTS_EVERY_S:
                looked = now
                seen.events = self._events(mine)
            found = rollout.rollout_trouble(item, seen.pods, seen.events)
            told.trouble(found)
            if found and patience.spent(found, QUEUE_S):
                raise self._error(found, stored, logs)
            if now >= until:
                late = found or categories.Problem(
                    "not_ready", f"The new pods did not get ready in time ({rollout.progress(item)})"
                )
                raise self._error(late, stored, logs)

    def _take(self, reports: queue.SimpleQueue[watching.Report], seen: Seen, uid: str) -> None:
        try:
            report = reports.get(timeout=TICK_S)
            while True:
                if report.error:
                    raise report.error
                if report.source == "pods":
                    seen.pods = report.items
                else:
                    seen.deployment = next((item for item in report.items if item["metadata"]["uid"] == uid), None)
                report = reports.get_nowait()
        except queue.Empty:
            return

    def _events(self, pods: list[Object]) -> list[Object]:
        """Of the first new pod that waits; none when they may not be read."""
        waiting = next((pod for pod in pods if (pod.get("status") or {}).get("phase") == "Pending"), None)
        if waiting is None:
            return []
        query: dict[str, str | int] = {
            "fieldSelector": f"involvedObject.uid={waiting['metadata']['uid']}",
            "limit": 100,
        }
        try:
            path = f"/api/v1/namespaces/{self.namespace}/events"
            page = self.kubernetes.list(path, query, api_errors.Call("list", "events", self.namespace), patience_s=0)
        except errors.FlexcoreError:
            return []
        return list(page.get("items") or [])

    def _error(self, problem: categories.Problem, item: Object, logs: pod_logs.PodLogs) -> errors.FlexcoreError:
        logs.drain(1.0)
        problem = problem.with_detail(self.kubernetes.redactor.text(problem.detail))
        name, uid = item["metadata"]["name"], item["metadata"]["uid"]
        remote = {"kind": "Deployment", "name": name, "namespace": self.namespace, "uid": uid}
        return problem.to_error(f"Deployment {name} failed", name, remote=remote, log_tail=logs.tail())

    # --- undo

    def _undo(self, name: str, error: errors.FlexcoreError, rolled_out: bool, replicas: int | None) -> None:
        """Puts back what answered before, or takes the failed beginning away; says which in the error."""
        try:
            error.details["undone"] = self._undone(name, rolled_out, replicas)
        except errors.FlexcoreError as second:
            error.details["undone"] = f"not undone: {second}"
        said = f"Deployment {name} is {error.details['undone']}"
        self.say(said)
        error.args = (f"{error} {said}.",)

    def _undone(self, name: str, rolled_out: bool, replicas: int | None) -> str:
        item = self.get(DEPLOYMENTS, name)
        if item is None:
            return "gone"
        template = rollout.good_before(item, self.list(REPLICA_SETS), answering=not rolled_out)
        if template is None:
            return "removed: nothing was served before" if self.remove(DEPLOYMENTS, item) else "marked for removal"
        for _ in range(MOST_CONFLICTS):
            back = copy.deepcopy(item)
            back["spec"] |= {"template": template, "replicas": replicas or item["spec"].get("replicas", 1)}
            back.pop("status", None)
            path = self.path(DEPLOYMENTS, name)
            if self.kubernetes.replace(path, back, self.asking("update", DEPLOYMENTS, name)) is not None:
                return "rolled back to the version before"
            item = self.get(DEPLOYMENTS, name) or item
        return "left: it is being changed by somebody else"

    def _prune(self, serving: serving_manifests.Serving) -> None:
        """Removes the ConfigMaps of generations that no pod needs any more. Not worth failing for."""
        try:
            for item in self.list(CONFIG_MAPS, f"{OURS},{serving_manifests.INSTANCE}={serving.name}"):
                if item["metadata"]["name"] != serving.delivered_name:
                    uid = item["metadata"]["uid"]
                    call = self.asking("delete", CONFIG_MAPS, item["metadata"]["name"])
                    self.kubernetes.delete(self.path(CONFIG_MAPS, call.name), uid, call, patience_s=0)
        except errors.FlexcoreError as error:
            self.say(f"An older ConfigMap stays: {error}")

    def undeploy(self, name: str, within_s: float) -> str:
        """Removes our Deployment and what belongs to it; its uid. Raises NotFound, with the names that there are."""
        item = self.get(DEPLOYMENTS, name)
        if item is None or not serving_manifests.is_ours(item):
            names = [found["metadata"]["name"] for found in self.list(DEPLOYMENTS, OURS)]
            what = "is not deployed" if item is None else "was not deployed by flexcore"
            raise errors.NotFound(
                f"{name} {what} in namespace {self.namespace}",
                subject="name",
                remedy=f"Deployed models there: {', '.join(names) or 'none'}.",
            )
        if not self.remove(DEPLOYMENTS, item, within_s):
            late = categories.Problem(categories.Category.DEADLINE, f"It still ends its pods after {within_s:.0f} s")
            raise late.to_error(name, "name")
        self.say(f"Deployment {name} and what belonged to it are gone")
        return str(item["metadata"]["uid"])

    # --- addresses

    def get(self, kind: Kind, name: str) -> Object | None:
        return self.kubernetes.get(self.path(kind, name), self.asking("get", kind, name))

    def list(self, kind: Kind, selector: str = OURS.split(",")[1]) -> list[Object]:
        page = self.kubernetes.list(self.path(kind), {"labelSelector": selector}, self.asking("list", kind))
        return list(page.get("items") or [])

    def remove(self, kind: Kind, item: Object, within_s: float = 60) -> bool:
        name = item["metadata"]["name"]
        path, call = self.path(kind, name), self.asking("get", kind, name)
        uid = item["metadata"]["uid"]
        return deletion.remove(self.kubernetes, path, uid, call, within_s=within_s, clock=self.clock, sleep=self.sleep)

    def path(self, kind: Kind, name: str = "") -> str:
        return f"{kind.prefix}/namespaces/{self.namespace}/{kind.plural}" + (f"/{name}" if name else "")

    def asking(self, verb: str, kind: Kind, name: str = "") -> api_errors.Call:
        return api_errors.Call(verb, kind.resource, self.namespace, name)
