# requirements: flexcore_base
"""Ensure, scale, release and describe a Ray cluster, as operations.

    ensure    a lease of a cluster that is ready: made, or joined when it is there; what it returns as data.cluster
              holds no secret and is what later steps take
    release   ends the lease; the last one takes the cluster with it
Of an ensure that fails nothing stays: its lease is released, and with it a cluster that nobody else holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from f.flexcore.lib.core import attempts, contracts, driver, errors, operation, redaction, resources
from f.flexcore.lib.ray import (
    cluster,
    cluster_kinds,
    cluster_readiness,
    cluster_requests,
    cluster_spec,
    dashboard,
    lease,
)

Object = dict[str, Any]
Ensuring = operation.Invocation[cluster_requests.EnsureRequest, resources.RayCluster]
Scaling = operation.Invocation[cluster_requests.ScaleRequest, resources.RayCluster]
Releasing = operation.Invocation[cluster_requests.ReleaseRequest, resources.RayCluster]
# How long a failed ensure waits for what it made to be gone.
CLEANUP_TIMEOUT_S = 60.0


# --- ensure


class EnsureAdapter:
    """An attempt is the lease of this execution: to have it is to be attached."""

    records = None

    def __init__(self, invocation: Ensuring, kind: cluster_kinds.Kind) -> None:
        self.request, self.key, self.kind = invocation.request, invocation.key, kind
        self.redactor = redaction.Redactor([*invocation.service.secrets(), *invocation.settings.secrets()])
        self.acquired: cluster_kinds.Acquired | None = None

    def find(self, number: int) -> attempts.Attempt | None:
        book = self.kind.read_book() if number == 1 else None
        known = lease.find_by_key(book, self.key.value) if book else None
        return attempts.Attempt(1, "running", self.kind.remote()) if known else None

    def create(self, number: int, earlier: Sequence[attempts.Attempt]) -> contracts.Remote:
        self.acquired = self.kind.acquire(self.request, self.key)
        return self.kind.remote()

    def observe(self, number: int, remote: contracts.Remote) -> driver.Verdict:
        # An attached lease is renewed, and what a killed step has left half made is completed.
        acquired = self.acquired or self.kind.acquire(self.request, self.key)
        held = acquired.lease
        waiting = cluster_readiness.Waiting(self.kind.watch(), self.request.timeout_s, self.request.pending_timeout_s)
        try:
            measures = waiting.run()
        except errors.FlexcoreError as error:
            if error.retryable and error.category in ("unreachable", "transient"):
                # Contact was lost, which is no verdict: the lease stays, and a repeat attaches.
                raise
            self._clean_up(held)
            return driver.Verdict(error=error)
        self._report_readiness(held, measures)
        data = {
            "cluster": self.kind.reference(held),
            "lease": describe_lease(held),
            "created": acquired.is_new,
            **measures,
        }
        remote = self.kind.remote()
        return driver.Verdict(
            result=contracts.StepResult(
                success=True, runtime="ray", execution_key=self.key.value, attempt=number, data=data, remote=remote
            )
        )

    def finish(self, result: contracts.StepResult) -> contracts.StepResult:
        return result

    def _report_readiness(self, held: lease.Lease, measures: Object) -> None:
        book = self.kind.read_book()
        others = len(book.leases) - 1 if book else 0
        shared = f", shared with {others} other{'s' if others > 1 else ''}" if others else ""
        workers = "" if measures["workers"] is None else f", {measures['workers']} workers"
        print(f"Ray {measures['ray_version']} is ready: {self.kind.name}{workers}{shared}", flush=True)

    def _clean_up(self, held: lease.Lease) -> None:
        try:
            outcome = self.kind.release(held.reference, CLEANUP_TIMEOUT_S)
            print(f"The lease is released again; the cluster: {outcome}", flush=True)
        except errors.FlexcoreError as error:
            # Why it failed matters more; reconcile ends the lease when the owner has ended.
            print(f"Warning: the lease was not released: {error}", flush=True)


@contextmanager
def _open_ensure(invocation: Ensuring) -> Iterator[EnsureAdapter]:
    service = invocation.service
    if service.is_on_kubernetes and not service.name:
        # One cluster for this execution alone: later steps get its name with the reference.
        service = service.model_copy(update={"name": invocation.key.value})
    with cluster_kinds.open_cluster(service, invocation.settings) as kind:
        yield EnsureAdapter(invocation, kind)


def check_ensure(
    request: cluster_requests.EnsureRequest, service: resources.RayCluster | None, settings: resources.Settings
) -> None:
    """Raises InvalidInput for a name that KubeRay refuses, and for fields of another kind of cluster."""
    if service is None:
        return
    if service.is_on_kubernetes:
        _check_name(service)
        if request.local_cpus:
            raise _wrong_field("local_cpus", "a local head")
        return
    if "spec" in request.model_fields_set:
        raise _wrong_field("spec", "a cluster on Kubernetes")
    if request.rotate_token:
        raise _wrong_field("rotate_token", "a cluster on Kubernetes")


def _check_name(service: resources.RayCluster) -> None:
    if service.name:
        try:
            cluster_spec.check_cluster_name(service.name)
        except ValueError as error:
            raise errors.InvalidInput(f"cluster.name: {error}", subject="cluster.name") from None


def _wrong_field(field: str, owner: str) -> errors.InvalidInput:
    return errors.InvalidInput(
        f"{field} is for {owner}, and the cluster is another kind", subject=field, remedy="Leave it out."
    )


def plan_ensure(invocation: Ensuring) -> contracts.StepResult:
    """Whether the cluster is there, who holds it, and what would be made; changes nothing."""
    with cluster_kinds.open_cluster(invocation.service, invocation.settings) as kind:
        found = kind.describe() if kind.name else {"exists": False}
        book = kind.read_book() if kind.name else None
        data: Object = {"kind": kind.kind, "name": kind.name or invocation.key.value, **found, **_describe_book(book)}
        if kind.kind == "kubernetes" and not found["exists"]:
            namespace = str(kind.reference()["namespace"])
            labels = invocation.key.labels(1)
            data["manifest"] = cluster_spec.cluster_manifest(invocation.request.wanted, data["name"], namespace, labels)
    return cluster.plan_result(invocation.key, data)


# --- scale


def scale(invocation: Scaling) -> contracts.StepResult:
    """The cluster with the wished number of workers, once the least of them are there."""
    with cluster_kinds.open_cluster(invocation.service, invocation.settings) as kind:
        if not isinstance(kind, cluster_kinds.OnKubernetes):
            raise _not_scalable(kind)
        from f.flexcore.lib.ray import group_scaling

        request = invocation.request
        kind.stored = kind.managed.change_groups(
            lambda groups: group_scaling.change_group(groups, request), invocation.service.lease
        )
        waiting = cluster_readiness.Waiting(kind.watch(), request.timeout_s, request.pending_timeout_s)
        data = {**waiting.run(), "groups": kind.describe()["groups"]}
        return _result(invocation, kind, data)


def _not_scalable(kind: cluster_kinds.Kind) -> errors.InvalidInput:
    return errors.InvalidInput(
        f"cluster: {kind.name} is not on Kubernetes, and its size is not ours to change",
        subject="cluster",
        category="not_scalable",
        remedy="Add nodes where it is managed, or use a cluster on Kubernetes.",
    )


# --- release


def release(invocation: Releasing) -> contracts.StepResult:
    """What became of the cluster. A lease that is not there is released already; so a repeat is harmless."""
    service = invocation.service
    with cluster_kinds.open_cluster(service, invocation.settings) as kind:
        book = kind.read_book()
        own = lease.find_of_flow(book, invocation.key) if book and not service.lease else None
        reference = service.lease or (own.reference if own else "")
        outcome = kind.release(reference, invocation.request.timeout_s) if reference else "gone"
        after = kind.read_book() if outcome == "released" else None
        print(f"{kind.name}: {describe_outcome(outcome, after)}", flush=True)
        data = {"outcome": outcome, "lease": reference or None, **_describe_book(after)}
        return _result(invocation, kind, data)


def describe_outcome(outcome: str, book: lease.LeaseBook | None) -> str:
    if outcome == "deleted":
        return "the last lease has ended, and the cluster is gone"
    if outcome == "gone":
        return "there was no such lease any more"
    if book and book.leases:
        return f"the lease has ended; {len(book.leases)} more hold the cluster"
    return "the lease has ended; the cluster stays until its idle time is over"


# --- describe


def describe(invocation: operation.Invocation[Any, resources.RayCluster]) -> contracts.StepResult:
    """What the cluster is made of, who holds it, what Ray says of itself, and what is wrong. Changes nothing."""
    with cluster_kinds.open_cluster(invocation.service, invocation.settings) as kind:
        data: Object = {"kind": kind.kind, "name": kind.name, **kind.describe(), **_describe_book(kind.read_book())}
        data |= {"ready": False, "problem": None}
        if data["exists"]:
            data |= _ask_ray(invocation.service, kind)
        print(f"{kind.name}: {_sum_up(data)}", flush=True)
        return _result(invocation, kind, data)


def _ask_ray(service: resources.RayCluster, kind: cluster_kinds.Kind) -> Object:
    try:
        with dashboard.RayApi(service.model_copy(update={"lease": ""})) as api:
            measures = cluster.measure(api)
            nodes = measures["nodes"]
            return {**measures, "workers": None if nodes is None else nodes - 1, "ready": True}
    except errors.FlexcoreError as error:
        finding = kind.watch().find_problem()
        found = finding.error if finding else error
        return {"problem": {"category": found.category, "detail": str(found), "remedy": found.remedy}}


def _sum_up(data: Object) -> str:
    if not data["exists"]:
        return "there is no such cluster"
    if data["problem"]:
        return f"not ready ({data['problem']['category']}): {data['problem']['detail']}"
    return f"Ray {data['ray_version']}, {data['workers']} workers, {len(data['leases'])} leases"


# --- common


def describe_lease(held: lease.Lease) -> Object:
    return {
        "reference": held.reference,
        "token": held.token,
        "owner_job": held.owner.owner_job,
        "step": held.owner.step,
        "acquired": held.acquired,
        "renewed": held.renewed,
        "deadline": held.deadline,
    }


def _describe_book(book: lease.LeaseBook | None) -> Object:
    return {
        "leases": [describe_lease(item) for item in book.leases] if book else [],
        "delete_after": book.delete_after if book else None,
    }


def _result(invocation: operation.Invocation[Any, Any], kind: cluster_kinds.Kind, data: Object) -> contracts.StepResult:
    return contracts.StepResult(
        success=True,
        runtime=invocation.runtime,
        execution_key=invocation.key.value,
        attempt=1,
        data=data,
        remote=kind.remote(),
    )


ENSURE_CLUSTER = operation.Operation(
    runtime="ray",
    name="ensure_cluster",
    request=cluster_requests.EnsureRequest,
    service=resources.RayCluster,
    check=check_ensure,
    plan=plan_ensure,
    execute=lambda invocation: driver.drive(_open_ensure, invocation),
)
SCALE_CLUSTER = operation.Operation(
    runtime="ray",
    name="scale_cluster",
    request=cluster_requests.ScaleRequest,
    service=resources.RayCluster,
    check=operation.check_nothing,
    plan=describe,
    execute=lambda invocation: scale(invocation).plain(),
)
RELEASE_CLUSTER = operation.Operation(
    runtime="ray",
    name="release_cluster",
    request=cluster_requests.ReleaseRequest,
    service=resources.RayCluster,
    check=operation.check_nothing,
    plan=describe,
    execute=lambda invocation: release(invocation).plain(),
)
DESCRIBE_CLUSTER = operation.Operation(
    runtime="ray",
    name="describe_cluster",
    request=cluster_requests.DescribeRequest,
    service=resources.RayCluster,
    check=operation.check_nothing,
    plan=describe,
    execute=lambda invocation: describe(invocation).plain(),
)
