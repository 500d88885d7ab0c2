# requirements: flexcore_api
"""The routes of the HTTP API, each with the function that answers it.

What only one route needs is imported when that route is called: each call is a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from f.flexcore.lib.api import executions, http
from f.flexcore.lib.core import errors, redaction
from f.flexcore.lib.windmill import client, execution_models, live_runtimes, worker_tags
from f.flexcore.lib.windmill import executions as windmill_executions

# (settings, function that reads the resource at a path, name of the worker) → the health of each runtime.
CheckAll = Callable[[Any, Callable[[str], Any], str], list[Any]]


def handle_get(request: http.Request) -> http.Response:
    return _dispatch(GET, request)


def handle_post(request: http.Request) -> http.Response:
    return _dispatch(POST, request)


def list_executions(request: http.Request) -> http.Response:
    http.check_names(request.query, execution_models.ListQuery.model_fields, "Query parameter")
    query = errors.validate(execution_models.ListQuery, request.query, "")
    if query.runtime is not None:
        from f.flexcore.lib import runtimes

        runtimes.get_runtime(query.runtime)
    jobs, cursor = windmill_executions.list_executions(client.Client(request.token), query)
    page = [execution_models.execution_from_job(job).plain() for job in jobs]
    return http.Response({"executions": page, "next_cursor": cursor})


def get_execution(request: http.Request) -> http.Response:
    from f.flexcore.lib.windmill import trace_links

    http.check_names(request.query, (), "Query parameter")
    windmill = client.Client(request.token)
    job = windmill_executions.read_execution(windmill, request.params.get("id", ""))
    failed = windmill_executions.read_failed_step_job(windmill, job)
    detail = execution_models.detail_from_job(live_runtimes.complete_job(windmill, job), failed)
    links = trace_links.read_trace_links(windmill)
    if links and (trace := links.find(detail.id, (job.get("result"), (failed or {}).get("result")))):
        detail = detail.model_copy(update={"trace_id": trace.trace_id, "trace_url": trace.page or None})
    return http.Response(detail.plain())


def read_logs(request: http.Request) -> http.Response:
    http.check_names(request.query, execution_models.LogQuery.model_fields, "Query parameter")
    lines = errors.validate(execution_models.LogQuery, request.query, "").tail
    windmill = client.Client(request.token)
    job = windmill_executions.read_execution(windmill, request.params.get("id", ""))
    log = windmill.text(f"jobs_u/get_flow_all_logs/{job['id']}").splitlines()[-lines:]
    return http.Response(redaction.Redactor().text("\n".join(log)), content_type=http.TEXT)


def list_workflows(request: http.Request) -> http.Response:
    http.check_names(request.query, (), "Query parameter")
    return http.Response({"workflows": executions.list_workflows(client.Client(request.token))})


def read_metrics(request: http.Request) -> http.Response:
    from f.flexcore.lib.api import metrics

    http.check_names(request.query, (), "Query parameter")
    snapshot = metrics.read_snapshot(client.Client(request.token), datetime.now(UTC))
    if metrics.OPENMETRICS in request.accept:
        return http.Response(metrics.openmetrics_text(snapshot), content_type=metrics.OPENMETRICS_CONTENT_TYPE)
    return http.Response(metrics.exposition_text(snapshot), content_type=metrics.CONTENT_TYPE)


def list_runtimes(request: http.Request, check_all: CheckAll) -> http.Response:
    """Asks the clusters, so it needs more packages than the other routes: its script is one of its own, which knows the
    health checks."""
    from f.flexcore.lib.core import resources

    http.check_names(request.query, (), "Query parameter")
    windmill = client.Client(request.token)
    settings = errors.validate(resources.Settings, windmill.find_resource(client.SETTINGS) or {}, client.SETTINGS)
    worker = os.environ.get("WM_WORKER_GROUP") or "this worker"
    health = check_all(settings, windmill.resource, worker)
    redactor = redaction.Redactor(settings.secrets())
    return http.Response({"runtimes": [redactor.data(asdict(item)) for item in health]})


def start_execution(request: http.Request) -> http.Response:
    http.check_names(request.query, (), "Query parameter")
    windmill = client.Client(request.token)
    job, repeated = executions.start_execution(windmill, request)
    headers = {"Location": f"/api/r/{quote(windmill.workspace)}/flexcore/executions/{job['id']}"}
    replayed = {"Idempotency-Replayed": "true"} if repeated else {}
    # Asked after the start: it never stands in its way.
    warnings = worker_tags.warn_of_unserved_tags(windmill, str(job["script_path"]))
    body = execution_models.started_from_job(job, warnings).plain()
    return http.Response(body, 200 if repeated else 201, headers | replayed)


def cancel_execution(request: http.Request) -> http.Response:
    http.check_names(request.query, (), "Query parameter")
    job = executions.cancel_execution(client.Client(request.token), request)
    return http.Response(execution_models.execution_from_job(job).plain(), 202)


Routes = Mapping[str, Callable[[http.Request], http.Response]]
GET: Routes = {
    "flexcore/executions": list_executions,
    "flexcore/executions/:id": get_execution,
    "flexcore/executions/:id/logs": read_logs,
    "flexcore/workflows": list_workflows,
    "flexcore/metrics": read_metrics,
}
POST: Routes = {
    "flexcore/executions": start_execution,
    "flexcore/executions/:id/cancel": cancel_execution,
}


def _dispatch(routes: Routes, request: http.Request) -> http.Response:
    if handle := routes.get(request.route):
        return handle(request)
    raise errors.NotFound(
        f"route: {request.route!r} is not a route of this script",
        subject="route",
        remedy=f"Give one of: {', '.join(routes)}.",
    )
