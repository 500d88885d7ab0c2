"""Table tests of the diagnosis: objects as the API server writes them, and the category they mean."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.kubernetes.diagnosis import (
    ACTIONS,
    DETERMINISTIC,
    PULL_GRACE_S,
    SUBJECTS,
    ending,
    error_of,
    exit_code,
    pod_trouble,
    trouble,
    verdict,
)

Object = dict[str, Any]


def pod(container: Object | None = None, init: Object | None = None, **status: Any) -> Object:
    states = [{"name": "main", "image": "img:1", **container}] if container else []
    first = [{"name": "init", "image": "img:1", **init}] if init else []
    named = {"containerStatuses": states, "initContainerStatuses": first}
    return {"metadata": {"uid": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {**named, **status}}


def waiting(reason: str, message: str = "") -> Object:
    return pod({"state": {"waiting": {"reason": reason, "message": message}}}, phase="Pending")


def failed(code: int, reason: str = "Error", message: str = "", **status: Any) -> Object:
    end = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return pod({"state": end}, phase="Failed", **status)


def job(reason: str = "BackoffLimitExceeded", message: str = "") -> Object:
    return {"status": {"conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": message}]}}


UNFIT = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: Insufficient cpu"}
# From a real kubelet 1.36 with containerd 2.3 on a network without a way out.
NO_NETWORK = (
    'Back-off pulling image "x": ErrImagePull: failed to pull and unpack image "docker.io/library/x:latest": failed to '
    'resolve image: failed to do request: Head "https://registry-1.docker.io/v2/library/x/manifests/latest": dial tcp: '
    "lookup registry-1.docker.io on 10.255.255.53:53: no such host"
)


@pytest.mark.parametrize(
    ("found", "category", "grace"),
    [
        (waiting("ErrImagePull", "manifest unknown"), "image_not_found", 0),
        (waiting("ErrImagePull", 'docker.io/x:1: not found'), "image_not_found", 0),
        (waiting("ImagePullBackOff", 'Back-off pulling image "x"'), "image_not_found", PULL_GRACE_S),
        (waiting("ErrImagePull", "pull access denied, repository does not exist"), "image_denied", 0),
        (waiting("ErrImagePull", "401 Unauthorized"), "image_denied", 0),
        (waiting("ImagePullBackOff", NO_NETWORK), "image_unreachable", PULL_GRACE_S),
        (waiting("ErrImagePull", "net/http: TLS handshake timeout"), "image_unreachable", PULL_GRACE_S),
        (waiting("ErrImagePull", "429 Too Many Requests"), "image_unreachable", PULL_GRACE_S),
        (waiting("InvalidImageName"), "image_invalid", 0),
        (waiting("CreateContainerConfigError", 'secret "s" not found'), "config_missing", 8),
        (waiting("CreateContainerConfigError", "runAsNonRoot and image will run as root"), "container_refused", 0),
        (waiting("CreateContainerError", 'exec: "x": executable file not found in $PATH'), "command_not_found", 8),
        (pod(phase="Pending", conditions=[UNFIT]), "unschedulable", None),
        (
            pod({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 3,
                 "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}, phase="Running"),
            "crash_loop", 15,
        ),
        (
            pod({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 3,
                 "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}, phase="Running"),
            "out_of_memory", 15,
        ),
        (pod(init={"state": {"terminated": {"exitCode": 40, "message": "other"}}}), "model_mismatch", 0),
        (pod(init={"state": {}, "lastState": {"terminated": {"exitCode": 43}}}), "model_unreachable", 15),
    ],
)  # fmt: skip
def test_what_keeps_a_pod_from_running(found: Object, category: str, grace: float | None) -> None:
    seen = pod_trouble(found)
    assert seen and (seen.category, seen.grace_s) == (category, grace)


@pytest.mark.parametrize(
    "found",
    [
        waiting("ContainerCreating"),
        waiting("PodInitializing"),
        pod({"state": {"running": {}}}, phase="Running"),
        failed(1),
        pod(phase="Pending"),
    ],
)
def test_a_pod_on_its_way_or_at_its_end_is_no_trouble(found: Object) -> None:
    assert pod_trouble(found) is None


@pytest.mark.parametrize(
    ("message", "category"),
    [
        ('Error creating: pods "x" is forbidden: exceeded quota: q, requested: pods=1', "quota_exceeded"),
        ('Error creating: pods "x" is forbidden: violates PodSecurity "restricted"', "admission_denied"),
        ('Error creating: pods "x" is forbidden: error looking up service account a/b: serviceaccount "b" not found',
         "service_account_missing"),
        ("Error creating: admission webhook \"w\" denied the request", "admission_denied"),
        ("Error creating: Internal error occurred", "unknown"),
    ],
)  # fmt: skip
def test_why_a_job_has_no_pods(message: str, category: str) -> None:
    found = trouble({}, [], [{"reason": "FailedCreate", "message": message}])
    assert found and found.category == category


def test_a_missing_volume_is_told_from_the_events_of_its_own_pod() -> None:
    event = {"reason": "FailedMount", "message": 'secret "s" not found', "involvedObject": {"uid": "p"}}
    mine = trouble({}, [pod(phase="Pending")], [event])
    assert mine and mine.category == "volume_failed"
    assert trouble({}, [pod(phase="Pending")], [{**event, "involvedObject": {"uid": "other"}}]) is None


def test_a_suspended_job_waits_as_long_as_there_is_time() -> None:
    found = trouble({"spec": {"suspend": True}}, [])
    assert found and (found.category, found.grace_s) == ("suspended", None)


LOST = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": "node gone"}
PREEMPTED = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"}


@pytest.mark.parametrize(
    ("end", "pods", "category", "code"),
    [
        (job(), [failed(3)], "exit_code", 3),
        (job(), [failed(137, "OOMKilled")], "out_of_memory", 137),
        (job(), [failed(137)], "killed", 137),
        (job(), [failed(143)], "killed", 143),
        (job(), [failed(127)], "command_not_found", 127),
        (job(), [failed(128, "StartError", 'exec: "x": executable file not found in $PATH')], "command_not_found", 128),
        (job(), [failed(128, "StartError", "permission denied")], "container_refused", 128),
        (job(), [failed(137, "ContainerStatusUnknown")], "node_lost", 137),
        (job(), [pod(phase="Failed", reason="Evicted", message="low on memory")], "evicted", None),
        (job(), [failed(143, conditions=[LOST])], "node_lost", None),
        (job(), [failed(143, conditions=[PREEMPTED])], "preempted", None),
        (job("DeadlineExceeded"), [failed(143)], "deadline", None),
        (job(message="Job has reached the specified backoff limit"), [], "unknown", None),
    ],
)
def test_how_a_failed_job_failed(end: Object, pods: list[Object], category: str, code: int | None) -> None:
    diagnosis, exit_status = ending(end, pods)
    assert (diagnosis.category, exit_status) == (category, code)
    assert diagnosis.detail and diagnosis.remedy


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], None),
        ([{"type": "SuccessCriteriaMet", "status": "True"}], None),
        ([{"type": "FailureTarget", "status": "True"}], None),
        ([{"type": "Complete", "status": "False"}], None),
        ([{"type": "Complete", "status": "True"}], "complete"),
        ([{"type": "Failed", "status": "True"}], "failed"),
    ],
)
def test_only_complete_and_failed_end_a_job(conditions: list[Object], expected: str | None) -> None:
    assert verdict({"status": {"conditions": conditions}}) == expected


def test_the_exit_code_is_not_measured_when_no_container_ended() -> None:
    assert exit_code([pod({"state": {"running": {}}})]) is None
    assert exit_code([failed(0), failed(4)]) in (0, 4)


def test_every_category_has_an_action_and_an_error_of_its_consequence() -> None:
    assert set(SUBJECTS) <= set(ACTIONS) and set(ACTIONS) >= DETERMINISTIC
    for category, (error, remedy) in ACTIONS.items():
        diagnosis, _ = ending(job(), [failed(1)])
        raised = error_of(diagnosis.model_copy(update={"category": category}), "Job x failed", "x")
        assert isinstance(raised, error) and remedy.endswith(".")
        assert raised.details["diagnosis"]["category"] == category
