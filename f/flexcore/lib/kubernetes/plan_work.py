# requirements: flexcore_kubernetes
"""The plan of a Job or a deployment on one cluster: what would be made, and whether it would likely run. Changes
nothing: every write is a dry run.

snapshot (rights, quotas, nodes, pods, APIs)                ┐
prepare (what is there) ─→ dry run of each object           ├─→ findings ─→ "likely" or "will not"
template                ─→ dry run of its first pod         ┘
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
class Prepared:
    """What is to be tried, the object with the pods first, once it is known what is there."""

    wanted: Sequence[plan_objects.Wanted]
    reasons: Sequence[plan_reasons.Reason] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """What an operation would write. template: of its pods; labels: of the object that has them; copies: pods at a
    time; hours: the longest time, None for what stays; prepare(reader): looks at what is there."""

    operation: Literal["job", "deploy"]
    name: str
    template: Object
    labels: Mapping[str, str]
    copies: int
    prices: dict[str, float | None]
    prepare: Callable[[plan_reads.Reader], Prepared]
    hours: float | None = None
    notes: Sequence[str] = ()

    def draft_pod(self, namespace: str) -> Object:
        """The pod as it is written."""
        metadata = {**(self.template.get("metadata") or {}), "namespace": namespace}
        return {"metadata": metadata, "spec": self.template["spec"]}


@dataclass(frozen=True, slots=True)
class Answers:
    """What the cluster says to a work. pod: the first one, as it would be; gateways: None where they may not be
    seen."""

    snapshot: plan_reads.Snapshot
    prepared: Prepared
    tried: Sequence[plan_objects.Tried]
    pod: Object
    shape: plan_nodes.Shape
    checks: Sequence[plan_nodes.Check]
    reasons: Sequence[plan_reasons.Reason]
    queue: dict[str, Any] | None
    gateways: list[Object] | None
    unseen: Sequence[str]


def plan(kubernetes: client.Kubernetes, namespace: str, work: Work, key: identity.ExecutionKey) -> contracts.StepResult:
    """Raises Unreachable, Forbidden (naming the missing rights) or NotFound (namespace)."""
    with plan_reads.Reader(kubernetes, namespace) as reader:
        answers = _ask(reader, work, list(key.labels(1)))
    snapshot, now = answers.snapshot, kubernetes.now()
    leases = snapshot.lists["leases"]
    tools = plan_tools.describe_tools(snapshot.apis, leases, answers.gateways, now)
    demand = plan_findings.Demand(work.copies, _count_added(work.copies, answers.tried), work.operation == "deploy")
    autoscaler = plan_tools.find_autoscaler(tools, leases, now)
    findings = plan_findings.find(snapshot, answers.tried, answers.shape, demand, answers.checks, autoscaler)
    findings.add_first(answers.reasons)
    changes = plan_admission.describe_changes(work.template, answers.pod, snapshot.items("limits"))
    findings.notes[:0] = [*work.notes, *answers.prepared.notes, *changes]
    report = plan_report.Report(
        snapshot, answers.tried, answers.shape, work.copies, findings, tools, answers.queue, answers.unseen
    )
    return plan_report.make_result(report, work.operation, work.prices, work.hours, key, kubernetes.redactor)


def _ask(reader: plan_reads.Reader, work: Work, run_labels: Sequence[str]) -> Answers:
    version = reader.read_version()
    draft = work.draft_pod(reader.namespace)
    # The longest chain of questions first.
    preparing = reader.submit(partial(work.prepare, reader))
    finish = reader.begin_snapshot(version, work.operation)
    volumes = reader.submit(partial(plan_volumes.find_places, reader, draft))
    devices = reader.submit(partial(plan_volumes.find_devices, reader, draft))
    # What is wrong with the credentials or the namespace is told before what they hinder.
    snapshot = finish()
    prepared = preparing.result()
    trial = plan_objects.Trial(reader.kubernetes, reader.namespace, run_labels)
    tries = [reader.submit(partial(trial.try_object, item)) for item in prepared.wanted]
    queue = reader.submit(partial(_check_queue, reader, snapshot, work))
    gateways = reader.submit(partial(_list_gateways, reader, snapshot))
    pod, refusals = _try_pod(trial, work, snapshot, prepared.wanted)
    tried = plan_objects.explain_missing_kinds([item.result() for item in tries], snapshot.apis)
    places, checks, queued = volumes.result(), devices.result(), queue.result()
    reasons = [*prepared.reasons, *_list_refusals(tried), *refusals, *places[1], *checks[1], *queued[1]]
    shape = plan_nodes.make_shape(pod, places[0], plan_admission.read_architectures(pod))
    unseen = [*snapshot.unseen, *trial.unseen]
    return Answers(snapshot, prepared, tried, pod, shape, checks[0], reasons, queued[0], gateways.result(), unseen)


def _try_pod(
    trial: plan_objects.Trial, work: Work, snapshot: plan_reads.Snapshot, wanted: Sequence[plan_objects.Wanted]
) -> tuple[Object, list[plan_reasons.Reason]]:
    """The first pod as the cluster would make it, or as it is worked out here where the cluster refuses it."""
    body = plan_objects.make_pod(work.template, trial.namespace, work.name, wanted)
    tried = trial.try_object(plan_objects.Wanted(f"/api/v1/namespaces/{trial.namespace}/pods", "pods", body))
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


def _count_added(copies: int, tried: Sequence[plan_objects.Tried]) -> int:
    """Pods that come beside those that are there: all of a new object; of an update, one more at a time and what the
    number grows by."""
    main = tried[0] if tried else None
    if main is None or main.wanted.stored is None:
        return copies
    before = int((main.wanted.stored.get("spec") or {}).get("replicas") or 0)
    return max(copies - before, 0) + (1 if main.changes else 0)


def _check_queue(
    reader: plan_reads.Reader, snapshot: plan_reads.Snapshot, work: Work
) -> tuple[dict[str, Any] | None, list[plan_reasons.Reason]]:
    api = snapshot.apis.get(plan_queue.GROUP)
    demand = plan_pod.add({}, plan_pod.sum_requests(work.draft_pod(reader.namespace)), work.copies)
    return plan_queue.check_queue(reader, api.versions[0] if api else "", work.labels, demand)


def _list_gateways(reader: plan_reads.Reader, snapshot: plan_reads.Snapshot) -> list[Object] | None:
    group = plan_tools.TOOLS["gateway_api"].group
    api = snapshot.apis.get(group)
    if api is None:
        return None
    path = f"/apis/{group}/{api.versions[0]}/gatewayclasses"
    return reader.list_visible(plan_reads.Collection(path, f"gatewayclasses.{group}"))
