# requirements: flexcore_kubernetes
"""A manifest as people paste it: an object, a List, YAML or JSON text with one or several documents. Pure.

text ─→ documents ─→ items of Lists ─→ exactly one batch/v1 Job, and the objects beside it that can live and go with it
No value of a manifest stands in an error: it may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from f.flexcore.lib.core import errors

# etcd takes no object above 1.5 MiB.
MAX_CHARACTERS = 2_000_000
# Aliases of aliases grow without bound.
MAX_NODES = 200_000
TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")
# Pasted from a page: YAML takes these spaces for letters.
ODD_INDENT = re.compile(r"^[ \t]*[\u00a0\u2000-\u200a\u202f\u3000]", re.MULTILINE)
# Objects that only the Job uses: they are made with it and go with it.
COMPANIONS = {("v1", "ConfigMap"), ("v1", "Secret")}
FIRST = "Create {name} first (kubectl apply -f) and leave it out here: {reason}."
REASONS = {
    "PersistentVolumeClaim": "it would be removed with the Job, and its data with it",
    "PersistentVolume": "it outlives the Job",
    "Service": "its name is fixed, so that two runs would share it; let it select a label of the pods' own",
    "Namespace": "a namespace outlives the Job",
    "ServiceAccount": "pods need it before the Job exists",
    "Kustomization": "it is not an object of a cluster",
}
CONTROLLERS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController")


def read_manifest(value: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The Job and the objects beside it, as written. Raises InvalidInput."""
    items = [item for document in _parse_documents(value) for item in _iterate_items(document)]
    for item in items:
        _check_object(item)
    jobs = [item for item in items if (item.get("apiVersion"), item.get("kind")) == ("batch/v1", "Job")]
    if not items:
        raise _wrong("manifest", "it is empty", "Give a batch/v1 Job.")
    if not jobs:
        raise _no_job_error(items)
    if len(jobs) > 1:
        raise _wrong(
            "manifest",
            f"it holds {len(jobs)} Jobs ({_join_names(jobs)}); one is run at a time",
            "Give each Job a step of its own.",
        )
    others = [item for item in items if item is not jobs[0]]
    for item in others:
        _check_companion(item)
    return jobs[0], others


def describe_object(item: Mapping[str, Any]) -> str:
    """`Kind name`, as far as it is written."""
    metadata = item.get("metadata")
    name = metadata.get("name") or metadata.get("generateName") if isinstance(metadata, Mapping) else ""
    return f"{item.get('kind') or 'object'} {name}".strip() if isinstance(name, str) else str(item.get("kind"))


def _parse_documents(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [item for item in _parse_text(value) if item not in (None, {}, [])]
    return [value]


def _iterate_items(document: Any) -> Iterator[Any]:
    """The document, or what a List or an array holds."""
    if isinstance(document, list):
        yield from document
        return
    kind = document.get("kind") if isinstance(document, Mapping) else None
    if isinstance(kind, str) and kind.endswith("List") and "items" in document:
        items = document["items"]
        if not isinstance(items, list):
            raise _wrong("manifest.items", "a list is expected", "Write each object as an entry that begins with '- '.")
        # A typed list's items carry no kind of their own.
        typed = {"apiVersion": document.get("apiVersion"), "kind": kind.removesuffix("List")}
        yield from ({**typed, **item} if kind != "List" and isinstance(item, Mapping) else item for item in items)
        return
    yield document


def _check_object(item: Any) -> None:
    if not isinstance(item, Mapping):
        kind = {str: "text", bool: "true or false", type(None): "nothing"}.get(type(item), "a number or a list")
        raise _wrong("manifest", f"an object is expected, not {kind}", "Give a Job with apiVersion, kind and spec.")
    for field in ("apiVersion", "kind"):
        if not isinstance(item.get(field), str):
            what = "is missing" if item.get(field) is None else "must be text"
            raise _wrong(f"manifest.{field}", what, "A Job begins with apiVersion: batch/v1 and kind: Job.")


def _no_job_error(items: Sequence[Mapping[str, Any]]) -> errors.InvalidInput:
    first = items[0]
    version, kind = str(first["apiVersion"]), str(first["kind"])
    written = f"{version} {kind}" if len(items) == 1 else _join_names(items)
    subject = "manifest.apiVersion" if kind == "Job" else "manifest.kind"
    return _wrong(subject, f"a batch/v1 Job is expected, not {written}", _advise_on_job(version, kind))


def _advise_on_job(version: str, kind: str) -> str:
    """How to get a Job from what is there."""
    group = version.partition("/")[0]
    if kind == "CronJob":
        return (
            "Give spec.jobTemplate as one: apiVersion: batch/v1, kind: Job, and metadata and spec of spec.jobTemplate;"
            " its schedule becomes one of Windmill."
        )
    if kind == "Job":
        if group in ("batch", "extensions", "v1"):
            return "Write apiVersion: batch/v1."
        return f"A Job of {group} has another form: give one of Kubernetes' own, apiVersion: batch/v1."
    if kind.lower() == "job":
        return "Write kind: Job."
    if kind == "Pod":
        return "Put the pod's spec below spec.template.spec of a Job (apiVersion: batch/v1, kind: Job)."
    if group == "ray.io":
        return "Run its entrypoint with f/flexcore/ray/run_job on a Ray cluster, or give the Job that submits it."
    if kind == "Kustomization":
        return "Give what `kubectl kustomize FOLDER` prints."
    if kind in CONTROLLERS:
        return f"A {kind} never ends. Put its spec.template below spec.template of a Job, if its program does."
    return "Give the Job itself: apiVersion: batch/v1, kind: Job."


def _check_companion(item: Mapping[str, Any]) -> None:
    version, kind, name = str(item["apiVersion"]), str(item["kind"]), describe_object(item)
    if (version, kind) in COMPANIONS:
        metadata = item.get("metadata")
        if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
            raise _wrong(f"manifest ({kind})", "metadata.name is missing", "Name it as the Job refers to it.")
        return
    if kind == "CronJob":
        raise _wrong("manifest", f"it holds {name} beside the Job; one Job is run", "Leave the CronJob out.")
    group = version.partition("/")[0]
    rights = "it gives rights, which a run must not" if group == "rbac.authorization.k8s.io" else ""
    reason = rights or REASONS.get(kind) or "only ConfigMaps and Secrets are created with a Job"
    raise _wrong("manifest", f"it holds {name} beside the Job", FIRST.format(name=name, reason=reason))


def _join_names(items: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(describe_object(item) for item in items[:10]) + (" …" if len(items) > 10 else "")


# --- text


class _Loader(yaml.SafeLoader):
    """YAML as kubectl reads it: a date is text, a key stands once, a number as a key is text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        seen: dict[str, yaml.Node] = {}
        for key in own:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key that is not text", key.start_mark)
            if key.value in seen:
                problem = f"{key.value!r} stands twice in one mapping"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen[key.value] = key
            if key.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
                key.tag = "tag:yaml.org,2002:str"
            elif key.tag == "tag:yaml.org,2002:bool":
                problem = f"the key {key.value} means {'true' if key.value.lower() in YES else 'false'}; quote it"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep)


YES = ("yes", "true", "on", "y")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _parse_text(text: str) -> list[Any]:
    if len(text) > MAX_CHARACTERS:
        raise _wrong("manifest", f"it has {len(text)} characters", "Give the Job alone; no cluster takes 1.5 MiB.")
    text = text.removeprefix("\ufeff")
    odd = ODD_INDENT.search(text)
    if odd:
        raise _yaml_error(text, text.count("\n", 0, odd.start()) + 1, "")
    try:
        return (
            [json.loads(text, object_pairs_hook=_reject_duplicates)]
            if text.lstrip()[:1] in ("{", "[")
            else _parse_yaml(text)
        )
    except json.JSONDecodeError as error:
        # A flow mapping is YAML too.
        return _parse_yaml(text) if "\t" not in text else [_refuse(text, error.lineno, error.msg)]
    except RecursionError:
        raise _wrong("manifest", "it is nested too deeply", "Give a Job.") from None


def _parse_yaml(text: str) -> list[Any]:
    try:
        documents = list(yaml.load_all(text, _Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _yaml_error(text, mark.line + 1 if mark else 0, str(error.problem or error.context)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise _yaml_error(text, 0, getattr(error, "reason", None) or "a value cannot be read") from None
    if sum(1 for _ in _iterate_nodes(documents)) > MAX_NODES:
        raise _wrong("manifest", "its aliases grow without bound", "Write what they stand for.")
    return documents


def _iterate_nodes(value: Any) -> Iterator[None]:
    """One for each node, aliases counted each time, until there are too many."""
    waiting, count = [value], 0
    while waiting and count <= MAX_NODES:
        item = waiting.pop()
        count += 1
        yield None
        waiting.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for name, value in pairs:
        if name in mapping:
            raise _wrong("manifest", f"{name!r} stands twice in one object", "Leave one of the two.")
        mapping[name] = value
    return mapping


def _refuse(text: str, line: int, problem: str) -> Any:
    raise _yaml_error(text, line, problem)


def _yaml_error(text: str, line: int, problem: str) -> errors.InvalidInput:
    where = f"line {line}: " if line else ""
    written = text.splitlines()[line - 1] if 0 < line <= len(text.splitlines()) else ""
    if TEMPLATE.search(text):
        return _wrong(
            "manifest",
            f"{where}it is a template ({{{{ … }}}}), not yet a manifest",
            "Give what `helm template` prints.",
        )
    if written.lstrip(" ").startswith("\t") or "\\t" in problem:
        return _wrong("manifest", f"{where}a tab stands where YAML wants spaces", "Indent with spaces alone.")
    if ODD_INDENT.match(written):
        return _wrong("manifest", f"{where}it is indented with non-breaking spaces", "Indent with ordinary spaces.")
    if written.startswith("```"):
        return _wrong("manifest", f"{where}``` is not YAML", "Leave the marks of the code block out.")
    if "stands twice" in problem:
        return _wrong("manifest", f"{where}{problem}", "Leave one of the two.")
    # The parser quotes values; only what it says about the form is kept.
    return _wrong("manifest", f"{where}no YAML ({problem})", "Correct the line, or give the Job as an object.")


def _wrong(subject: str, problem: str, remedy: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"{subject}: {problem}", subject=subject, remedy=remedy)
