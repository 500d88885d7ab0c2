"""Manifests as they are pasted: one Job is found, or it is said what is there and what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.kubernetes.manifest_reader import read_manifest
from tests.kubernetes.manifests import YAML, job

INDENTED = YAML.replace("\n", "\n  ")
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: '1'}\n"


@pytest.mark.parametrize(
    "written",
    [
        YAML,
        YAML.replace("\n", "\r\n"),
        "\ufeff" + YAML,
        "# a comment\n---\n" + YAML + "---\n",
        "%YAML 1.1\n---\n" + YAML,
        "apiVersion: v1\nkind: List\nitems:\n- " + INDENTED,
        "apiVersion: batch/v1\nkind: JobList\nitems:\n- "
        + INDENTED.replace("apiVersion: batch/v1\n  kind: Job\n  ", ""),
        "- " + INDENTED,
        json.dumps(job()),
        json.dumps(job(), indent="\t"),
        job(),
        [job()],
        {"apiVersion": "v1", "kind": "List", "items": [job()]},
    ],
)
def test_the_one_job_of_what_was_pasted_is_found(written: Any) -> None:
    found, beside = read_manifest(written)
    assert found["kind"] == "Job" and found["spec"]["template"]["spec"]["containers"][0]["image"] == "busybox:1.36"
    assert beside == []


def test_what_only_the_job_uses_comes_with_it() -> None:
    found, beside = read_manifest(CONFIG + "---\n" + YAML)
    assert found["metadata"]["name"] == "load" and [item["metadata"]["name"] for item in beside] == ["settings"]


@pytest.mark.parametrize(
    ("kind", "version", "words"),
    [
        ("Service", "v1", "fixed"),
        ("PersistentVolumeClaim", "v1", "its data with it"),
        ("ServiceAccount", "v1", "before the Job exists"),
        ("Namespace", "v1", "outlives"),
        ("Role", "rbac.authorization.k8s.io/v1", "rights"),
        ("ResourceClaimTemplate", "resource.k8s.io/v1", "only ConfigMaps and Secrets"),
    ],
)
def test_what_must_outlive_the_job_or_come_before_it_is_refused_by_name(kind: str, version: str, words: str) -> None:
    beside = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: other}}\n---\n"
    with pytest.raises(InvalidInput, match=words) as caught:
        read_manifest(beside + YAML)
    assert f"{kind} other" in str(caught.value) and "kubectl apply -f" in caught.value.remedy


@pytest.mark.parametrize(
    ("kind", "version", "found", "remedy"),
    [
        ("CronJob", "batch/v1", "batch/v1 CronJob", "Give spec.jobTemplate as one"),
        ("Pod", "v1", "v1 Pod", "spec.template.spec of a Job"),
        ("Deployment", "apps/v1", "apps/v1 Deployment", "never ends"),
        ("RayJob", "ray.io/v1", "ray.io/v1 RayJob", "f/flexcore/ray/run_job"),
        ("Job", "batch/v1beta1", "batch/v1beta1 Job", "Write apiVersion: batch/v1."),
        ("Job", "v1", "v1 Job", "Write apiVersion: batch/v1."),
        ("Job", "run.googleapis.com/v1", "run.googleapis.com/v1 Job", "one of Kubernetes' own"),
        ("job", "batch/v1", "batch/v1 job", "Write kind: Job."),
        ("Kustomization", "kustomize.config.k8s.io/v1beta1", "Kustomization", "kubectl kustomize"),
    ],
)
def test_another_kind_is_named_with_the_way_to_a_job(kind: str, version: str, found: str, remedy: str) -> None:
    for written in (
        {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}},
        {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": version, "kind": kind}]},
    ):
        with pytest.raises(InvalidInput) as caught:
            read_manifest(written)
        assert found in str(caught.value) and remedy in caught.value.remedy


def test_two_jobs_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match=r"2 Jobs \(Job load, Job other\)"):
        read_manifest(YAML + "---\n" + YAML.replace("load", "other"))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (YAML.replace("      containers", "\tcontainers"), "line 9: a tab"),
        (YAML.replace("      containers", "\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0containers"), "line 9: .* non-breaking"),
        (YAML + "spec: {}\n", "line 13: 'spec' stands twice"),
        (json.dumps(job())[:-1] + ', "kind": "Job"}', "'kind' stands twice"),
        (YAML.replace("busybox:1.36", "{{ .Values.image }}"), "line 11: it is a template"),
        (YAML.replace("  template:", "  {{- if .Values.on }}\n  template:"), "line 6: it is a template"),
        ("```yaml\n" + YAML, "line 1: ```"),
        (YAML.replace("metadata:", "metadata: on: x"), "line 3: no YAML"),
        ("on: push\n" + YAML, "the key on means true; quote it"),
        ("a: *missing\n", "line 1: .*undefined alias"),
        ("a: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
        ("# nothing\n", "it is empty"),
        ("kind: Job\n", "apiVersion: is missing"),
        ("hello", "an object is expected, not text"),
        ("[" * 3000, "nested too deeply"),
        ("&a [*a]", "aliases"),
        ("x" * 2_000_001, "2000001 characters"),
    ],
)
def test_text_that_is_no_manifest_is_reported_with_its_line(written: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        read_manifest(written)
    assert caught.value.subject.startswith("manifest") and caught.value.remedy


def test_aliases_that_grow_without_bound_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 7)]
    with pytest.raises(InvalidInput, match="aliases"):
        read_manifest("\n".join(lines))


def test_dates_stay_text_and_braces_of_a_program_are_its_own() -> None:
    written = YAML.replace("echo hi", "echo {{ day }}") + "        env: [{name: DAY, value: 2026-01-31}]\n"
    container = read_manifest(written)[0]["spec"]["template"]["spec"]["containers"][0]
    assert container["command"][2] == "echo {{ day }}" and container["env"][0]["value"] == "2026-01-31"


def test_an_error_does_not_show_a_value() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_manifest(YAML + '        env: [{name: PASSWORD, value: "open-sesame}]\n')
    assert "sesame" not in str(caught.value)
