# requirements: flexcore_kubernetes
"""The plan of a Job or a deployment on one cluster: what would be made, and whether it would likely run. Changes
nothing: every write is a dry run.

snapshot (rights, quotas, nodes, pods, APIs) ┐
what is there ─→ dry run of each object      ├─→ reasons ─→ "likely" or "will not"
              ─→ dry run of its first pod    ┘
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from f.flexcore.lib.core import contracts, errors, identity
from f.flexcore.lib.kubernetes import (
    plan_admission,
    plan_findings,
    plan_nodes,
    plan_objects,
    plan_pod,
    plan_queue,
    plan_reads,
    plan_reasons,
    plan_report,
    plan_tools,
    plan_volumes,
)
from f.flexcore.lib.kubernetes_api import client

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What an operation would write. wanted: the object with the pods' template first; copies: pods at a time; hours:
    the longest time, None for what stays; companions(main): objects that go with it, made from the main object."""

    operation: Literal["job", "deploy"]
    wanted: Sequence[plan_objects.Wanted]
    copies: int
    prices: dict[str, float | None]
    hours: float | None = None
    notes: Sequence[str] = ()
    refused: Sequence[plan_reasons.Reason] = field(default_factory=list)

    @property
    def template(self) -> Object:
        template: Object = self.wanted[0].body["spec"]["template"]
        return template

    @property
    def labels(self) -> Mapping[str, str]:
        labels: Mapping[str, str] = self.wanted[0].body["metadata"].get("labels") or {}
        return labels


def plan(kubernetes: client.Kubernetes, namespace: str, work: Work, key: identity.ExecutionKey) -> contracts.StepResult:
    """Raises Unreachable, Forbidden (naming the missing rights) or NotFound (namespace)."""
    with plan_reads.Reader(kubernetes, namespace) as reader:
        finish = reader.begin_snapshot(work.operation)
        trial = plan_objects.Trial(kubernetes, namespace)
        stored = [reader.submit(partial(trial.read, item)) if item.update else None for item in work.wanted]
        volumes = reader.submit(partial(plan_volumes.find_places, reader, _make_draft(work, namespace)))
        devices = reader.submit(partial(plan_volumes.find_devices, reader, _make_draft(work, namespace)))
        # What is wrong with the credentials or the namespace is told before what they hinder.
        snapshot = finish()
        tries = [
            reader.submit(partial(trial.try_object, item, before.result() if before else None))
            for item, before in zip(work.wanted, stored, strict=True)
        ]
        queue = reader.submit(partial(_check_queue, reader, snapshot, work, namespace))
        pod, refusal = _try_pod(trial, work, tries[0], namespace, snapshot)
        tried = plan_objects.explain_missing_kinds([item.result() for item in tries], snapshot.apis)
        places, checks, queued = volumes.result(), devices.result(), queue.result()
        gateways = _list_gateways(reader, snapshot)
    tools = plan_tools.describe_tools(snapshot.apis, snapshot.lists.get("leases"), gateways, kubernetes.now())
    shape = plan_nodes.make_shape(pod, places[0], plan_admission.read_architectures(pod))
    findings = plan_findings.find(
        snapshot,
        tried,
        shape,
        plan_findings.Demand(work.copies, _count_added(work.copies, tried[0]), work.operation == "deploy"),
        checks[0],
        plan_tools.find_autoscaler(tools, snapshot.lists.get("leases"), kubernetes.now()),
    )
    known = [*work.refused, *_list_refusals(tried), *refusal, *places[1], *checks[1], *queued[1]]
    findings.add_first(known)
    unseen = [*snapshot.unseen, *trial.unseen]
    template = (tried[0].result or work.wanted[0].body)["spec"]["template"]
    findings.notes[:0] = [*work.notes, *plan_admission.describe_changes(template, pod, snapshot.items("limits"))]
    report = plan_report.Report(snapshot, tried, shape, work.copies, findings, tools, queued[0], unseen)
    return plan_report.make_result(report, work.operation, work.prices, work.hours, key, kubernetes.redactor)


def _make_draft(work: Work, namespace: str) -> Object:
    """The pod as it is written."""
    return {
        "metadata": {"namespace": namespace, **(work.template.get("metadata") or {})},
        "spec": work.template["spec"],
    }


def _try_pod(
    trial: plan_objects.Trial,
    work: Work,
    main: Future[plan_objects.Tried],
    namespace: str,
    snapshot: plan_reads.Snapshot,
) -> tuple[Object, list[plan_reasons.Reason]]:
    """The first pod as the cluster would make it, or as it is worked out here where the cluster refuses it."""
    template = (main.result().result or work.wanted[0].body)["spec"]["template"]
    body = plan_objects.make_pod(template, namespace, work.wanted[0].name)
    wanted = plan_objects.Wanted(f"/api/v1/namespaces/{namespace}/pods", "pods", body)
    tried = trial.try_object(wanted, None)
    if tried.result is not None:
        return tried.result, []
    limits = snapshot.items("limits")
    worked_out = plan_admission.complete_pod(body, limits)
    if tried.reason and tried.reason.category == errors.Forbidden.category:
        trial.unseen.append("pods (dry run)")
        return worked_out, plan_admission.find_local_reasons(worked_out, limits)
    return worked_out, [tried.reason] if tried.reason else []


def _list_refusals(tried: Sequence[plan_objects.Tried]) -> list[plan_reasons.Reason]:
    return [item.reason for item in tried if item.reason]


def _count_added(copies: int, main: plan_objects.Tried) -> int:
    """Pods that come beside those that are there: all of a new object; of an update, one more at a time and what the
    number grows by."""
    if main.stored is None:
        return copies
    before = int((main.stored.get("spec") or {}).get("replicas") or 0)
    return max(copies - before, 0) + (1 if main.changes else 0)


def _check_queue(
    reader: plan_reads.Reader, snapshot: plan_reads.Snapshot, work: Work, namespace: str
) -> tuple[dict[str, Any] | None, list[plan_reasons.Reason]]:
    api = snapshot.apis.get(plan_queue.GROUP)
    demand = plan_pod.add({}, plan_pod.sum_requests(_make_draft(work, namespace)), work.copies)
    return plan_queue.check_queue(reader, api.versions[0] if api else "", work.labels, demand)


def _list_gateways(reader: plan_reads.Reader, snapshot: plan_reads.Snapshot) -> list[Object] | None:
    group = plan_tools.TOOLS["gateway_api"].group
    api = snapshot.apis.get(group)
    if api is None:
        return None
    path = f"/apis/{group}/{api.versions[0]}/gatewayclasses"
    return reader.list_visible(plan_reads.Collection(path, f"gatewayclasses.{group}"))
