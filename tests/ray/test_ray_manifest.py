"""Manifests of Ray as people paste them, and the form of a job's own cluster: what is taken, what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from f.flexcore.lib.core import errors, identity, redaction, resources
from f.flexcore.lib.ray import job_archive, job_cluster, program_job, ray_job_manifest, ray_job_place, ray_manifest

Object = dict[str, Any]
POD = {"spec": {"containers": [{"name": "ray", "image": "rayproject/ray:2.60.0"}]}}
CLUSTER: Object = {
    "apiVersion": "ray.io/v1",
    "kind": "RayCluster",
    "metadata": {"name": "mine"},
    "spec": {"rayVersion": "2.60.0", "headGroupSpec": {"rayStartParams": {}, "template": POD}},
}
JOB: Object = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {"name": "mine"},
    "spec": {"entrypoint": "python a.py", "rayClusterSpec": CLUSTER["spec"]},
}
SERVICE: Object = {
    "apiVersion": "ray.io/v1",
    "kind": "RayService",
    "metadata": {"name": "mine"},
    "spec": {"serveConfigV2": "applications: []", "rayClusterConfig": CLUSTER["spec"]},
}
WORKERS = {"groupName": "w", "minReplicas": 0, "maxReplicas": 2, "rayStartParams": {}, "template": POD}


def changed(manifest: Object, path: str, value: Any) -> Object:
    """The manifest with another value at `a.b.c`; None takes it away."""
    made = copy.deepcopy(manifest)
    *folders, last = path.split(".")
    at = made
    for folder in folders:
        at = at.setdefault(folder, {})
    if value is None:
        at.pop(last)
    else:
        at[last] = value
    return made


@pytest.mark.parametrize("manifest", [CLUSTER, JOB, SERVICE], ids=lambda item: item["kind"])
def test_a_plain_manifest_is_taken_as_an_object_and_as_text(manifest: Object) -> None:
    assert ray_manifest.read_manifest(manifest).document == manifest
    assert ray_manifest.read_manifest(yaml.safe_dump(manifest)).kind == manifest["kind"]


def env(name: str) -> Object:
    pod = {"spec": {"containers": [{"name": "ray", "image": "x", "env": [{"name": name, "value": "1"}]}]}}
    return {"rayStartParams": {}, "template": pod}


INCREMENTAL = "NewClusterWithIncrementalUpgrade"
WITHOUT_CLUSTER = changed(JOB, "spec.rayClusterSpec", None)
RULES = [
    (changed(CLUSTER, "metadata.name", "Mine"), "manifest.metadata.name: 'Mine' is refused by KubeRay"),
    (changed(CLUSTER, "metadata.name", "a" * 54), "has 54 characters. KubeRay takes at most 53"),
    (changed(JOB, "metadata.name", "a" * 48), "KubeRay takes at most 47"),
    (changed(CLUSTER, "metadata", {}), "manifest.metadata.name: is missing"),
    (changed(CLUSTER, "spec", None), "manifest.spec: is missing"),
    (changed(CLUSTER, "spec.headGroupSpec", None), "spec.headGroupSpec: is missing"),
    (changed(CLUSTER, "spec.headGroupSpec.template", {}), "containers: is empty"),
    (changed(CLUSTER, "spec.headGroupSpec.rayStartParams", {"labels": "a"}), "rayStartParams.labels: is not taken"),
    (
        changed(
            CLUSTER, "spec.headGroupSpec", {**env("x"), "rayStartParams": {"num-cpus": "1"}, "resources": {"CPU": "1"}}
        ),
        "resources and rayStartParams.num-cpus cannot both be given",
    ),
    (changed(CLUSTER, "spec.headGroupSpec", env("RAY_REDIS_ADDRESS")), "without gcsFaultToleranceOptions is refused"),
    (changed(CLUSTER, "spec.headGroupSpec", env("REDIS_USERNAME")), "a Redis user name is refused here"),
    (changed(CLUSTER, "spec.headGroupSpec", env("RAY_enable_autoscaler_v2")), "enableInTreeAutoscaling is not"),
    (changed(CLUSTER, "spec.workerGroupSpecs", [WORKERS, WORKERS]), "'w' is there twice"),
    (changed(CLUSTER, "spec.workerGroupSpecs", [{**WORKERS, "minReplicas": 3}]), "is less than minReplicas"),
    (
        {
            **CLUSTER,
            "spec": {
                **CLUSTER["spec"],
                "enableInTreeAutoscaling": True,
                "autoscalerOptions": {"version": "v2"},
                "workerGroupSpecs": [{**WORKERS, "template": {"spec": {**POD["spec"], "restartPolicy": "Always"}}}],
            },
        },
        "Always cannot be used with autoscaler v2",
    ),
    (changed(JOB, "spec.rayClusterSpec", None), "spec.rayClusterSpec: is missing"),
    (changed(JOB, "spec.submissionMode", "Telepathy"), "'Telepathy' is unknown"),
    (changed(JOB, "spec.suspend", True), "needs shutdownAfterJobFinishes"),
    (changed(JOB, "spec.ttlSecondsAfterFinished", 5), "needs shutdownAfterJobFinishes"),
    (changed(changed(JOB, "spec.submissionMode", "InteractiveMode"), "spec.backoffLimit", 1), "InteractiveMode"),
    (changed(JOB, "spec.activeDeadlineSeconds", 0), "must be positive"),
    (changed(JOB, "spec.runtimeEnvYAML", "- a"), "is not a YAML mapping"),
    (
        changed(
            changed(JOB, "spec.shutdownAfterJobFinishes", True),
            "spec.deletionStrategy",
            {"deletionRules": [{"policy": "DeleteCluster", "condition": {"jobStatus": "FAILED"}}]},
        ),
        "kuberay 5184",
    ),
    (changed(SERVICE, "spec.upgradeStrategy", {"type": "Magic"}), "'Magic' is unknown"),
    (
        changed(SERVICE, "spec.upgradeStrategy", {"type": "NewClusterWithIncrementalUpgrade"}),
        "clusterUpgradeOptions: is missing",
    ),
    (changed(CLUSTER, "apiVersion", "ray.io/v1alpha1"), "Write apiVersion: ray.io/v1"),
    (changed(CLUSTER, "kind", "RayCronJob"), "let a schedule of Windmill start the flow"),
    ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}, "holds no object of Ray, but v1 Pod p"),
    ("", "it is empty"),
    ("a: [", "is not valid YAML"),
    ("x: {{ .Values.name }}", "Render the template first"),
]


@pytest.mark.parametrize(("manifest", "message"), RULES, ids=[message[:40] for _, message in RULES])
def test_what_kuberay_would_refuse_later_is_refused_at_once_with_its_remedy(manifest: Any, message: str) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        ray_manifest.read_manifest(manifest)
    assert message in str(caught.value)
    assert caught.value.remedy


def test_all_problems_of_a_manifest_are_named_at_once() -> None:
    wrong = changed(changed(JOB, "metadata.name", "Mine"), "spec.suspend", True)
    with pytest.raises(errors.InvalidInput, match=r"Mine.*Also: .*suspend"):
        ray_manifest.read_manifest(wrong)


def test_what_the_server_writes_is_left_out_and_said() -> None:
    live = copy.deepcopy(CLUSTER)
    live["status"] = {"state": "ready"}
    live["metadata"] |= {"uid": "1", "resourceVersion": "7", "annotations": {ray_manifest.LAST_APPLIED: "{}"}}
    manifest = ray_manifest.read_manifest(live)
    assert manifest.document["metadata"] == {"name": "mine", "annotations": {}}
    assert "status" not in manifest.document
    assert "status, metadata.resourceVersion, metadata.uid" in manifest.notes[0]


def test_objects_beside_it_are_named_and_two_of_ray_are_refused() -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}}
    manifest = ray_manifest.read_manifest(yaml.safe_dump_all([config, JOB]))
    assert "ConfigMap code" in manifest.notes[0]
    with pytest.raises(errors.InvalidInput, match="2 objects of Ray"):
        ray_manifest.read_manifest([JOB, CLUSTER])


def test_a_rayjob_gives_its_cluster_and_what_its_step_decides_is_said() -> None:
    given = changed(changed(JOB, "spec.backoffLimit", 2), "metadata.labels", {"team": "a"})
    spec, kept, notes = ray_manifest.read_job_cluster(given)
    assert spec == CLUSTER["spec"]
    assert kept == {"labels": {"team": "a"}}
    assert any("spec.entrypoint is left out: the step submits its own program" in note for note in notes)
    assert any("spec.backoffLimit is left out" in note for note in notes)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (SERVICE, "serves models and runs no job"),
        (
            changed(changed(JOB, "spec.rayClusterSpec", None), "spec.clusterSelector", {"ray.io/cluster": "x"}),
            "there already",
        ),
    ],
)
def test_a_manifest_that_gives_a_job_no_cluster_is_refused(manifest: Object, message: str) -> None:
    with pytest.raises(errors.InvalidInput, match=message):
        ray_manifest.read_job_cluster(manifest)


# --- the form

BAD_FORMS = [
    ({"queue": "Team A"}, "not a name in Kubernetes"),
    ({"priority_class": "high"}, "name a queue, too"),
    ({"elastic": True}, "elastic is for a queue"),
    ({"queue": "team"}, "which the queue does not allow: make both equal, or set elastic"),
    ({"manifest": CLUSTER, "head_cpu": "2"}, "manifest and head_cpu cannot both be given"),
    ({"manifest": "a: ["}, "is not valid YAML"),
    ({"start_timeout_s": 1}, "start_timeout_s"),
    ({"history_server": "history"}, "history_server"),
    ({"workers": 3}, "is not a known field"),
]


@pytest.mark.parametrize(("form", "message"), BAD_FORMS, ids=[message for _, message in BAD_FORMS])
def test_a_form_that_cannot_be_right_is_refused_by_its_field(form: Object, message: str) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        program_job.RUN_PROGRAM.parse({"program": "result = 1", "own_cluster": form})
    assert message in str(caught.value)
    assert str(caught.value).startswith("own_cluster")


@pytest.mark.parametrize("value", [None, "", {}, {"image": "", "groups": None, "head_cpu": None}])
def test_an_untouched_field_means_no_cluster_of_its_own(value: Any) -> None:
    assert program_job.RUN_PROGRAM.parse({"program": "result = 1", "own_cluster": value}).own_cluster is None


def check(own: Object, service: Object | None, **more: Any) -> None:
    request = program_job.RUN_PROGRAM.parse({"program": "result = 1", "own_cluster": own, **more})
    job_cluster.check(request, resources.RayCluster.model_validate(service) if service is not None else None)


def test_a_cluster_of_its_own_needs_a_kubernetes_cluster() -> None:
    with pytest.raises(errors.InvalidInput, match="`cluster` names none"):
        check({"head_cpu": "1"}, {"address": "http://ray:8265"})
    check({"head_cpu": "1"}, {"namespace": "work"})
    check({"head_cpu": "1"}, None)


def test_work_that_its_own_cluster_can_never_do_is_refused_before_it_is_made() -> None:
    groups = [{"cpu": "2", "max_workers": 3}]
    check({"groups": groups}, None, num_cpus=2)
    with pytest.raises(errors.InvalidInput, match="own_cluster can never give 3 CPUs"):
        check({"groups": groups}, None, num_cpus=3)
    with pytest.raises(errors.InvalidInput, match="can never give 1 CPUs"):
        check({"groups": [], "head_cpu": "4"}, None, num_cpus=1)
    check({"groups": [], "head_cpu": "4", "head_takes_work": True}, None, num_cpus=1)


# --- the RayJob

KEY = identity.execution_key({"WM_FLOW_JOB_ID": "flow", "WM_FLOW_STEP_ID": "ml", "WM_WORKSPACE": "test"})


def ray_job(form: Object, **options: Any) -> Object:
    own = job_cluster.OwnCluster.model_validate(form)
    return ray_job_manifest.ray_job(own, KEY, 1, "work", timeout_s=60, now=1000.0, **options)


def test_a_queue_holds_the_rayjob_from_its_creation() -> None:
    document = ray_job({"queue": "team", "priority_class": "high", "groups": []})
    assert document["spec"]["suspend"] is True
    assert document["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    assert document["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "high"
    assert int(document["metadata"]["annotations"]["flexcore/deadline"]) > 1000 + 24 * 3600
    assert "suspend" not in ray_job({"groups": []})["spec"]


def test_scaling_in_a_queue_asks_for_workload_slices() -> None:
    document = ray_job({"queue": "team", "elastic": True, "groups": [{"max_workers": 3}]})
    assert document["metadata"]["annotations"]["kueue.x-k8s.io/elastic-job"] == "true"
    assert document["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is True


def test_a_manifests_pods_carry_our_labels_and_it_stays_a_rayjob_that_kuberay_takes() -> None:
    document = ray_job({"manifest": JOB})
    labels = document["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["metadata"]["labels"]
    assert labels["flexcore/key"] == KEY.value
    assert ray_manifest.read_manifest(document).kind == "RayJob"


def test_the_network_policy_selects_the_pods_before_the_cluster_has_a_name() -> None:
    own = job_cluster.OwnCluster.model_validate({"groups": []})
    stored = ray_job({"groups": []}, known_fields=frozenset())
    stored["metadata"]["uid"] = "u1"
    secret, policy = ray_job_manifest.companions(own, stored, "t0ken")
    assert policy["spec"]["podSelector"]["matchLabels"] == {"flexcore/key": KEY.value, "flexcore/attempt": "1"}
    assert "ray.io/cluster" not in str(policy)
    assert [item["metadata"]["ownerReferences"][0]["uid"] for item in (secret, policy)] == ["u1", "u1"]


def test_the_pages_on_a_history_server_are_named_by_the_session() -> None:
    own = job_cluster.OwnCluster.model_validate({"history_server": "https://history/", "groups": []})
    url = ray_job_place.history_url(own, "work", "fc-1", "session_2026")
    assert url == "https://history/enter_cluster/work/rayjob/fc-1/session_2026"
    assert ray_job_place.history_url(own, "work", "fc-1", "") == ""


def test_no_secret_gets_into_a_stored_log() -> None:
    text = job_archive.redact_log(b"key is sesame-open-1234\n10%\r100%\n", redaction.Redactor(["sesame-open-1234"]))
    assert text == "key is ***\n100%\n"
