"""Every word of KubeRay's is known: what it means, and what to do.

The lists are those of its source: ray-operator/apis/ray/v1/{rayjob,raycluster}_types.go and
controllers/ray/utils/constant.go, version 1.5.0 and the main branch of 2026-08-19. FLEXCORE_KUBERAY_SOURCE names the
folder ray-operator of another version: a word in it that is not known here fails.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import categories
from f.flexcore.lib.ray import kuberay_diagnosis, kuberay_reasons

STATUSES = [
    "Initializing",
    "Running",
    "Complete",
    "Failed",
    "ValidationFailed",
    "Suspending",
    "Suspended",
    "Retrying",
    "Waiting",
]
JOB_STATUSES = ["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
FAILED_REASONS = [
    "SubmissionFailed",
    "DeadlineExceeded",
    "PreRunningDeadlineExceeded",
    "AppFailed",
    "JobDeploymentStatusTransitionGracePeriodExceeded",
    "JobStatusCheckTimeoutExceeded",
    "ValidationFailed",
]
CONDITIONS = [
    "AllPodRunningAndReadyFirstTime",
    "RayClusterPodsProvisioning",
    "HeadPodNotFound",
    "HeadPodRunningAndReady",
    "Unknown",
    "FailedDeleteAllPods",
    "FailedDeleteHeadPod",
    "FailedCreateHeadPod",
    "FailedDeleteWorkerPod",
    "FailedCreateWorkerPod",
]
EVENTS = [
    "AutoscalerServiceAccountNotFound",
    "BatchSchedulerCleanedUp",
    "CreatedGateway",
    "CreatedHTTPRoute",
    "CreatedHeadPod",
    "CreatedIngress",
    "CreatedNetworkPolicy",
    "CreatedPVC",
    "CreatedRayCluster",
    "CreatedRayJobSubmitter",
    "CreatedRedisCleanupJob",
    "CreatedRole",
    "CreatedRoleBinding",
    "CreatedRoute",
    "CreatedService",
    "CreatedServiceAccount",
    "CreatedWorkerPod",
    "DeletedGateway",
    "DeletedHTTPRoute",
    "DeletedHeadPod",
    "DeletedNetworkPolicy",
    "DeletedPod",
    "DeletedRayCluster",
    "DeletedRayJobSubmitter",
    "DeletedService",
    "DeletedWorkerPod",
    "FailedToCleanupBatchScheduler",
    "FailedToCreateGateway",
    "FailedToCreateHTTPRoute",
    "FailedToCreateHeadPod",
    "FailedToCreateIngress",
    "FailedToCreateNetworkPolicy",
    "FailedToCreatePVC",
    "FailedToCreateRayCluster",
    "FailedToCreateRayJobSubmitter",
    "FailedToCreateRedisCleanupJob",
    "FailedToCreateRole",
    "FailedToCreateRoleBinding",
    "FailedToCreateRoute",
    "FailedToCreateService",
    "FailedToCreateServiceAccount",
    "FailedToCreateWorkerPod",
    "FailedToDeleteGateway",
    "FailedToDeleteHTTPRoute",
    "FailedToDeleteHeadPod",
    "FailedToDeleteNetworkPolicy",
    "FailedToDeletePod",
    "FailedToDeletePodCollection",
    "FailedToDeleteRayCluster",
    "FailedToDeleteRayJobSubmitter",
    "FailedToDeleteService",
    "FailedToDeleteWorkerPod",
    "FailedToDeleteWorkerPodCollection",
    "FailedToUpdateGateway",
    "FailedToUpdateHTTPRoute",
    "FailedToUpdateHeadPodServeLabel",
    "FailedToUpdateIngress",
    "FailedToUpdateNetworkPolicy",
    "FailedToUpdateRayCluster",
    "FailedToUpdateServeApplications",
    "FailedToUpdateService",
    "FailedToUpdateTargetCapacity",
    "ForceDeletedStuckCluster",
    "InvalidRayClusterMetadata",
    "InvalidRayClusterSpec",
    "InvalidRayClusterStatus",
    "InvalidRayCronJobSpec",
    "InvalidRayJobMetadata",
    "InvalidRayJobSpec",
    "InvalidRayJobStatus",
    "InvalidRayServiceMetadata",
    "InvalidRayServiceSpec",
    "MTLSCertificateExpiringSoon",
    "MTLSCertificatesUpdated",
    "MTLSCertsNotReady",
    "MTLSFailedToReconcile",
    "MTLSPKIReady",
    "NetworkPolicyNameCollision",
    "RayClusterNotFound",
    "RayServiceInitializingTimeout",
    "RollbackImpossible",
    "SuspendedRayCronJob",
    "UpdatedGateway",
    "UpdatedHTTPRoute",
    "UpdatedHeadPodServeLabel",
    "UpdatedIngress",
    "UpdatedNetworkPolicy",
    "UpdatedRayCluster",
    "UpdatedServeApplications",
    "UpdatedServeTargetCapacity",
    "UpdatedService",
]
KNOWN_EVENTS = set(kuberay_reasons.EVENT_REASONS) | kuberay_reasons.PROGRESS_EVENTS


@pytest.mark.parametrize(
    ("words", "table"),
    [
        (STATUSES, set(kuberay_reasons.DEPLOYMENT_STATUSES) - {""}),
        (JOB_STATUSES, set(kuberay_reasons.JOB_STATUSES) - {""}),
        (FAILED_REASONS, set(kuberay_reasons.FAILED_REASONS)),
        (CONDITIONS, set(kuberay_reasons.CONDITION_REASONS)),
        (EVENTS, KNOWN_EVENTS),
    ],
    ids=["jobDeploymentStatus", "jobStatus", "reason", "conditions", "events"],
)
def test_every_word_of_kuberay_is_in_the_tables_and_none_that_is_not(words: list[str], table: set[str]) -> None:
    assert set(words) == table


def test_no_event_is_both_trouble_and_progress() -> None:
    assert not set(kuberay_reasons.EVENT_REASONS) & kuberay_reasons.PROGRESS_EVENTS


TROUBLES = [
    *kuberay_reasons.FAILED_REASONS.values(),
    *kuberay_reasons.EVENT_REASONS.values(),
    *(item for item in kuberay_reasons.CONDITION_REASONS.values() if item),
]


@pytest.mark.parametrize("trouble", dict.fromkeys(TROUBLES), ids=lambda item: item.category)
def test_every_trouble_has_a_category_and_a_remedy(trouble: kuberay_reasons.Trouble) -> None:
    assert re.fullmatch(r"[a-z][a-z_]+", trouble.category)
    assert trouble.remedy.endswith(".")
    assert issubclass(trouble.error, errors.FlexcoreError)


def test_the_reason_of_a_newer_kuberay_is_still_a_failure() -> None:
    trouble = kuberay_reasons.find_failed_reason("SomethingNew")
    assert (trouble.category, trouble.error) == ("kuberay_failed", errors.ExecutionFailed)


def test_the_status_of_a_newer_kuberay_is_waited_for() -> None:
    assert kuberay_reasons.find_phase("Pondering") == "starting"


def read_source(folder: Path) -> dict[str, set[str]]:
    """The words of a version of KubeRay, by the Go type that they belong to."""
    files = ["apis/ray/v1/rayjob_types.go", "apis/ray/v1/raycluster_types.go", "controllers/ray/utils/constant.go"]
    text = "\n".join((folder / name).read_text() for name in files)
    types = ("JobDeploymentStatus", "JobStatus", "JobFailedReason", "K8sEventType")
    found = {name: set(re.findall(rf'\b{name} += "(\w+)"', text)) for name in types}
    reasons = text.partition("// Custom Reason for RayClusterCondition")[2].partition(")")[0]
    failures = set(re.findall(r'errRayClusterReplicaFailure\{reason: "(\w+)"\}', text))
    return found | {"conditions": set(re.findall(r'= "(\w+)"', reasons)) | failures}


def find_sources() -> list[Path]:
    """Those that are named, and what Go's module cache has."""
    named = [Path(item) for item in os.environ.get("FLEXCORE_KUBERAY_SOURCE", "").split(os.pathsep) if item]
    return [*named, *Path.home().glob("go/pkg/mod/github.com/ray-project/kuberay/ray-operator@v*")]


@pytest.mark.parametrize("folder", find_sources() or [None], ids=lambda item: item.name if item else "none")
def test_no_word_of_this_source_is_unknown(folder: Path | None) -> None:
    if folder is None:
        pytest.skip("no source of KubeRay: FLEXCORE_KUBERAY_SOURCE not set")
    words = read_source(folder)
    assert all(words.values())
    assert words["JobDeploymentStatus"] <= set(kuberay_reasons.DEPLOYMENT_STATUSES)
    assert words["JobStatus"] <= set(kuberay_reasons.JOB_STATUSES)
    assert words["JobFailedReason"] <= set(kuberay_reasons.FAILED_REASONS)
    assert words["conditions"] <= set(kuberay_reasons.CONDITION_REASONS)
    assert words["K8sEventType"] <= KNOWN_EVENTS


# As KubeRay 1.5.0 wrote it of a head that did not start within Ray's own 30 s.
ENDED = (
    "Deleted head Pod r15/ml-head-647b6; Pod status: Running; Pod restart policy: Never; Ray container terminated "
    "status: &ContainerStateTerminated{{ExitCode:{code},Signal:0,Reason:{reason},Message:,}}"
)


@pytest.mark.parametrize(
    ("count", "code", "reason", "said", "remedy", "grace_s"),
    [
        (1, 1, "Error", "A pod of the Ray cluster ml has ended (exit code 1, Error)", "head_cpu", categories.NO_LIMIT),
        (2, 137, "OOMKilled", "has ended (exit code 137, OOMKilled)", "more memory", categories.NO_LIMIT),
        (3, 1, "Error", "end again and again (3 times; the last one: exit code 1, Error)", "head_cpu", 0.0),
    ],
)
def test_the_first_ends_of_a_head_are_said_and_the_third_ends_the_wait(
    count: int, code: int, reason: str, said: str, remedy: str, grace_s: float
) -> None:
    cluster = {"metadata": {"name": "ml"}, "status": {"state": "x"}}
    events = [
        {
            "reason": "DeletedHeadPod",
            "message": ENDED.format(code=code, reason=reason),
            "involvedObject": {"kind": "RayCluster"},
            "lastTimestamp": f"2026-11-29T15:2{number}:00Z",
        }
        for number in range(count)
    ]
    finding = kuberay_diagnosis.diagnose(cluster, [], events, 100.0)
    assert finding is not None
    assert said in str(finding.error)
    assert remedy in finding.error.remedy
    assert finding.grace_s == grace_s
    waiting = {"name": "ray-head", "image": "i", "state": {"waiting": {"reason": "ErrImagePull", "message": "x"}}}
    unpulled = {
        "metadata": {"name": "ml-head", "uid": "u"},
        "spec": {"containers": [{"name": "ray-head", "image": "i"}]},
        "status": {"phase": "Pending", "containerStatuses": [waiting]},
    }
    pulling = kuberay_diagnosis.diagnose(cluster, [unpulled], events, 100.0)
    assert pulling is not None
    assert pulling.category.startswith("image_") == (count < kuberay_diagnosis.MAX_FAILED_PODS), "what is wrong now"


def test_no_end_of_a_pod_is_made_up() -> None:
    cluster = {"metadata": {"name": "ml"}, "status": {"state": "x"}}
    scaled = {
        "reason": "DeletedWorkerPod",
        "message": "Deleted worker Pod r15/ml-worker-1; Pod status: Running",
        "involvedObject": {"kind": "RayCluster"},
    }
    assert kuberay_diagnosis.diagnose(cluster, [], [scaled], 100.0) is None
