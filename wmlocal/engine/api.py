"""The part of Windmill's REST API that the bundle, the `wmill` client and the command line use, on loopback.

Paths, bodies and status codes are Windmill's; an error is plain text. Every path but the version and the signed resume
links needs the engine's token or the token of a live or finished job of it.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import socket
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from wmlocal.engine.bundle import Flow, Script
from wmlocal.engine.errors import CannotStart, EngineError, Rejected, UnknownPath
from wmlocal.engine.http_triggers import METHODS, HttpTriggers, body_and_headers
from wmlocal.engine.jobs import Job
from wmlocal.engine.runs import EMAIL, JOB_TOKEN, USER, Runs
from wmlocal.engine.store import LIVE, STATUS_COLUMNS, Row

VERSION = "flexcore engine, API of v1.743.0"
DONE = ("success", "failure", "canceled", "skipped")
LIST_COLUMNS = (*STATUS_COLUMNS, "finished", "labels", "flow_status")
Handler = Callable[[Request], Any]
T = TypeVar("T")


class Server:
    """The API in a thread of the engine's process."""

    def __init__(self, application: ASGIApp, listener: socket.socket) -> None:
        config = uvicorn.Config(application, log_level="error", lifespan="off", access_log=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        # Streams and waits of clients must not hold up the end of the engine.
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(5)


def application(engine: Runs) -> Starlette:
    api = Api(engine)
    routes = [Route("/api/version", lambda _: PlainTextResponse(VERSION))]
    for method, path, handler, is_open in api.routes():
        routes.append(Route(path, api.answering(handler, is_open), methods=[method]))
    triggers = HttpTriggers(engine, api.may_enter)
    routes.append(Route("/api/r/{route:path}", triggers.answer, methods=METHODS))
    return Starlette(routes=routes)


class Api:
    def __init__(self, engine: Runs) -> None:
        self.engine, self.store, self.variables = engine, engine.store, engine.variables

    def routes(self) -> list[tuple[str, str, Handler, bool]]:
        w = "/api/w/{workspace}"
        get, post, delete = "GET", "POST", "DELETE"
        signed = "{job}/{resume_id:int}/{signature}"
        return [
            (get, "/api/users/whoami", self.whoami, False),
            (get, f"{w}/users/whoami", self.whoami, False),
            (post, "/api/workspaces/exists", lambda r: _mapping(r).get("id") == self.engine.workspace, False),
            (get, w + "/users/username_to_email/{user}", lambda r: PlainTextResponse(self.whoami(r)["email"]), False),
            (get, "/api/workers/exists_workers_with_tags", self.served_tags, False),
            (post, w + "/jobs/run/p/{path:path}", self.run_script, False),
            (post, w + "/jobs/run/f/{path:path}", self.run_flow, False),
            (post, f"{w}/jobs/run/preview", self.run_preview, False),
            (post, f"{w}/jobs/run/preview_flow", self.run_preview_flow, False),
            (post, w + "/jobs/run_wait_result/p/{path:path}", self.wait_script, False),
            (post, w + "/jobs/run_wait_result/f/{path:path}", self.wait_flow, False),
            (post, f"{w}/jobs/run_wait_result/preview", self.wait_preview, False),
            (post, f"{w}/jobs/run_wait_result/preview_flow", self.wait_preview_flow, False),
            (get, f"{w}/jobs/list", self.list_jobs, False),
            (get, f"{w}/jobs/queue/list", self.list_queue, False),
            (get, f"{w}/jobs/completed/list", self.list_completed, False),
            (get, w + "/jobs_u/get/{job}", self.get_job, False),
            (get, w + "/jobs_u/get_root_job_id/{job}", lambda r: self._row(r)["root"], False),
            (get, w + "/jobs_u/get_args/{job}", lambda r: self._row(r)["args"], False),
            (get, w + "/jobs_u/get_logs/{job}", self.get_logs, False),
            (get, w + "/jobs_u/get_flow_all_logs/{job}", self.get_flow_all_logs, False),
            (get, w + "/jobs_u/getupdate/{job}", self.get_update, False),
            (get, w + "/jobs_u/completed/get/{job}", self.get_completed, False),
            (get, w + "/jobs_u/completed/get_result/{job}", self.get_result, False),
            (get, w + "/jobs_u/completed/get_result_maybe/{job}", self.get_result_maybe, False),
            (get, w + "/jobs/result_by_id/{job}/{step}", self.result_by_id, False),
            (get, w + "/jobs/worker_is_draining/{job}", lambda r: False, False),
            (post, w + "/jobs_u/queue/cancel/{job}", self.cancel, False),
            (post, w + "/jobs_u/queue/force_cancel/{job}", self.cancel, False),
            (post, w + "/jobs/flow/resume/{job}", self.resume_flow, False),
            (get, w + "/jobs/resume_urls/{job}/{resume_id:int}", self.resume_urls, False),
            (get, f"{w}/jobs_u/resume/{signed}", self.resume_signed, True),
            (post, f"{w}/jobs_u/resume/{signed}", self.resume_signed, True),
            (get, f"{w}/jobs_u/cancel/{signed}", self.refuse_signed, True),
            (post, f"{w}/jobs_u/cancel/{signed}", self.refuse_signed, True),
            (get, w + "/jobs/flow/user_states/{job}/{key}", self.get_state, False),
            (post, w + "/jobs/flow/user_states/{job}/{key}", self.set_state, False),
            (get, w + "/job_metrics/get_progress/{job}", lambda r: self._row(r)["progress"], False),
            (post, w + "/job_metrics/set_progress/{job}", self.set_progress, False),
            (get, f"{w}/variables/list", self.list_variables, False),
            (get, w + "/variables/get/{path:path}", self.get_variable, False),
            (get, w + "/variables/get_value/{path:path}", lambda r: self.variables.variable(_path(r)), False),
            (get, w + "/variables/exists/{path:path}", self.has_variable, False),
            (post, f"{w}/variables/create", self.create_variable, False),
            (post, w + "/variables/update/{path:path}", self.update_variable, False),
            (delete, w + "/variables/delete/{path:path}", self.delete_variable, False),
            (get, f"{w}/resources/list", self.list_resources, False),
            (get, w + "/resources/get/{path:path}", lambda r: self._resource(_path(r)), False),
            (get, w + "/resources/get_value/{path:path}", lambda r: self._resource(_path(r))["value"], False),
            (get, w + "/resources/get_value_interpolated/{path:path}", self.interpolate_resource, False),
            (get, w + "/resources/exists/{path:path}", self.has_resource, False),
            (post, f"{w}/resources/create", self.create_resource, False),
            (post, w + "/resources/update/{path:path}", self.update_resource, False),
            (post, w + "/resources/update_value/{path:path}", self.update_resource_value, False),
            (delete, w + "/resources/delete/{path:path}", self.delete_resource, False),
            (get, f"{w}/scripts/list", self.list_scripts, False),
            (get, w + "/scripts/get/p/{path:path}", lambda r: self._script_json(_path(r)), False),
            (get, w + "/scripts/exists/p/{path:path}", self.script_exists, False),
            (get, w + "/scripts/raw/p/{path:path}", self.raw_script, False),
            (get, f"{w}/flows/list", self.list_flows, False),
            (get, w + "/flows/get/{path:path}", lambda r: self._flow_json(_path(r)), False),
            (get, w + "/flows/exists/{path:path}", lambda r: self.engine.bundle.flow(_path(r)) is not None, False),
        ]

    # Around each handler

    def answering(self, handler: Handler, is_open: bool) -> Callable[[Request], Awaitable[Response]]:
        """Handlers are plain functions in a thread: they read the store, and a wait must not stop the others."""

        async def answer(request: Request) -> Response:
            if not is_open and not self.may_enter(request):
                return PlainTextResponse("Unauthorized", 401)
            body = await request.body()
            try:
                request.state.body = json.loads(body) if body else None
            except ValueError as error:
                return PlainTextResponse(f"Bad request: the body is not JSON ({error})", 400)
            try:
                given = await run_in_threadpool(handler, request)
            except Rejected as error:
                return PlainTextResponse(str(error), error.status)
            except UnknownPath as error:
                return PlainTextResponse(f"Not found: {error}", 404)
            except CannotStart as error:
                return PlainTextResponse(f"Bad request: {error}", 400)
            except EngineError as error:
                return PlainTextResponse(str(error), 500)
            if asyncio.iscoroutine(given):
                given = await given
            return given if isinstance(given, Response) else JSONResponse(given)

        return answer

    def may_enter(self, request: Request) -> bool:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        token = token if kind.lower() == "bearer" else request.query_params.get("token", "")
        job, _, signature = token.partition(".")
        return hmac.compare_digest(token.encode(), self.engine.token.encode()) or (
            bool(signature) and hmac.compare_digest(signature.encode(), self.engine.sign(JOB_TOKEN, job).encode())
        )

    def whoami(self, _: Request) -> Row:
        return {
            "email": EMAIL,
            "username": USER,
            "is_admin": True,
            "is_super_admin": False,
            "operator": False,
            "disabled": False,
            "groups": ["all"],
            "folders": [],
            "folders_owners": [],
            "name": USER,
        }

    # Running

    def run_script(self, request: Request) -> Response:
        return self._answer_created(self._start_script(request))

    def run_flow(self, request: Request) -> Response:
        return self._answer_created(self._start_flow(request))

    def run_preview(self, request: Request) -> Response:
        return self._answer_created(self._start_preview(request))

    def run_preview_flow(self, request: Request) -> Response:
        return self._answer_created(self._start_preview_flow(request))

    def wait_script(self, request: Request) -> Any:
        return self._wait_for(self._start_script(request))

    def wait_preview(self, request: Request) -> Any:
        return self._wait_for(self._start_preview(request))

    def wait_preview_flow(self, request: Request) -> Any:
        early = request.state.body["value"].get("early_return") if isinstance(request.state.body, dict) else None
        return self._wait_for(self._start_preview_flow(request), early)

    def wait_flow(self, request: Request) -> Any:
        flow = self.engine.bundle.flow(_path(request))
        return self._wait_for(self._start_flow(request), flow.value.get("early_return") if flow else None)

    def _start_script(self, request: Request) -> Job:
        script = self.engine.bundle.script(_path(request))
        if script is None:
            raise UnknownPath(f"script not found at name {_path(request)}")
        args, preprocess = _webhook_args(request, bool(script.meta.get("has_preprocessor")))
        return self.engine.start_script(script, args, preprocess=preprocess, id=_job_id(request))

    def _start_flow(self, request: Request) -> Job:
        flow = self.engine.bundle.flow(_path(request))
        if flow is None:
            raise UnknownPath(f"flow not found at name {_path(request)}")
        args, preprocess = _webhook_args(request, flow.has_preprocessor)
        return self.engine.start_flow(flow, args, preprocess=preprocess, id=_job_id(request))

    def _start_preview(self, request: Request) -> Job:
        body = _mapping(request)
        language = body.get("language", "python3")
        script = Script(body.get("path") or "", body.get("content") or "", language, body.get("lock"), {})
        return self.engine.start_script(script, body.get("args") or {}, preview=True, id=_job_id(request))

    def _start_preview_flow(self, request: Request) -> Job:
        body = _mapping(request)
        flow = Flow(body.get("path") or "", body.get("value") or {}, {})
        return self.engine.start_flow(flow, body.get("args") or {}, preview=True, id=_job_id(request))

    @staticmethod
    def _answer_created(job: Job) -> Response:
        return PlainTextResponse(job.id, 201)

    def _wait_for(self, job: Job, early: str | None = None) -> Any:
        while not job.done.wait(0.05 if early else 1):
            if early and (jobs := job.leaf_jobs.of_step.get(early)) is not None:
                return self.engine.runtime.result_of(jobs)
        return self.engine.wait(job).result

    # Looking

    def _row(self, request: Request) -> Row:
        row = self.store.job(request.path_params["job"])
        if row is None:
            raise Rejected(f"Not found: Job not found at name {request.path_params['job']}", 404)
        return row

    def get_job(self, request: Request) -> Row:
        row = self._row(request)
        return self._whole(row)

    def get_completed(self, request: Request) -> Row:
        row = self._row(request)
        if row["status"] not in DONE:
            raise Rejected(f"Not found: Completed Job not found at name {row['id']}", 404)
        return self._whole(row)

    def get_result(self, request: Request) -> Any:
        return self.get_completed(request)["result"]

    def _whole(self, row: Row) -> Row:
        return job_json(row, whole=True) | {"logs": self.store.logs(row["id"]), "flow_status": self._flow_status(row)}

    def _flow_status(self, row: Row) -> Row | None:
        """A flow waits for a job until that job has begun; a server writes the beginning into the flow's status."""
        state: Row | None = row["flow_status"]
        for module in () if state is None or row["status"] in DONE else (*state["modules"], state["failure_module"]):
            if module["type"] == "WaitingForExecutor":
                job = self.store.job_status(module["job"])
                module["type"] = "InProgress" if job and job["status"] == "running" else module["type"]
        return state

    def get_result_maybe(self, request: Request) -> Row:
        row = self._row(request)
        """Windmill's own inconsistency is kept: a skipped flow is not a success here, and one in the job itself."""
        completed = row["status"] in DONE
        return {
            "started": row["started"] is not None,
            "completed": completed,
            "result": row["result"],
            "success": row["status"] == "success" if completed else None,
        }

    def result_by_id(self, request: Request) -> Any:
        row = self._row(request)
        state = row["flow_status"] or {"modules": []}
        step = request.path_params["step"]
        for module in state["modules"]:
            if module["id"] == step and (module.get("flow_jobs") or module.get("job")):
                return self.engine.runtime.result_of(module.get("flow_jobs") or module["job"])
        raise Rejected(f"Not found: Flow result by id not found at name {step}", 404)

    def get_logs(self, request: Request) -> Response:
        return PlainTextResponse(self.store.logs(self._row(request)["id"]))

    def get_flow_all_logs(self, request: Request) -> Response:
        """The log of the job and of everything below it, each under its name."""
        rows = [self.store.job_status(job) or {} for job in self.store.descendants(self._row(request)["id"])]
        parts = [(row["step_id"] or "Flow", row["id"], self.store.logs(row["id"])) for row in rows]
        return PlainTextResponse("".join(f"\n=== {name} (Job: {job}) ===\n{logs}\n" for name, job, logs in parts))

    def get_update(self, request: Request) -> Row:
        row = self._row(request)
        logs, offset = self.store.logs(row["id"]), int(request.query_params.get("log_offset") or 0)
        return {
            "running": row["status"] in ("running", "suspended"),
            "completed": row["status"] in DONE,
            "new_logs": logs[offset:],
            "log_offset": len(logs),
            "progress": row["progress"],
            "flow_status": self._flow_status(row),
        }

    def list_jobs(self, request: Request) -> list[Row]:
        return self._list_rows(request, "1")

    def list_queue(self, request: Request) -> list[Row]:
        return self._list_rows(request, "status IN ('queued', 'running', 'suspended')")

    def list_completed(self, request: Request) -> list[Row]:
        return self._list_rows(request, "status IN ('success', 'failure', 'canceled', 'skipped')")

    def _list_rows(self, request: Request, where: str) -> list[Row]:
        query = request.query_params
        clauses, values = [where], []
        for name, clause, convert in FILTERS:
            if name in query:
                clauses.append(clause)
                values += [convert(query[name])] * clause.count("?")
        for name, choices in CHOICES.items():
            if name in query:
                clauses.append(choices[query[name].lower() == "true"])
        for name, clause in LISTS.items():
            if name in query:
                items = query[name].split(",")
                clauses.append(clause.format(", ".join("?" * len(items))))
                values += items
        if "job_kinds" in query:
            clauses.append("kind IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(query["job_kinds"].split(",")))
        limit = min(int(query.get("per_page", 30)), 1000)
        page = max(int(query.get("page", 1)), 1)
        ascending = query.get("order_desc", "true").lower() == "false"
        # As Windmill does: a list of what ended in a time is in the order in which it ended.
        by: Literal["created", "finished"] = "created"
        if "completed_after" in query or "completed_before" in query:
            by = "finished"
        where = " AND ".join(clauses)
        rows = self.store.jobs(where, values, limit, (page - 1) * limit, ascending, LIST_COLUMNS, by)
        return [job_json(row) for row in rows]

    # Changing

    def cancel(self, request: Request) -> Response:
        row = self._row(request)
        reason = (request.state.body or {}).get("reason") or "no reason given"
        if row["status"] not in LIVE:
            return PlainTextResponse(f"job {row['id']} is already completed", 404)
        if self.engine.cancel(row["id"], reason):
            return PlainTextResponse(row["id"])
        if row["engine"] == self.engine.id:
            return PlainTextResponse(f"job {row['id']} has just ended", 404)
        if owner := self.engine.find_engine(row["engine"]):
            self._forward(owner, request)
        else:
            self.engine.cancel_left(row["root"], reason)
        return PlainTextResponse(row["id"])

    def _forward(self, owner: Row, request: Request) -> None:
        """A job of another engine is canceled by that engine."""
        import httpx

        httpx.post(
            owner["url"] + request.url.path,
            json=request.state.body or {},
            timeout=10,
            trust_env=False,
            headers={"Authorization": f"Bearer {self.engine.token}"},
        ).raise_for_status()

    def resume_flow(self, request: Request) -> Response:
        row = self._row(request)
        waiting = _waiting_for(row)
        if waiting is None:
            raise Rejected("Internal: the flow is not in a suspended state anymore", 500)
        return self._resume(waiting, 0, row["id"], request.state.body, self.whoami(request)["username"], True)

    def resume_urls(self, request: Request) -> Row:
        job, number = self._row(request)["id"], request.path_params["resume_id"]
        approver = request.query_params.get("approver", "")
        base = f"{self.engine.url}/api/w/{self.engine.workspace}/jobs_u"
        tail = f"{job}/{number}/{self._signature(job, number, approver)}" + (
            f"?approver={approver}" if approver else ""
        )
        return {
            "resume": f"{base}/resume/{tail}",
            "cancel": f"{base}/cancel/{tail}",
            "approvalPage": f"{base}/resume/{tail}",
        }

    def _signature(self, job: str, number: int, approver: str) -> str:
        return self.engine.sign("resume", f"{job} {number} {approver}")

    def resume_signed(self, request: Request) -> Response:
        return self._resume_by_signature(request, approved=True)

    def refuse_signed(self, request: Request) -> Response:
        return self._resume_by_signature(request, approved=False)

    def _resume_by_signature(self, request: Request, approved: bool) -> Response:
        given = request.path_params
        approver = request.query_params.get("approver", "")
        if not hmac.compare_digest(given["signature"], self._signature(given["job"], given["resume_id"], approver)):
            raise Rejected("Error: Invalid signature", 400)
        row = self._row(request)
        flow = row["parent"] or row["id"]
        parent = self.store.job_status(flow)
        if parent is None or parent["status"] not in LIVE:
            raise Rejected("Internal: the flow is not in a suspended state anymore", 500)
        payload = request.state.body
        if payload is None and "payload" in request.query_params:
            payload = json.loads(request.query_params["payload"])
        if not approver and self.may_enter(request):
            approver = self.whoami(request)["username"]
        return self._resume(row["id"], given["resume_id"], flow, payload, approver or None, approved)

    def _resume(self, job: str, number: int, flow: str, value: Any, approver: str | None, approved: bool) -> Response:
        if not self.store.add_resume(job, number, flow, value, approver, approved):
            raise Rejected("Error: resume request already sent", 400)
        self.engine.runtime.wake(flow)
        return PlainTextResponse("", 201)

    def get_state(self, request: Request) -> Any:
        return self.store.state(self._row(request)["root"], request.path_params["key"])

    def set_state(self, request: Request) -> Response:
        self.store.set_state(self._row(request)["root"], request.path_params["key"], request.state.body)
        return PlainTextResponse("")

    def set_progress(self, request: Request) -> Response:
        percent = _mapping(request).get("percent")
        if isinstance(percent, bool) or not isinstance(percent, int) or not 0 <= percent <= 100:
            raise Rejected("Bad request: percent must be a number from 0 to 100", 400)
        self.store.update_job(self._row(request)["id"], progress=percent)
        return PlainTextResponse("")

    # Variables and resources

    def list_variables(self, request: Request) -> list[Row]:
        listed = self._items("variable", self.store.variables(), self.variables.variable_item)
        return [_hide_secret(item) for item in _page(request, listed)]

    def _items(self, kind: str, local: Iterable[Row], read: Callable[[str], Row | None]) -> list[Row]:
        """Those of the bundle that can be read, and those that were set on this machine, by path."""
        found = {item["path"]: item for item in self.engine.bundle.readable(kind, read)}
        found |= {row["path"]: item for row in local if (item := read(row["path"]))}
        return [found[path] for path in sorted(found)]

    def get_variable(self, request: Request) -> Row:
        item = self.variables.variable_item(_path(request))
        if item is None:
            raise Rejected(f"Not found: Variable {_path(request)} not found", 404)
        decrypt = request.query_params.get("decrypt_secret", "true").lower() != "false"
        return item if decrypt else _hide_secret(item)

    def has_variable(self, request: Request) -> bool:
        return self.variables.variable_item(_path(request)) is not None

    def create_variable(self, request: Request) -> Response:
        body = _mapping(request)
        if self.variables.variable_item(body["path"]):
            raise Rejected(f"Bad request: Variable {body['path']} already exists", 400)
        self._keep_variable(body["path"], body, {})
        return PlainTextResponse(f"variable {body['path']} created", 201)

    def update_variable(self, request: Request) -> Response:
        before = self.variables.variable_item(_path(request))
        if before is None:
            raise Rejected(f"Not found: Variable {_path(request)} not found", 404)
        self._keep_variable(_path(request), _mapping(request), before)
        return PlainTextResponse(f"variable {_path(request)} updated")

    def _keep_variable(self, path: str, body: Row, before: Row) -> None:
        value = body.get("value", before.get("value", ""))
        is_secret = body.get("is_secret", before.get("is_secret", False))
        self.store.set_variable(path, str(value), bool(is_secret), body.get("description", before.get("description")))

    def delete_variable(self, request: Request) -> Response:
        if not self.store.delete_variable(_path(request)):
            raise Rejected(f"Not found: no local variable {_path(request)}; a file of the bundle is not deleted", 404)
        return PlainTextResponse(f"variable {_path(request)} deleted")

    def _resource(self, path: str) -> Row:
        item = self.variables.resource_item(path)
        if item is None:
            raise Rejected(f"Not found: Resource {path} not found", 404)
        return item

    def has_resource(self, request: Request) -> bool:
        return self.variables.resource_item(_path(request)) is not None

    def interpolate_resource(self, request: Request) -> Any:
        return self.variables.resource(_path(request))

    def list_resources(self, request: Request) -> list[Row]:
        wanted = request.query_params.get("resource_type")
        items = self._items("resource", self.store.resources(), self.variables.resource_item)
        return [item for item in items if not wanted or item["resource_type"] in wanted.split(",")]

    def create_resource(self, request: Request) -> Response:
        body = _mapping(request)
        update = request.query_params.get("update_if_exists", "").lower() == "true"
        columns = body["path"], body.get("value"), body.get("resource_type"), body.get("description")
        if update:
            self.store.set_resource(*columns)
        elif self.variables.resource_item(body["path"]) or not self.store.add_resource(*columns):
            raise Rejected(f"Bad request: Resource {body['path']} already exists", 400)
        return PlainTextResponse(f"resource {body['path']} created", 201)

    def update_resource(self, request: Request) -> Response:
        before, body = self._resource(_path(request)), _mapping(request)
        self.store.set_resource(
            _path(request),
            body.get("value", before["value"]),
            before["resource_type"],
            body.get("description", before["description"]),
        )
        return PlainTextResponse(f"resource {_path(request)} updated")

    def update_resource_value(self, request: Request) -> Response:
        before, body = self._resource(_path(request)), _mapping(request)
        value = body.get("value")
        self.store.set_resource(_path(request), value, before["resource_type"], before["description"])
        return PlainTextResponse(f"value of resource {_path(request)} updated")

    def delete_resource(self, request: Request) -> Response:
        if not self.store.delete_resource(_path(request)):
            raise Rejected(f"Not found: no local resource {_path(request)}; a file of the bundle is not deleted", 404)
        return PlainTextResponse(f"resource {_path(request)} deleted")

    # Scripts and flows

    def _script_json(self, path: str) -> Row:
        script = self.engine.bundle.script(path)
        if script is None:
            raise UnknownPath(f"script not found at name {path}")
        return self._shown_script(script)

    @staticmethod
    def _shown_script(script: Script) -> Row:
        return {
            "path": script.path,
            "hash": script.hash,
            "content": script.content,
            "language": script.language,
            "lock": script.lock,
            "has_preprocessor": bool(script.meta.get("has_preprocessor")),
            **{key: script.meta.get(key) for key in ("summary", "description", "schema", "kind", "tag")},
        }

    def _flow_json(self, path: str) -> Row:
        flow = self.engine.bundle.flow(path)
        if flow is None:
            raise UnknownPath(f"flow not found at name {path}")
        return self._shown_flow(flow)

    @staticmethod
    def _shown_flow(flow: Flow) -> Row:
        return {
            "path": flow.path,
            "value": flow.value,
            **{key: flow.meta.get(key) for key in ("summary", "description", "schema")},
        }

    def list_flows(self, request: Request) -> list[Row]:
        return [self._shown_flow(flow) for flow in _page(request, list(self.engine.bundle.flows()))]

    def served_tags(self, request: Request) -> dict[str, bool]:
        """The one worker of the engine runs every job, whatever its tag."""
        return {tag: True for tag in request.query_params.get("tags", "").split(",") if tag}

    def list_scripts(self, request: Request) -> list[Row]:
        return [self._shown_script(script) for script in _page(request, list(self.engine.bundle.scripts()))]

    def script_exists(self, request: Request) -> bool:
        return self.engine.bundle.script(_path(request)) is not None

    def raw_script(self, request: Request) -> Response:
        path = _path(request).removesuffix(".py")
        source = self.engine.bundle.source(path)
        if source is not None:
            return PlainTextResponse(source)
        if (self.engine.bundle.root / path).is_dir() and ".." not in path:
            return PlainTextResponse("WINDMILL_IS_FOLDER")
        raise UnknownPath(f"script not found at name {path}")


def _instant(text: str) -> float:
    return datetime.fromisoformat(text.replace(" ", "+")).timestamp()


# Query parameters of the lists, each with its condition.
FILTERS: list[tuple[str, str, Callable[[str], Any]]] = [
    ("script_path_start", "path LIKE ? || '%'", str),
    ("parent_job", "parent = ?", str),
    ("root_job", "root = ?", str),
    ("created_after", "created > ?", _instant),
    ("created_before", "created < ?", _instant),
    ("started_after", "started > ?", _instant),
    ("started_before", "started < ?", _instant),
    ("created_or_started_after", "COALESCE(started, created) > ?", _instant),
    ("created_or_started_before", "COALESCE(started, created) < ?", _instant),
    ("completed_after", "finished >= ?", _instant),
    ("completed_before", "finished <= ?", _instant),
    ("id", "id = ?", str),
]
# Parameters that hold several values, with a comma between them.
LISTS = {
    "label": "EXISTS (SELECT 1 FROM json_each(jobs.labels) WHERE value IN ({}))",
    "job_kinds": "kind IN ({})",
    "script_path_exact": "path IN ({})",
}
# Parameters that are true or false: the condition for each of the two.
CHOICES = {
    "running": ("status NOT IN ('running', 'suspended')", "status IN ('running', 'suspended')"),
    "success": ("status IN ('failure', 'canceled')", "status IN ('success', 'skipped')"),
    "suspended": ("status <> 'suspended'", "status = 'suspended'"),
    "has_null_parent": ("1", "parent IS NULL"),
    "is_flow_step": ("step_id IS NULL", "step_id IS NOT NULL"),
    "is_skipped": ("status <> 'skipped'", "status = 'skipped'"),
}


def job_json(row: Row, whole: bool = False) -> Row:
    """A job as Windmill shows it; the arguments, the result and the definition only when one job is asked for."""
    completed = row["status"] in DONE
    shown: Row = {
        "type": "CompletedJob" if completed else "QueuedJob",
        "id": row["id"],
        "workspace_id": "local",
        "job_kind": row["kind"],
        "script_path": row["path"],
        "parent_job": row["parent"],
        "root_job": row["root"],
        "flow_step_id": row["step_id"],
        "is_flow_step": row["step_id"] is not None,
        "created_by": "local",
        "created_at": _time(row["created"]),
        "scheduled_for": _time(row["scheduled"] or row["created"]),
        "started_at": _time(row["started"]),
        "labels": row["labels"],
        "flow_status": row["flow_status"],
        "canceled": row["status"] == "canceled",
        "canceled_by": row["canceled_by"],
        "canceled_reason": row["canceled_reason"],
        "tag": "flow" if "flow" in row["kind"] else "python3",
        "running": row["status"] in ("running", "suspended"),
        "suspend": int(row["status"] == "suspended"),
    }
    if completed:
        started = row["started"] or row["created"]
        shown |= {
            "success": row["status"] in ("success", "skipped"),
            "is_skipped": row["status"] == "skipped",
            "duration_ms": int(1000 * (row["finished"] - started)),
            "completed_at": _time(row["finished"]),
        }
    if whole:
        shown |= {"args": row["args"], "raw_flow": row["definition"]}
        shown |= {"result": row["result"]} if completed else {}
    return shown


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _waiting_for(row: Row) -> str | None:
    """The job whose approval the flow waits for."""
    state = row["flow_status"] or {}
    modules = state.get("modules") or []
    step = state.get("step", 0)
    if row["status"] == "suspended" and step < len(modules) and modules[step]["type"] == "WaitingForEvents":
        return str(modules[step]["job"])
    return None


def _hide_secret(item: Row) -> Row:
    return item | {"value": None} if item["is_secret"] else item


def _page(request: Request, items: list[T]) -> list[T]:
    """The page that is asked for; all of them without `per_page`."""
    size = max(int(request.query_params.get("per_page", len(items) or 1)), 1)
    first = (max(int(request.query_params.get("page", 1)), 1) - 1) * size
    return items[first : first + size]


def _job_id(request: Request) -> str:
    """The id that the caller wants the job to have; "" for one of our own."""
    given = request.query_params.get("job_id", "")
    try:
        return str(uuid.UUID(given)) if given else ""
    except ValueError as error:
        raise Rejected(f"Failed to deserialize query string: job_id: UUID parsing failed: {error}", 400) from None


def _webhook_args(request: Request, has_preprocessor: bool) -> tuple[Any, bool]:
    """What a request by path gives a runnable, and whether its preprocessor is to make the arguments of it."""
    body = request.state.body or {}
    if not has_preprocessor or request.query_params.get("skip_preprocessor", "").lower() == "true":
        return body, False
    return {"event": {"kind": "webhook", "raw_string": None, **body_and_headers(request, body)}}, True


def _path(request: Request) -> str:
    return str(request.path_params["path"])


def _mapping(request: Request) -> Row:
    if not isinstance(request.state.body, dict):
        raise Rejected("Bad request: the body must be a JSON object", 400)
    return request.state.body
