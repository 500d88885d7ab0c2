# requirements: flexcore_kubernetes
"""What the API server refuses of a Job whose shape is right, and what could never start. Pure.

Source: kubernetes/pkg/apis/batch/validation/validation.go and kubernetes/pkg/apis/core/validation/validation.go
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from f.flexcore.lib.core import dimensions, errors
from f.flexcore.lib.kubernetes import pod_spec

Object = Mapping[str, Any]

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
SPEC, POD = "manifest.spec", "manifest.spec.template.spec"
ENUMS = {
    "completionMode": ("NonIndexed", "Indexed"),
    "podReplacementPolicy": ("Failed", "TerminatingOrFailed"),
}
MINIMA = {
    "backoffLimit": 0,
    "backoffLimitPerIndex": 0,
    "maxFailedIndexes": 0,
    "parallelism": 0,
    "completions": 0,
    "ttlSecondsAfterFinished": 0,
    "activeDeadlineSeconds": 1,
}
# There a template's braces may be the program's own.
FREE_TEXT = ("command", "args", "value", "annotations", "data", "stringData", "description")
TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")


def check_job(job: Object) -> list[str]:
    """Remarks on what is allowed and looks wrong. Raises InvalidInput for what cannot be created or never start."""
    _check_names(job)
    spec = job.get("spec") or {}
    pod = (spec.get("template") or {}).get("spec")
    if not pod:
        raise _wrong(POD, "is missing", "Add the pod: containers with name, image and command.")
    _check_templates(job)
    containers = _list_containers(pod)
    _check_containers(containers)
    _check_spec(spec, pod, {container["name"] for _, container in containers})
    _check_volumes(pod, containers)
    return [remark for place, item in containers for remark in _check_resources(place, item)]


def check_secret(item: Object, within: str) -> None:
    """The values of `data` are base64; the value is in no error."""
    for name, value in (item.get("data") or {}).items():
        try:
            base64.b64decode(value, validate=True)
        except ValueError:
            raise _wrong(f"{within}.data.{name}", "is not base64", "Encode it, or give it below stringData.") from None


def _check_names(job: Object) -> None:
    metadata = job.get("metadata") or {}
    for field in ("name", "generateName"):
        value = metadata.get(field)
        if value and not NAME.fullmatch(value.rstrip("-") if field == "generateName" else value):
            raise _wrong(f"manifest.metadata.{field}", *_describe_bad_name(value))
    template = ((job.get("spec") or {}).get("template") or {}).get("metadata") or {}
    for place, labels in (("metadata", metadata), ("spec.template.metadata", template)):
        for name, value in (labels.get("labels") or {}).items():
            if value is not None and not LABEL_VALUE.fullmatch(value):
                raise _wrong(
                    f"manifest.{place}.labels.{name}",
                    "is not a valid label value",
                    "Use at most 63 letters, digits, dashes, dots and underscores.",
                )


def _describe_bad_name(value: str) -> tuple[str, str]:
    if pod_spec.is_placeholder(value):
        return f"{value!r} is a placeholder of a template", "Put the name there."
    return f"{value!r} is not a Kubernetes name", "Use lower-case letters, digits and dashes."


def _check_templates(job: Object) -> None:
    for place, text in _iterate_texts(job, "manifest"):
        if TEMPLATE.search(text):
            raise _wrong(place, "it is a template ({{ … }}), not yet a manifest", "Give what `helm template` prints.")


def _iterate_texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name not in FREE_TEXT:
                yield from _iterate_texts(item, f"{place}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _iterate_texts(item, f"{place}[{index}]")


# --- containers


def _list_containers(pod: Object) -> list[tuple[str, Object]]:
    return [
        (f"{POD}.{kind}[{index}]", container)
        for kind in ("initContainers", "containers")
        for index, container in enumerate(pod.get(kind) or ())
    ]


def _check_containers(containers: Sequence[tuple[str, Object]]) -> None:
    if not any(place.startswith(f"{POD}.containers") for place, _ in containers):
        raise _wrong(f"{POD}.containers", "it has no containers", "Add one with name, image and command.")
    seen: set[str] = set()
    for place, container in containers:
        name = container["name"]
        if not pod_spec.DNS_LABEL.fullmatch(name):
            raise _wrong(f"{place}.name", *_describe_bad_name(name))
        if name in seen:
            raise _wrong(f"{place}.name", f"{name!r} is another container's name too", "Name each container once.")
        seen.add(name)
        if not container.get("image"):
            raise _wrong(f"{place}.image", "is missing", "Name the image, e.g. docker.io/library/busybox:1.37.")
        pod_spec.check_image(container["image"], f"{place}.image")
        policy = container.get("imagePullPolicy")
        _check_enum(f"{place}.imagePullPolicy", policy, ("Always", "IfNotPresent", "Never"))
        _check_probes(place, container)


def _check_probes(place: str, container: Object) -> None:
    """A port that is quoted is the name of one, which no number is."""
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        for how in ("httpGet", "tcpSocket"):
            port = ((container.get(probe) or {}).get(how) or {}).get("port")
            if isinstance(port, str) and port.isdigit():
                raise _wrong(
                    f"{place}.{probe}.{how}.port", "a number is expected, not text", "Write it without quotes."
                )


def _check_resources(place: str, container: Object) -> Iterator[str]:
    written = container.get("resources") or {}
    for kind in ("requests", "limits"):
        for name, value in (written.get(kind) or {}).items():
            subject = f"{place}.resources.{kind}"
            dimensions.check_resource_name(name, subject)
            remark = dimensions.check_amount(name, value, f"{subject}.{name}")
            if remark:
                yield remark
    limits = written.get("limits") or {}
    for name, value in (written.get("requests") or {}).items():
        if "/" in name and dimensions.parse_amount(limits.get(name)) != dimensions.parse_amount(value):
            raise _wrong(
                f"{place}.resources.limits.{name}",
                "a device must have a limit, and its request be the same" if name in limits else "is missing",
                f"Set {name} to {value} in resources.limits; a request alone is refused.",
            )
        if name in limits and (dimensions.parse_amount(value) or 0) > (dimensions.parse_amount(limits[name]) or 0):
            raise _wrong(
                f"{place}.resources.requests.{name}",
                f"{value} is more than its limit of {limits[name]}",
                "Raise the limit, or ask for less.",
            )


def _check_volumes(pod: Object, containers: Iterable[tuple[str, Object]]) -> None:
    names: set[str] = set()
    for index, volume in enumerate(pod.get("volumes") or ()):
        subject = f"{POD}.volumes[{index}]"
        if volume["name"] in names:
            raise _wrong(f"{subject}.name", f"{volume['name']!r} is another volume's name too", "Name each once.")
        names.add(volume["name"])
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit is not None:
            dimensions.check_amount("ephemeral-storage", limit, f"{subject}.emptyDir.sizeLimit")
    for place, container in containers:
        for index, mount in enumerate(container.get("volumeMounts") or ()):
            if mount["name"] not in names:
                raise _wrong(
                    f"{place}.volumeMounts[{index}].name",
                    f"{mount['name']!r} is not a volume of the pod ({', '.join(sorted(names)) or 'it has none'})",
                    f"Add it to {POD.removeprefix('manifest.')}.volumes.",
                )


# --- the Job's own rules


def _check_spec(spec: Object, pod: Object, containers: set[str]) -> None:
    if spec.get("manualSelector"):
        raise _wrong(f"{SPEC}.manualSelector", "a selector of one's own may catch other pods", "Remove it.")
    for field, least in MINIMA.items():
        value = spec.get(field)
        if value is not None and value < least:
            raise _wrong(f"{SPEC}.{field}", f"must be at least {least}", f"Use {least} or more.")
    for field, allowed in ENUMS.items():
        _check_enum(f"{SPEC}.{field}", spec.get(field), allowed)
    policy = pod.get("restartPolicy")
    if policy == "Always":
        raise _wrong(f"{POD}.restartPolicy", "a Job's pods must not restart Always", "Use Never or OnFailure.")
    _check_enum(f"{POD}.restartPolicy", policy, ("Never", "OnFailure"))
    _check_indexes(spec)
    if policy == "OnFailure":
        for field in ("backoffLimitPerIndex", "podFailurePolicy"):
            if spec.get(field) is not None:
                raise _wrong(
                    f"{POD}.restartPolicy", f"it must be Never beside {field}", f"Use Never, or leave out {field}."
                )
    _check_failure_policy(spec, containers)


def _check_indexes(spec: Object) -> None:
    indexed = spec.get("completionMode") == "Indexed"
    if indexed and spec.get("completions") is None:
        raise _wrong(
            f"{SPEC}.completions", "is missing beside completionMode Indexed", "Say how many indexes there are."
        )
    for field in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy"):
        if spec.get(field) is not None and not indexed:
            raise _wrong(f"{SPEC}.{field}", "is for indexed Jobs alone", "Add completionMode: Indexed and completions.")
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        raise _wrong(f"{SPEC}.maxFailedIndexes", "needs backoffLimitPerIndex", "Add it, or leave both out.")


def _check_failure_policy(spec: Object, containers: set[str]) -> None:
    rules = (spec.get("podFailurePolicy") or {}).get("rules") or ()
    if rules and spec.get("podReplacementPolicy") == "TerminatingOrFailed":
        raise _wrong(f"{SPEC}.podReplacementPolicy", "it must be Failed beside podFailurePolicy", "Use Failed.")
    for index, rule in enumerate(rules):
        subject = f"{SPEC}.podFailurePolicy.rules[{index}]"
        _check_enum(f"{subject}.action", rule.get("action"), ("FailJob", "FailIndex", "Ignore", "Count"))
        if rule.get("action") == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            raise _wrong(f"{subject}.action", "FailIndex needs backoffLimitPerIndex", "Add it, or use FailJob.")
        if bool(rule.get("onExitCodes")) == bool(rule.get("onPodConditions")):
            raise _wrong(subject, "it needs either onExitCodes or onPodConditions", "Give one of the two.")
        codes = rule.get("onExitCodes") or {}
        _check_enum(f"{subject}.onExitCodes.operator", codes.get("operator"), ("In", "NotIn"))
        if codes.get("containerName") and codes["containerName"] not in containers:
            raise _wrong(
                f"{subject}.onExitCodes.containerName",
                f"{codes['containerName']!r} is not a container of the pod ({', '.join(sorted(containers))})",
                "Name one of them, or leave it out.",
            )
        if codes.get("operator") == "In" and 0 in codes.get("values", ()):
            raise _wrong(f"{subject}.onExitCodes.values", "0 is not a failure", "Leave it out.")


def _check_enum(subject: str, value: Any, allowed: Sequence[str]) -> None:
    if value is None or value in allowed:
        return
    like = next((name for name in allowed if name.lower() == str(value).lower()), "")
    choice = " or ".join(allowed)
    raise _wrong(subject, f"{value!r} is not {choice}", f"Use {like or choice}.")


def _wrong(subject: str, problem: str, remedy: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"{subject}: {problem}", subject=subject, remedy=remedy)
