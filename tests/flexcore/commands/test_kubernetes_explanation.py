"""`flexcore kubernetes explain`: from what kubectl printed to what is to be done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from f.flexcore.lib.core.errors import InvalidInput, NotFound
from flexcore.cli import app
from flexcore.commands.kubernetes_explanation import Explanation, explain
from tests.kubernetes.objects import (
    Object,
    at,
    complete_job,
    container,
    dump,
    ended,
    event,
    failed_job,
    job,
    pod,
    runs,
    true,
    waits,
)

FIELDS = {"state", "category", "message", "remedy", "subject", "exit_code", "pod", "container", "retryable", "notes"}


def told(*items: tuple[str, Object], **options: Any) -> Explanation:
    return explain(json.dumps(dump(*items)), **options)


TRAIN = pod(
    container("train", ended(3, message="ValueError: no such column")),
    container("istio-proxy", ended(137)),
    phase="Failed",
)
UNFIT = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes: 1 Insufficient cpu.",
}
HELD = pod(container("load", ended(0)), container("mesh-proxy", runs()))


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (
            [("Job", failed_job()), ("Pod", TRAIN)],
            {
                "state": "failed",
                "category": "exit_code",
                "exit_code": 3,
                "container": "train",
                "pod": "train-x7k2p",
                "retryable": False,
                "subject": "train",
            },
        ),
        (
            [("Job", complete_job()), ("Pod", pod(container("main", ended(0)), phase="Succeeded"))],
            {"state": "succeeded", "category": None, "exit_code": 0, "remedy": None},
        ),
        ([("Job", complete_job(succeeded=1))], {"state": "succeeded", "exit_code": 0, "pod": None}),
        ([("Job", complete_job())], {"state": "succeeded", "exit_code": None}),
        (
            [("Job", job(active=1)), ("Pod", HELD)],
            {"state": "running", "category": "sidecar_running", "exit_code": 0, "container": "load"},
        ),
        (
            [("Job", job(active=1)), ("Pod", pod(container("main", runs())))],
            {"state": "running", "category": None, "retryable": False},
        ),
        (
            [("Job", job(active=1)), ("Pod", pod(container("main", waits("ContainerCreating")), phase="Pending"))],
            {"state": "waiting", "category": None},
        ),
        (
            [("Job", job(active=1)), ("Pod", pod(phase="Pending", conditions=[UNFIT]))],
            {"state": "waiting", "category": "unschedulable", "subject": "cpu", "retryable": True},
        ),
        (
            [
                ("Job", job(active=1)),
                ("Pod", pod(container("main", waits("ErrImagePull", "not found")), phase="Pending")),
            ],
            {"state": "waiting", "category": "image_not_found", "subject": "image", "container": "main"},
        ),
        (
            [
                ("Job", job(active=1)),
                (
                    "Pod",
                    pod(container("main", waits("CrashLoopBackOff"), ended(7), 2), spec={"restartPolicy": "OnFailure"}),
                ),
            ],
            {"state": "waiting", "category": "crash_loop", "exit_code": 7},
        ),
        (
            [("Job", job(spec={"suspend": True}))],
            {"state": "waiting", "category": "suspended", "subject": "spec.suspend", "retryable": False},
        ),
        ([("Job", job())], {"state": "waiting", "category": None}),
        ([("Job", job(active=2, ready=2))], {"state": "running"}),
        ([("Job", job(active=2, ready=0))], {"state": "waiting"}),
        ([("Job", job(spec={"backoffLimit": 4}, failed=1)), ("Pod", TRAIN)], {"state": "waiting", "category": None}),
        (
            [("Job", job(true("FailureTarget", "BackoffLimitExceeded"))), ("Pod", TRAIN)],
            {"state": "running", "category": "exit_code", "exit_code": 3},
        ),
        ([("Pod", TRAIN)], {"state": "failed", "exit_code": 3, "container": "train"}),
        ([("Pod", pod(container("a", ended(0)), phase="Succeeded"))], {"state": "succeeded", "exit_code": 0}),
        ([("Pod", pod(container("a", runs())))], {"state": "running"}),
        (
            [("Pod", pod(container("a", waits("InvalidImageName")), phase="Pending"))],
            {"state": "waiting", "category": "image_invalid"},
        ),
    ],
)
def test_a_dump_is_explained_in_fields(items: list[tuple[str, Object]], expected: Object) -> None:
    found = told(*items).plain()
    assert set(found) == FIELDS and found["message"]
    assert {name: found[name] for name in expected} == expected


def test_a_crashing_sidecar_is_a_note_of_a_job_that_runs() -> None:
    crashing = container("log-shipper", waits("CrashLoopBackOff"), ended(1), 4)
    seen = pod(container("train", runs()), init=[crashing], native=("log-shipper",))
    found = told(("Job", job(active=1)), ("Pod", seen))
    assert (found.state, found.category) == ("running", None) and "log-shipper keeps ending" in found.notes[0]


def test_the_command_that_shows_the_log_is_named() -> None:
    found = told(("Job", failed_job()), ("Pod", TRAIN))
    assert found.remedy and "kubectl logs train-x7k2p -c train" in found.remedy


def test_a_quota_is_read_from_the_jobs_own_events() -> None:
    waiting, said = job(), "Error creating: exceeded quota: q, requested: cpu=2, used: cpu=0, limited: cpu=1"
    found = told(("Job", waiting), ("Event", event(waiting, "FailedCreate", said, kind="Job")))
    assert (found.category, found.subject, found.retryable) == ("quota_exceeded", "cpu", False)
    other = event(job(name="other"), "FailedCreate", said, kind="Job")
    assert told(("Job", waiting), ("Event", other)).category is None


def named(item: Object, name: str, created: int = 0, **metadata: Any) -> Object:
    about = {**item["metadata"], "name": name, "uid": f"uid-{name}", "creationTimestamp": at(created), **metadata}
    return {**item, "metadata": about}


def owned(item: Object, owner: str) -> Object:
    reference = [{"kind": "Job", "name": owner, "uid": f"uid-{owner}", "controller": True}]
    return {**item, "metadata": {**item["metadata"], "ownerReferences": reference}}


def test_of_several_jobs_the_one_that_failed_is_explained_with_its_own_pods() -> None:
    good, bad = named(complete_job(), "good"), named(failed_job(), "bad")
    mine = owned(pod(container("main", ended(4)), name="bad-1", phase="Failed"), "bad")
    other = owned(pod(container("main", ended(9)), name="good-0", phase="Failed"), "good")
    items = [("Job", good), ("Job", bad), ("Pod", other), ("Pod", mine)]
    found = told(*items)
    assert (found.state, found.exit_code, found.pod) == ("failed", 4, "bad-1")
    assert any("good (succeeded)" in note for note in found.notes)
    assert told(*items, job_name="good").state == "succeeded"
    with pytest.raises(NotFound, match="good, bad"):
        told(*items, job_name="nosuch")


@pytest.mark.parametrize(
    "group",
    [
        {"ownerReferences": [{"kind": "CronJob", "name": "nightly", "uid": "c", "controller": True}]},
        {"labels": {"flexcore/key": "fc-1"}},
    ],
)
def test_an_attempt_that_a_later_one_has_made_good_is_not_explained(group: Object) -> None:
    first, second = named(failed_job(), "x-1", 0, **group), named(complete_job(), "x-2", 60, **group)
    assert told(("Job", first), ("Job", second)).state == "succeeded"


def test_a_list_of_one_kind_single_objects_and_several_documents_are_read() -> None:
    jobs = {"kind": "JobList", "apiVersion": "batch/v1", "items": [failed_job()]}
    pods = {"kind": "PodList", "apiVersion": "v1", "items": [TRAIN]}
    assert explain(json.dumps(jobs) + "\n" + json.dumps(pods, indent=2)).exit_code == 3
    assert explain(json.dumps({"kind": "Job", **complete_job()})).state == "succeeded"
    service = {"kind": "Service", "metadata": "whatever"}
    assert explain(json.dumps({"kind": "List", "items": [service, {"kind": "Job", **job()}]})).state == "waiting"


def test_secrets_in_a_message_are_masked() -> None:
    seen = pod(container("main", ended(1, message="error: password=hunter2-and-more")), phase="Failed")
    assert "hunter2" not in str(told(("Job", failed_job()), ("Pod", seen)).plain())


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("", "dump"),
        ("NAME STATUS", "dump"),
        ('{"kind": "List", "items": [', "dump"),
        ("[]", "dump"),
        ("{}", "kind"),
        ('{"kind": "List", "items": {}}', "items"),
        ('{"kind": "List", "items": []}', "items"),
        ('{"kind": "List", "items": [7]}', "items.0"),
        ('{"kind": "List", "items": [{"metadata": {}}]}', "items.0.kind"),
        ('{"kind": 5}', "kind"),
        ('{"kind": "Job", "status": "Failed"}', "status"),
        ('{"kind": "Job", "metadata": [], "status": {}}', "metadata"),
        ('{"kind": "Job", "status": {"conditions": {"type": "Failed"}}}', "status.conditions"),
        (
            '{"kind": "List", "items": [{"kind": "Pod", "status": {"containerStatuses": [{"name": 1}]}}]}',
            "items.0.status.containerStatuses.0.name",
        ),
        (
            '{"kind": "Pod", "status": {"containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": "3"}}}'
            "]}}",
            "status.containerStatuses.0.state.terminated.exitCode",
        ),
        ('{"kind": "Service"}', "items"),
    ],
)
def test_what_is_no_dump_is_refused_by_the_place_that_is_wrong(text: str, subject: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        explain(text)
    assert caught.value.subject == subject and "kubectl get job,pod,event -o json" in caught.value.remedy


def command(*arguments: str, text: str | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["kubernetes", "explain", *arguments], input=text)
    return result.exit_code, result.stdout


def test_the_command_prints_json_or_lines(tmp_path: Path) -> None:
    text = json.dumps(dump(("Job", failed_job()), ("Pod", TRAIN)))
    file = tmp_path / "dump.json"
    file.write_text(text)
    code, printed = command(str(file), "--json")
    assert code == 0 and set(json.loads(printed)) == FIELDS
    code, printed = command("-", text=text)
    assert code == 0 and printed.startswith("failed (exit_code): Job train failed: train ended with exit code 3")
    assert "remedy: " in printed


@pytest.mark.parametrize("arguments", [["-"], ["nosuch.json"]])
def test_bad_input_ends_with_exit_code_2_and_the_error_as_json(arguments: list[str]) -> None:
    code, printed = command(*arguments, "--json", text="no json")
    error = json.loads(printed)["error"]
    assert code == 2 and set(error) == {"category", "message", "subject", "remedy"} and error["message"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("apiVersion: v1\nitems: []\n", "is YAML"),
        ("NAME     STATUS   COMPLETIONS\ntrain    Failed   0/1\n", "is a table"),
        ("Name:   train\nNamespace:  work\n", "kubectl describe prints"),
        ("No resources found in default namespace.\n", "no resources were found"),
        ('Error from server (NotFound): jobs.batch "x" not found\n', "an error of kubectl"),
    ],
)
def test_another_output_of_kubectl_is_called_what_it_is(text: str, what: str) -> None:
    with pytest.raises(InvalidInput, match=what) as caught:
        explain(text)
    assert "-o json" in caught.value.remedy


def test_a_wrong_shape_is_reported_without_the_names_of_our_classes() -> None:
    with pytest.raises(InvalidInput, match=r"items\.0\.status is wrong: an object is expected") as caught:
        explain(json.dumps({"kind": "List", "items": [{"kind": "Job", "status": "Failed"}]}))
    assert caught.value.subject == "items.0.status"


def test_a_remedy_speaks_of_the_jobs_own_fields() -> None:
    late = told(("Job", failed_job("DeadlineExceeded", spec={"activeDeadlineSeconds": 60})))
    assert late.remedy and "activeDeadlineSeconds" in late.remedy
    gone = told(("Job", failed_job()))
    assert gone.remedy and "kubectl describe job train" in gone.remedy


def test_a_sidecar_that_ran_out_of_memory_is_a_note_of_a_job_that_completed() -> None:
    shipper = container("ship", ended(137, "OOMKilled", end=40))
    seen = pod(container("train", ended(0)), init=[shipper], native=("ship",), phase="Succeeded")
    found = told(("Job", complete_job(succeeded=1)), ("Pod", seen))
    assert (found.state, found.exit_code) == ("succeeded", 0) and "more memory than its limit" in found.notes[0]
