"""The world's Ray dashboard, and the real driver, JobAdapter and RayObjects on it, over the real HTTP client."""

from __future__ import annotations

import io
import json
import zipfile
from email.utils import formatdate
from pathlib import Path
from unittest import mock

import httpx

from f.flexcore.lib.core.contracts import StepResult
from f.flexcore.lib.core.driver import Driver
from f.flexcore.lib.core.identity import ExecutionKey
from f.flexcore.lib.core.redaction import Redactor
from f.flexcore.lib.core.resources import RayCluster, Settings
from f.flexcore.lib.operations.reconciler import ReconcilePass, ReconcileRow
from f.flexcore.lib.ray import dashboard
from f.flexcore.lib.ray import remote_objects as orphans
from f.flexcore.lib.ray.dashboard import RayApi
from f.flexcore.lib.ray.job import FinishedJob, Job
from f.flexcore.lib.ray.job_adapter import Context, JobAdapter, Work
from f.flexcore.lib.ray.remote.job_entry import GRACE_S, REQUEST
from f.flexcore.lib.storage.object_store import Store
from tests.faults.invariants import Created, NotFound, Text
from tests.faults.world import REQUEST_S, SECRET, Answer, Cut, Jobs, Json, Thing, World, reconcile, run_step

STATUSES = {"succeeded": "SUCCEEDED", "failed": "FAILED", "stopped": "STOPPED", "pending": "PENDING"}
CLUSTER = {"address": "http://head:8265", "token": SECRET}


class Dashboard:
    """A stop takes `linger_s`, and is not honoured when the world says so."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stopping: dict[str, float] = {}
        self.packages: dict[str, bytes] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        world = self.world
        world.advance(REQUEST_S)
        world.interact()
        try:
            bad = world.passing_fault()
            lost = not bad and world.cut_after()
            self._stop_due()
            answer = bad or self._answer(request.method, request.url, request.content)
            if lost:
                raise Cut
        except Cut:
            raise httpx.ConnectError(f"broken, token={SECRET}", request=request) from None
        headers = {"Date": formatdate(world.now, usegmt=True), **answer.headers}
        return httpx.Response(answer.status, json=answer.body, headers=headers)

    def _answer(self, method: str, url: httpx.URL, content: bytes) -> Answer:
        world, path = self.world, url.path
        parts = path.strip("/").split("/")
        if path.startswith("/api/packages/"):
            self.packages[parts[-1]] = content
            return Answer(200, {})
        if path == "/api/cluster_status":
            return Answer(200, {"data": {}})
        if path == "/api/v0/logs/file":
            file = url.params["filename"]
            return Answer(200, f"working with {SECRET}\n") if "driver" in file else self._outcome(file)
        if path == "/api/jobs/":
            if method == "POST":
                return self._submit(json.loads(content))
            return Answer(200, [self._shown(thing) for thing in world.things.values()])
        thing = world.things.get(parts[2])
        if thing is None:
            world.note(NotFound(world.now, parts[2]))
            return Answer(404, f"Job {parts[2]} does not exist")
        if parts[3:] == ["stop"]:
            world.stop(thing, leave=False)
            if world.stop_honoured and not thing.ended:
                self.stopping[thing.uid] = world.now + world.linger_s
            return Answer(200, {"stopped": True})
        if method == "DELETE":
            if not thing.ended:
                return Answer(500, "not terminal")
            world.remove(thing)
            return Answer(200, {"deleted": True})
        return Answer(200, self._shown(thing))

    def _submit(self, body: Json) -> Answer:
        world, name, labels = self.world, body["submission_id"], body["metadata"]
        if name in world.things:
            return Answer(500, f"ValueError: Job with submission_id {name} already exists.")
        world.note(Text(world.now, "body of the job", json.dumps(body)))
        with zipfile.ZipFile(io.BytesIO(self.packages[body["runtime_env"]["working_dir"].rsplit("/", 1)[-1]])) as files:
            request = json.loads(files.read(REQUEST))
        # What job_entry does on the head: it ends itself when nobody else did.
        left = min(request["timeout_s"], request["deadline"] - world.now) + GRACE_S
        thing = Thing(
            uid=world.new_uid(),
            name=name,
            key=labels["flexcore/key"],
            owner=labels["flexcore/owner-job"],
            labels=labels,
            body=body,
            made_at=world.now,
            deadline=world.now + max(left, 0.0),
        )
        world.things[name] = thing
        world.note(Created(world.now, thing.uid, thing.key, thing.owner, int(labels["flexcore/attempt"])))
        return Answer(200, {"submission_id": name})

    def _stop_due(self) -> None:
        for thing in self.world.live():
            if self.world.now >= self.stopping.get(thing.uid, float("inf")):
                self.world.end(thing, "stopped")

    def _outcome(self, file: str) -> Answer:
        name = file.removeprefix("flexcore-").removesuffix(".json")
        thing = self.world.things.get(name)
        if thing is None or thing.status not in ("succeeded", "failed"):
            return Answer(500, "a file is not found")
        error = None if thing.status == "succeeded" else {"type": "ExecutionFailed", "message": f"boom, {SECRET}"}
        return Answer(200, {"submission_id": name, "success": error is None, "result": thing.uid, "error": error})

    def _shown(self, thing: Thing) -> Json:
        self.world.shown(thing)
        return {
            "submission_id": thing.name,
            "status": STATUSES.get(thing.status, "RUNNING"),
            "metadata": thing.labels,
            "job_id": thing.uid,
            "driver_node_id": "node",
            "message": f"ended, {SECRET}",
            "start_time": int(thing.made_at * 1000),
            "end_time": int(thing.ended_at * 1000) or None,
        }


def report_uid(finished: FinishedJob) -> StepResult:
    return finished.step_result(data={"result": finished.result})


class RayWorld:
    """One head; what the histories do with it."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.dashboard = world, Dashboard(world)
        self.store = Store(Settings(storage_uri=f"file://{folder}"))

    def api(self, cluster: RayCluster) -> RayApi:
        return RayApi(cluster, httpx.MockTransport(self.dashboard), self.world.clock)

    def run(self, key: ExecutionKey, call: str, timeout_s: int, defer: bool = False) -> bool | None:
        def work() -> tuple[str | None, str] | None:
            job = Job("program", {"flexcore_program.py": "result = 1"}, {}, timeout_s=timeout_s, deferred=defer)
            with self.api(RayCluster.model_validate(CLUSTER)) as api:
                context = Context(api, self.store, key, Redactor([SECRET]))
                world = self.world
                adapter = JobAdapter(context, Work(job, report_uid), world.monotonic, world.sleep, world.say)
                driver = Driver(adapter, call, world.say)
                if defer:
                    driver.submit()
                    return None
                result = driver.run()
            return result.data["result"], result.model_dump_json()

        return run_step(self.world, key.value, work)

    def reconcile(self, most: int = 50) -> list[ReconcileRow]:
        with mock.patch.object(dashboard, "RayApi", self.api):
            objects = [("r", orphans.RayObjects("r", CLUSTER))]
            return reconcile(self.world, lambda: ReconcilePass(Jobs(self.world), self.world.clock(), most).run(objects))
