# requirements: flexcore_api
"""Windmill's REST API for one workspace: JSON in, JSON or a typed error out. The local engine answers the same.

By the standard library: `wmill` and the HTTP client below it take a quarter of a second to import, which is more than
most steps spend on their work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from itertools import count, islice
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener
from uuid import UUID

from f.flexcore.lib.core import errors

Job = dict[str, Any]
# An answer takes some milliseconds; a list of many jobs some hundred.
REQUEST_TIMEOUT_S = 30
# Windmill answers each request for a job within some milliseconds.
MAX_PARALLEL_REQUESTS = 8
FINISHED_PAGE_SIZE = 100
QUEUE_PAGE_SIZE = 1000
# A queue that is longer is not read to its end.
MAX_QUEUE_PAGES = 10
# Where a workspace keeps the settings of this bundle.
SETTINGS = "f/flexcore/settings"
# Jobs of the dashboard itself carry it, so that nothing of ours counts them.
DASHBOARD_LABEL = "dashboard"


class Client:
    """One workspace, with the rights of one token; by default those of the job that this process runs.

    Every call raises NotFound, Forbidden, InvalidInput, Unavailable or Unreachable, as Windmill answers.
    """

    def __init__(self, token: str | None = None, *, workspace: str = "", url: str = "") -> None:
        self.workspace = workspace or _setting("WM_WORKSPACE")
        self._server = f"{url or _setting('BASE_INTERNAL_URL')}/api"
        self._base = f"{self._server}/w/{quote(self.workspace)}"
        self._headers = {
            # An empty token of a caller is none; it must not turn into the token of this job.
            "Authorization": f"Bearer {_setting('WM_TOKEN') if token is None else token}",
            "Content-Type": "application/json",
        }
        # The server is beside the worker; a proxy is for what is outside.
        self._opener = build_opener(ProxyHandler({}))

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at `path` below the workspace."""
        return self._read_json(path, self._call("GET", path, query))

    def served_tags(self, tags: Iterable[str]) -> dict[str, bool]:
        """Whether a worker of the server, of any workspace, listens to each tag."""
        path = "workers/exists_workers_with_tags"
        return dict(self._read_json(path, self._send("GET", f"{self._server}/{path}", path, {"tags": ",".join(tags)})))

    def _read_json(self, path: str, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise errors.Unreachable(
                f"The answer to {path} is not JSON",
                subject="windmill",
                remedy="Check that the address is Windmill's own, and not that of a proxy or a login page.",
            ) from None

    def text(self, path: str) -> str:
        return self._call("GET", path, {})

    def post(self, path: str, body: Any, **query: Any) -> str:
        """The text of the answer."""
        return self._call("POST", path, query, json.dumps(body).encode())

    def delete(self, path: str) -> str:
        return self._call("DELETE", path, {})

    def server_version(self) -> tuple[str, str]:
        """(version, time) as the server says them: `CE v1.743.0` or `flexcore engine, API of v1.743.0`; its clock as in
        HTTP's header Date, "" without one."""
        with self._reaching("version"):
            url = f"{self._server}/version"
            with self._opener.open(Request(url, headers=self._headers), timeout=REQUEST_TIMEOUT_S) as answer:
                return str(answer.read().decode()), str(answer.headers.get("Date") or "")

    def user(self) -> dict[str, Any]:
        """Who the token is of: username, is_admin, operator, folders that may be written to."""
        return dict(self.get("users/whoami"))

    def pages(self, path: str, per_page: int, max_pages: int | None = None, **query: Any) -> Iterator[Any]:
        """The items of a list, read page by page as they are asked for."""
        for page in count(1) if max_pages is None else range(1, max_pages + 1):
            items = self.get(path, per_page=per_page, page=page, **query)
            yield from items
            if len(items) < per_page:
                return

    def job(self, id: str) -> Job:
        """A job with its flow_status and, once it has ended, its result, without the page that people see."""
        try:
            job = dict(self.get(f"jobs_u/get/{id}", no_logs="true", no_code="true"))
        except errors.NotFound:
            remedy = "Check the id; only a job of this workspace that you may see is shown."
            raise errors.NotFound(f"There is no job {id}", subject="id", remedy=remedy) from None
        return {**job, "result": _drop_page(job["result"])} if "result" in job else job

    def jobs(self, ids: Iterable[str]) -> dict[str, Job]:
        """Those of the jobs that can be read, by id."""
        return self.known_jobs(ids)[0]

    def known_jobs(self, ids: Iterable[str]) -> tuple[dict[str, Job], set[str]]:
        """Those of the jobs that can be read, by id, and the ids of those that Windmill has not, or does not show. One
        that it cannot answer for now is in neither."""
        with ThreadPoolExecutor(MAX_PARALLEL_REQUESTS) as pool:
            found = list(pool.map(self._job_or_error, wanted := list(dict.fromkeys(ids))))
        jobs = {str(job["id"]): job for job in found if not isinstance(job, errors.FlexcoreError)}
        absent = (errors.NotFound, errors.Forbidden)
        return jobs, {id for id, job in zip(wanted, found, strict=True) if isinstance(job, absent)}

    def finished_jobs(self, limit: int, **query: Any) -> Iterator[Job]:
        """The newest `limit` finished jobs that match the query, without their results.

        Windmill's list of all jobs, finished or not, has one page only, whatever page is asked for.
        """
        return islice(self.pages("jobs/completed/list", FINISHED_PAGE_SIZE, **query), limit)

    def queued_jobs(self, **query: Any) -> dict[str, Job]:
        """Every job that waits, runs or is suspended, by id, as far as the queue is read."""
        jobs = self.pages("jobs/queue/list", QUEUE_PAGE_SIZE, MAX_QUEUE_PAGES, **query)
        return {str(job["id"]): job for job in jobs}

    def step_result(self, flow_job: str, step: str) -> Any:
        """The result of one step of a run of a flow, without its page."""
        return _drop_page(self.get(f"jobs/result_by_id/{flow_job}/{step}"))

    def run_flow(self, path: str, arguments: dict[str, Any], job_id: str) -> None:
        """Starts a run, which the end of this job does not touch. job_id: the id that it is to have, by which a run is
        found whose start was taken and the answer lost."""
        try:
            self.post(f"jobs/run/f/{path}", arguments, job_id=job_id)
        except (errors.Unavailable, errors.Unreachable) as error:
            # A proxy may say that it cannot now when Windmill has taken the request.
            if not self.jobs([job_id]):
                raise _lost_start(path, job_id, error) from None

    def resume_flow(self, flow_job: str, payload: dict[str, Any]) -> None:
        """Resumes a suspended run; Windmill refuses what comes too early or twice."""
        self.post(f"jobs/flow/resume/{flow_job}", payload)

    def resource(self, path: str) -> Any:
        """The value of a resource, its references resolved. path: with or without `$res:`."""
        name = path.removeprefix("$res:")
        try:
            return self.get(f"resources/get_value_interpolated/{name}")
        except errors.NotFound:
            raise errors.NotFound(
                f"The resource {name} does not exist, or you may not read it",
                subject=name,
                remedy="Correct its path, or ask its owner for the right to read it.",
            ) from None

    def resource_type(self, path: str) -> str:
        """The name of the type of a resource. path: with or without `$res:`."""
        return str(self.get(f"resources/get/{path.removeprefix('$res:')}").get("resource_type") or "")

    def find_resource(self, path: str) -> Any | None:
        """The value of a resource; None when there is none."""
        try:
            return self.resource(path)
        except errors.NotFound:
            return None

    def variable(self, path: str) -> str:
        """The value of a variable. path: with or without `$var:`."""
        name = path.removeprefix("$var:")
        try:
            return str(self.get(f"variables/get_value/{name}"))
        except errors.NotFound:
            raise errors.NotFound(
                f"The variable {name} does not exist, or you may not read it",
                subject=name,
                remedy="Correct its path, or ask its owner for the right to read it.",
            ) from None

    def arguments(self, id: str) -> dict[str, Any]:
        """The arguments of a job as its worker gets them: Windmill keeps them with their references."""
        given = self.job(id).get("args")
        return {name: self._resolve(value) for name, value in given.items()} if isinstance(given, dict) else {}

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._resolve(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._resolve(item) for item in value]
        if not isinstance(value, str):
            return value
        if value.startswith("$res:"):
            return self.resource(value)
        return self.variable(value) if value.startswith("$var:") else value

    def _job_or_error(self, id: str) -> Job | errors.FlexcoreError:
        try:
            return self.job(id)
        except errors.FlexcoreError as error:
            return error

    def _call(self, method: str, path: str, query: dict[str, Any], body: bytes | None = None) -> str:
        return self._send(method, f"{self._base}/{quote(path)}", path, query, body)

    def _send(self, method: str, url: str, path: str, query: dict[str, Any], body: bytes | None = None) -> str:
        with self._reaching(path):
            request = Request(f"{url}?{urlencode(query)}", body, self._headers, method=method)
            with self._opener.open(request, timeout=REQUEST_TIMEOUT_S) as answer:
                return str(answer.read().decode())

    @staticmethod
    @contextmanager
    def _reaching(path: str) -> Iterator[None]:
        try:
            yield
        except HTTPError as error:
            error.close()
            raise _refusal(path, error.code) from None
        except (OSError, HTTPException) as error:
            raise _unreachable(error) from None


def _drop_page(result: Any) -> Any:
    # Most results that a step reads have no page, and each import costs every run.
    if not isinstance(result, dict) or "wm_renderer" not in result:
        return result
    from f.flexcore.lib.core import result_page

    return result_page.drop_page(result)


def parse_job_id(text: str, field: str) -> str:
    """The id of a job in its usual form. Raises InvalidInput."""
    try:
        return str(UUID(text.strip()))
    except (AttributeError, ValueError):
        raise errors.InvalidInput(
            f"{field}: {text!r} is not the id of a run", subject=field, remedy="Copy it from the run's page."
        ) from None


def _setting(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise errors.MissingSetting(
        f"{name} is not set", subject=name, remedy="Run this as a Windmill job, or set it as a worker does."
    )


def _unreachable(error: Exception) -> errors.Unreachable:
    # Only who gets no answer pays for these patterns.
    from f.flexcore.lib.core import tls_errors

    remedy = tls_errors.tls_remedy(tls_errors.error_chain(error)) or "Try again."
    return errors.Unreachable(f"Windmill does not answer: {type(error).__name__}", subject="windmill", remedy=remedy)


def _lost_start(path: str, job_id: str, error: errors.TransientError) -> errors.TransientError:
    remedy = f"Look for run {job_id} before you try again."
    if isinstance(error, errors.Unreachable):
        return errors.Unreachable(f"Windmill did not answer the start of {path}", subject="windmill", remedy=remedy)
    return errors.Unavailable(str(error).removesuffix(error.remedy), subject="windmill", remedy=remedy)


def _refusal(path: str, status: int) -> errors.FlexcoreError:
    """The error for an answer of that status. The answer's text is left out: it may quote what was sent."""
    if status == 404:
        return errors.NotFound(
            f"Windmill has no {path}", subject="windmill", remedy="Check the path or id, and that you may see it."
        )
    if status in (401, 403):
        return errors.Forbidden(
            f"Windmill refuses access to {path} (HTTP {status})",
            subject="windmill",
            remedy="Use a token, or run this as a user, that has the right.",
        )
    if status < 500:
        return errors.InvalidInput(
            f"Windmill refuses the request {path} (HTTP {status})",
            subject="windmill",
            remedy="Correct the request and try again.",
        )
    return errors.Unavailable(
        f"Windmill cannot answer {path} now (HTTP {status})", subject="windmill", remedy="Try again."
    )


def find_module(job: Job, id: str) -> Mapping[str, Any]:
    """A module of a flow's job by its id; empty when there is none."""
    modules = (job.get("flow_status") or {}).get("modules") or []
    return next((module for module in modules if module.get("id") == id), {})


def read_step_duration_s(windmill: Client, flow_job: str, step: str) -> float | None:
    """How long one step of a flow took, by Windmill's clock. flow_job: the flow's; None when it does not say."""
    try:
        job = find_module(windmill.job(flow_job), step).get("job")
        duration_ms = windmill.job(str(job)).get("duration_ms") if job else None
    except errors.FlexcoreError:
        return None
    return None if duration_ms is None else duration_ms / 1000
