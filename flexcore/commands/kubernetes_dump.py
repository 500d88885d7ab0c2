"""What `kubectl get job,pod,event -o json` printed, as plain objects by their kind.

One JSON document or several behind one another; lists of one kind, or of all. Only the shape of what is read later is
checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from f.flexcore.lib.core.errors import InvalidInput

Object = Mapping[str, Any]
OTHER_OUTPUT = {
    r"(apiVersion|kind|items|metadata):": "YAML, not JSON (kubectl … -o json)",
    r"(NAME|NAMESPACE|LAST SEEN|LAST|COMPLETIONS)\s": "a table, not JSON (kubectl … -o json)",
    r"Name:\s": "what kubectl describe prints, not JSON (kubectl get … -o json)",
    r"No resources found": "empty: no resources were found",
    r"(Error from server|error:)": "an error of kubectl",
}
# What pydantic says of a shape names its own classes.
EXPECTED = {
    "model_type": "an object is expected",
    "model_attributes_type": "an object is expected",
    "dict_type": "an object is expected",
    "list_type": "a list is expected",
    "string_type": "a text is expected",
    "int_type": "a whole number is expected",
    "bool_type": "true or false is expected",
    "missing": "it is missing",
}
HINT = "Give what `kubectl get job,pod,event -o json` printed."


class _Part(BaseModel):
    """The shape of what is read; all else of an object is passed over."""

    model_config = ConfigDict(extra="ignore", strict=True)


class _Terminated(_Part):
    exitCode: int | None = None
    reason: str | None = None
    message: str | None = None


class _State(_Part):
    running: dict[str, Any] | None = None
    waiting: dict[str, Any] | None = None
    terminated: _Terminated | None = None


class _ContainerStatus(_Part):
    name: str
    state: _State | None = None
    lastState: _State | None = None
    restartCount: int | None = None


class _Condition(_Part):
    type: str
    status: str


class _Status(_Part):
    conditions: list[_Condition] | None = None
    containerStatuses: list[_ContainerStatus] | None = None
    initContainerStatuses: list[_ContainerStatus] | None = None
    phase: str | None = None
    failed: int | None = None
    succeeded: int | None = None
    active: int | None = None
    ready: int | None = None
    failedIndexes: str | None = None
    completedIndexes: str | None = None


class _Metadata(_Part):
    name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    creationTimestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    ownerReferences: list[dict[str, Any]] | None = None


class _Named(_Part):
    name: str | None = None


class _PodSpec(_Part):
    containers: list[_Named] | None = None
    initContainers: list[_Named] | None = None
    nodeSelector: dict[str, str] | None = None
    affinity: dict[str, Any] | None = None
    schedulingGates: list[_Named] | None = None


class _Template(_Part):
    spec: _PodSpec | None = None


class _Spec(_PodSpec):
    template: _Template | None = None
    suspend: bool | None = None
    backoffLimit: int | None = None
    completions: int | None = None


class _Item(_Part):
    kind: str | None = None
    metadata: _Metadata | None = None
    spec: _Spec | None = None
    status: _Status | None = None


class _Event(_Part):
    kind: str | None = None
    metadata: _Metadata | None = None
    reason: str | None = None
    message: str | None = None
    involvedObject: dict[str, Any] | None = None
    series: dict[str, Any] | None = None


@dataclass(slots=True)
class Dump:
    """The objects of a dump that matter, by kind."""

    jobs: list[Object] = field(default_factory=list)
    pods: list[Object] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)


def read_dump(text: str) -> Dump:
    dump = Dump()
    for document in _parse_documents(text):
        for item, kind, place in _iterate_objects(document, "", ""):
            if kind not in ("Job", "Pod", "Event"):
                continue
            _check_shape(_Event if kind == "Event" else _Item, item, place)
            {"Job": dump.jobs, "Pod": dump.pods, "Event": dump.events}[kind].append(item)
    if not dump.jobs and not dump.pods:
        raise _wrong("the dump holds neither a Job nor a Pod", "items")
    return dump


def _parse_documents(text: str) -> Iterator[Any]:
    """One JSON document, or several behind one another: the outputs of several commands."""
    if not text.strip():
        raise _wrong("the dump is empty", "dump")
    decoder, at = json.JSONDecoder(), 0
    text = text.removeprefix("\ufeff")
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            document, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _wrong(_describe_text(text, error), "dump") from None
        yield document


def _describe_text(text: str, error: Exception) -> str:
    """What the dump is instead of JSON, where its first line says so."""
    first = text.lstrip().partition("\n")[0]
    for begin, what in OTHER_OUTPUT.items():
        if re.match(begin, first):
            return f"the dump is {what}"
    return f"the dump is not JSON ({error})"


def _iterate_objects(document: Any, kind: str, place: str) -> Iterator[tuple[Object, str, str]]:
    """(object, its kind, where it stands); the items of a list of one kind have none of their own."""
    if not isinstance(document, dict):
        raise _wrong(f"{place or 'dump'} must be an object, not {_describe_type(document)}", place or "dump")
    own = document.get("kind") or kind
    if not isinstance(own, str):
        raise _wrong(f"{place + '.' if place else ''}kind must be text", f"{place + '.' if place else ''}kind")
    if "items" not in document:
        if not own:
            raise _wrong(f"{place or 'the dump'} has no kind", f"{place + '.' if place else ''}kind")
        yield document, own, place
        return
    items = document["items"]
    if items is None:
        return
    if not isinstance(items, list):
        raise _wrong(f"{place + '.' if place else ''}items must be a list, not {_describe_type(items)}", "items")
    for number, item in enumerate(items):
        inner = f"{place + '.' if place else ''}items.{number}"
        yield from _iterate_objects(item, own.removesuffix("List"), inner)


def _check_shape(model: type[BaseModel], item: Object, place: str) -> None:
    try:
        model.model_validate(item)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        path = ".".join(filter(None, [place, *(str(part) for part in first["loc"])]))
        problem = EXPECTED.get(first["type"], first["msg"])
        raise _wrong(f"the dump's {path} is wrong: {problem}", path) from None


def _describe_type(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), "an object")


def _wrong(problem: str, subject: str) -> InvalidInput:
    return InvalidInput(problem[:1].upper() + problem[1:], subject=subject, remedy=HINT)


def object_name(item: Object) -> str:
    return str((item.get("metadata") or {}).get("name") or "")
