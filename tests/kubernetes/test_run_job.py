"""kubernetes/run_job against a Kubernetes API on loopback."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from pytest_mock import MockerFixture

from f.flexcore.kubernetes.run_job import main
from f.flexcore.lib.core.attempts import MAX_ATTEMPTS
from f.flexcore.lib.core.errors import (
    DeadlineExceeded,
    ExecutionFailed,
    FlexcoreError,
    Forbidden,
    InvalidInput,
    NotFound,
    Unavailable,
    Unreachable,
)
from f.flexcore.lib.core.identity import execution_key
from f.flexcore.lib.kubernetes.container_job import JobAdapter
from tests.kubernetes.fake_cluster import Api, FakeCluster, Fault, status
from tests.kubernetes.manifests import job as job_manifest
from tests.kubernetes.stories import Object, ended, ends, fails, job_story, pod_of, runs, succeeds, true, waits

JOBS = "/apis/batch/v1/namespaces/work/jobs"


def run(cluster: FakeCluster, **arguments: Any) -> dict[str, Any]:
    return main(cluster=cluster.resource, **{"image": "busybox:1", "timeout_s": 20, **arguments})


def jobs(cluster: FakeCluster) -> list[Object]:
    return cluster.api.all("batch/v1/jobs")


def test_a_job_that_completes_gives_its_exit_code_its_log_and_its_identity(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.api.story = succeeds()
    name = f"{execution_key({'WM_FLOW_JOB_ID': 'flow-1', 'WM_FLOW_STEP_ID': 'a'}).name(1)}"
    cluster.api.logs[f"{name}-abcde"] = [b"hello", "grüße".encode()]
    result = run(cluster, command=["echo", "hello"])
    assert result["success"] and result["data"]["exit_code"] == 0
    assert result["remote"] == {"kind": "Job", "name": name, "uid": jobs(cluster)[0]["metadata"]["uid"], "url": None}
    assert result["log_tail"] == "hello\ngrüße"
    assert "grüße" in capsys.readouterr().out
    assert result["timings"]["running"] == 0.0 and result["resource_usage"]["cpu_seconds"] is None


def test_the_job_carries_owner_deadline_and_time_to_live_from_its_creation(cluster: FakeCluster) -> None:
    cluster.api.story = succeeds()
    run(cluster, timeout_s=77, ttl_s=88)
    created = cluster.asked("POST", "/jobs")[0].data
    labels = created["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "flexcore" and labels["flexcore/owner-job"] == "flow-1"
    assert created["metadata"]["annotations"]["flexcore/job"] == "job-1"
    assert (created["spec"]["activeDeadlineSeconds"], created["spec"]["ttlSecondsAfterFinished"]) == (77, 88)
    assert created["spec"]["backoffLimit"] == 0
    assert created["spec"]["template"]["metadata"]["labels"]["flexcore/key"] == labels["flexcore/key"]


def test_a_command_that_fails_is_reported_with_exit_code_and_last_lines(cluster: FakeCluster) -> None:
    cluster.api.story = fails(3)
    key = execution_key({"WM_FLOW_JOB_ID": "flow-1", "WM_FLOW_STEP_ID": "a"})
    cluster.api.logs[f"{key.name(1)}-abcde"] = [b"it broke"]
    with pytest.raises(ExecutionFailed, match="exit code 3") as caught:
        run(cluster)
    assert caught.value.category == "exit_code" and caught.value.details["exit_code"] == 3
    assert caught.value.details["log_tail"] == "it broke"
    assert len(jobs(cluster)) == 1, "a failed Job stays for its time-to-live, to be looked at"


@pytest.mark.parametrize(
    ("story", "error", "category"),
    [
        (waits("ErrImagePull", "manifest unknown: not found"), NotFound, "image_not_found"),
        (waits("ErrImagePull", "pull access denied, repository does not exist"), Forbidden, "image_denied"),
        (waits("InvalidImageName", "couldn't parse"), InvalidInput, "image_invalid"),
        (waits("ErrImageNeverPull", "never"), NotFound, "image_not_found"),
    ],
)
@pytest.mark.fault(14, "I2", "I4")
def test_an_image_that_cannot_be_pulled_is_reported_at_once_and_the_job_is_gone(
    cluster: FakeCluster, story: Any, error: type[FlexcoreError], category: str
) -> None:
    cluster.api.story = job_story(story)
    begun = time.monotonic()
    with pytest.raises(error) as caught:
        run(cluster)
    assert caught.value.category == category and caught.value.subject == "image"
    assert time.monotonic() - begun < 5
    assert jobs(cluster) == [] and caught.value.details["deleted"] is True


@pytest.mark.fault(17, "I2", "I4")
def test_a_quota_is_reported_from_the_jobs_events(cluster: FakeCluster) -> None:
    async def story(api: Api, resource: str, item: Object) -> None:
        if resource == "batch/v1/jobs":
            event = {"name": "e1", "namespace": "work"}
            involved = {"uid": item["metadata"]["uid"]}
            said = 'Error creating: pods "x" is forbidden: exceeded quota: small, requested: cpu=2'
            await api.keep(
                "v1/events", {"metadata": event, "involvedObject": involved, "reason": "FailedCreate", "message": said}
            )

    cluster.api.story = story
    with pytest.raises(Unavailable, match="exceeded quota: small") as caught:
        run(cluster, queue_timeout_s=1)
    assert caught.value.category == "quota_exceeded" and jobs(cluster) == []
    assert not caught.value.retryable, "the time to wait was spent"


@pytest.mark.fault(15, "I2", "I4")
def test_the_schedulers_message_are_shown_and_the_queue_limit_ends_the_wait(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu"
    unfit = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}
    cluster.api.story = job_story(lambda job: pod_of(job, conditions=[unfit]))
    with pytest.raises(Unavailable, match=r"Insufficient nvidia\.com/gpu") as caught:
        run(cluster, gpus=1, queue_timeout_s=1)
    assert caught.value.subject == "gpus" and not caught.value.retryable
    assert said in capsys.readouterr().out and jobs(cluster) == []


@pytest.mark.fault(3, "I2", "I4")
def test_at_the_time_limit_the_job_is_deleted_by_uid_and_seen_to_be_gone(cluster: FakeCluster) -> None:
    cluster.api.story = job_story(runs)
    with pytest.raises(DeadlineExceeded, match="within 2 s"):
        run(cluster, timeout_s=2)
    deletion = cluster.asked("DELETE", "/jobs/")[0].data
    assert deletion["propagationPolicy"] == "Foreground" and deletion["preconditions"]["uid"]
    assert jobs(cluster) == []


@pytest.mark.fault(3, "I2", "I4")
def test_a_job_ended_by_its_own_deadline_is_a_deadline_too(cluster: FakeCluster) -> None:
    cluster.api.story = job_story(runs, conditions=[true("Failed", "DeadlineExceeded", "was active too long")])
    with pytest.raises(DeadlineExceeded):
        run(cluster)
    assert jobs(cluster) == []


@pytest.mark.fault(19, "I2", "I3")
def test_a_job_that_somebody_deletes_is_never_a_success(cluster: FakeCluster) -> None:
    async def story(api: Api, resource: str, item: Object) -> None:
        if resource == "batch/v1/jobs":
            await api.keep("v1/pods", runs(item))
            await api.drop("batch/v1/jobs", "work", item["metadata"]["name"])

    cluster.api.story = story
    with pytest.raises(ExecutionFailed) as caught:
        run(cluster)
    assert caught.value.category == "deleted"


@pytest.mark.fault(1, "I1")
def test_a_second_copy_of_the_step_attaches_to_the_running_job(cluster: FakeCluster) -> None:
    cluster.api.story = fails(1)
    with pytest.raises(ExecutionFailed):
        run(cluster)
    with pytest.raises(ExecutionFailed, match="exit code 1"):
        run(cluster)
    assert len(cluster.asked("POST", "/jobs")) == 1, "the same call tells the same failure"


@pytest.mark.fault(1, "I1", "I2")
def test_a_finished_job_gives_its_result_again_without_running_again(cluster: FakeCluster) -> None:
    cluster.api.story = succeeds()
    first = run(cluster)
    again = run(cluster)
    assert again["remote"] == first["remote"] and len(cluster.asked("POST", "/jobs")) == 1


def test_a_retry_after_a_failure_makes_the_next_attempt(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.api.story = fails(1)
    with pytest.raises(ExecutionFailed):
        run(cluster)
    cluster.api.story = succeeds()
    monkeypatch.setenv("WM_JOB_ID", "job-2")
    result = run(cluster)
    assert result["attempt"] == 2 and result["remote"]["name"].endswith("-2")


def test_attempts_are_bounded(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.api.story = fails(1)
    for number in range(MAX_ATTEMPTS):
        monkeypatch.setenv("WM_JOB_ID", f"job-{number}")
        with pytest.raises(ExecutionFailed, match="exit code 1"):
            run(cluster)
    monkeypatch.setenv("WM_JOB_ID", "job-x")
    with pytest.raises(ExecutionFailed, match="10 attempts have failed") as caught:
        run(cluster)
    assert caught.value.category == "attempts_spent" and len(jobs(cluster)) == MAX_ATTEMPTS


def test_a_retry_of_what_cannot_end_otherwise_is_refused(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.api.story = fails(128, "StartError", 'exec: "nosuch": executable file not found in $PATH')
    with pytest.raises(InvalidInput, match="nosuch"):
        run(cluster, command=["nosuch"])
    monkeypatch.setenv("WM_JOB_ID", "job-2")
    with pytest.raises(InvalidInput, match="nosuch"):
        run(cluster, command=["nosuch"])
    assert len(cluster.asked("POST", "/jobs")) == 1


@pytest.mark.fault(7, "I1")
def test_a_creation_whose_answer_is_lost_ends_in_one_job(cluster: FakeCluster) -> None:
    cluster.api.story = succeeds()
    cluster.api.faults = [Fault(method="POST", path="/jobs", status=0, after=True)]
    assert run(cluster)["success"]
    assert len(jobs(cluster)) == 1


@pytest.mark.fault(10, "I2")
def test_somebody_elses_job_of_that_name_is_left_alone(cluster: FakeCluster) -> None:
    name = execution_key({"WM_FLOW_JOB_ID": "flow-1", "WM_FLOW_STEP_ID": "a"}).name(1)
    cluster.do(cluster.api.keep("batch/v1/jobs", {"metadata": {"name": name, "namespace": "work", "labels": {}}}))
    with pytest.raises(InvalidInput, match="belongs to another owner"):
        run(cluster)
    assert len(jobs(cluster)) == 1 and not cluster.asked("DELETE", ".")


@pytest.mark.fault(11, "I2", "I5")
def test_a_watch_that_is_closed_or_too_old_goes_on_from_a_new_list(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.api.story = succeeds()
    gone = {"type": "ERROR", "object": status(410, "Expired", "too old resource version")}
    cluster.api.faults = [
        Fault(method="GET", path="/jobs.*watch=", status=200, body=gone),
        Fault(method="GET", path="/pods.*watch=", status=503),
        Fault(method="GET", path="/pods.*watch=", status=0),
    ]
    assert run(cluster)["success"]
    assert capsys.readouterr().out.count("is running") <= 1, "a list that comes again tells nothing again"


@pytest.mark.fault(11, "I2", "I3")
def test_a_job_that_goes_while_no_watch_runs_is_missed_in_the_next_list_and_no_success(cluster: FakeCluster) -> None:
    async def story(api: Api, resource: str, item: Object) -> None:
        if resource == "batch/v1/jobs":
            await api.keep("v1/pods", ends()(item))
            await api.drop("batch/v1/jobs", "work", item["metadata"]["name"])

    cluster.api.story = story
    bookmark = {"type": "BOOKMARK", "object": {"kind": "Job", "metadata": {"resourceVersion": "999"}}}
    gone = {"type": "ERROR", "object": status(410, "Expired", "too old resource version")}
    cluster.api.faults = [
        Fault(method="GET", path="/jobs.*watch=", status=200, body=bookmark),
        Fault(method="GET", path="/jobs.*watch=", status=200, body=gone),
    ]
    with pytest.raises(ExecutionFailed) as caught:
        run(cluster)
    assert caught.value.category == "deleted"


@pytest.mark.fault(5, "I1", "I2")
@pytest.mark.fault(6, "I1", "I2")
def test_a_busy_server_is_asked_again(cluster: FakeCluster) -> None:
    cluster.api.story = succeeds()
    busy = status(429, "TooManyRequests", "try later")
    cluster.api.faults = [
        Fault(method="GET", path="labelSelector=flexcore", status=429, body=busy, headers={"Retry-After": "1"}),
        Fault(method="POST", path="/jobs", status=503),
    ]
    assert run(cluster)["success"]


@pytest.mark.fault(12, "I2")
def test_a_log_that_cannot_be_read_does_not_decide_the_outcome(cluster: FakeCluster) -> None:
    cluster.api.story = succeeds()
    cluster.api.denied = {"pods/log"}
    denied = status(403, "Forbidden", 'cannot get resource "pods/log"')
    cluster.api.faults = [Fault(method="GET", path="/log", status=403, body=denied)]
    result = run(cluster)
    assert result["success"] and "cannot be read" in result["log_tail"]


@pytest.mark.fault(33, "I6")
def test_secrets_do_not_reach_log_result_or_error(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    token = cluster.resource["token"]
    cluster.api.story = fails(1, message=f"token {token} expired")
    key = execution_key({"WM_FLOW_JOB_ID": "flow-1", "WM_FLOW_STEP_ID": "a"})
    cluster.api.logs[f"{key.name(1)}-abcde"] = [f"using {token} now".encode()]
    with pytest.raises(ExecutionFailed) as caught:
        run(cluster)
    assert token not in f"{vars(caught.value)}{caught.value}{capsys.readouterr().out}"
    assert "using *** now" in caught.value.details["log_tail"]


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        ({"image": ""}, "image"),
        ({"image": "two words"}, "image"),
        ({"cpu": "much"}, "cpu"),
        ({"memory": "0"}, "memory"),
        ({"env": ["lonely"]}, "env.0"),
        ({"secret_env": ["A=B"]}, "secret_env.0"),
        ({"secrets": {"not-a-name": "sesame"}}, "secrets"),
        ({"secrets": {"A": 7}}, "secrets"),
        ({"secrets": "A=sesame"}, "secrets"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"gpus": -1}, "gpus"),
        ({"command": "echo hi"}, "command"),
        ({"timeout_s": "soon"}, "timeout_s"),
        ({"manifest": "kind: Job", "image": ""}, "manifest.apiVersion"),
        ({"manifest": 7, "image": ""}, "manifest"),
        ({"run_as_user": -1}, "run_as_user"),
        ({"memory": "500m"}, "memory"),
        ({"cpu": "2Gi"}, "cpu"),
        ({"namespace": "Bad_Name"}, "namespace"),
        ({"manifest": {"kind": "Pod", "apiVersion": "v1"}, "image": ""}, "manifest.kind"),
        ({"manifest": {"kind": "Job", "apiVersion": "batch/v1"}}, "image"),
    ],
)
def test_a_wrong_argument_is_named_before_the_cluster_is_asked(
    cluster: FakeCluster, arguments: dict[str, Any], subject: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        run(cluster, **arguments)
    assert caught.value.subject == subject and not cluster.api._requests


@pytest.mark.parametrize("arguments", [{"env": ["sesame open"]}, {"secrets": {"A": ["sesame"]}}, {"secrets": "sesame"}])
def test_the_value_of_a_wrong_variable_is_not_shown(cluster: FakeCluster, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        run(cluster, **arguments)
    assert "sesame" not in f"{caught.value}{vars(caught.value)}"


def test_secrets_travel_in_a_secret_that_goes_with_its_job(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.api.story = succeeds()
    key = execution_key({"WM_FLOW_JOB_ID": "flow-1", "WM_FLOW_STEP_ID": "a"})
    cluster.api.logs[f"{key.name(1)}-abcde"] = [b"the password is open-sesame"]
    result = run(cluster, secrets={"PASSWORD": "open-sesame"})
    job, secret = jobs(cluster)[0], cluster.api.all("v1/secrets")[0]
    owner = secret["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Job", job["metadata"]["name"], job["metadata"]["uid"])
    assert secret["stringData"] == {"PASSWORD": "open-sesame"} and secret["immutable"]
    source = job["spec"]["template"]["spec"]["containers"][0]["envFrom"][0]["secretRef"]["name"]
    assert source == secret["metadata"]["name"]
    assert result["log_tail"] == "the password is ***"
    assert "sesame" not in f"{job}{result}{capsys.readouterr().out}"
    assert len([item for item in cluster.api._requests if item.method.value == "POST"]) == 2


def test_a_manifest_gets_the_secrets_in_each_of_its_containers(cluster: FakeCluster) -> None:
    cluster.api.story = succeeds()
    both = [{"name": "a", "image": "i", "envFrom": [{"configMapRef": {"name": "c"}}]}, {"name": "b", "image": "i"}]
    spec = {"template": {"spec": {"containers": both, "restartPolicy": "Never"}}}
    run(cluster, image="", manifest={"apiVersion": "batch/v1", "kind": "Job", "spec": spec}, secrets={"A": "sesame"})
    containers = jobs(cluster)[0]["spec"]["template"]["spec"]["containers"]
    name = jobs(cluster)[0]["metadata"]["name"]
    assert [item["envFrom"][-1] for item in containers] == [{"secretRef": {"name": name}}] * 2
    assert containers[0]["envFrom"][0] == {"configMapRef": {"name": "c"}}


def test_a_step_that_died_before_its_secret_was_made_makes_it_when_it_runs_again(
    cluster: FakeCluster, mocker: MockerFixture
) -> None:
    cluster.api.story = job_story(waits("CreateContainerConfigError", 'secret "x" not found'))
    killed = mocker.patch.object(JobAdapter, "_create_companions", side_effect=SystemExit)
    with pytest.raises(SystemExit):
        run(cluster, secrets={"A": "sesame"})
    mocker.stop(killed)
    assert len(jobs(cluster)) == 1 and not cluster.api.all("v1/secrets")
    with pytest.raises(NotFound):
        run(cluster, secrets={"A": "sesame"}, timeout_s=2)
    assert cluster.asked("POST", "/secrets")[0].data["stringData"] == {"A": "sesame"}
    assert len(cluster.asked("POST", "/jobs")) == 1


def test_a_submission_that_died_before_its_secret_was_made_makes_it_when_it_submits_again(
    cluster: FakeCluster, mocker: MockerFixture
) -> None:
    killed = mocker.patch.object(JobAdapter, "_create_companions", side_effect=SystemExit)
    with pytest.raises(SystemExit):
        run(cluster, secrets={"A": "sesame"}, wait="defer")
    mocker.stop(killed)
    result = run(cluster, secrets={"A": "sesame"}, wait="defer")
    assert result["data"]["deferred"]["call"] == "job-1" and result["attempt"] == 1
    assert cluster.asked("POST", "/secrets")[0].data["stringData"] == {"A": "sesame"}
    assert len(cluster.asked("POST", "/jobs")) == 1 and jobs(cluster)[0]["metadata"]["labels"]["flexcore/deferred"]


def test_a_job_that_cannot_have_its_secret_is_deleted(cluster: FakeCluster) -> None:
    cluster.api.denied = {"create secrets"}
    cluster.api.story = job_story(waits("CreateContainerConfigError"))
    with pytest.raises(Forbidden, match="create secrets"):
        run(cluster, secrets={"A": "sesame"})
    assert not jobs(cluster) and cluster.asked("DELETE", "/jobs/")


@pytest.mark.fault(9, "I2")
def test_a_missing_namespace_and_a_missing_right_are_named(cluster: FakeCluster) -> None:
    with pytest.raises(NotFound, match="Namespace nowhere does not exist"):
        run(cluster, namespace="nowhere")
    cluster.api.denied = {"create jobs"}
    with pytest.raises(Forbidden, match=r"create jobs\.batch .* in namespace work"):
        run(cluster)


def test_a_field_that_the_cluster_does_not_accept_is_named(cluster: FakeCluster) -> None:
    cause = {"field": "spec.template.spec.priorityClassName", "message": "no such class"}
    refused = {**status(422, "Invalid", "Job.batch is invalid"), "details": {"causes": [cause]}}
    cluster.api.faults = [Fault(method="POST", path="/jobs", status=422, body=refused)]
    with pytest.raises(InvalidInput) as caught:
        run(cluster)
    assert caught.value.subject == "spec.template.spec.priorityClassName"


@pytest.mark.fault(7, "I3")
def test_an_address_without_a_listener_is_reported_within_seconds() -> None:
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="connection refused"):
        main(cluster={"server": "http://127.0.0.1:1", "token": "x" * 9}, image="busybox")
    assert time.monotonic() - begun < 6


@pytest.mark.fault(8, "I2")
def test_refused_credentials_are_reported_as_such(cluster: FakeCluster) -> None:
    cluster.api.faults = [
        Fault(method="GET", path="/jobs", status=401, body=status(401, "Unauthorized", "Unauthorized"))
    ]
    with pytest.raises(Forbidden, match="credentials") as caught:
        run(cluster)
    assert caught.value.category == "credentials"


def test_a_manifest_is_made_ours_and_kept_otherwise(cluster: FakeCluster) -> None:
    cluster.api.story = succeeds()
    pod = {"containers": [{"name": "a", "image": "i"}], "priorityClassName": "high"}
    metadata = {"name": "mine", "namespace": "work", "labels": {"team": "x"}}
    spec = {"backoffLimit": 2, "activeDeadlineSeconds": 5, "template": {"spec": pod}}
    run(
        cluster,
        image="",
        namespace="",
        manifest={"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec},
    )
    created = cluster.asked("POST", "/jobs")[0].data
    assert created["metadata"]["labels"]["team"] == "x" and created["metadata"]["name"].startswith("fc-")
    assert (created["spec"]["backoffLimit"], created["spec"]["activeDeadlineSeconds"]) == (2, 5)
    assert created["spec"]["template"]["spec"]["priorityClassName"] == "high"
    assert created["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_what_was_changed_of_a_manifest_is_reported_at_the_start_and_in_the_result(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.api.story = succeeds()
    notes = run(cluster, image="", manifest=job_manifest())["data"]["notes"]
    assert notes[0].startswith("metadata.name: load becomes fc-")
    said = capsys.readouterr().out
    assert said.index(f"Note: {notes[0]}") < said.index("Created Job")
    assert "notes" not in run(cluster)["data"], "the short form has nothing that could be changed"


def test_what_was_changed_of_a_manifest_is_reported_with_its_failure(cluster: FakeCluster) -> None:
    cluster.api.story = fails(3)
    with pytest.raises(ExecutionFailed) as caught:
        run(cluster, image="", manifest=job_manifest())
    assert caught.value.details["notes"][0].startswith("metadata.name: load becomes fc-")


def test_config_maps_and_secrets_beside_a_job_are_created_with_it_and_their_values_are_not_shown(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.api.story = succeeds()
    key = execution_key({"WM_FLOW_JOB_ID": "flow-1", "WM_FLOW_STEP_ID": "a"})
    cluster.api.logs[f"{key.name(1)}-abcde"] = [b"key is open-sesame"]
    beside = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "open-sesame"}},
    ]
    manifest = {"apiVersion": "v1", "kind": "List", "items": [*beside, job_manifest()]}
    result = run(cluster, image="", manifest=manifest)
    made = [*cluster.api.all("v1/configmaps"), *cluster.api.all("v1/secrets")]
    assert [item["metadata"]["name"] for item in made] == [f"{key.name(1)}-c", f"{key.name(1)}-s"]
    owner = jobs(cluster)[0]["metadata"]["uid"]
    assert all(item["metadata"]["ownerReferences"][0]["uid"] == owner for item in made)
    assert "sesame" not in f"{result}{capsys.readouterr().out}"


def test_a_suspended_job_is_queued_and_not_failed(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    async def story(api: Api, resource: str, item: Object) -> None:
        if resource == "batch/v1/jobs":
            await api.keep(resource, {**item, "spec": {**item["spec"], "suspend": True}})
            done = {**item, "status": {"conditions": [true("Complete")], "succeeded": 1}}
            await api.keep("v1/pods", ends()(item))
            await api.keep(resource, done)

    cluster.api.story = story
    assert run(cluster, queue_timeout_s=1)["success"]


# --- what keeps happening beside the program, or to it again and again


def job_of(*containers: str, **spec: Any) -> Object:
    """A request with a manifest of these containers."""
    pod = {"containers": [{"name": name, "image": "i"} for name in containers], **spec.pop("pod", {})}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {**spec, "template": {"spec": pod}}}


def states(job: Object, phase: str, **containers: Object) -> Object:
    """The Job's pod with the statuses of these containers."""
    found = pod_of(job, phase=phase)
    found["status"]["containerStatuses"] = [{"name": name, "image": "i", **state} for name, state in containers.items()]
    return found


RUNNING: Object = {"state": {"running": {"startedAt": "2026-05-01T10:00:00Z"}}}
CRASHED: Object = {
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 7, "containerID": "containerd://1"}},
    "restartCount": 2,
}


def test_a_crash_loop_under_on_failure_is_left_to_the_jobs_backoff_limit(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("f.flexcore.lib.kubernetes_api.pod_problems.CRASH_GRACE_S", 0.0)

    async def story(api: Api, resource: str, item: Object) -> None:
        if resource == "batch/v1/jobs":
            await api.keep("v1/pods", states(item, "Running", main=CRASHED))
            await asyncio.sleep(2.5)
            # The controller takes the pods away when it gives up.
            await api.drop("v1/pods", "work", f"{item['metadata']['name']}-abcde")
            failed = true("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
            await api.keep(resource, {**item, "status": {"conditions": [failed]}})

    cluster.api.story = story
    with pytest.raises(ExecutionFailed, match="main ended with exit code 7") as caught:
        run(cluster, image="", manifest=job_of("main", backoffLimit=2, pod={"restartPolicy": "OnFailure"}))
    assert (caught.value.category, caught.value.details["exit_code"]) == ("exit_code", 7)
    assert "backoffLimit 2" in str(caught.value) and not cluster.asked("DELETE", ".")


def test_a_sidecars_crash_loop_is_reported_and_the_run_goes_on(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("f.flexcore.lib.kubernetes_api.pod_problems.CRASH_GRACE_S", 0.0)

    async def story(api: Api, resource: str, item: Object) -> None:
        if resource == "batch/v1/jobs":
            await api.keep("v1/pods", states(item, "Running", train=RUNNING, **{"log-shipper": CRASHED}))
            await asyncio.sleep(2.5)
            end = {"state": ended(0)}
            await api.keep("v1/pods", states(item, "Succeeded", train=end, **{"log-shipper": {"state": ended(137)}}))
            await api.keep(resource, {**item, "status": {"conditions": [true("Complete")], "succeeded": 1}})

    cluster.api.story = story
    result = run(cluster, image="", manifest=job_of("train", "log-shipper"))
    assert result["success"] and result["data"]["exit_code"] == 0
    assert "sidecar log-shipper" in capsys.readouterr().out


def test_a_program_that_is_done_beside_a_proxy_is_reported_soon_and_in_the_error(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("f.flexcore.lib.kubernetes_api.progress.NOTICE_S", {})
    held = {"load": {"state": ended(0)}, "mesh-proxy": RUNNING}
    cluster.api.story = job_story(lambda job: states(job, "Running", **held))
    with pytest.raises(DeadlineExceeded, match="load had ended with exit code 0, but mesh-proxy still ran") as caught:
        run(cluster, image="", manifest=job_of("load", "mesh-proxy"), timeout_s=3)
    assert "load has ended with exit code 0, and mesh-proxy still runs" in capsys.readouterr().out
    assert "sidecar.istio.io/inject" in caught.value.remedy and "Raise timeout_s" not in str(caught.value)


def test_a_program_that_failed_beside_a_proxy_ends_the_run_before_its_deadline(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("f.flexcore.lib.kubernetes_api.pod_problems.HELD_GRACE_S", 1.0)
    held = {"load": {"state": ended(2)}, "mesh-proxy": RUNNING}
    cluster.api.story = job_story(lambda job: states(job, "Running", **held))
    begun = time.monotonic()
    with pytest.raises(ExecutionFailed, match="load has ended with exit code 2, and mesh-proxy still runs") as caught:
        run(cluster, image="", manifest=job_of("load", "mesh-proxy"), timeout_s=20)
    assert time.monotonic() - begun < 10 and jobs(cluster) == []
    assert (caught.value.details["exit_code"], caught.value.details["container"]) == (2, "load")


REFUSED = 'jobs.batch "x" is forbidden: exceeded quota: few, requested: count/jobs.batch=1, used: count/jobs.batch={}, '


def quota_fault(limited: int) -> Fault:
    said = REFUSED.format(limited) + f"limited: count/jobs.batch={limited}"
    return Fault(method="POST", path="/jobs", status=403, body=status(403, "Forbidden", said))


def test_a_job_that_a_quota_refuses_is_asked_for_again_until_others_give_back(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("f.flexcore.lib.kubernetes.container_job.QUOTA_RETRY_INTERVAL_S", 0.1)
    cluster.api.story, cluster.api.faults = succeeds(), [quota_fault(1) for _ in range(3)]
    assert run(cluster)["success"] and len(cluster.asked("POST", "/jobs")) == 4
    assert capsys.readouterr().out.count("Waiting (quota_exceeded)") == 1


def test_a_job_that_a_quota_refuses_is_waited_for_no_longer_than_its_queue_may_take(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("f.flexcore.lib.kubernetes.container_job.QUOTA_RETRY_INTERVAL_S", 0.3)
    cluster.api.faults = [quota_fault(1) for _ in range(20)]
    with pytest.raises(Unavailable, match="exceeded quota: few") as caught:
        run(cluster, queue_timeout_s=1)
    assert (caught.value.category, caught.value.retryable) == ("quota_exceeded", False)
    assert 3 <= len(cluster.asked("POST", "/jobs")) <= 6


def test_a_quota_that_can_never_be_met_is_not_waited_for(cluster: FakeCluster) -> None:
    cluster.api.faults = [quota_fault(0)]
    with pytest.raises(InvalidInput, match="can never be met"):
        run(cluster)
    assert len(cluster.asked("POST", "/jobs")) == 1


def test_a_probe_that_had_the_program_killed_is_read_from_the_events(cluster: FakeCluster) -> None:
    async def story(api: Api, resource: str, item: Object) -> None:
        if resource == "batch/v1/jobs":
            pod = await api.keep("v1/pods", ends(137)(item))
            said = {"reason": "Killing", "message": "Container main failed liveness probe, will be restarted"}
            about = {"uid": pod["metadata"]["uid"], "name": pod["metadata"]["name"]}
            await api.keep(
                "v1/events", {"metadata": {"name": "e", "namespace": "work"}, "involvedObject": about, **said}
            )
            await api.keep(resource, {**item, "status": {"conditions": [true("Failed", "BackoffLimitExceeded")]}})

    cluster.api.story = story
    with pytest.raises(ExecutionFailed, match="since its liveness probe had failed") as caught:
        run(cluster)
    assert caught.value.category == "killed" and "probe" in caught.value.remedy


def test_a_process_that_was_killed_for_memory_in_a_success_is_noted(cluster: FakeCluster) -> None:
    cluster.api.story = job_story(ends(0, "OOMKilled"), conditions=[true("Complete")])
    result = run(cluster)
    assert result["success"] and any("killed for memory" in note for note in result["data"]["notes"])


def test_what_happened_in_the_run_stands_behind_what_was_changed_of_the_manifest(cluster: FakeCluster) -> None:
    cluster.api.story = job_story(ends(0, "OOMKilled"), conditions=[true("Complete")])
    notes = run(cluster, image="", manifest=job_manifest())["data"]["notes"]
    assert notes[0].startswith("metadata.name: load becomes fc-") and "killed for memory" in notes[-1]


def test_a_job_that_cannot_be_deleted_in_time_says_what_ends_it(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], mocker: MockerFixture
) -> None:
    cluster.api.story = job_story(runs)
    mocker.patch("f.flexcore.lib.kubernetes_api.deletion.delete_object", return_value=False)
    with pytest.raises(DeadlineExceeded, match=r"within 1 s \(.*running\)"):
        run(cluster, timeout_s=1)
    assert "could not be deleted; its deadline of 1 s ends it" in capsys.readouterr().out


# --- what it costs


def calls(cluster: FakeCluster) -> list[str]:
    """What was asked until the Job was watched, but for access reviews."""
    asked = [f"{item.method.value} {item.url.path.rsplit('/', 1)[-1]}" for item in cluster.api._requests]
    watched = ("fieldSelector", "controller-uid")
    lists = [i for i, item in enumerate(cluster.api._requests) if any(word in str(item.url) for word in watched)]
    return asked[: lists[0]] if lists else asked


def test_a_job_with_its_secret_is_created_in_four_calls(cluster: FakeCluster) -> None:
    cluster.api.story = succeeds()
    run(cluster, secrets={"A": "sesame"}, cpu="100m", memory="64Mi")
    assert calls(cluster) == ["GET jobs", "GET pods", "POST jobs", "POST secrets"]


def test_what_a_job_leaves_open_is_asked_of_the_namespace_once(cluster: FakeCluster) -> None:
    item = {"type": "Container", "default": {"memory": "1Gi"}}
    limits = {"metadata": {"name": "lr", "namespace": "work"}, "spec": {"limits": [item]}}
    cluster.do(cluster.api.keep("v1/limitranges", limits))
    cluster.api.story = succeeds()
    run(cluster)
    assert calls(cluster) == ["GET jobs", "GET pods", "GET limitranges", "POST jobs"]
    (job,) = cluster.api.all("batch/v1/jobs")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "100m"}, "limits": {"cpu": "2"}}


def test_limits_of_the_namespace_that_may_not_be_seen_keep_no_job_back(cluster: FakeCluster) -> None:
    cluster.api.denied = {"limitranges"}
    cluster.api.story = succeeds()
    assert run(cluster)["success"]


def test_a_job_of_this_very_call_that_failed_is_not_diagnosed_to_find_out_whether_a_retry_helps(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.api.story = fails(1)
    with pytest.raises(ExecutionFailed):
        run(cluster)
    before = len(cluster.asked("GET", "/pods"))
    with pytest.raises(ExecutionFailed):
        run(cluster)
    again = len(cluster.asked("GET", "/pods")) - before
    monkeypatch.setenv("WM_JOB_ID", "job-2")
    before = len(cluster.asked("GET", "/pods"))
    cluster.api.denied = {"create jobs"}
    with pytest.raises(Forbidden):
        run(cluster)
    assert len(cluster.asked("GET", "/pods")) - before == 2, "one to diagnose, one to see that no pod is left"
    assert again >= 1


def test_an_attempt_whose_job_is_gone_counts_and_its_number_is_not_given_again(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.api.story = fails(1)
    names = []
    for call in ("job-1", "job-2"):
        monkeypatch.setenv("WM_JOB_ID", call)
        with pytest.raises(ExecutionFailed):
            run(cluster)
        names.append(jobs(cluster)[-1]["metadata"]["name"])
    cluster.do(cluster.api.drop("batch/v1/jobs", "work", names[0]))
    monkeypatch.setenv("WM_JOB_ID", "job-3")
    cluster.api.story = succeeds()
    assert run(cluster)["attempt"] == 3
