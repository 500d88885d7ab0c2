# requirements: flexcore_base
"""Every word by which KubeRay says how a RayJob or a RayCluster is: what it means here, and what to do. Pure.

    DEPLOYMENT_STATUSES   RayJob .status.jobDeploymentStatus → phase
    JOB_STATUSES          RayJob .status.jobStatus, Ray's own word as the operator has last seen it
    FAILED_REASONS        RayJob .status.reason → Trouble
    CONDITION_REASONS     RayCluster .status.conditions[].reason → Trouble, None where nothing is wrong
    EVENT_REASONS         events of both → Trouble; of the events that are not listed, PROGRESS_EVENTS mean no trouble

Sources: ray-operator/apis/ray/v1/{rayjob,raycluster}_types.go and controllers/ray/utils/constant.go of KubeRay 1.5.0
and of its main branch of 2026-08-19 (1.7). tests/ray/test_kuberay_reasons.py fails when such a file has a word that
is not here.
"""

from __future__ import annotations

from typing import Literal

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import categories

# queued    suspended, or on its way there: a queue or a person holds it back; it is no failure
# starting  its cluster is being made
# ready     its cluster takes work
# ended     nothing follows
Phase = Literal["queued", "starting", "ready", "ended"]

DEPLOYMENT_STATUSES: dict[str, Phase] = {
    "": "starting",
    "Initializing": "starting",
    "Waiting": "ready",
    "Running": "ready",
    "Complete": "ended",
    "Failed": "ended",
    "ValidationFailed": "ended",
    "Suspending": "queued",
    "Suspended": "queued",
    "Retrying": "starting",
}
# Whether Ray's job has ended; "" means that the operator has not seen it on the present cluster.
JOB_STATUSES: dict[str, bool] = {
    "": False,
    "PENDING": False,
    "RUNNING": False,
    "STOPPED": True,
    "SUCCEEDED": True,
    "FAILED": True,
}


Trouble = categories.Trouble


# What a controller tries again within seconds.
RETRY_GRACE_S = 20.0
OPERATOR = "Ask the cluster's operator to look at KubeRay's log; run again when it works."
RIGHTS = "Give KubeRay's service account the right that the message names (its Helm chart has them), then run again."

INVALID_SPEC = Trouble("invalid_spec", errors.InvalidInput, "Correct what the message names, then run again.")
NO_CLUSTER = Trouble(
    "cluster_not_found", errors.NotFound, "Create the RayCluster that is named, or let the RayJob make its own."
)
HEAD_POD = Trouble(
    "pod_refused", errors.Unavailable, "See why the head's pod was refused in the message.", RETRY_GRACE_S
)
WORKER_POD = Trouble(
    "pod_refused", errors.Unavailable, "See why the worker's pod was refused in the message.", RETRY_GRACE_S
)
NO_SUBMITTER = Trouble("submission_failed", errors.ExecutionFailed, OPERATOR, RETRY_GRACE_S)
OPERATOR_HINDERED = Trouble("operator_hindered", errors.Unavailable, RIGHTS, RETRY_GRACE_S)
# Nothing waits for it: what is to go goes later, or is left to the next try.
CLEAN_UP = Trouble("clean_up_failed", errors.Unavailable, OPERATOR, float("inf"))
SERVING = Trouble("serving_failed", errors.Unavailable, "See the RayService's own status.", float("inf"))
CERTIFICATES = Trouble(
    "tls_not_ready", errors.Unavailable, "See cert-manager's log: Ray's certificates are not ready.", 60.0
)

FAILED_REASONS: dict[str, Trouble] = {
    "SubmissionFailed": Trouble(
        "submission_failed", errors.ExecutionFailed, "See the log of the submitter's pod, then run again."
    ),
    "DeadlineExceeded": Trouble(
        "deadline", errors.DeadlineExceeded, "Raise timeout_s, or give the job more to work with."
    ),
    "PreRunningDeadlineExceeded": Trouble(
        "start_timeout",
        errors.DeadlineExceeded,
        "See why its pods did not start in time, or raise own_cluster.start_timeout_s.",
    ),
    "AppFailed": Trouble(
        "program_failed", errors.ExecutionFailed, "Read the end of the log, correct the program, and run again."
    ),
    "JobDeploymentStatusTransitionGracePeriodExceeded": Trouble("operator_stalled", errors.ExecutionFailed, OPERATOR),
    "JobStatusCheckTimeoutExceeded": Trouble(
        "head_unreachable",
        errors.ExecutionFailed,
        "The head stopped answering KubeRay: give it more memory (own_cluster.head), and run again.",
    ),
    "ValidationFailed": INVALID_SPEC,
}
CONDITION_REASONS: dict[str, Trouble | None] = {
    "AllPodRunningAndReadyFirstTime": None,
    "RayClusterPodsProvisioning": None,
    "HeadPodNotFound": None,
    "HeadPodRunningAndReady": None,
    "Unknown": None,
    "FailedDeleteAllPods": CLEAN_UP,
    "FailedDeleteHeadPod": CLEAN_UP,
    "FailedCreateHeadPod": HEAD_POD,
    "FailedDeleteWorkerPod": CLEAN_UP,
    "FailedCreateWorkerPod": WORKER_POD,
}
EVENT_REASONS: dict[str, Trouble] = {
    "InvalidRayClusterStatus": INVALID_SPEC,
    "InvalidRayClusterSpec": INVALID_SPEC,
    "InvalidRayClusterMetadata": INVALID_SPEC,
    "InvalidRayJobSpec": INVALID_SPEC,
    "InvalidRayJobMetadata": INVALID_SPEC,
    "InvalidRayJobStatus": INVALID_SPEC,
    "InvalidRayCronJobSpec": INVALID_SPEC,
    "InvalidRayServiceSpec": INVALID_SPEC,
    "InvalidRayServiceMetadata": INVALID_SPEC,
    "NetworkPolicyNameCollision": INVALID_SPEC,
    "RayClusterNotFound": NO_CLUSTER,
    "FailedToCreateHeadPod": HEAD_POD,
    "FailedToCreateWorkerPod": WORKER_POD,
    "FailedToCreateRayJobSubmitter": NO_SUBMITTER,
    "FailedToCreateRayCluster": OPERATOR_HINDERED,
    "FailedToUpdateRayCluster": OPERATOR_HINDERED,
    "FailedToCreateService": OPERATOR_HINDERED,
    "FailedToUpdateService": OPERATOR_HINDERED,
    "FailedToCreateServiceAccount": OPERATOR_HINDERED,
    "AutoscalerServiceAccountNotFound": OPERATOR_HINDERED,
    "FailedToCreateRole": OPERATOR_HINDERED,
    "FailedToCreateRoleBinding": OPERATOR_HINDERED,
    "FailedToCreateIngress": OPERATOR_HINDERED,
    "FailedToUpdateIngress": OPERATOR_HINDERED,
    "FailedToCreateRoute": OPERATOR_HINDERED,
    "FailedToCreatePVC": OPERATOR_HINDERED,
    "FailedToCreateNetworkPolicy": OPERATOR_HINDERED,
    "FailedToUpdateNetworkPolicy": OPERATOR_HINDERED,
    "FailedToCreateRedisCleanupJob": CLEAN_UP,
    "FailedToCleanupBatchScheduler": CLEAN_UP,
    "FailedToDeleteHeadPod": CLEAN_UP,
    "FailedToDeleteWorkerPod": CLEAN_UP,
    "FailedToDeleteWorkerPodCollection": CLEAN_UP,
    "FailedToDeletePod": CLEAN_UP,
    "FailedToDeletePodCollection": CLEAN_UP,
    "FailedToDeleteRayCluster": CLEAN_UP,
    "FailedToDeleteRayJobSubmitter": CLEAN_UP,
    "FailedToDeleteService": CLEAN_UP,
    "FailedToDeleteGateway": CLEAN_UP,
    "FailedToDeleteHTTPRoute": CLEAN_UP,
    "FailedToDeleteNetworkPolicy": CLEAN_UP,
    "ForceDeletedStuckCluster": CLEAN_UP,
    "FailedToCreateGateway": SERVING,
    "FailedToUpdateGateway": SERVING,
    "FailedToCreateHTTPRoute": SERVING,
    "FailedToUpdateHTTPRoute": SERVING,
    "FailedToUpdateHeadPodServeLabel": SERVING,
    "FailedToUpdateServeApplications": SERVING,
    "FailedToUpdateTargetCapacity": SERVING,
    "RayServiceInitializingTimeout": SERVING,
    "RollbackImpossible": SERVING,
    "MTLSCertsNotReady": CERTIFICATES,
    "MTLSFailedToReconcile": CERTIFICATES,
    "MTLSCertificateExpiringSoon": CERTIFICATES,
}
PROGRESS_EVENTS = frozenset(
    [
        *("BatchSchedulerCleanedUp", "MTLSCertificatesUpdated", "MTLSPKIReady", "SuspendedRayCronJob"),
        *("CreatedGateway", "CreatedHTTPRoute", "CreatedHeadPod", "CreatedIngress", "CreatedNetworkPolicy"),
        *("CreatedPVC", "CreatedRayCluster", "CreatedRayJobSubmitter", "CreatedRedisCleanupJob", "CreatedRole"),
        *("CreatedRoleBinding", "CreatedRoute", "CreatedService", "CreatedServiceAccount", "CreatedWorkerPod"),
        *("DeletedGateway", "DeletedHTTPRoute", "DeletedHeadPod", "DeletedNetworkPolicy", "DeletedPod"),
        *("DeletedRayCluster", "DeletedRayJobSubmitter", "DeletedService", "DeletedWorkerPod"),
        *("UpdatedGateway", "UpdatedHTTPRoute", "UpdatedHeadPodServeLabel", "UpdatedIngress", "UpdatedNetworkPolicy"),
        *("UpdatedRayCluster", "UpdatedServeApplications", "UpdatedServeTargetCapacity", "UpdatedService"),
    ]
)


def find_failed_reason(reason: str) -> Trouble:
    """Also for the word of a KubeRay that is newer than these tables: a failure stays one."""
    return FAILED_REASONS.get(reason) or Trouble(
        "kuberay_failed", errors.ExecutionFailed, "See the RayJob's status and events: kubectl describe rayjob."
    )


def find_phase(deployment_status: str) -> Phase:
    """The phase of a status; one that is not known is waited for as a start: what it means, its successor will say."""
    return DEPLOYMENT_STATUSES.get(deployment_status, "starting")
