# requirements: flexcore_base
"""A RayJob as the cluster has it, read into what its step must know. Pure.

Finished is jobDeploymentStatus and never jobStatus: at a deadline the job is Failed while jobStatus stays RUNNING, and
a jobStatus FAILED may be followed by a retry. Zero counts and empty texts are absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.ray import kuberay_reasons

Object = Mapping[str, Any]
SUCCEEDED, FAILED, STOPPED = "SUCCEEDED", "FAILED", "STOPPED"


@dataclass(frozen=True, slots=True)
class RayJobState:
    """phase: of kuberay_reasons; is_suspended: whether its spec says so now; job_status: Ray's word as the operator has
    last seen it on the present cluster; times in seconds since the epoch, None where there is none."""

    name: str
    uid: str
    phase: kuberay_reasons.Phase
    deployment_status: str
    job_status: str
    reason: str = ""
    message: str = ""
    cluster: str = ""
    is_suspended: bool = False
    is_leaving: bool = False
    created: float | None = None
    started: float | None = None
    ended: float | None = None

    @property
    def is_ended(self) -> bool:
        return self.phase == "ended"

    @property
    def has_failed(self) -> bool:
        """Ended, and not by a success. Complete alone is none: a job that was stopped is Complete, too."""
        return self.is_ended and not (self.deployment_status == "Complete" and self.job_status == SUCCEEDED)


def parse_ray_job(stored: Object) -> RayJobState:
    metadata, spec, status = stored["metadata"], stored.get("spec") or {}, stored.get("status") or {}
    deployment_status = str(status.get("jobDeploymentStatus") or "")
    phase = kuberay_reasons.find_phase(deployment_status)
    is_suspended = bool(spec.get("suspend"))
    if is_suspended and deployment_status == "":
        # The operator has not said so yet, and will not before somebody lets it go on.
        phase = "queued"
    return RayJobState(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        phase=phase,
        deployment_status=deployment_status,
        job_status=str(status.get("jobStatus") or ""),
        reason=str(status.get("reason") or ""),
        message=" ".join(str(status.get("message") or "").split()),
        cluster=str(status.get("rayClusterName") or ""),
        is_suspended=is_suspended,
        is_leaving=bool(metadata.get("deletionTimestamp")),
        created=parse_time(metadata.get("creationTimestamp")),
        started=parse_time(status.get("startTime")),
        ended=parse_time((status.get("rayJobInfo") or {}).get("endTime") or status.get("endTime")),
    )


def parse_time(text: Any) -> float | None:
    """Seconds since the epoch of a Kubernetes time."""
    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else None
    except ValueError:
        return None


def diagnose_end(state: RayJobState) -> contracts.Diagnosis | None:
    """Why a RayJob that has ended did not succeed; None for a success."""
    if not state.has_failed:
        return None
    if state.deployment_status == "Complete":
        # Only STOPPED ends so; a word that is not known is no success either.
        return contracts.Diagnosis(
            category="stopped",
            detail=f"The job was stopped by someone (Ray says {state.job_status or 'nothing'})",
            remedy="Run the step again if that was not intended.",
        )
    is_invalid = state.deployment_status == "ValidationFailed"
    trouble = kuberay_reasons.find_failed_reason("ValidationFailed" if is_invalid else state.reason)
    detail = state.message or state.reason or state.deployment_status
    return contracts.Diagnosis(category=trouble.category, detail=detail, remedy=trouble.remedy)


def to_error(state: RayJobState, diagnosis: contracts.Diagnosis) -> errors.FlexcoreError:
    """The typed error of a RayJob that did not end well."""
    kinds = {item.category: item.error for item in kuberay_reasons.FAILED_REASONS.values()}
    kind = kinds.get(diagnosis.category, errors.ExecutionFailed)
    return kind(
        f"RayJob {state.name} ended as {state.deployment_status}: {diagnosis.detail}",
        subject="own_cluster" if kind is errors.InvalidInput else state.name,
        category=diagnosis.category,
        remedy=diagnosis.remedy,
        diagnosis=diagnosis.model_dump(),
    )


def contradicts(state: RayJobState, ray_status: str) -> str:
    """What is said when the operator's view and Ray's own differ at the end; "" when they agree or the operator has
    only not looked yet. Ray's own word counts: the operator's is a copy, and may be an old one."""
    if not state.is_ended or not state.job_status or state.job_status == ray_status:
        return ""
    if not kuberay_reasons.JOB_STATUSES.get(state.job_status, False):
        return ""
    return f"KubeRay says {state.job_status} of the job, Ray itself {ray_status}"
