"""Table tests of the diagnosis: objects as the API server writes them, and the category they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from f.flexcore.lib.core.errors import (
    DeadlineExceeded,
    ExecutionFailed,
    FlexcoreError,
    InvalidInput,
    NotFound,
    TransientError,
    Unavailable,
)
from f.flexcore.lib.kubernetes.job_diagnosis import diagnose_active_job, diagnose_failed_job, diagnose_lateness
from f.flexcore.lib.kubernetes.job_notes import find_exit_code, list_notes
from f.flexcore.lib.kubernetes_api.categories import ACTIONS, DETERMINISTIC, NO_LIMIT, SUBJECTS, Category, Problem
from f.flexcore.lib.kubernetes_api.image_pull import PULL_GRACE_S
from f.flexcore.lib.kubernetes_api.job_status import find_verdict
from f.flexcore.lib.kubernetes_api.pod_problems import CRASH_GRACE_S, HELD_GRACE_S, diagnose_waiting_pod
from tests.kubernetes.objects import (
    Object,
    complete_job,
    container,
    ended,
    event,
    failed_job,
    job,
    pod,
    runs,
    true,
    waits,
)


def problem_and_code(job: Object, pods: list[Object], events: Sequence[Object] = ()) -> tuple[Problem, int | None]:
    """How the Job failed, and its program's exit code."""
    problem = diagnose_failed_job(job, pods, events)
    return problem, problem.exit_code


def main_waits(reason: str, message: str = "", **more: Any) -> Object:
    return pod(container("main", waits(reason, message)), phase="Pending", **more)


def main_ended(code: int, reason: str = "", message: str = "", **more: Any) -> Object:
    return pod(container("main", ended(code, reason, message)), **{"phase": "Failed", **more})


def crash_loop(code: int, reason: str = "", policy: str = "Always") -> Object:
    state = container("main", waits("CrashLoopBackOff"), ended(code, reason), 3)
    return pod(state, spec={"restartPolicy": policy})


def fetching(state: Object, last: Object | None = None) -> Object:
    return pod(container("server", waits("PodInitializing")), init=[container("fetch-model", state, last)])


NOT_FOUND_SECRET = 'MountVolume.SetUp failed: secret "s" not found'
UNFIT = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: Insufficient cpu"}
# From a real kubelet 1.36 with containerd 2.3 on a network without a way out.
NO_NETWORK = (
    'Back-off pulling image "x": ErrImagePull: failed to pull and unpack image "docker.io/library/x:latest": failed to '
    'resolve image: failed to do request: Head "https://registry-1.docker.io/v2/library/x/manifests/latest": dial tcp: '
    "lookup registry-1.docker.io on 10.255.255.53:53: no such host"
)


WAITING = [
    (main_waits("ErrImagePull", "manifest unknown"), "image_not_found", 0),
    (main_waits("ErrImagePull", "docker.io/x:1: not found"), "image_not_found", 0),
    (main_waits("ErrImagePull", "no match for platform in manifest: not found"), "image_not_found", 0),
    (main_waits("ImagePullBackOff", 'Back-off pulling image "x"'), "image_not_found", PULL_GRACE_S),
    (main_waits("ErrImageNeverPull", "Container image is not present"), "image_not_found", 0),
    (main_waits("ErrImagePull", "pull access denied, repository does not exist"), "image_denied", 0),
    (main_waits("ErrImagePull", "401 Unauthorized"), "image_denied", 0),
    (main_waits("ImagePullBackOff", NO_NETWORK), "image_unreachable", PULL_GRACE_S),
    (main_waits("ErrImagePull", "net/http: TLS handshake timeout"), "image_unreachable", PULL_GRACE_S),
    (main_waits("ErrImagePull", "429 Too Many Requests"), "image_unreachable", PULL_GRACE_S),
    (
        main_waits("ErrImagePull", "toomanyrequests: You have reached your pull rate limit"),
        "image_unreachable",
        PULL_GRACE_S,
    ),
    (main_waits("InvalidImageName"), "image_invalid", 0),
    (main_waits("CreateContainerConfigError", 'secret "s" not found'), "config_missing", 20),
    (main_waits("CreateContainerConfigError", "couldn't find key K in ConfigMap work/c"), "config_missing", 20),
    (main_waits("CreateContainerConfigError", "runAsNonRoot and image will run as root"), "container_refused", 0),
    (main_waits("CreateContainerError", 'exec: "x": executable file not found in $PATH'), "command_not_found", 20),
    (pod(phase="Pending", conditions=[UNFIT]), "unschedulable", None),
    (crash_loop(1), "crash_loop", CRASH_GRACE_S),
    (crash_loop(137, "OOMKilled"), "out_of_memory", CRASH_GRACE_S),
    (crash_loop(1, policy="OnFailure"), "crash_loop", NO_LIMIT),
    (fetching(ended(40, message="other")), "model_mismatch", 0),
    (fetching({}, ended(43)), "model_unreachable", CRASH_GRACE_S),
    (pod(phase="Pending", conditions=[{**UNFIT, "reason": "SchedulingGated"}]), "suspended", None),
]


@pytest.mark.parametrize(
    ("found", "category", "grace"),
    WAITING,
)
def test_what_keeps_a_pod_from_running(found: Object, category: str, grace: float | None) -> None:
    seen = diagnose_waiting_pod(found)
    assert seen and (seen.category, seen.grace_s) == (category, grace)


@pytest.mark.parametrize(
    "found",
    [
        main_waits("ContainerCreating"),
        main_waits("PodInitializing"),
        pod(container("main", runs())),
        main_ended(1),
        pod(phase="Pending"),
        pod(
            container("main", waits("CrashLoopBackOff"), ended(1)),
            metadata={"deletionTimestamp": "2026-05-01T10:00:00Z"},
        ),
        pod(container("main", waits("PodInitializing")), init=[container("prepare", ended(40))]),
    ],
)
def test_a_pod_on_its_way_or_at_its_end_is_no_problem(found: Object) -> None:
    assert diagnose_waiting_pod(found) is None


# --- whose end it was


def sidecar_pod(name: str, code: int, program: int, **more: Any) -> Object:
    """A pod with a program `train` and, in one of the ways that there are, a sidecar beside it."""
    beside = container(name, ended(code, end=80))
    return pod(container("train", ended(program, end=60)), beside, phase="Failed", **more)


@pytest.mark.parametrize("code", [137, 143, 1, 2])
@pytest.mark.parametrize(
    "name",
    [
        "istio-proxy",
        "linkerd-proxy",
        "cloudsql-proxy",
        "cloud-sql-proxy",
        "vault-agent",
        "daprd",
        "fluent-bit",
        "log-shipper",
        "otel-collector",
        "x-exporter",
    ],
)
def test_a_sidecars_end_is_not_the_programs(name: str, code: int) -> None:
    found, program_code = problem_and_code(failed_job(), [sidecar_pod(name, code, 3)])
    assert (found.container, program_code, found.category) == ("train", 3, "exit_code")
    assert found.detail.startswith("train ended with exit code 3")


@pytest.mark.parametrize("code", [137, 143, 1])
def test_a_native_sidecars_end_after_the_program_is_not_why(code: int) -> None:
    shipper = container("shipper", ended(code, "OOMKilled" if code == 137 else "", end=90))
    seen = pod(
        container("train", ended(3)),
        init=[container("prepare", ended(0)), shipper],
        native=("shipper",),
        phase="Failed",
    )
    found, program_code = problem_and_code(failed_job(), [seen])
    assert (found.container, program_code) == ("train", 3)


def test_what_was_injected_into_a_pod_is_known_from_the_jobs_template() -> None:
    template = {"template": {"spec": {"containers": [{"name": "load"}]}}}
    seen = pod(container("mesh", ended(137, end=50)), container("load", ended(4, end=60)), phase="Failed")
    assert problem_and_code(failed_job(spec=template), [seen])[1] == 4
    assert problem_and_code(failed_job(), [seen])[1] == 137, "of two containers that are alike the first bad end counts"


def test_the_default_container_of_a_pod_is_no_sidecar_whatever_its_name() -> None:
    mark = {"annotations": {"kubectl.kubernetes.io/default-container": "cache-proxy"}}
    seen = pod(
        container("cache-proxy", ended(5)), container("istio-proxy", ended(1, end=20)), metadata=mark, phase="Failed"
    )
    assert problem_and_code(failed_job(), [seen])[0].container == "cache-proxy"


def test_of_two_programs_the_one_that_ended_badly_first_is_the_cause() -> None:
    seen = pod(container("a", ended(1, end=70)), container("b", ended(9, end=60)), phase="Failed")
    assert problem_and_code(failed_job(), [seen])[0].container == "b"


def test_a_program_that_is_stopped_since_the_job_had_failed_is_not_the_cause() -> None:
    seen = pod(container("a", ended(143, end=66)), container("b", ended(9, end=64)), phase="Failed")
    assert problem_and_code(failed_job(), [seen])[0].container == "b"


def test_a_sidecar_that_fails_alone_is_named_with_the_programs_good_end() -> None:
    found, code = problem_and_code(failed_job(), [sidecar_pod("istio-proxy", 1, 0)])
    assert (found.container, code) == ("istio-proxy", 1) and "train had ended with exit code 0" in found.detail
    assert "restartPolicy Always" in found.to_diagnosis().remedy


def test_an_init_container_is_the_cause_only_when_no_program_began() -> None:
    first = [container("fetch", ended(4))]
    found, code = problem_and_code(
        failed_job(), [pod(container("train", waits("PodInitializing")), init=first, phase="Failed")]
    )
    assert (found.container, code) == ("fetch", 4) and found.detail.startswith("init container fetch")
    found, code = problem_and_code(failed_job(), [pod(container("train", ended(1)), init=first, phase="Failed")])
    assert (found.container, code) == ("train", 1)


def test_a_process_of_an_init_container_killed_for_memory_stands_beside_the_programs_end() -> None:
    first = [container("fetch", ended(0, "OOMKilled"))]
    seen = pod(container("train", ended(1, message="KeyError: 'price'")), init=first, phase="Failed")
    found, code = problem_and_code(failed_job(), [seen])
    assert (found.category, found.container, code) == ("exit_code", "train", 1) and "KeyError: 'price'" in found.detail
    assert [note for note in list_notes(failed_job(), [seen], found) if "fetch" in note and "memory" in note]


# --- how a pod failed

GONE = true("DisruptionTarget", "DeletionByPodGC", "node gone", 30)
TAINTED = true("DisruptionTarget", "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", 30)
PREEMPTED = true("DisruptionTarget", "PreemptionByScheduler", "preempting to accommodate a higher priority pod", 30)
DRAINED = true("DisruptionTarget", "EvictionByEvictionAPI", "Eviction API: evicting", 30)
LOW_MEMORY = "The node was low on resource: memory. Container train was using 2411Mi, request is 0."


FAILED = [
    (main_ended(3), "exit_code", 3),
    (main_ended(255), "exit_code", 255),
    (main_ended(128), "exit_code", 128),
    (main_ended(137, "OOMKilled"), "out_of_memory", 137),
    (main_ended(1, "OOMKilled"), "out_of_memory", 1),
    (main_ended(137), "killed", 137),
    (main_ended(139), "killed", 139),
    (main_ended(143), "killed", 143),
    (main_ended(127), "command_not_found", 127),
    (main_ended(126), "command_not_found", 126),
    (main_ended(128, "StartError", 'exec: "x": executable file not found in $PATH'), "command_not_found", 128),
    (main_ended(128, "StartError", "permission denied"), "container_refused", 128),
    (main_ended(128, "StartError", "exec /x: exec format error"), "container_refused", 128),
    (main_ended(137, "ContainerStatusUnknown"), "node_lost", 137),
    (pod(phase="Failed", reason="Evicted", message=LOW_MEMORY), "evicted", None),
    (main_ended(143, conditions=[GONE]), "node_lost", None),
    (main_ended(143, conditions=[TAINTED]), "node_lost", None),
    (main_ended(143, conditions=[PREEMPTED]), "preempted", None),
    (main_ended(143, conditions=[DRAINED]), "evicted", None),
    (main_ended(3, conditions=[{**GONE, "lastTransitionTime": "2026-05-01T10:59:00Z"}]), "exit_code", 3),
    (pod(phase="Failed", reason="NodeShutdown"), "node_lost", None),
    (pod(phase="Failed", reason="OutOfcpu", message="Node didn't have enough resource"), "node_lost", None),
    (
        pod(phase="Failed", reason="Preempting", message="Preempted in order to admit critical pod"),
        "preempted",
        None,
    ),
]


@pytest.mark.parametrize(
    ("seen", "category", "code"),
    FAILED,
)
def test_how_a_pod_failed(seen: Object, category: str, code: int | None) -> None:
    found, exit_status = problem_and_code(failed_job(), [seen])
    assert (found.category, exit_status) == (category, code)
    assert found.detail and found.to_diagnosis().remedy


def test_a_signal_is_named() -> None:
    assert "signal 11 (SIGSEGV)" in problem_and_code(failed_job(), [main_ended(139)])[0].detail


EVICTIONS = [
    (LOW_MEMORY, True, "memory"),
    ("The node was low on resource: ephemeral-storage. Container main was using 12Gi", True, "ephemeral-storage"),
    ("Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.", False, "ephemeral-storage"),
    ('Container main exceeded its local ephemeral storage limit "1Gi". ', False, "ephemeral-storage"),
    ('Usage of EmptyDir volume "tmp" exceeds the limit "500Mi". ', False, "sizeLimit"),
]


@pytest.mark.parametrize(
    ("message", "transient", "word"),
    EVICTIONS,
)
def test_an_eviction_says_of_what_there_was_too_little_and_whether_a_repeat_may_help(
    message: str, transient: bool, word: str
) -> None:
    found, _ = problem_and_code(failed_job(), [pod(phase="Failed", reason="Evicted", message=message)])
    error = found.to_error("Job x failed", "x")
    assert found.category == "evicted" and error.retryable is transient and word in error.remedy


@pytest.mark.parametrize(
    ("reason", "message", "path", "code", "told"),
    [
        ("Killing", "Container main failed liveness probe, will be restarted", "", 137, True),
        ("Killing", "Container main failed startup probe, will be restarted", "spec.containers{main}", 143, True),
        (
            "Unhealthy",
            "Liveness probe failed: HTTP probe failed with statuscode: 503",
            "spec.containers{main}",
            137,
            True,
        ),
        ("Killing", "Container other failed liveness probe, will be restarted", "", 137, False),
        ("Unhealthy", "Liveness probe failed: timeout", "spec.containers{other}", 137, False),
        ("Unhealthy", "Liveness probe failed: timeout", "spec.containers{main}", 3, False),
        ("Unhealthy", "Readiness probe failed: timeout", "spec.containers{main}", 137, False),
        ("Killing", "Stopping container main", "spec.containers{main}", 137, False),
    ],
)
def test_a_probe_that_had_the_program_killed_is_reported(
    reason: str, message: str, path: str, code: int, told: bool
) -> None:
    seen = main_ended(code)
    found, _ = problem_and_code(failed_job(), [seen], [event(seen, reason, message, path=path)])
    assert ("probe had failed" in found.detail) is told and found.exit_code == code
    assert found.category != "out_of_memory"


@pytest.mark.parametrize(("uid", "when"), [("uid-of-another", 61), ("uid-train-x7k2p", -1)])
def test_an_event_of_an_earlier_object_of_that_name_is_not_this_ones(uid: str, when: int) -> None:
    seen = main_ended(137, created=10)
    old = event(seen, "Killing", "Container main failed liveness probe, will be restarted", when=max(when, 0))
    old["involvedObject"]["uid"] = uid
    if when >= 0:
        assert "probe" not in problem_and_code(failed_job(), [seen], [old])[0].detail
    else:
        assert (
            "probe"
            not in problem_and_code(failed_job(), [seen], [{**old, "lastTimestamp": "2026-05-01T09:00:00Z"}])[0].detail
        )


def test_a_probe_that_keeps_having_the_program_killed_is_reported_with_its_crash_loop() -> None:
    state = container("main", waits("CrashLoopBackOff"), ended(137), 3)
    seen = pod(state, spec={"restartPolicy": "OnFailure"})
    events = [event(seen, "Unhealthy", "Liveness probe failed: connection refused", path="spec.containers{main}")]
    found = diagnose_active_job(job(), [seen], events)
    assert found and found.category == "crash_loop" and "liveness probe had failed: connection refused" in found.detail
    again = pod(container("main", runs(), ended(137), 3), spec={"restartPolicy": "OnFailure"})
    assert any("probe" in note for note in list_notes(job(), [again], None, events))


# --- what the Job itself says


def test_failed_and_completed_indexes_are_reported_with_the_pod_and_its_index() -> None:
    shards = [
        pod(
            container("shard", ended(index % 2)),
            name=f"s-{index}",
            index=index,
            phase="Failed" if index % 2 else "Succeeded",
        )
        for index in range(6)
    ]
    status = {"failedIndexes": "1,3,5", "completedIndexes": "0,2,4", "failed": 3, "succeeded": 3}
    found, code = problem_and_code(
        failed_job("FailedIndexes", "Job has failed indexes", spec={"completions": 6}, **status), shards
    )
    assert code == 1 and "indexes 1,3,5 failed, 0,2,4 are done" in found.detail
    assert "(pod s-1, index 1)" in found.detail and found.pod == "s-1"


def test_indexes_that_never_ran_are_counted() -> None:
    reason, message = "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    limits = {"completions": 10, "maxFailedIndexes": 1}
    found, _ = problem_and_code(failed_job(reason, message, spec=limits, failedIndexes="0-1", completedIndexes="2"), [])
    assert (
        "indexes 0-1 failed, 2 are done, 7 of 10 did not end" in found.detail and "maxFailedIndexes 1" in found.detail
    )


POLICY = "Container shard for pod work/s-0 failed with exit code 42 matching FailJob rule at index 0"


def test_a_policys_own_message_and_its_pod_are_reported_not_what_was_stopped_because_of_it() -> None:
    chosen = pod(container("shard", ended(42, end=60)), name="s-0", phase="Failed")
    stopped = pod(container("shard", ended(137, end=70)), name="s-1", phase="Failed")
    found, code = problem_and_code(failed_job("PodFailurePolicy", POLICY), [stopped, chosen])
    assert (code, found.pod, found.container) == (42, "s-0", "shard") and POLICY in found.detail
    found, code = problem_and_code(failed_job("PodFailurePolicy", POLICY), [stopped])
    assert (code, found.pod) == (42, "s-0"), "the pod itself may be gone"


def test_of_pods_that_were_tried_one_after_the_other_the_last_is_reported() -> None:
    tries = [
        pod(
            container("main", ended(code, start=begun, end=begun + 10)), name=f"t-{code}", created=begun, phase="Failed"
        )
        for code, begun in ((1, 0), (2, 20), (3, 40))
    ]
    assert problem_and_code(failed_job(spec={"backoffLimit": 2}, failed=3), tries)[1] == 3


def test_of_pods_that_ran_at_the_same_time_the_first_to_fail_is_reported() -> None:
    peers = [
        pod(container("main", ended(code, end=end)), name=f"p-{code}", phase="Failed", created=code)
        for code, end in ((1, 50), (2, 40), (3, 60))
    ]
    assert problem_and_code(failed_job(), peers)[1] == 2


def test_the_last_run_of_a_restarted_container_is_reported_though_it_was_stopped_meanwhile() -> None:
    state = container("main", ended(137, start=66, end=70), ended(7, end=60), 2)
    seen = pod(state, spec={"restartPolicy": "OnFailure"}, phase="Failed")
    found, code = problem_and_code(failed_job(spec={"backoffLimit": 2}), [seen])
    assert (found.category, code) == ("exit_code", 7) and "backoffLimit 2" in found.detail


def test_a_job_whose_pods_are_gone_says_what_it_says_itself_and_its_events_of_a_restart() -> None:
    ended_job = failed_job(spec={"backoffLimit": 2}, failed=1)
    found, code = problem_and_code(ended_job, [])
    assert (found.category, code) == ("unknown", None) and "specified backoff limit (backoffLimit 2" in found.detail
    gone = event(
        pod(), "BackOff", "Back-off restarting failed container main in pod train-x7k2p", path="spec.containers{main}"
    )
    found, _ = problem_and_code(ended_job, [], [gone])
    assert (found.category, found.container, found.pod) == ("crash_loop", "main", "train-x7k2p")


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
    assert find_verdict({"status": {"conditions": conditions}}) == expected


# --- success


@pytest.mark.parametrize(
    "pods",
    [
        [pod(container("train", ended(0)), init=[container("s", ended(137))], native=("s",), phase="Succeeded")],
        [pod(container("w", ended(137)), name="b", phase="Failed"), pod(container("w", ended(0)), phase="Succeeded")],
        [main_ended(137, "OOMKilled", name="first"), pod(container("main", ended(0)), phase="Succeeded")],
    ],
)
def test_the_exit_code_of_a_success_is_the_programs(pods: list[Object]) -> None:
    assert find_exit_code(pods) == 0 and find_exit_code(pods, complete_job()) == 0


def test_the_exit_code_is_not_measured_when_no_container_ended() -> None:
    assert find_exit_code([pod(container("main", runs()))]) is None and find_exit_code([]) is None
    crashing = container("log-shipper", waits("CrashLoopBackOff"), ended(1), 4)
    assert find_exit_code([pod(container("train", runs()), crashing)]) is None
    assert find_exit_code([pod(container("load", ended(0)), container("mesh-proxy", ended(137)))]) == 0


def test_a_success_in_which_a_process_was_killed_for_memory_says_so() -> None:
    seen = pod(container("main", ended(0, "OOMKilled")), phase="Succeeded")
    assert find_exit_code([seen]) == 0
    assert any("killed for memory" in note and "incomplete" in note for note in list_notes(complete_job(), [seen]))


def test_a_success_after_failures_says_what_failed_before() -> None:
    first = main_ended(137, "OOMKilled", name="first")
    said = list_notes(complete_job(failed=1), [first, pod(container("main", ended(0)), phase="Succeeded")])
    assert any("1 of its pods failed before" in note for note in said) and any("memory" in note for note in said)


def test_a_success_policy_is_reported() -> None:
    said = list_notes(complete_job("SuccessPolicy", "Matched rules at index 0", completedIndexes="0"), [])
    assert any("successPolicy (Matched rules at index 0)" in note for note in said)


# --- what a Job waits for


REFUSALS: list[tuple[str, str, type[FlexcoreError], str, float | None]] = [
    ("exceeded quota: q, requested: cpu=2, used: cpu=1, limited: cpu=2", "quota_exceeded", Unavailable, "x", None),
    (
        "exceeded quota: q, requested: cpu=2, used: cpu=0, limited: cpu=1500m",
        "quota_exceeded",
        InvalidInput,
        "cpu",
        0,
    ),
    (
        "exceeded quota: q, requested: limits.memory=4Gi,pods=1, used: limits.memory=0,pods=0, limited: "
        "limits.memory=2Gi,pods=9",
        "quota_exceeded",
        InvalidInput,
        "memory",
        0,
    ),
    (
        "exceeded quota: q, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=0, limited: "
        "requests.nvidia.com/gpu=0",
        "quota_exceeded",
        InvalidInput,
        "gpus",
        0,
    ),
    ("exceeded quota: q, requested: pods=1", "quota_exceeded", Unavailable, "x", None),
    ("failed quota: q: must specify cpu for: main; memory for: main", "admission_denied", InvalidInput, "cpu", 0),
    ('violates PodSecurity "restricted:latest": runAsNonRoot != true', "admission_denied", InvalidInput, "x", 0),
    ("[maximum cpu usage per Container is 1, but limit is 2]", "admission_denied", InvalidInput, "cpu", 0),
    (
        "no PriorityClass with name high was found",
        "admission_denied",
        InvalidInput,
        "spec.template.spec.priorityClassName",
        0,
    ),
    (
        'error looking up service account a/b: serviceaccount "b" not found',
        "service_account_missing",
        NotFound,
        "service_account",
        8,
    ),
]


@pytest.mark.parametrize(
    ("message", "category", "error", "subject", "grace"),
    REFUSALS,
)
def test_why_a_job_has_no_pods(
    message: str, category: str, error: type[FlexcoreError], subject: str, grace: float | None
) -> None:
    waiting = job()
    said = f'Error creating: pods "x" is forbidden: {message}'
    found = diagnose_active_job(waiting, [], [event(waiting, "FailedCreate", said, kind="Job")])
    assert found and (found.category, found.error_type, found.grace_s) == (category, error, grace)
    assert found.name_subject("x") == subject


WEBHOOKS: list[tuple[str, str, bool]] = [
    ('Error creating: admission webhook "w" denied the request', "admission_denied", False),
    ('Internal error occurred: failed calling webhook "w": connection refused', "admission_unreachable", True),
    ("Error creating: Internal error occurred", "unknown", True),
]


@pytest.mark.parametrize(
    ("message", "category", "transient"),
    WEBHOOKS,
)
def test_a_webhook_that_refuses_is_not_one_that_does_not_answer(message: str, category: str, transient: bool) -> None:
    found = diagnose_active_job({}, [], [{"reason": "FailedCreate", "message": message}])
    assert found and found.category == category and issubclass(found.error_type, TransientError) is transient


def test_a_refusal_that_has_passed_is_not_reported() -> None:
    waiting, message = job(), "exceeded quota: q, requested: cpu=2"
    events = [event(waiting, "FailedCreate", message, 10, "Job"), event(waiting, "SuccessfulCreate", "pod", 20, "Job")]
    assert diagnose_active_job(waiting, [], events) is None
    assert diagnose_active_job(waiting, [main_ended(1, created=20)], events[:1]) is None


def test_a_missing_volume_is_reported_from_the_events_of_its_own_pod() -> None:
    waiting = pod(phase="Pending")
    mine = diagnose_active_job({}, [waiting], [event(waiting, "FailedMount", 'secret "s" not found')])
    assert mine and mine.category == "volume_failed"
    other = event(pod(name="other"), "FailedMount", 'secret "s" not found')
    assert diagnose_active_job({}, [waiting], [other]) is None


def test_a_node_that_cannot_start_pods_is_reported_until_one_is_started() -> None:
    waiting = main_waits("ContainerCreating")
    failed = event(waiting, "FailedCreatePodSandBox", "failed to set up network for sandbox: no IP left", 10)
    found = diagnose_active_job({}, [waiting], [failed])
    assert found and found.category == "sandbox_failed"
    assert (
        diagnose_active_job({}, [waiting], [failed, event(waiting, "Pulled", "Container image is present", 20)]) is None
    )


@pytest.mark.parametrize(
    ("labels", "words", "error", "grace"),
    [
        ({"kueue.x-k8s.io/queue-name": "team-a"}, "queue team-a", Unavailable, NO_LIMIT),
        ({}, "by its own manifest", InvalidInput, None),
    ],
)
def test_a_suspended_job_waits_for_its_queue_or_for_nothing(
    labels: Object, words: str, error: type[FlexcoreError], grace: float | None
) -> None:
    waiting = job(spec={"suspend": True})
    waiting["metadata"]["labels"] = labels
    found = diagnose_active_job(waiting, [])
    assert (
        found
        and words in found.detail
        and (found.category, found.error_type, found.grace_s) == ("suspended", error, grace)
    )


TAIL = " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
BUSY = " preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."


SCHEDULER = [
    ("3 Insufficient cpu." + BUSY, "cpu", "wait until others", True),
    ("3 Insufficient cpu." + TAIL, "cpu", "No node is large enough", False),
    ("3 Insufficient memory." + TAIL, "memory", "less memory", False),
    ("3 Insufficient nvidia.com/gpu." + TAIL, "gpus", "nvidia.com/gpu", False),
    (
        "3 node(s) didn't match Pod's node affinity/selector." + TAIL,
        "spec.template.spec.nodeSelector",
        "gpu=a100 (none of 3 nodes has it)",
        False,
    ),
    (
        "1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector." + BUSY,
        "spec.template.spec.nodeSelector",
        "lack cpu",
        True,
    ),
    (
        "3 node(s) had untolerated taint {dedicated: gpu}." + TAIL,
        "spec.template.spec.tolerations",
        "{dedicated: gpu}",
        False,
    ),
    ("3 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }." + TAIL, "cluster", "not fit", True),
    (
        "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 2 Insufficient cpu." + BUSY,
        "cpu",
        "less cpu",
        True,
    ),
    ("3 node(s) were unschedulable." + TAIL, "cluster", "uncordon", True),
    ("1 Insufficient cpu, 2 node(s) were unschedulable." + BUSY, "cpu", "less cpu", True),
    ("3 Too many pods." + BUSY, "cluster", "others have ended", True),
    (
        "3 node(s) didn't match pod anti-affinity rules." + BUSY,
        "spec.template.spec.affinity",
        "anti-affinity",
        True,
    ),
    (
        "3 node(s) didn't match pod topology spread constraints (missing required label)." + TAIL,
        "spec.template.spec.topologySpreadConstraints",
        "topologyKey",
        True,
    ),
    (
        "pod has unbound immediate PersistentVolumeClaims." + TAIL,
        "spec.template.spec.volumes",
        "StorageClass",
        True,
    ),
    (
        'persistentvolumeclaim "data" not found.' + TAIL,
        "spec.template.spec.volumes",
        "PersistentVolumeClaim data",
        False,
    ),
    ("3 node(s) had volume node affinity conflict." + TAIL, "spec.template.spec.volumes", "bound to another", True),
]


@pytest.mark.parametrize(
    ("said", "subject", "word", "transient"),
    SCHEDULER,
)
def test_the_schedulers_message_lead_to_the_field_that_is_to_change(
    said: str, subject: str, word: str, transient: bool
) -> None:
    condition = {**UNFIT, "message": f"0/3 nodes are available: {said}"}
    found = diagnose_active_job(
        {}, [pod(phase="Pending", conditions=[condition], spec={"nodeSelector": {"gpu": "a100"}})]
    )
    assert found and found.category == "unschedulable"
    error = found.to_error("Job x", "x")
    assert (error.subject, error.retryable) == (subject, transient) and word in error.remedy
    if "selector" in said:
        assert "Ask for less cpu" not in error.remedy


# --- sidecars that hold a Job, or crash beside it


@pytest.mark.parametrize("code", [0, 2])
@pytest.mark.parametrize("proxy", ["mesh-proxy", "istio-proxy", "linkerd-proxy", "cloud-sql-proxy"])
def test_a_program_that_is_done_beside_a_proxy_that_is_not_is_reported_and_ends_nothing(proxy: str, code: int) -> None:
    seen = pod(container("load", ended(code)), container(proxy, runs()))
    found = diagnose_active_job(job(active=1), [seen])
    assert found and (found.category, found.grace_s, found.exit_code) == ("sidecar_running", NO_LIMIT, code)
    assert f"load has ended with exit code {code}, and {proxy} still runs" in found.detail
    assert "restartPolicy Always" in found.to_diagnosis().remedy


HELD: list[tuple[int, str, Object, int, bool]] = [
    (2, "Never", {"backoffLimit": 0}, 0, True),
    (2, "Never", {"backoffLimit": 1}, 1, True),
    (2, "Never", {}, 6, False),
    (2, "Never", {"completions": 1}, 6, True),
    (2, "Never", {"backoffLimit": 1}, 0, False),
    (2, "Never", {"completions": 1}, 0, False),
    (2, "OnFailure", {"backoffLimit": 0}, 0, False),
    (0, "Never", {"backoffLimit": 0}, 0, False),
    # These decide by themselves whether a failed pod counts.
    (2, "Never", {"backoffLimit": 0, "podFailurePolicy": {"rules": []}}, 0, False),
    (2, "Never", {"backoffLimit": 0, "successPolicy": {"rules": []}}, 0, False),
    (2, "Never", {"backoffLimit": 0, "backoffLimitPerIndex": 1}, 0, False),
]


@pytest.mark.parametrize(
    ("code", "policy", "spec", "failed", "is_lost"),
    HELD,
)
def test_a_program_that_failed_beside_a_proxy_ends_the_run_where_its_job_cannot_succeed(
    code: int, policy: str, spec: Object, failed: int, is_lost: bool
) -> None:
    seen = pod(container("load", ended(code)), container("mesh-proxy", runs()), spec={"restartPolicy": policy})
    found = diagnose_active_job(job(spec=spec, active=1, failed=failed), [seen])
    assert (found is not None and found.grace_s == HELD_GRACE_S) is is_lost
    if found and is_lost:
        assert "can no longer succeed" in found.detail and "last lines of load" in found.remedy


@pytest.mark.parametrize("proxy", [runs(), ended(137, end=70), ended(143, end=70)])
def test_at_the_deadline_the_proxy_is_reported_and_not_more_time(proxy: Object) -> None:
    seen = pod(container("load", ended(0)), container("mesh-proxy", proxy), phase="Failed")
    found, code = problem_and_code(
        failed_job("DeadlineExceeded", "Job was active longer than specified deadline"), [seen]
    )
    assert (found.category, code, found.error_type) == ("deadline", 0, DeadlineExceeded)
    assert "load had ended with exit code 0" in found.detail and "mesh-proxy still ran" in found.detail
    assert "timeout_s" not in found.to_diagnosis().remedy


def test_a_second_container_of_no_known_kind_that_outlives_the_first_is_reported_at_the_deadline() -> None:
    seen = pod(container("load", ended(0)), container("helper", ended(137, end=70)), phase="Failed")
    found, _ = problem_and_code(failed_job("DeadlineExceeded"), [seen])
    assert "load had ended with exit code 0, while helper still ran" in found.detail


def test_a_deadline_of_a_program_that_ran_on_is_a_matter_of_time() -> None:
    found, code = problem_and_code(
        failed_job("DeadlineExceeded", spec={"activeDeadlineSeconds": 60}), [main_ended(137)]
    )
    assert (found.category, code) == ("deadline", None) and "timeout_s" in found.to_diagnosis().remedy
    assert "(60 s: 55 s running)" in found.detail


def test_how_the_time_was_spent_is_reported() -> None:
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-05-01T10:00:10Z"}
    seen = pod(container("main", ended(137, start=40, end=66)), conditions=[scheduled], phase="Failed")
    events = [event(seen, "Pulling", "Pulling image", 12), event(seen, "Pulled", "Successfully pulled", 32)]
    found, _ = problem_and_code(failed_job("DeadlineExceeded", spec={"activeDeadlineSeconds": 60}), [seen], events)
    spent = "(60 s: 10 s waiting for a node, 20 s pulling its image, 10 s starting, 26 s running)"
    assert spent in found.detail


def test_work_that_never_began_in_its_time_says_what_it_waited_for() -> None:
    late = diagnose_lateness(job(), [pod(phase="Pending", conditions=[UNFIT])], (), "It did not end within 60 s")
    assert late.category == "unschedulable" and "did not end within 60 s" in late.detail


GONE_LATE: list[tuple[str, str, str]] = [
    ("FailedScheduling", "0/3 nodes are available: 3 Insufficient cpu.", "unschedulable"),
    ("Failed", 'Failed to pull image "x:1": not found', "image_not_found"),
    ("FailedMount", 'secret "s" not found', "volume_failed"),
    ("Started", "Started container main", "deadline"),
]


@pytest.mark.parametrize(
    ("reason", "message", "category"),
    GONE_LATE,
)
def test_of_pods_that_the_deadline_has_deleted_their_events_show_what_they_waited_for(
    reason: str, message: str, category: str
) -> None:
    late, others = failed_job("DeadlineExceeded"), pod(name="train-2-x7k2p")
    said = [event(pod(), reason, message), event(others, "FailedMount", "of another Job", 62)]
    assert problem_and_code(late, [], said)[0].category == category


def test_a_node_that_does_not_answer_is_reported_and_ends_nothing() -> None:
    found = diagnose_active_job(
        job(), [pod(container("main", runs()), phase="Unknown", reason="NodeLost", message="Node n1 is gone")]
    )
    assert found and (found.category, found.grace_s) == ("node_lost", NO_LIMIT)


@pytest.mark.parametrize(
    ("proxy", "word"), [("vault-agent", "agent-pre-populate-only"), ("cloud-sql-proxy", "quitquitquit")]
)
def test_how_a_sidecar_ends_with_its_program_depends_on_its_kind(proxy: str, word: str) -> None:
    found = diagnose_active_job(job(), [pod(container("load", ended(0)), container(proxy, runs()))])
    assert found and word in found.to_diagnosis().remedy and "restartPolicy Always" in found.to_diagnosis().remedy


@pytest.mark.parametrize("where", ["native", "plain"])
def test_a_sidecars_crash_loop_does_not_end_a_healthy_run(where: str) -> None:
    crashing = container("log-shipper", waits("CrashLoopBackOff"), ended(1), 4)
    train = container("train", runs())
    seen = pod(train, init=[crashing], native=("log-shipper",)) if where == "native" else pod(train, crashing)
    found = diagnose_active_job(job(active=1), [seen])
    assert found and found.grace_s == NO_LIMIT and found.detail.startswith("sidecar log-shipper")
    late = diagnose_lateness(job(), [seen], (), "It did not end within 60 s")
    assert late.category == "deadline"


def test_a_sidecar_whose_image_cannot_be_pulled_holds_the_program_back_only_before_it_begins() -> None:
    proxy = container("log-shipper", waits("ErrImagePull", "not found"))
    before = pod(container("train", waits("PodInitializing")), init=[proxy], native=("log-shipper",), phase="Pending")
    found = diagnose_active_job(job(), [before])
    assert found and (found.category, found.grace_s, found.container) == ("image_not_found", 0, "log-shipper")
    beside = diagnose_active_job(job(), [pod(container("train", runs()), proxy)])
    assert beside and beside.grace_s == NO_LIMIT


def test_a_problem_that_ends_the_work_goes_before_one_that_is_only_reported() -> None:
    seen = pod(container("load", ended(0)), container("mesh-proxy", runs()), name="a")
    found = diagnose_active_job(job(), [seen, main_waits("InvalidImageName", name="b")])
    assert found and found.category == "image_invalid" and "pod b" in found.detail


# --- categories


def test_every_category_has_an_action_and_an_error_of_its_consequence() -> None:
    assert set(ACTIONS) == set(Category) and set(SUBJECTS) <= set(ACTIONS) and set(ACTIONS) >= DETERMINISTIC
    for category, (error, remedy) in ACTIONS.items():
        raised = Problem(category, "it broke").to_error("Job x failed", "x")
        assert isinstance(raised, error) and remedy.endswith(".")
        assert raised.details["diagnosis"]["category"] == category == raised.category


def test_what_would_end_the_same_way_is_not_tried_again() -> None:
    assert Problem(Category.COMMAND_NOT_FOUND, "").is_deterministic
    assert Problem(Category.QUOTA_EXCEEDED, "", error=InvalidInput).is_deterministic
    assert not Problem(Category.QUOTA_EXCEEDED, "").is_deterministic
    assert not Problem(Category.EVICTED, "", error=ExecutionFailed).is_deterministic
