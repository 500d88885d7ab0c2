# requirements: flexcore_kubernetes
"""The plan of a Job: what kubernetes/run_job would make of a request."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from f.flexcore.lib.core import contracts, operation, resources
from f.flexcore.lib.kubernetes import (
    connection,
    default_resources,
    job_manifest,
    plan_objects,
    plan_price,
    plan_work,
)

Object = dict[str, Any]
Invocation = operation.Invocation[job_manifest.JobRequest, resources.KubernetesCluster]

SECONDS_PER_HOUR = 3600


def plan(invocation: Invocation) -> contracts.StepResult:
    """Raises Unreachable, Forbidden (naming the missing rights) or NotFound (namespace)."""
    request = invocation.request
    session = connection.open_session(invocation, job_manifest.secret_values(request))
    built = job_manifest.build(request, invocation.key.name(1), session.namespace)
    deadline = (session.kubernetes.now() + timedelta(seconds=request.time_limit_s)).isoformat()
    body = job_manifest.make_job_body(
        request, invocation.key, 1, session.namespace, invocation.call, deadline, invocation.is_deferred
    )
    body = default_resources.settle(session.kubernetes, session.namespace, body)
    work = plan_work.Work(
        operation="job",
        name=body["metadata"]["name"],
        template=body["spec"]["template"],
        labels=body["metadata"].get("labels") or {},
        prepare=lambda reader: plan_work.Prepared(_list_wanted(request, body, session.namespace)),
        copies=count_pods(body["spec"]),
        prices=plan_price.read_prices(invocation.service, invocation.settings),
        hours=request.time_limit_s / SECONDS_PER_HOUR,
        notes=built.notes,
    )
    return plan_work.plan(session.kubernetes, session.namespace, work, invocation.key)


def _list_wanted(request: job_manifest.JobRequest, body: Object, namespace: str) -> list[plan_objects.Wanted]:
    wanted = [plan_objects.Wanted(f"/apis/batch/v1/namespaces/{namespace}/jobs", "jobs.batch", body)]
    owner = {**body, "metadata": {**body["metadata"], "uid": plan_objects.NO_UID}}
    for item in job_manifest.companion_objects(request, owner):
        plural = f"{item['kind'].lower()}s"
        wanted.append(plan_objects.Wanted(f"/api/v1/namespaces/{namespace}/{plural}", plural, item))
    return wanted


def count_pods(spec: Mapping[str, Any]) -> int:
    """Pods that a Job has at a time."""
    parallelism, completions = spec.get("parallelism"), spec.get("completions")
    most = 1 if parallelism is None else int(parallelism)
    return most if completions is None else min(most, int(completions))
