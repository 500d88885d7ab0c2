"""What is wrong with a manifest is told by its field, before any cluster is asked, and never as a traceback."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.kubernetes.job_manifest import JobRequest, check
from tests.kubernetes.manifests import exported, job

POD = "manifest.spec.template.spec"
MAIN = f"{POD}.containers[0]"
INDEXED = {"completions": 2, "completionMode": "Indexed"}
FAIL_JOB = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}


def refused(manifest: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        check(JobRequest(manifest=manifest))
    return caught.value


@pytest.mark.parametrize(
    ("manifest", "subject", "words"),
    [
        (job(pod={"containers": {"main": {}}}), f"{POD}.containers", "a list is expected, not a mapping"),
        (job(labels=["a"]), "manifest.metadata.labels", "a mapping is expected, not a list"),
        (job() | {"metadata": ["a"]}, "manifest.metadata", "a mapping is expected, not a list"),
        (job() | {"spec": "x"}, "manifest.spec", "a mapping is expected, not text"),
        (job() | {"spec": None}, POD, "is missing"),
        (job({"template": {}}), POD, "is missing"),
        (job({"activeDeadlineSeconds": "600"}), "manifest.spec.activeDeadlineSeconds", "a whole number is expected"),
        (job({"backoffLimit": 1.5}), "manifest.spec.backoffLimit", "a whole number is expected"),
        (
            job(container={"livenessProbe": {"httpGet": {"path": "/", "port": "8080"}}}),
            f"{MAIN}.livenessProbe.httpGet.port",
            "without quotes",
        ),
        (job({"completions": 2.0}), "manifest.spec.completions", "without a fraction"),
        (job({"suspend": "false"}), "manifest.spec.suspend", "true or false is expected, not text"),
        (job(labels={"v": 1}), "manifest.metadata.labels.v", "Quote it"),
        (job(container={"env": [{"name": "A", "value": True}]}), f"{MAIN}.env[0].value", "Quote it"),
        (job(container={"command": "sh"}), f"{MAIN}.command", "a list is expected, not text"),
        (job(pod={"containers": [None]}), MAIN, "a mapping is expected, not nothing"),
        (job(pod={"containers": []}), f"{POD}.containers", "no containers"),
        (job(container={"name": None}), f"{MAIN}.name", "text is expected, not nothing"),
        (job(container={"image": None}), f"{MAIN}.image", "is missing"),
    ],
)
def test_a_wrong_shape_is_named_by_its_field(manifest: Any, subject: str, words: str) -> None:
    error = refused(manifest)
    assert error.subject == subject and words in str(error)


@pytest.mark.parametrize(
    ("manifest", "field", "where"),
    [
        (job(pod={"imagePullPolicy": "Always"}), f"{POD}.imagePullPolicy", "containers[0].imagePullPolicy"),
        (job(container={"namespace": "x"}), f"{MAIN}.namespace", "It belongs to metadata.namespace"),
        (job({"restartPolicy": "Never"}), "manifest.spec.restartPolicy", "spec.template.spec.restartPolicy"),
        (job(pod={"backoffLimit": 1}), f"{POD}.backoffLimit", "It belongs to spec.backoffLimit"),
        (job(pod={"env": []}), f"{POD}.env", "spec.template.spec.containers[0].env"),
        (job(container={"limits": {"cpu": 1}}), f"{MAIN}.limits", "containers[0].resources.limits"),
        (job(container={"resources": {"memory": "1Gi"}}), f"{MAIN}.resources.memory", "resources.limits"),
        (job(pod={"securityContext": {"capabilities": {}}}), f"{POD}.securityContext.capabilities", "containers[0]"),
        (job({"containers": []}), "manifest.spec.containers", "spec.template.spec.containers"),
        (job({"backoff_limit": 1}), "manifest.spec.backoff_limit", "Write backoffLimit"),
        (job(container={"Command": []}), f"{MAIN}.Command", "Write command"),
        (job(container={"comand": []}), f"{MAIN}.comand", "Write command"),
        (job({"schedule": "* * * * *"}), "manifest.spec.schedule", "CronJob's"),
        (job({"replicas": 2}), "manifest.spec.replicas", "parallelism"),
        (job({"nonsense": 2}), "manifest.spec.nonsense", "Remove it"),
    ],
)
def test_an_unknown_field_is_named_with_the_place_where_it_belongs(manifest: Any, field: str, where: str) -> None:
    error = refused(manifest)
    assert error.subject == field and where in error.remedy


@pytest.mark.parametrize(
    ("manifest", "subject", "words"),
    [
        (job(pod={"restartPolicy": "Always"}), f"{POD}.restartPolicy", "must not restart Always"),
        (job({**INDEXED, "backoffLimitPerIndex": 1}, {"restartPolicy": "OnFailure"}), f"{POD}.restartPolicy", "Never"),
        (job({"podFailurePolicy": {"rules": [FAIL_JOB]}}, {"restartPolicy": "OnFailure"}), f"{POD}.restartPolicy", "N"),
        (job({"completionMode": "Indexed"}), "manifest.spec.completions", "is missing"),
        (job({"completionMode": "indexed"}), "manifest.spec.completionMode", "Use Indexed"),
        (job({"backoffLimitPerIndex": 1}), "manifest.spec.backoffLimitPerIndex", "completionMode: Indexed"),
        (job({**INDEXED, "maxFailedIndexes": 1}), "manifest.spec.maxFailedIndexes", "backoffLimitPerIndex"),
        (job({"successPolicy": {"rules": [{"succeededCount": 1}]}}), "manifest.spec.successPolicy", "indexed"),
        (
            job({"podFailurePolicy": {"rules": [FAIL_JOB]}, "podReplacementPolicy": "TerminatingOrFailed"}),
            "manifest.spec.podReplacementPolicy",
            "Use Failed",
        ),
        (
            job({"podFailurePolicy": {"rules": [{**FAIL_JOB, "action": "FailIndex"}]}}),
            "manifest.spec.podFailurePolicy.rules[0].action",
            "backoffLimitPerIndex",
        ),
        (
            job({"podFailurePolicy": {"rules": [{"action": "Ignore"}]}}),
            "manifest.spec.podFailurePolicy.rules[0]",
            "onExitCodes or onPodConditions",
        ),
        (
            job(
                {
                    "podFailurePolicy": {
                        "rules": [
                            {
                                "action": "FailJob",
                                "onExitCodes": {"containerName": "x", "operator": "In", "values": [1]},
                            }
                        ]
                    }
                }
            ),
            "manifest.spec.podFailurePolicy.rules[0].onExitCodes.containerName",
            "(main)",
        ),
        (job({"backoffLimit": -1}), "manifest.spec.backoffLimit", "at least 0"),
        (job({"activeDeadlineSeconds": 0}), "manifest.spec.activeDeadlineSeconds", "at least 1"),
        (job({"manualSelector": True}), "manifest.spec.manualSelector", "other pods"),
        (job(container={"imagePullPolicy": "always"}), f"{MAIN}.imagePullPolicy", "Use Always"),
        (job(container={"image": "<image-name>"}), f"{MAIN}.image", "placeholder of a template"),
        (job(container={"image": "IMAGE_PLACEHOLDER"}), f"{MAIN}.image", "placeholder of a template"),
        (job(container={"image": "YOUR_REGISTRY/x:1"}), f"{MAIN}.image", "placeholder of a template"),
        (job(container={"image": "x/y:${TAG}"}), f"{MAIN}.image", "placeholder of a template"),
        (job(container={"image": "two words"}), f"{MAIN}.image", "not the name of a container image"),
        (job(pod={"serviceAccountName": "{{ .Values.a }}"}), f"{POD}.serviceAccountName", "helm template"),
        (job(name="{{ .Release.Name }}-x"), "manifest.metadata.name", "placeholder"),
        (job(name="My_Job"), "manifest.metadata.name", "not a Kubernetes name"),
        (job(labels={"a": "two words"}), "manifest.metadata.labels.a", "not a valid label value"),
        (
            job(pod={"initContainers": [{"name": "main", "image": "i"}]}),
            f"{MAIN}.name",
            "another container's name",
        ),
        (
            job(container={"volumeMounts": [{"name": "data", "mountPath": "/d"}]}),
            f"{MAIN}.volumeMounts[0].name",
            "'data' is not a volume",
        ),
        (job(container={"resources": {"limits": {"memory": "500m"}}}), f"{MAIN}.resources.limits.memory", "500Mi"),
        (job(container={"resources": {"requests": {"cpu": "2Gi"}}}), f"{MAIN}.resources.requests.cpu", "2 (cores)"),
        (job(container={"resources": {"limits": {"gpu": 1}}}), f"{MAIN}.resources.limits.gpu", "nvidia.com/gpu"),
        (
            job(container={"resources": {"requests": {"nvidia.com/gpu": 1}}}),
            f"{MAIN}.resources.limits.nvidia.com/gpu",
            "is missing",
        ),
        (
            job(container={"resources": {"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": "2"}}}),
            f"{MAIN}.resources.limits.nvidia.com/gpu",
            "be the same",
        ),
        (
            job(container={"resources": {"requests": {"cpu": 2}, "limits": {"cpu": "500m"}}}),
            f"{MAIN}.resources.requests.cpu",
            "more than its limit",
        ),
        (
            job(pod={"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "500m"}}]}),
            f"{POD}.volumes[0].emptyDir.sizeLimit",
            "500Mi",
        ),
    ],
)
def test_what_the_api_server_refuses_or_never_could_start_is_refused_before_it_is_asked(
    manifest: Any, subject: str, words: str
) -> None:
    error = refused(manifest)
    assert error.subject == subject and words in str(error)


@pytest.mark.parametrize(
    "manifest",
    [
        job(),
        exported(),
        job(
            {
                **INDEXED,
                "backoffLimitPerIndex": 1,
                "maxFailedIndexes": 1,
                "podFailurePolicy": {
                    "rules": [
                        {**FAIL_JOB, "action": "FailIndex"},
                        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                    ]
                },
            }
        ),
        job({**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "0", "succeededCount": 1}]}}),
        job(pod={"initContainers": [{"name": "proxy", "image": "i", "restartPolicy": "Always"}], "hostNetwork": True}),
        job(container={"resources": {"limits": {"cpu": 1, "memory": "1Gi", "nvidia.com/gpu": 1}}}),
        job(container={"args": ["{{ inputs.x }}"], "livenessProbe": {"httpGet": {"path": "/", "port": "web"}}}),
        job(
            pod={
                "volumes": [{"name": "all", "projected": {"sources": [{"secret": {"name": "s"}}], "defaultMode": 256}}]
            }
        ),
    ],
)
def test_what_kubectl_takes_passes(manifest: Any) -> None:
    check(JobRequest(manifest=manifest))


def test_a_wrong_value_is_not_shown() -> None:
    error = refused(job(container={"env": [{"name": "PASSWORD", "value": ["open-sesame"]}]}))
    assert "sesame" not in f"{error}{vars(error)}"


def test_every_wrong_field_is_named_at_once() -> None:
    error = refused(job({"backoffLimit": "4", "completions": "2"}, {"hostNetwork": "yes"}))
    assert all(name in str(error) for name in ("backoffLimit", "completions", "hostNetwork"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "image", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)
PLACES = (
    ("metadata",),
    ("metadata", "labels"),
    ("metadata", "annotations"),
    ("metadata", "name"),
    ("spec",),
    ("spec", "backoffLimit"),
    ("spec", "selector"),
    ("spec", "podFailurePolicy"),
    ("spec", "template"),
    ("spec", "template", "metadata"),
    ("spec", "template", "spec"),
    ("spec", "template", "spec", "containers"),
    ("spec", "template", "spec", "initContainers"),
    ("spec", "template", "spec", "volumes"),
    ("spec", "template", "spec", "securityContext"),
    ("spec", "template", "spec", "restartPolicy"),
    ("status",),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_whatever_stands_in_a_field_is_taken_or_refused_with_a_remedy(place: tuple[str, ...], value: Any) -> None:
    manifest = exported()
    owner = manifest
    for part in place[:-1]:
        owner = owner.setdefault(part, {})
    owner[place[-1]] = value
    try:
        check(JobRequest(manifest=manifest))
    except InvalidInput as error:
        assert error.subject.startswith("manifest") and error.remedy
