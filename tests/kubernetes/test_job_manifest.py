"""The Job that is made of a request: a manifest keeps its own words, and what is changed of them is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.core.identity import execution_key
from f.flexcore.lib.core.trace_context import span_of
from f.flexcore.lib.kubernetes.default_resources import yield_to
from f.flexcore.lib.kubernetes.job_manifest import (
    JobRequest,
    build,
    check,
    companion_objects,
    make_job_body,
    secret_values,
)
from tests.kubernetes.manifests import CONTROLLER, YAML, Object, exported, job

KEY = execution_key({"WM_JOB_ID": "018f0000-0000-7000-8000-000000000009", "WM_FLOW_STEP_ID": "job"})
NAME = KEY.name(1)
INDEXED = {"completions": 2, "parallelism": 2, "completionMode": "Indexed"}


def made(manifest: Any = None, **asked: Any) -> Object:
    request = JobRequest(manifest=manifest, **asked)
    check(request)
    body = make_job_body(request, KEY, 1, "work", "call", "2030-01-01T00:00:00Z")
    kubernetes_validate.validate(body, "1.36", strict=True)
    return body


def notes(manifest: Any, **asked: Any) -> str:
    return "\n".join(build(JobRequest(manifest=manifest, **asked), NAME, "work").notes)


def main_of(body: Object) -> Object:
    container: Object = body["spec"]["template"]["spec"]["containers"][0]
    return container


# --- what is written stays


@pytest.mark.parametrize(
    "written",
    [
        {"backoffLimit": 0},
        {"backoffLimit": 4},
        {"ttlSecondsAfterFinished": 100},
        {"activeDeadlineSeconds": 14400},
        {"podReplacementPolicy": "TerminatingOrFailed"},
        {**INDEXED, "backoffLimitPerIndex": 1, "maxFailedIndexes": 1},
        {**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "0", "succeededCount": 1}]}},
        {"podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}},
        {"suspend": True},
    ],
)
def test_what_is_written_is_kept(written: Object) -> None:
    body = made(job(written))
    assert {name: body["spec"].get(name) for name in written} == written
    assert "becomes" not in notes(job(written)).replace("metadata.name: load becomes", "")


@pytest.mark.parametrize(
    ("spec", "pod"),
    [
        ({**INDEXED, "backoffLimitPerIndex": 1}, {}),
        ({**INDEXED, "successPolicy": {"rules": [{"succeededCount": 1}]}}, {}),
        (
            {"podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}},
            {},
        ),
        ({"completions": 6, "parallelism": 3}, {}),
        ({"parallelism": 3}, {}),
        ({}, {"restartPolicy": "OnFailure"}),
    ],
)
def test_a_job_that_counts_on_the_default_of_repeats_gets_no_limit(spec: Object, pod: Object) -> None:
    body = made(job(spec, pod))
    assert "backoffLimit" not in body["spec"] and body["spec"]["podReplacementPolicy"] == "Failed"


def test_one_program_that_says_nothing_of_repeats_is_tried_once_and_that_is_reported() -> None:
    assert made(job())["spec"]["backoffLimit"] == 0 and "backoffLimit 0" in notes(job())


# --- what must hold, and is told


def test_the_bounds_that_are_not_written_are_added_and_reported() -> None:
    bare = job(pod={"restartPolicy": None})
    body = made(bare, timeout_s=77, ttl_s=88)
    assert body["spec"]["activeDeadlineSeconds"] == 77 and body["spec"]["ttlSecondsAfterFinished"] == 88
    assert body["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    told = notes(bare, timeout_s=77, ttl_s=88)
    assert all(
        word in told for word in ("activeDeadlineSeconds 77", "ttlSecondsAfterFinished 88", "restartPolicy Never")
    )


def test_without_a_time_limit_of_the_step_the_written_deadline_is_the_limit_of_both() -> None:
    request = JobRequest(manifest=job({"activeDeadlineSeconds": 14400}), timeout_s=None)
    assert request.time_limit_s == 14400
    assert JobRequest(manifest=job()).time_limit_s == 3600


def test_a_deadline_beyond_the_steps_time_limit_is_cut_and_reported() -> None:
    written = job({"activeDeadlineSeconds": 14400})
    assert made(written, timeout_s=600)["spec"]["activeDeadlineSeconds"] == 600
    assert "activeDeadlineSeconds: 14400 becomes 600" in notes(written, timeout_s=600)
    assert made(job({"activeDeadlineSeconds": 60}), timeout_s=600)["spec"]["activeDeadlineSeconds"] == 60


def test_a_job_that_would_be_gone_before_a_repeat_of_its_step_is_kept_longer() -> None:
    written = job({"ttlSecondsAfterFinished": 0})
    assert made(written)["spec"]["ttlSecondsAfterFinished"] == 90
    assert "ttlSecondsAfterFinished: 0 becomes 90" in notes(written)


def test_labels_of_its_owner_win_over_a_written_manager_and_that_is_reported() -> None:
    written = job(labels={"app.kubernetes.io/managed-by": "Helm", "team": "x"})
    labels = made(written)["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "flexcore" and labels["team"] == "x"
    assert "managed-by: Helm becomes flexcore" in notes(written)


# --- names


def test_a_generated_name_becomes_one_that_a_repeat_finds() -> None:
    written = job()
    written["metadata"] = {"generateName": "load-"}
    body = made(written)
    assert body["metadata"]["name"] == NAME and "generateName" not in body["metadata"]
    assert f"generateName: load-… becomes the name {NAME}" in notes(written)


def test_the_host_name_of_a_peer_follows_the_name_of_the_job() -> None:
    env = [{"name": "MASTER_ADDR", "value": "ring-0.ring"}, {"name": "OTHER", "value": "spring-0.ring and ring-0x"}]
    script = ["torchrun --rdzv=ring-0.ring:29500 --me=ring-$JOB_COMPLETION_INDEX.ring"]
    written = job(INDEXED, {"subdomain": "ring"}, {"env": env, "args": script}, name="ring")
    container = main_of(made(written))
    assert container["env"] == [{"name": "MASTER_ADDR", "value": f"{NAME}-0.ring"}, env[1]]
    assert container["args"] == [f"torchrun --rdzv={NAME}-0.ring:29500 --me={NAME}-$JOB_COMPLETION_INDEX.ring"]
    told = notes(written)
    assert "env MASTER_ADDR: the host name ring-…" in told and "Service that selects job-name: ring" in told


@pytest.mark.parametrize(
    ("spec", "container", "place"),
    [
        (INDEXED, {"env": [{"name": "MASTER_ADDR", "value": "ring-0"}]}, "env MASTER_ADDR refers to ring"),
        ({}, {"env": [{"name": "MASTER_ADDR", "value": "ring-0.ring"}]}, "env MASTER_ADDR refers to ring"),
        (INDEXED, {"env": [{"name": "JOB_NAME", "value": "ring"}]}, "env JOB_NAME refers to ring"),
        (INDEXED, {"command": ["sh", "-c", "ping ring-1"]}, "command refers to ring"),
    ],
)
def test_what_may_refer_to_the_written_name_is_left_and_reported(spec: Object, container: Object, place: str) -> None:
    written = job(spec, container=container, name="ring")
    assert {name: main_of(made(written))[name] for name in container} == container
    assert place in notes(written) and "batch.kubernetes.io/job-name" in notes(written)


def test_rules_that_select_the_jobs_own_pods_follow_its_name() -> None:
    rule = {"labelSelector": {"matchLabels": {"job-name": "load"}}, "topologyKey": "x", "maxSkew": 1}
    spread = {"topologySpreadConstraints": [{**rule, "whenUnsatisfiable": "DoNotSchedule"}]}
    pod = made(job(pod=spread))["spec"]["template"]["spec"]
    assert pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == {"job-name": NAME}
    assert f"selectors of job-name: load becomes {NAME}" in notes(job(pod=spread))
    entry = {"key": "batch.kubernetes.io/job-name", "operator": "In", "values": ["load", "other"]}
    terms = [{"labelSelector": {"matchExpressions": [entry]}, "topologyKey": "x"}]
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    assert f"selectors of job-name: load becomes {NAME}" in notes(job(pod={"affinity": affinity}))


def test_a_rank_that_only_an_indexed_job_has_is_noted_to_be_empty() -> None:
    field = {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}
    container = {"env": [{"name": "RANK", "valueFrom": {"fieldRef": field}}]}
    assert "RANK is empty in each pod" in notes(job(container=container))
    assert "RANK" not in notes(job(INDEXED, container=container))
    assert "JOB_COMPLETION_INDEX is not set" in notes(job(container={"args": ["$JOB_COMPLETION_INDEX"]}))


# --- exported Jobs


def test_an_exported_job_runs_as_one_of_its_own() -> None:
    body = made(exported())
    metadata, spec = body["metadata"], body["spec"]
    assert not {"uid", "resourceVersion", "finalizers", "ownerReferences", "managedFields"} & metadata.keys()
    assert "status" not in body and "selector" not in spec and "manualSelector" not in spec
    for labels in (metadata["labels"], spec["template"]["metadata"]["labels"]):
        assert labels["app"] == "loads" and not labels.keys() & CONTROLLER.keys()
    assert spec["backoffLimit"] == 6 and metadata["annotations"].keys() == {"flexcore/job", "flexcore/deadline"}


def test_what_is_dropped_of_an_exported_job_is_reported_and_what_was_empty_is_not() -> None:
    told = notes(exported())
    for name in ("metadata.ownerReferences", "spec.selector", "status", "spec.template.metadata.labels.job-name"):
        assert name in told
    assert "spec.template.metadata.creationTimestamp" not in told
    assert "dropped" not in notes(job() | {"status": {}})


# --- what is created beside it


def test_secrets_reach_init_containers_and_sidecars_too() -> None:
    inits = [{"name": "get", "image": "i"}, {"name": "proxy", "image": "i", "restartPolicy": "Always"}]
    pod = made(job(pod={"initContainers": inits}), secrets={"A": "sesame"})["spec"]["template"]["spec"]
    read = [item["envFrom"] for item in (*pod["initContainers"], *pod["containers"])]
    assert read == [[{"secretRef": {"name": NAME}}]] * 3


def test_a_variable_that_hides_a_secret_is_reported() -> None:
    written = job(container={"env": [{"name": "A", "value": "x"}]})
    assert "env A hides the secret of that name" in notes(written, secrets={"A": "sesame"})


def test_config_maps_and_secrets_beside_a_job_get_its_name_and_go_with_it() -> None:
    beside = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "uid": "u"}, "data": {"a": "1"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"p": "c2VzYW1lLW9wZW4="}},
    ]
    container = {
        "envFrom": [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}, {"secretRef": {"name": "other"}}],
        "env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}}],
    }
    sources = [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}]
    volumes = [
        {"name": "a", "configMap": {"name": "c"}},
        {"name": "b", "secret": {"secretName": "s"}},
        {"name": "d", "projected": {"sources": sources}},
    ]
    pod = {"volumes": volumes, "imagePullSecrets": [{"name": "s"}, {"name": "other"}]}
    written = {"apiVersion": "v1", "kind": "List", "items": [*beside, job(pod=pod, container=container)]}
    body = made(written)
    text = str(body["spec"]["template"]["spec"])
    assert text.count(f"'{NAME}-c'") == 3 and text.count(f"'{NAME}-s'") == 5 and text.count("'other'") == 2
    request = JobRequest(manifest=written)
    stored = {**body, "metadata": {**body["metadata"], "uid": "uid-1"}}
    for item, name in zip(companion_objects(request, stored), ("c", "s"), strict=True):
        kubernetes_validate.validate(item, "1.36", strict=True)
        assert item["metadata"]["name"] == f"{NAME}-{name}" and "uid" not in item["metadata"]
        assert item["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
        assert item["metadata"]["labels"]["flexcore/key"] == KEY.value
    assert f"ConfigMap c is created as {NAME}-c" in notes(written)
    assert list(secret_values(request)) == ["c2VzYW1lLW9wZW4=", "sesame-open"]


def test_an_object_of_another_namespace_is_refused() -> None:
    beside = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: other}\n---\n"
    with pytest.raises(InvalidInput, match="namespace other, and the Job runs in work"):
        made(beside + YAML)


# --- the short form


def test_the_short_form_passes_the_restricted_standard() -> None:
    body = made(image="busybox")
    security = main_of(body)["securityContext"]
    assert security == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
        "readOnlyRootFilesystem": True,
    }
    assert notes(None, image="busybox") == ""


def test_the_short_form_writes_to_tmp_alone_unless_it_asks_for_more() -> None:
    pod = made(image="busybox")["spec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "tmp-main", "emptyDir": {}}]
    assert pod["containers"][0]["volumeMounts"] == [{"name": "tmp-main", "mountPath": "/tmp"}]
    for more in ({"options": {"writable_root": True}}, {"run_as_user": 0}):
        pod = made(image="busybox", **more)["spec"]["template"]["spec"]
        assert "volumes" not in pod and "readOnlyRootFilesystem" not in pod["containers"][0]["securityContext"]


def test_the_short_form_always_has_requests_and_limits() -> None:
    assert main_of(made(image="busybox"))["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"cpu": "2", "memory": "4Gi"},
    }
    said = {"cpu": "3", "memory": "128Mi"}
    assert main_of(made(image="busybox", **said))["resources"] == {"requests": said, "limits": said}


@pytest.mark.parametrize(
    ("item", "left"),
    [
        ({"type": "Container", "default": {"memory": "1Gi"}}, ["cpu"]),
        ({"type": "Container", "max": {"cpu": "1", "memory": "1Gi"}}, []),
        ({"type": "Pod", "max": {"cpu": "1"}}, ["cpu", "memory"]),
        ({"type": "Container", "defaultRequest": {"ephemeral-storage": "1Gi"}}, ["cpu", "memory"]),
    ],
)
def test_a_limit_range_of_containers_decides_where_it_speaks_of_what_the_form_leaves_open(
    item: Object, left: list[str]
) -> None:
    settled = yield_to(made(image="busybox"), [{"spec": {"limits": [item]}}])
    assert [sorted(amounts) for amounts in main_of(settled)["resources"].values()] == [left, left]
    said = yield_to(made(image="busybox", cpu="100m", memory="128Mi"), [{"spec": {"limits": [item]}}])
    assert main_of(said)["resources"]["limits"] == {"cpu": "100m", "memory": "128Mi"}


def test_the_short_form_runs_as_the_user_that_is_asked_for_and_as_root_with_what_root_needs() -> None:
    assert main_of(made(image="busybox", run_as_user=5))["securityContext"]["runAsUser"] == 5
    security = main_of(made(image="busybox", run_as_user=0))["securityContext"]
    assert security == {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}}


def test_a_user_beside_a_manifest_is_refused() -> None:
    with pytest.raises(InvalidInput, match="run_as_user cannot be combined with a manifest"):
        check(JobRequest(manifest=job(), run_as_user=0))


@pytest.mark.parametrize(
    "asked",
    [
        {"image": "busybox", "env": ["A=1"]},
        {"manifest": job(pod={"initContainers": [{"name": "first", "image": "busybox"}]})},
    ],
)
def test_with_a_trace_every_container_gets_the_span_of_its_attempt(asked: dict[str, Any]) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request, key = JobRequest(**asked), replace(KEY, trace=trace)
    body = make_job_body(request, key, 2, "work", "call", "2030-01-01T00:00:00Z")
    pod = body["spec"]["template"]["spec"]
    given = [item for each in (*pod["containers"], *pod.get("initContainers", ())) for item in each["env"]]
    told = {"name": "TRACEPARENT", "value": f"00-{trace[3:35]}-{span_of(KEY.name(2))}-01"}
    assert [item for item in given if item["name"] == "TRACEPARENT"] == [told] * len(
        [*pod["containers"], *pod.get("initContainers", ())]
    )
    assert "TRACEPARENT" not in str(make_job_body(request, KEY, 2, "work", "call", "2030-01-01T00:00:00Z"))


def test_a_traceparent_that_a_program_was_given_is_kept() -> None:
    request = JobRequest(image="busybox", env=["TRACEPARENT=own"])
    key = replace(KEY, trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    body = make_job_body(request, key, 1, "work", "call", "2030-01-01T00:00:00Z")
    assert main_of(body)["env"] == [{"name": "TRACEPARENT", "value": "own"}]
