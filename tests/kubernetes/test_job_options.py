"""The short form's options: what is refused, and the Job that they make."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.kubernetes.job_manifest import JobRequest, build, check

Object = dict[str, Any]
INDEXED: Object = {"indexed": True, "completions": 4}


def spec_of(options: Object, **request: Any) -> Object:
    given = JobRequest(**{"image": "i", **request, "options": options})
    check(given)
    spec: Object = build(given, "fc-1", "work").job["spec"]
    return spec


def pod_of(options: Object, **request: Any) -> Object:
    pod: Object = spec_of(options, **request)["template"]["spec"]
    return pod


def test_without_options_a_job_is_tried_once() -> None:
    spec = spec_of({})
    assert (spec["backoffLimit"], spec["podReplacementPolicy"]) == (0, "Failed")
    assert not {"completions", "parallelism", "podFailurePolicy", "suspend"} & set(spec)


def test_empty_options_of_a_form_are_none() -> None:
    assert JobRequest.model_validate({"image": "i", "options": {"queue": "", "parallelism": None}}).options is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"parallelism": 2, "completions": 3}, {"parallelism": 2, "completions": 3, "backoffLimit": 0}),
        (INDEXED, {"completionMode": "Indexed", "completions": 4, "backoffLimit": 0}),
        ({"backoff_limit": 3}, {"backoffLimit": 3}),
        ({**INDEXED, "backoff_limit_per_index": 1}, {"backoffLimitPerIndex": 1, "backoffLimit": None}),
        (
            {**INDEXED, "backoff_limit_per_index": 0, "max_failed_indexes": 2, "backoff_limit": 9},
            {"backoffLimitPerIndex": 0, "maxFailedIndexes": 2, "backoffLimit": 9},
        ),
        (
            {**INDEXED, "success_indexes": "0, 2-3", "success_count": 2},
            {"successPolicy": {"rules": [{"succeededIndexes": "0,2-3", "succeededCount": 2}]}},
        ),
    ],
)
def test_counts_and_limits_are_those_of_the_job(options: Object, expected: Object) -> None:
    spec = spec_of(options)
    assert {name: spec.get(name) for name in expected} == expected
    assert spec["podReplacementPolicy"] == "Failed", "two pods of one key never write at once"


def test_a_disruption_is_judged_before_the_exit_code_that_it_leads_to_and_sidecars_are_not() -> None:
    options = {
        **INDEXED,
        "ignore_disruptions": True,
        "fail_on_exit_codes": [42, 41],
        "backoff_limit_per_index": 1,
        "fail_index_on_exit_codes": [3],
    }
    first, second, third = spec_of(options)["podFailurePolicy"]["rules"]
    assert first == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert second["onExitCodes"] == {"containerName": "main", "operator": "In", "values": [41, 42]}
    assert (third["action"], third["onExitCodes"]["values"]) == ("FailIndex", [3])


def test_sidecars_are_native_stand_before_init_containers_and_are_as_restricted_as_the_program() -> None:
    options = {"sidecars": [{"name": "ship", "image": "s"}], "init_containers": [{"name": "fetch", "memory": "1Gi"}]}
    pod = pod_of(options, run_as_user=77)
    ship, fetch = pod["initContainers"]
    assert (ship["name"], ship["image"], ship["restartPolicy"]) == ("ship", "s", "Always")
    assert (fetch["name"], fetch["image"]) == ("fetch", "i") and "restartPolicy" not in fetch
    assert fetch["resources"]["limits"] == {"cpu": "2", "memory": "1Gi"}
    for container in (ship, fetch, *pod["containers"]):
        assert container["securityContext"]["runAsUser"] == 77
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/flexcore/shared", "/tmp"]
    assert [volume["name"] for volume in pod["volumes"]] == ["flexcore-shared", "tmp-ship", "tmp-fetch", "tmp-main"]


def test_a_job_of_a_queue_is_suspended_from_its_creation() -> None:
    built = build(JobRequest(image="i", options={"queue": "team", "queue_priority": "high"}), "fc-1", "work").job
    assert built["spec"]["suspend"] is True
    labels = {"kueue.x-k8s.io/queue-name": "team", "kueue.x-k8s.io/priority-class": "high"}
    assert built["metadata"]["labels"] == labels


def test_where_the_pods_run_and_what_goes_first() -> None:
    options = {
        "priority_class": "batch",
        "node_selector": ["disk=ssd", "zone="],
        "tolerations": ["gpu=a100:NoSchedule", "spot:NoExecute", "any"],
        "spread_over": ["topology.kubernetes.io/zone"],
        "spread_strictly": True,
        "gpu_resource": "amd.com/gpu",
    }
    pod = pod_of(options, gpus=2)
    assert (pod["priorityClassName"], pod["nodeSelector"]) == ("batch", {"disk": "ssd", "zone": ""})
    assert pod["tolerations"] == [
        {"key": "gpu", "operator": "Equal", "value": "a100", "effect": "NoSchedule"},
        {"key": "spot", "operator": "Exists", "effect": "NoExecute"},
        {"key": "any", "operator": "Exists"},
    ]
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["whenUnsatisfiable"] == "DoNotSchedule"
    assert spread["labelSelector"] == {"matchLabels": {"batch.kubernetes.io/job-name": "fc-1"}}
    assert pod["containers"][0]["resources"]["limits"]["amd.com/gpu"] == 2


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"indexed": True}, "completions"),
        ({"completions": 3, "backoff_limit_per_index": 1}, "backoff_limit_per_index"),
        ({"success_count": 1}, "success_count"),
        ({**INDEXED, "max_failed_indexes": 1}, "max_failed_indexes"),
        ({**INDEXED, "backoff_limit_per_index": 0, "max_failed_indexes": 5}, "max_failed_indexes"),
        ({**INDEXED, "fail_index_on_exit_codes": [3]}, "fail_index_on_exit_codes"),
        ({**INDEXED, "success_indexes": "4"}, "success_indexes"),
        ({**INDEXED, "success_indexes": "2-1"}, "success_indexes"),
        ({**INDEXED, "success_indexes": "1,0"}, "success_indexes"),
        ({**INDEXED, "success_indexes": "a"}, "success_indexes"),
        ({**INDEXED, "success_indexes": "0", "success_count": 2}, "success_count"),
        ({"fail_on_exit_codes": [0]}, "fail_on_exit_codes"),
        ({"fail_on_exit_codes": [256]}, "fail_on_exit_codes"),
        ({"sidecars": [{"name": "main"}]}, "sidecars.0.name"),
        ({"sidecars": [{"name": "a"}], "init_containers": [{"name": "a"}]}, "sidecars.0.name"),
        ({"init_containers": [{"name": "Bad_Name"}]}, "init_containers.0.name"),
        ({"init_containers": [{"name": "a", "image": "two words"}]}, "init_containers.0.image"),
        ({"sidecars": [{"name": "a", "memory": "500m"}]}, "sidecars.0.memory"),
        ({"sidecars": [{"name": "a", "env": ["lonely"]}]}, "sidecars.0.env.0"),
        ({"queue_priority": "high"}, "queue_priority"),
        ({"queue": "Bad Name"}, "queue"),
        ({"priority_class": "Bad Name"}, "priority_class"),
        ({"gpu_resource": "amd.com/gpu"}, "gpu_resource"),
        ({"spread_over": ["a b"]}, "spread_over"),
        ({"node_selector": ["disk"]}, "node_selector.0"),
        ({"tolerations": ["a=b:Never"]}, "tolerations.0"),
        ({"tolerations": ["a:b:c"]}, "tolerations.0"),
    ],
)
def test_a_wrong_option_is_named_with_its_remedy(options: Object, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        spec_of(options)
    assert caught.value.subject == f"options.{field}" and caught.value.remedy
    assert str(caught.value).startswith(f"options.{field}")


def test_options_and_a_manifest_do_not_go_together() -> None:
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "spec": {}}
    with pytest.raises(InvalidInput, match="options cannot be combined with a manifest"):
        check(JobRequest(manifest=manifest, options={"queue": "q"}))
