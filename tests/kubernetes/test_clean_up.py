"""What holds an object that is being deleted, what outlives it, and that only what we wrote is stopped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from f.flexcore.kubernetes.check_cluster import main as check_cluster
from f.flexcore.lib.core.errors import Conflict
from f.flexcore.lib.core.remote_objects import RemoteObject, decide_cleanup
from f.flexcore.lib.kubernetes.remote_objects import KubernetesObjects
from f.flexcore.lib.kubernetes_api import api_errors, finalizers
from tests.kubernetes.fake_cluster import FakeCluster, status

Object = dict[str, Any]
JOBS = "batch/v1/jobs"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LABELS = {"app.kubernetes.io/managed-by": "flexcore", "flexcore/owner-job": "ended", "flexcore/key": "fc-1"}


def leaving(*names: str, **more: Any) -> Object:
    return {"metadata": {"name": "x", "deletionTimestamp": "2026-05-01T11:30:00Z", "finalizers": [*names]}, **more}


@pytest.mark.parametrize(
    ("finalizer", "remover"),
    [
        ("kubernetes.io/pvc-protection", "Kubernetes, once no pod uses the claim"),
        ("service.kubernetes.io/load-balancer-cleanup", "the cloud controller, once the load balancer is gone"),
        ("batch.kubernetes.io/job-tracking", "the Job controller, once it has counted the pod"),
        ("kueue.x-k8s.io/managed", "Kueue, once the pod's workload has finished"),
        ("kueue.x-k8s.io/something-new", "Kueue"),
        ("ray.io/gcs-ft-redis-cleanup-finalizer", "KubeRay, once it has emptied the Redis of the head"),
        ("serving.kserve.io/storage", "KServe"),
        ("elbv2.k8s.aws/resources", "a controller of AWS"),
        ("example.com/hold", "the controller of example.com"),
        ("hold", "the controller that set it"),
        ("notray.io/x", "the controller of notray.io"),
    ],
)
def test_a_finalizer_is_named_with_who_usually_takes_it_away(finalizer: str, remover: str) -> None:
    (hold,) = finalizers.list_holds(leaving(finalizer))
    assert (hold.finalizer, hold.remover) == (finalizer, remover)
    text = finalizers.describe_holds([hold], NOW)
    assert text == f"{finalizer} ({remover} takes it away), for 30 min"


def test_the_garbage_collection_holds_nothing_and_neither_does_what_stays() -> None:
    assert finalizers.list_holds(leaving("foregroundDeletion", "orphan")) == []
    assert finalizers.list_holds({"metadata": {"name": "x", "finalizers": ["example.com/hold"]}}) == []
    assert finalizers.describe_holds([], NOW) == ""


def test_a_namespace_that_is_being_deleted_says_what_is_left_in_it(cluster: FakeCluster) -> None:
    cluster.api.terminating["work"] = [
        {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "All resources discovered"},
        {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "x/y in 1 resource instances"},
    ]
    with pytest.raises(Conflict, match=r"Namespace work is being deleted \(x/y in 1 resource instances\)") as caught:
        check_cluster(cluster.resource)
    assert (caught.value.subject, caught.value.category) == ("namespace", "namespace_terminating")
    spec = {
        "spec": {"finalizers": ["kubernetes"]},
        "metadata": {"name": "w", "deletionTimestamp": "2026-05-01T11:00:00Z"},
    }
    assert "the namespace controller" in str(finalizers.list_holds(spec)[0])


def test_what_is_created_in_a_namespace_that_is_being_deleted_is_refused_as_such() -> None:
    text = "unable to create new content in namespace work because it is being terminated"
    call = api_errors.Call("create", "jobs.batch", "work", "fc-1")
    error = api_errors.to_error(403, status(403, "Forbidden", f'jobs.batch "fc-1" is forbidden: {text}'), call)
    assert (
        isinstance(error, Conflict) and error.category == "namespace_terminating" and "Choose another" in error.remedy
    )


def keep_job(cluster: FakeCluster, name: str, **metadata: Any) -> None:
    volumes = [
        {"name": "a", "persistentVolumeClaim": {"claimName": "results"}},
        {"name": "b", "ephemeral": {"volumeClaimTemplate": {}}},
        {"name": "c", "emptyDir": {}},
    ]
    body = {"metadata": {"name": name, "namespace": "work", "labels": LABELS, **metadata}}
    cluster.do(cluster.api.keep(JOBS, body | {"spec": {"template": {"spec": {"volumes": volumes}}}}))


def written_by(*managers: str) -> list[Object]:
    return [{"manager": name, "operation": "Update", "fieldsV1": {"f:spec": {}}} for name in managers]


def test_what_others_wrote_with_our_labels_is_never_ours(cluster: FakeCluster) -> None:
    keep_job(cluster, "ours", managedFields=written_by("flexcore", "kube-controller-manager"))
    keep_job(cluster, "copy", managedFields=written_by("kubectl-client-side-apply"))
    keep_job(cluster, "child", managedFields=written_by("ray-operator", "kube-controller-manager"))
    keep_job(cluster, "restored", managedFields=written_by("velero-server"))
    keep_job(cluster, "silent")
    objects = KubernetesObjects("f/x", cluster.resource)
    assert sorted(item.name for item in objects.find()) == ["ours", "silent"]


def test_what_is_replaced_by_a_copy_between_look_and_deletion_stays(cluster: FakeCluster) -> None:
    keep_job(cluster, "job", managedFields=written_by("flexcore"))
    objects = KubernetesObjects("f/x", cluster.resource)
    (item,) = objects.find()
    (stored,) = cluster.api.all(JOBS)
    stored["metadata"]["managedFields"] = written_by("kubectl-replace")
    cluster.do(cluster.api.keep(JOBS, stored))
    assert objects.stop(item) == "had gone" and not cluster.asked("DELETE", "jobs")


def test_a_job_that_is_stopped_names_the_claims_that_outlive_it(cluster: FakeCluster) -> None:
    keep_job(cluster, "job")
    objects = KubernetesObjects("f/x", cluster.resource)
    (item,) = objects.find()
    assert objects.stop(item) == "deleted; its claims stay: results"
    (deletion,) = cluster.asked("DELETE", "jobs/job")
    assert deletion.data["preconditions"] == {"uid": item.uid}


def test_reconcile_says_what_holds_an_object_that_does_not_go(cluster: FakeCluster) -> None:
    keep_job(cluster, "job", finalizers=["example.com/hold"], deletionTimestamp="2020-01-01T00:00:00Z")
    (item,) = KubernetesObjects("f/x", cluster.resource).find()
    decision = decide_cleanup(item, "ended", NOW.timestamp())
    assert decision.action == "leave"
    assert decision.reason.startswith(
        "is being deleted; held by example.com/hold (the controller of example.com takes it"
    )


def test_an_object_that_just_leaves_is_held_by_nothing() -> None:
    item = RemoteObject("kubernetes", "f/x", "Job", "n", "u", "leaving")
    assert decide_cleanup(item, "ended", 0).reason == "is being deleted"
