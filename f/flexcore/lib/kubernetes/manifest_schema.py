# requirements: flexcore_kubernetes
"""The shape of a manifest, held against the published schema: the models of the official Kubernetes client. Pure.

They are strict (a number is no text, an unknown field is refused) and on every worker already, as the client's
transport comes in the same package. Loading those of a Job takes 0.3 s of CPU, so they are loaded for manifests alone.
"""

from __future__ import annotations

import difflib
import importlib
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import client

MODELS = {
    "Job": ("v1_job", "V1Job"),
    "ConfigMap": ("v1_config_map", "V1ConfigMap"),
    "Secret": ("v1_secret", "V1Secret"),
    "Service": ("v1_service", "V1Service"),
}
MAX_PROBLEMS = 10
# Amounts may be numbers too; they are judged by their dimension (amounts).
AMOUNTS = (("limits", "requests", "overhead"), ("sizeLimit", "divisor", "storage"))
Place = tuple[str | int, ...]
# A pod's name and namespace are the Job's to give; ephemeral containers and the status are never written.
POD_METADATA: Place = ("spec", "template", "metadata")
MAX_DEPTH = 8
NOT_WRITTEN = ("status", "ephemeralContainers", "managedFields")
EXPECTED = {
    "string_type": ("text", "quote it"),
    "int_type": ("a whole number", "write it without quotes"),
    "int_from_float": ("a whole number", "write it without a fraction"),
    "bool_type": ("true or false", "write it without quotes"),
    "list_type": ("a list", "begin each entry with '- '"),
    "dict_type": ("a mapping", "write NAME: VALUE lines"),
    "model_type": ("a mapping", "write FIELD: VALUE lines"),
    "model_attributes_type": ("a mapping", "write FIELD: VALUE lines"),
}
RESOURCES = ("cpu", "memory")
UNKNOWN = "is no field of"
OF_A_CRON_JOB = (
    "schedule",
    "jobTemplate",
    "concurrencyPolicy",
    "startingDeadlineSeconds",
    "successfulJobsHistoryLimit",
    "failedJobsHistoryLimit",
    "timeZone",
)
ELSEWHERE = {
    **dict.fromkeys(OF_A_CRON_JOB, "It is a CronJob's: leave it out, and give the flow a schedule of Windmill."),
    **dict.fromkeys(RESOURCES, "It belongs to resources.limits or resources.requests of a container."),
    "replicas": "A Job has parallelism and completions instead.",
}
KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}


def check_shape(item: Mapping[str, Any], within: str = "manifest") -> None:
    """Raises InvalidInput that names every wrong field, where an unknown one belongs, and no value."""
    model = _model(str(item["kind"]))
    # An unknown field first: it may be what is missing elsewhere.
    problems = sorted(
        [*_type_problems(model, item), *_snake_case(model, item)], key=lambda problem: UNKNOWN not in problem[1]
    )
    if not problems:
        return
    text = "; ".join(f"{_path(within, place)}: {problem}" for place, problem, _ in problems[:MAX_PROBLEMS])
    more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
    place, _, remedy = problems[0]
    raise errors.InvalidInput(text + more, subject=_path(within, place), remedy=remedy)


def _model(kind: str) -> type[BaseModel]:
    module, name = MODELS[kind]
    client.without_package_init("kubernetes")
    return typing.cast(type[BaseModel], getattr(importlib.import_module(f"kubernetes.client.models.{module}"), name))


def _type_problems(model: type[BaseModel], item: Mapping[str, Any]) -> Iterator[tuple[Place, str, str]]:
    try:
        model.model_validate(item)
    except ValidationError as error:
        for entry in error.errors(include_url=False, include_context=False):
            place, kind = tuple(entry["loc"]), entry["type"]
            if kind == "string_type" and _is_amount(place, entry["input"]):
                continue
            yield (place, *_problem(model, item, place, kind, entry["input"]))


def _is_amount(place: Place, value: Any) -> bool:
    named = (len(place) > 1 and place[-2] in AMOUNTS[0]) or place[-1] in AMOUNTS[1]
    return named and isinstance(value, int | float) and not isinstance(value, bool)


def _problem(model: type[BaseModel], item: Mapping[str, Any], place: Place, kind: str, value: Any) -> tuple[str, str]:
    name = str(place[-1])
    if kind == "extra_forbidden":
        return f"{UNKNOWN} {_owner(model, place)}", _where_it_belongs(model, item, place, name)
    if kind == "missing":
        return "is missing", f"Add {name}."
    expected, how = EXPECTED.get(kind, ("another value", "correct it"))
    found = "nothing" if value is None else KINDS.get(type(value), type(value).__name__)
    if value is None:
        how = "give it, or leave the field out"
    elif kind == "int_type" and isinstance(value, float):
        how = "write it without a fraction"
    elif kind == "string_type" and isinstance(value, bool | int | float):
        how = "quote it: without quotes YAML takes it for a number, or for true or false"
    return f"{expected} is expected, not {found}", f"{how[0].upper()}{how[1:]}."


def _owner(model: type[BaseModel], place: Place) -> str:
    owner = _model_at(model, place[:-1])
    return _short(owner) if owner else "this"


def _short(model: type[BaseModel]) -> str:
    """`PodSpec` for V1PodSpec, as the reference calls it."""
    return re.sub(r"^(?:Core)?V\d+", "", model.__name__)


# --- unknown fields


def _where_it_belongs(model: type[BaseModel], item: Mapping[str, Any], place: Place, name: str) -> str:
    """The nearest place of the schema that has a field of that name, or a field that is spelled like it."""
    here = _fields(_model_at(model, place[:-1]))
    like = {known.lower(): known for known in here}.get(_camel(name).lower())
    if like:
        return f"Write {like}."
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    places = sorted(_places(model, name), key=lambda found: _distance(found, place))
    if places:
        return f"It belongs to {_shown(item, places[0], place)}."
    close = difflib.get_close_matches(name, here, 1, 0.75)
    return f"Write {close[0]}." if close else "Remove it."


def _places(model: type[BaseModel], name: str) -> Iterator[Place]:
    """Paths to the fields of that name, the shortest first; "[]" is an index."""
    waiting: list[tuple[Place, type[BaseModel]]] = [((), model)]
    while waiting:
        path, owner = waiting.pop(0)
        for field, (inner, is_list) in _fields(owner).items():
            if field == name and not (path == POD_METADATA and name not in ("labels", "annotations")):
                yield (*path, field)
            if inner and field not in NOT_WRITTEN and len(path) < MAX_DEPTH:
                waiting.append(((*path, field, *(("[]",) if is_list else ())), inner))


def _distance(found: Place, place: Place) -> tuple[int, int]:
    shared = 0
    for left, right in zip(found, ("[]" if isinstance(part, int) else part for part in place), strict=False):
        if left != right:
            break
        shared += 1
    return len(found) + len(place) - 2 * shared, len(found)


def _shown(item: Mapping[str, Any], found: Place, place: Place) -> str:
    """The path with the indexes that the misplaced field stands below, and 0 elsewhere."""
    indexes = [part for part in place if isinstance(part, int)]
    text = ""
    for part in found:
        if part == "[]":
            text += f"[{indexes.pop(0) if indexes else 0}]"
        else:
            text += f".{part}" if text else str(part)
    return text


def _snake_case(model: type[BaseModel], item: Any, place: Place = ()) -> Iterator[tuple[Place, str, str]]:
    """The client's models take `backoff_limit` too; the API server does not."""
    fields = _fields(model)
    for name, value in item.items() if isinstance(item, Mapping) else ():
        if name in fields:
            inner, _ = fields[name]
            if inner and isinstance(value, Mapping):
                yield from _snake_case(inner, value, (*place, name))
            elif inner and isinstance(value, list):
                for index, entry in enumerate(value):
                    yield from _snake_case(inner, entry, (*place, name, index))
        elif "_" in str(name) and _camel(str(name)) in fields:
            yield (*place, name), f"{UNKNOWN} {_short(model)}", f"Write {_camel(str(name))}."


def _fields(model: type[BaseModel] | None) -> dict[str, tuple[type[BaseModel] | None, bool]]:
    """Each field by its name in a manifest: (model of its value, whether it is a list of them)."""
    if model is None:
        return {}
    return {field.serialization_alias or name: _inner(field.annotation) for name, field in model.model_fields.items()}


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    parts = typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    if typing.get_origin(annotation) is list:
        return _inner(parts[0])[0], True
    found = [_inner(part) for part in parts if part is not type(None)]
    return found[0] if len(found) == 1 and typing.get_origin(annotation) is not dict else (None, False)


def _model_at(model: type[BaseModel], place: Sequence[str | int]) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    for part in place:
        if isinstance(part, str):
            current = _fields(current).get(part, (None, False))[0]
    return current


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def _path(within: str, place: Place) -> str:
    return within + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
