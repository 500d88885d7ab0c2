# requirements: flexcore_kubernetes
"""Whether a Kueue queue would take a Job: its LocalQueue, ClusterQueue and priority class.

Kueue 0.17 says nothing of an unknown priority class: the Job stays suspended without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import plan_pod, plan_reads, plan_reasons
from f.flexcore.lib.kubernetes_api import categories

Object = Mapping[str, Any]

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
GROUP = "kueue.x-k8s.io"
QUEUE_FIELD = f"metadata.labels[{QUEUE_LABEL}]"


def check_queue(
    reader: plan_reads.Reader, version: str, labels: Mapping[str, str], demand: plan_pod.Amounts
) -> tuple[dict[str, Any] | None, list[plan_reasons.Reason]]:
    """What the queue says of itself, and why it would not take the Job. version: "" where Kueue is not there; demand:
    of all pods that run at a time."""
    name = labels.get(QUEUE_LABEL)
    if not name:
        return None, []
    if not version:
        return {"name": name, "served": False}, []
    root = f"/apis/{GROUP}/{version}"
    path = f"{root}/namespaces/{reader.namespace}/localqueues/{name}"
    queue = reader.get_visible(path, f"localqueues.{GROUP}", name)
    if isinstance(queue, errors.FlexcoreError):
        return {"name": name, "served": True}, []
    if queue is None:
        remedy = "Correct the queue's name (kubectl get localqueue), or create it."
        return {"name": name, "served": True}, [_refuse(f"There is no LocalQueue {name}", QUEUE_FIELD, remedy)]
    chosen = str((queue.get("spec") or {}).get("clusterQueue"))
    status = queue.get("status") or {}
    told = {
        "name": name,
        "served": True,
        "cluster_queue": chosen,
        "pending": status.get("pendingWorkloads"),
        "admitted": status.get("admittedWorkloads"),
    }
    return told, [
        *_check_priority(reader, root, labels.get(PRIORITY_LABEL)),
        *_check_cluster_queue(reader, root, chosen, demand),
    ]


def _check_priority(reader: plan_reads.Reader, root: str, name: str | None) -> list[plan_reasons.Reason]:
    if not name:
        return []
    resource = f"workloadpriorityclasses.{GROUP}"
    found = reader.get_visible(f"{root}/workloadpriorityclasses/{name}", resource, name)
    if found is not None:
        return []
    text = f"There is no WorkloadPriorityClass {name}, and Kueue leaves such a Job suspended without a word"
    remedy = "Correct its name (kubectl get workloadpriorityclass), or create it."
    return [_refuse(text, f"metadata.labels[{PRIORITY_LABEL}]", remedy)]


def _check_cluster_queue(
    reader: plan_reads.Reader, root: str, name: str, demand: plan_pod.Amounts
) -> list[plan_reasons.Reason]:
    queue = reader.get_visible(f"{root}/clusterqueues/{name}", f"clusterqueues.{GROUP}", name)
    if isinstance(queue, errors.FlexcoreError):
        return []
    if queue is None:
        text, remedy = f"ClusterQueue {name} does not exist", "Ask whoever runs Kueue to create it."
        return [_refuse(text, QUEUE_FIELD, remedy)]
    spec = queue.get("spec") or {}
    if str(spec.get("stopPolicy") or "None") != "None":
        text = f"ClusterQueue {name} is stopped ({spec['stopPolicy']})"
        remedy = "Wait until it is started again, or use another queue."
        return [plan_reasons.Reason(categories.Category.SUSPENDED, QUEUE_FIELD, text, remedy, waits=True)]
    return check_capacity(name, spec, demand)


def check_capacity(name: str, spec: Object, demand: plan_pod.Amounts) -> list[plan_reasons.Reason]:
    """What the queue could never give, even when it is empty. Within a cohort it may borrow what it is allowed to."""
    most = read_capacity(spec)
    reasons = []
    for resource, amount in sorted(demand.items()):
        asked = plan_pod.format_amount(resource, amount)
        if resource not in most:
            text = f"ClusterQueue {name} has no {resource}, and the Job asks for {asked}"
            reasons.append(_refuse(text, QUEUE_FIELD, f"Leave {resource} out, or use a queue that has it."))
        elif amount > most[resource]:
            limit = plan_pod.format_amount(resource, most[resource])
            text = f"ClusterQueue {name} can give at most {limit} {resource}, and the Job asks for {asked}"
            reasons.append(_refuse(text, QUEUE_FIELD, f"Ask for at most {limit} {resource}, or use a larger queue."))
    return reasons


def read_capacity(spec: Object) -> plan_pod.Amounts:
    """The most of each resource in one flavor, borrowed amounts included."""
    in_cohort = bool(spec.get("cohort") or spec.get("cohortName"))
    most: plan_pod.Amounts = {}
    for group in spec.get("resourceGroups") or ():
        for flavor in group.get("flavors") or ():
            for item in flavor.get("resources") or ():
                quota = plan_pod.parse_amount(str(item.get("nominalQuota"))) or 0.0
                limit = item.get("borrowingLimit")
                borrowed = plan_pod.parse_amount(str(limit)) or 0.0 if limit is not None else float("inf")
                total = quota + borrowed if in_cohort else quota
                most[str(item["name"])] = max(most.get(str(item["name"]), 0.0), total)
    return most


def _refuse(text: str, subject: str, remedy: str) -> plan_reasons.Reason:
    return plan_reasons.Reason(categories.Category.SUSPENDED, subject, text, remedy)
