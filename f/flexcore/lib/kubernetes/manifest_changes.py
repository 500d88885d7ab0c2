# requirements: flexcore_kubernetes
"""What is changed of a Job as it was written, each change with a note. Pure; the Job that is given is changed in place.

drop     what an exported Job carries of the cluster it ran in
keep     what nothing may be lost or leaked without: deadline, time-to-live, one pod at a time
rename   the Job and its ConfigMaps and Secrets get names of their own; what refers to the old ones follows, or is noted
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from f.flexcore.lib.kubernetes import pod_spec

Object = dict[str, Any]
Notes = list[str]

CONTROLLER_LABELS = (
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
)
SERVER_ANNOTATIONS = (
    "batch.kubernetes.io/job-tracking",
    "batch.kubernetes.io/cronjob-scheduled-timestamp",
    "kubectl.kubernetes.io/last-applied-configuration",
)
SERVER_FIELDS = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
    "selfLink",
    # An owner that is gone takes the Job with it, and a finalizer of others may never be removed.
    "finalizers",
    "ownerReferences",
)
# A step that is repeated after its worker's death (Windmill: about 65 s later) must find its finished Job.
MIN_TTL_S = 90
INDEX_FIELD = re.compile(r"metadata\.(?:labels|annotations)\['batch\.kubernetes\.io/job-completion-index'\]")
# Where the name of a ConfigMap or Secret stands in a pod.
REFERENCES = {
    "configMap": ("ConfigMap", "name"),
    "configMapRef": ("ConfigMap", "name"),
    "configMapKeyRef": ("ConfigMap", "name"),
    "secretRef": ("Secret", "name"),
    "secretKeyRef": ("Secret", "name"),
}
# A pod's host name is JOB-INDEX, the index often a shell's variable.
INDEX = r"(?:\d+|\$\w+|\$[({]\w+[)}])"
NAME_VARIABLE = re.compile(r"JOB|HOST|MASTER|ADDR|SERVICE|POD|LEADER", re.IGNORECASE)
OWN_NAME = "env NAME: valueFrom.fieldRef.fieldPath: metadata.labels['batch.kubernetes.io/job-name']"


def drop_server_fields(item: Object) -> Notes:
    """Drops what the cluster writes itself; what was empty goes without a note."""
    metadata = item.setdefault("metadata", {})
    dropped = _drop(metadata, SERVER_FIELDS, "metadata")
    dropped += _drop(metadata.get("annotations"), SERVER_ANNOTATIONS, "metadata.annotations")
    dropped += _drop(metadata.get("labels"), CONTROLLER_LABELS, "metadata.labels")
    dropped += _drop(item, ("status",), "")
    spec = item.get("spec")
    if isinstance(spec, dict):
        dropped += _drop_from_spec(spec)
    if not dropped:
        return []
    return [f"dropped, since the cluster writes them itself: {', '.join(dropped)}"]


def _drop_from_spec(spec: Object) -> list[str]:
    dropped: list[str] = []
    if not spec.get("manualSelector"):
        spec.pop("manualSelector", None)
        dropped += _drop(spec, ("selector",), "spec")
    template = spec.get("template")
    metadata = template.get("metadata") if isinstance(template, dict) else None
    if isinstance(metadata, dict):
        dropped += _drop(metadata, SERVER_FIELDS, "spec.template.metadata")
        dropped += _drop(metadata.get("labels"), CONTROLLER_LABELS, "spec.template.metadata.labels")
    return dropped


def _drop(item: Any, names: Iterable[str], place: str) -> list[str]:
    if not isinstance(item, dict):
        return []
    gone = [(name, item.pop(name)) for name in names if name in item]
    return [f"{place}.{name}".lstrip(".") for name, value in gone if value not in (None, {}, [])]


def keep_bounds(spec: Object, timeout_s: int, ttl_s: int, queue: str = "") -> Notes:
    """Deadline, time-to-live and one pod at a time, which hold even when no step watches the Job any more. queue: that
    which starts the Job, or ""."""
    notes: Notes = []
    added: list[str] = []
    written = spec.get("activeDeadlineSeconds")
    if written is None:
        added.append(f"activeDeadlineSeconds {timeout_s} (timeout_s)")
    elif written > timeout_s:
        notes.append(
            f"spec.activeDeadlineSeconds: {written} becomes {timeout_s}, as timeout_s says;"
            " leave timeout_s empty to keep what is written"
        )
    spec["activeDeadlineSeconds"] = min(written or timeout_s, timeout_s)
    kept = spec.get("ttlSecondsAfterFinished")
    if kept is None:
        added.append(f"ttlSecondsAfterFinished {ttl_s} (ttl_s)")
        spec["ttlSecondsAfterFinished"] = ttl_s
    elif kept < MIN_TTL_S:
        notes.append(
            f"spec.ttlSecondsAfterFinished: {kept} becomes {MIN_TTL_S}, so that a step that is repeated finds its Job"
        )
        spec["ttlSecondsAfterFinished"] = MIN_TTL_S
    if _runs_one_program(spec) and spec.get("backoffLimit") is None:
        added.append("backoffLimit 0 (repeats are the flow's: its retry; write a backoffLimit to have the Job's own)")
        spec["backoffLimit"] = 0
    if may_replace(spec, queue):
        before = spec.get("podReplacementPolicy")
        if before is None:
            added.append("podReplacementPolicy Failed (no new pod before the old one has ended)")
        elif before != "Failed":
            notes.append(
                f"spec.podReplacementPolicy: {before} becomes Failed, so that two pods never work at the same time"
            )
        spec["podReplacementPolicy"] = "Failed"
    pod = spec["template"]["spec"]
    if pod.get("restartPolicy") is None:
        added.append("template.spec.restartPolicy Never")
        pod["restartPolicy"] = "Never"
    if added:
        notes.append(f"added to spec, where nothing is written: {', '.join(added)}")
    if spec.get("suspend"):
        notes.append("spec.suspend is true: nothing runs until something sets it to false (a queue such as Kueue does)")
    return notes


def _runs_one_program(spec: Mapping[str, Any]) -> bool:
    """Whether a failed pod is a failed Job: one pod that says nothing of repeats. Where many pods, OnFailure or a
    policy count on Kubernetes' own default, it stays."""
    rules = ("backoffLimitPerIndex", "podFailurePolicy", "successPolicy")
    single = all(
        (spec.get(field) if spec.get(field) is not None else 1) == 1 for field in ("completions", "parallelism")
    )
    never = spec["template"]["spec"].get("restartPolicy") in (None, "Never")
    return single and never and not any(spec.get(rule) is not None for rule in rules)


def may_replace(spec: Mapping[str, Any], queue: str = "") -> bool:
    """Whether the Job itself makes a second pod: for one that failed, or once its queue lets it go on."""
    return spec.get("backoffLimit") != 0 or bool(spec.get("backoffLimitPerIndex")) or bool(queue or spec.get("suspend"))


# --- names


def rename_job(job: Object, name: str) -> Notes:
    """Gives the Job its name; what refers to the written one follows where that is certain, and is noted elsewhere."""
    metadata = job["metadata"]
    generated, written = metadata.pop("generateName", None), metadata.get("name")
    metadata["name"] = name
    if not written:
        return [f"metadata.generateName: {generated}… becomes the name {name}"] if generated else []
    notes = [f"metadata.name: {written} becomes {name}, by which a repeat of the step finds its Job"]
    spec = job["spec"]
    notes += _iterate_selectors(spec, written, name)
    notes += _host_names(spec, written, name)
    if spec["template"]["spec"].get("subdomain"):
        notes.append(
            f"a Service that selects job-name: {written} does not find these pods, whose job-name is {name}:"
            " let it select a label of spec.template.metadata.labels"
        )
    return notes


def note_index_use(spec: Object) -> Notes:
    """Variables that only an indexed Job fills."""
    if spec.get("completionMode") == "Indexed":
        return []
    notes = [
        f"{place}: {variable['name']} is empty in each pod, since only an indexed Job has indexes"
        " (completionMode: Indexed)"
        for place, container in pod_spec.iterate_containers(spec)
        for variable in container.get("env") or ()
        if INDEX_FIELD.fullmatch((((variable.get("valueFrom") or {}).get("fieldRef")) or {}).get("fieldPath") or "")
    ]
    return notes + [
        f"{place}: JOB_COMPLETION_INDEX is not set, since only an indexed Job has indexes (completionMode: Indexed)"
        for place, container in pod_spec.iterate_containers(spec)
        if any("JOB_COMPLETION_INDEX" in text for _, text in _iterate_texts(container))
    ]


def _iterate_texts(container: Object) -> Iterator[tuple[str, str]]:
    for variable in container.get("env") or ():
        if isinstance(variable.get("value"), str):
            yield f"env {variable['name']}", variable["value"]
    for field in ("command", "args"):
        for text in container.get(field) or ():
            yield field, text


def _iterate_selectors(value: Any, written: str, name: str) -> Notes:
    """Affinity and spread rules that select the Job's own pods."""
    count = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            labels = item.get("matchLabels")
            for label in ("job-name", "batch.kubernetes.io/job-name"):
                if isinstance(labels, dict) and labels.get(label) == written:
                    labels[label] = name
                    count += 1
                if item.get("key") == label and written in (item.get("values") or ()):
                    item["values"] = [name if entry == written else entry for entry in item["values"]]
                    count += 1
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return [f"selectors of job-name: {written} becomes {name}"] if count else []


def _host_names(spec: Object, written: str, name: str) -> Notes:
    """`ring-0.ring` of an indexed Job in subdomain ring is a pod's host name and nothing else, so it follows."""
    subdomain = spec["template"]["spec"].get("subdomain")
    host = re.compile(rf"(?<![\w.-]){re.escape(written)}(?=-{INDEX}(?![\w-]))")
    whole = re.compile(rf"(?<![\w.-]){re.escape(written)}(?=-{INDEX}\.{re.escape(subdomain or '')}(?![\w-]))")
    follows = spec.get("completionMode") == "Indexed" and subdomain
    notes: Notes = []
    for place, container in pod_spec.iterate_containers(spec):
        for what, text in list(_iterate_texts(container)):
            if follows and whole.search(text):
                _replace_text(container, text, whole.sub(name, text))
                notes.append(f"{place} {what}: the host name {written}-… becomes {name}-…")
            elif host.search(text) or (text == written and what.startswith("env") and NAME_VARIABLE.search(what)):
                notes.append(
                    f"{place} {what} refers to {written}, and the Job is named {name}: take its name from its label"
                    f" ({OWN_NAME})"
                )
    return notes


def _replace_text(container: Object, old: str, new: str) -> None:
    for variable in container.get("env") or ():
        if variable.get("value") == old:
            variable["value"] = new
    for field in ("command", "args"):
        if container.get(field):
            container[field] = [new if text == old else text for text in container[field]]


def rename_references(pod: Any, names: Mapping[tuple[str, str], str]) -> None:
    """The pod's references to ConfigMaps and Secrets, by their new names. names: by kind and written name."""
    if isinstance(pod, list):
        for item in pod:
            rename_references(item, names)
    if not isinstance(pod, dict):
        return
    for field, value in pod.items():
        if isinstance(value, dict):
            kind, key = REFERENCES.get(field, ("", ""))
            if field == "secret":
                kind, key = "Secret", "secretName" if "secretName" in value else "name"
            if (kind, value.get(key)) in names:
                value[key] = names[kind, value[key]]
        if field == "imagePullSecrets":
            for entry in value or ():
                entry["name"] = names.get(("Secret", entry.get("name", "")), entry.get("name"))
        rename_references(value, names)
