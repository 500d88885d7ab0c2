"""Each diagnosis as a whole: what a person reads, what is to change, and how long it is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.kubernetes.job_diagnosis import diagnose_active_job, diagnose_failed_job, diagnose_lateness
from f.flexcore.lib.kubernetes_api.categories import NO_LIMIT, Problem
from f.flexcore.lib.kubernetes_api.pod_problems import diagnose_pods, diagnose_waiting_pod
from tests.agreed import check_agreed
from tests.kubernetes.objects import Object, container, ended, event, failed_job, job, pod, runs, waits
from tests.kubernetes.test_job_diagnosis import (
    EVICTIONS,
    FAILED,
    GONE_LATE,
    HELD,
    NOT_FOUND_SECRET,
    POLICY,
    REFUSALS,
    SCHEDULER,
    UNFIT,
    WAITING,
    WEBHOOKS,
)

LATE = "It did not end within 60 s"


def tell(problem: Problem | None) -> Any:
    if problem is None:
        return None
    grace = "no limit" if problem.grace_s == NO_LIMIT else problem.grace_s
    place = "/".join(filter(None, [problem.pod, problem.container]))
    error = problem.to_error("Job train", "the step")
    return {
        "error": f"{type(error).__name__} {problem.category} of {error.subject}",
        "says": str(error),
        "where": f"{place} {'' if problem.exit_code is None else problem.exit_code}".strip(),
        "waits": grace,
    }


def refused(message: str, when: int = 10, reason: str = "FailedCreate") -> Object:
    return event(job(), reason, f'Error creating: pods "x" is forbidden: {message}', when, "Job")


def scheduled(said: str) -> Object:
    return pod(phase="Pending", conditions=[{**UNFIT, "message": f"0/3 nodes are available: {said}"}])


def test_what_keeps_work_from_running_reads_as_agreed() -> None:
    found: list[Any] = [tell(diagnose_waiting_pod(seen)) for seen, *_ in WAITING]
    found += [tell(diagnose_active_job(job(), [scheduled(said)])) for said, *_ in SCHEDULER]
    said_by_the_server = [row[0] for row in REFUSALS] + [row[0] for row in WEBHOOKS]
    found += [tell(diagnose_active_job(job(), [], [refused(said)])) for said in said_by_the_server]
    for code, policy, spec, failed, _ in HELD:
        held = pod(container("load", ended(code)), container("mesh", runs()), spec={"restartPolicy": policy})
        found.append(tell(diagnose_active_job(job(spec=spec, failed=failed), [held])))
    check_agreed("kubernetes_waiting.json", found)


def test_how_work_failed_reads_as_agreed() -> None:
    found = [tell(diagnose_failed_job(failed_job(), [seen])) for seen, *_ in FAILED]
    found += [
        tell(diagnose_failed_job(failed_job(), [pod(phase="Failed", reason="Evicted", message=said)]))
        for said, *_ in EVICTIONS
    ]
    late = failed_job("DeadlineExceeded", spec={"activeDeadlineSeconds": 60})
    found += [tell(diagnose_failed_job(late, [], [event(pod(), reason, said)])) for reason, said, _ in GONE_LATE]
    check_agreed("kubernetes_failed.json", found)


def peers(*names: str) -> list[Object]:
    return [pod(container("main", waits("InvalidImageName")), name=name, phase="Pending") for name in names]


def restarted(code: int = 3, **more: Any) -> Object:
    return pod(container("main", waits("CrashLoopBackOff"), ended(code), 3), **more)


QUEUED = job(spec={"suspend": True})
QUEUED["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "team-a"}
LOST = pod(container("main", runs()), phase="Unknown")
HELD_LATE = [
    pod(
        container("load", ended(0)),
        container("eat", ended(4)),
        container("istio-proxy", runs()),
        container("x-proxy", runs()),
    ),
    pod(container("load", ended(0)), container("vault-agent", runs())),
    pod(container("load", ended(2)), container("alloydb-proxy", runs())),
]


def find_situations() -> dict[str, Problem | None]:
    return {
        "suspended, queue has said why": diagnose_active_job(
            QUEUED,
            [],
            [event(QUEUED, "Stopped", "no quota", 5, "Job"), event(QUEUED, "Started", "x", 6, "Job")],
        ),
        "suspended by itself": diagnose_active_job(job(spec={"suspend": True}), []),
        "crash loop with a limit": diagnose_active_job(job(spec={"backoffLimit": 4}), [restarted()]),
        "crash loop without a last end": diagnose_active_job(
            job(), [pod(container("main", waits("CrashLoopBackOff", "back-off 10s"), None, 2))]
        ),
        "crash loop of a command that is not there": diagnose_active_job(job(), [restarted(127)]),
        "one of several pods": diagnose_active_job(job(), peers("a", "b")),
        "one index": diagnose_active_job(
            job(), [pod(container("main", waits("InvalidImageName")), index=2, phase="Pending")]
        ),
        "one of several pods, failed": diagnose_failed_job(
            failed_job(), [pod(container("main", ended(3)), name=name, phase="Failed") for name in ("a", "b")]
        ),
        "of pods that wait the first to be given up": diagnose_pods(
            [scheduled("3 Insufficient cpu."), restarted(), *peers("c")]
        ),
        "node does not answer": diagnose_active_job(job(), [LOST]),
        "node is lost, and says so": diagnose_active_job(job(), [pod(reason="NodeLost", message="Node n1 is gone")]),
        "an error that its message does not say": diagnose_active_job(
            job(), [pod(container("main", waits("RunContainerError")), phase="Pending")]
        ),
        "no such file": diagnose_active_job(
            job(), [pod(container("main", waits("RunContainerError", "no such file or directory")), phase="Pending")]
        ),
        "a user by name": diagnose_active_job(
            job(),
            [pod(container("main", waits("CreateContainerConfigError", "image has non-numeric user, must not")))],
        ),
        "a path that is refused": diagnose_active_job(
            job(), [pod(container("main", waits("CreateContainerConfigError", "failed to prepare subPath")))]
        ),
        "a model that is not there": diagnose_active_job(
            job(),
            [pod(container("s", waits("PodInitializing")), init=[container("fetch-model", ended(42, message="no x"))])],
        ),
        "a model's store that refuses, without a word": diagnose_active_job(
            job(), [pod(container("s", waits("PodInitializing")), init=[container("fetch-model", ended(41))])]
        ),
        "beside a second container": diagnose_active_job(
            job(), [pod(container("main", waits("InvalidImageName")), container("beside", runs()), phase="Pending")]
        ),
        "gates": diagnose_active_job(
            job(),
            [
                pod(
                    phase="Pending",
                    conditions=[{"type": "Ready"}, {**UNFIT, "reason": "SchedulingGated", "message": ""}],
                )
            ],
        ),
        **{
            f"held at the deadline {number}": diagnose_lateness(job(), [seen], (), LATE)
            for number, seen in enumerate(HELD_LATE)
        },
        "held now, two sidecars": diagnose_active_job(job(), HELD_LATE[:1]),
        "late, no pod": diagnose_lateness(job(), [], (), LATE),
        "late, refused": diagnose_lateness(job(), [], [refused("exceeded quota: q, requested: pods=1")], LATE),
        "late, and its queue never admitted it": diagnose_lateness(QUEUED, [], (), LATE),
        "late, restarted": diagnose_lateness(job(), [restarted(spec={"restartPolicy": "OnFailure"})], (), LATE),
        "late, and its mount failed": diagnose_lateness(
            job(), [seen := pod(phase="Pending")], [event(seen, "FailedMount", NOT_FOUND_SECRET)], LATE
        ),
        "policy, pod gone": diagnose_failed_job(failed_job("PodFailurePolicy", POLICY), []),
        "policy that names none": diagnose_failed_job(failed_job("PodFailurePolicy", "by rule"), []),
        "pods gone, quota": diagnose_failed_job(failed_job(), [], [refused("exceeded quota: q, requested: pods=1")]),
        "pods gone, restarts": diagnose_failed_job(
            failed_job(spec={"completionMode": "Indexed"}),
            [],
            [event(pod(name="train-3-abcde"), "BackOff", "Back-off restarting failed container in pod")],
        ),
        "pods gone, tries": diagnose_failed_job(failed_job(failed=2), []),
        "one try": diagnose_failed_job(failed_job(failed=1), [pod(container("main", ended(3)), phase="Failed")]),
        "two tries": diagnose_failed_job(failed_job(failed=2), [pod(container("main", ended(3)), phase="Failed")]),
    }


def test_diagnoses_of_single_situations_read_as_agreed() -> None:
    check_agreed("kubernetes_situations.json", {name: tell(problem) for name, problem in find_situations().items()})


@pytest.mark.parametrize(
    ("reason", "message", "category", "grace"),
    [
        ("FailedMount", NOT_FOUND_SECRET, "volume_failed", 20),
        ("FailedAttachVolume", "Multi-Attach error", "volume_failed", None),
        ("FailedAttachVolume", "claim DOES NOT EXIST", "volume_failed", 20),
        ("FailedCreatePodSandBox", "no IP left", "sandbox_failed", None),
        ("FailedCreatePodContainer", "no IP left", "sandbox_failed", None),
        ("NetworkNotReady", "no network", "sandbox_failed", None),
        ("Failed", 'Failed to pull image "x:1": not found', "image_not_found", 0),
        ("Failed", "Error: cannot start", "volume_failed", 20),
        ("FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.", "unschedulable", None),
        ("Pulling", "Pulling image", "volume_failed", 20),
        *((passed, "", None, None) for passed in ("Pulled", "Created", "Started", "Scheduled")),
        *((passed, "", None, None) for passed in ("SuccessfulMountVolume", "SuccessfulAttachVolume")),
    ],
)
def test_the_last_event_that_says_something_counts(
    reason: str, message: str, category: str | None, grace: float | None
) -> None:
    seen = pod(phase="Pending")
    events = [event(seen, "FailedMount", NOT_FOUND_SECRET, 10), event(seen, reason, message, 20)]
    found = diagnose_waiting_pod(seen, events)
    assert (found and found.category, found and found.grace_s) == (category, grace)


@pytest.mark.parametrize("created", [9, 10, 11])
def test_a_refusal_is_outdated_once_a_pod_was_created_after_it(created: int) -> None:
    gone = pod(container("main", ended(0)), phase="Succeeded", created=created)
    found = diagnose_active_job(job(), [gone], [refused("exceeded quota: q, requested: pods=1", 10)])
    assert (found is None) == (created > 10)
    events = [refused("exceeded quota: q, requested: pods=1", 10), refused("", created, "SuccessfulCreate")]
    assert (diagnose_active_job(job(), [], events) is None) == (created > 10)


def test_objects_that_say_nothing_are_no_problem_and_their_job_failed_for_an_unknown_reason() -> None:
    for bare in ({}, {"metadata": None, "spec": None, "status": None}):
        assert diagnose_active_job(bare, [bare]) is None
        assert diagnose_active_job(bare, []) is None
        assert diagnose_failed_job(bare, [bare]).category == "unknown"
        assert diagnose_failed_job(bare, [], [bare, {"involvedObject": None}]).category == "unknown"
        assert diagnose_lateness(bare, [bare], (), LATE).detail == LATE
