# requirements: flexcore_kubernetes
"""The shape of a manifest, held against the published schema: the models of the official Kubernetes client. Pure.

They are strict (a number is not text, an unknown field is refused) and on every worker already, as the client's
transport comes in the same package. Loading those of a Job takes 0.3 s of CPU, so they are loaded for manifests alone.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from f.flexcore.lib.core import errors

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
    model = _load_model(str(item["kind"]))
    # An unknown field first: it may be what is missing elsewhere.
    problems = sorted(
        [*_list_type_problems(model, item), *_find_snake_case(model, item)],
        key=lambda problem: UNKNOWN not in problem[1],
    )
    if not problems:
        return
    text = "; ".join(f"{_join_path(within, place)}: {problem}" for place, problem, _ in problems[:MAX_PROBLEMS])
    more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
    place, _, remedy = problems[0]
    raise errors.InvalidInput(text + more, subject=_join_path(within, place), remedy=remedy)


def _load_model(kind: str) -> type[BaseModel]:
    module, name = MODELS[kind]
    skip_package_init("kubernetes")
    return typing.cast(type[BaseModel], getattr(importlib.import_module(f"kubernetes.client.models.{module}"), name))


def skip_package_init(name: str) -> None:
    """Lets submodules of a package be imported without running its `__init__`, which imports all of it."""
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is not None:
        sys.modules[name] = importlib.util.module_from_spec(spec)


def _list_type_problems(model: type[BaseModel], item: Mapping[str, Any]) -> Iterator[tuple[Place, str, str]]:
    try:
        model.model_validate(item)
    except ValidationError as error:
        for entry in error.errors(include_url=False, include_context=False):
            place, kind = tuple(entry["loc"]), entry["type"]
            if kind == "string_type" and _is_amount(place, entry["input"]):
                continue
            yield (place, *_describe_problem(model, item, place, kind, entry["input"]))


def _is_amount(place: Place, value: Any) -> bool:
    named = (len(place) > 1 and place[-2] in AMOUNTS[0]) or place[-1] in AMOUNTS[1]
    return named and isinstance(value, int | float) and not isinstance(value, bool)


def _describe_problem(
    model: type[BaseModel], item: Mapping[str, Any], place: Place, kind: str, value: Any
) -> tuple[str, str]:
    name = str(place[-1])
    if kind == "extra_forbidden":
        return f"{UNKNOWN} {_owner(model, place)}", _suggest_place(model, item, place, name)
    if kind == "missing":
        return "is missing", f"Add {name}."
    expected, how = EXPECTED.get(kind, ("another value", "correct it"))
    actual = "nothing" if value is None else KINDS.get(type(value), type(value).__name__)
    if value is None:
        how = "give it, or leave the field out"
    elif kind == "int_type" and isinstance(value, float):
        how = "write it without a fraction"
    elif kind == "string_type" and isinstance(value, bool | int | float):
        how = "quote it: without quotes YAML takes it for a number, or for true or false"
    return f"{expected} is expected, not {actual}", f"{how[0].upper()}{how[1:]}."


def _owner(model: type[BaseModel], place: Place) -> str:
    owner = _find_model(model, place[:-1])
    return _shorten(owner) if owner else "this"


def _shorten(model: type[BaseModel]) -> str:
    """`PodSpec` for V1PodSpec, as the reference calls it."""
    return re.sub(r"^(?:Core)?V\d+", "", model.__name__)


# --- unknown fields


def _suggest_place(model: type[BaseModel], item: Mapping[str, Any], place: Place, name: str) -> str:
    """The nearest place of the schema that has a field of that name, or a field that is spelled like it."""
    here = _list_fields(_find_model(model, place[:-1]))
    like = {known.lower(): known for known in here}.get(_to_camel_case(name).lower())
    if like:
        return f"Write {like}."
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    places = sorted(_find_places(model, name), key=lambda other: _measure_distance(other, place))
    if places:
        return f"It belongs to {_describe_place(item, places[0], place)}."
    close = difflib.get_close_matches(name, here, 1, 0.75)
    return f"Write {close[0]}." if close else "Remove it."


def _find_places(model: type[BaseModel], name: str) -> Iterator[Place]:
    """Paths to the fields of that name, the shortest first; "[]" is an index."""
    waiting: list[tuple[Place, type[BaseModel]]] = [((), model)]
    while waiting:
        path, owner = waiting.pop(0)
        for field, (inner, is_list) in _list_fields(owner).items():
            if field == name and not (path == POD_METADATA and name not in ("labels", "annotations")):
                yield (*path, field)
            if inner and field not in NOT_WRITTEN and len(path) < MAX_DEPTH:
                waiting.append(((*path, field, *(("[]",) if is_list else ())), inner))


def _measure_distance(other: Place, place: Place) -> tuple[int, int]:
    shared = 0
    for left, right in zip(other, ("[]" if isinstance(part, int) else part for part in place), strict=False):
        if left != right:
            break
        shared += 1
    return len(other) + len(place) - 2 * shared, len(other)


def _describe_place(item: Mapping[str, Any], other: Place, place: Place) -> str:
    """The path with the indexes that the misplaced field stands below, and 0 elsewhere."""
    indexes = [part for part in place if isinstance(part, int)]
    text = ""
    for part in other:
        if part == "[]":
            text += f"[{indexes.pop(0) if indexes else 0}]"
        else:
            text += f".{part}" if text else str(part)
    return text


def _find_snake_case(model: type[BaseModel], item: Any, place: Place = ()) -> Iterator[tuple[Place, str, str]]:
    """The client's models take `backoff_limit` too; the API server does not."""
    fields = _list_fields(model)
    for name, value in item.items() if isinstance(item, Mapping) else ():
        if name in fields:
            inner, _ = fields[name]
            if inner and isinstance(value, Mapping):
                yield from _find_snake_case(inner, value, (*place, name))
            elif inner and isinstance(value, list):
                for index, entry in enumerate(value):
                    yield from _find_snake_case(inner, entry, (*place, name, index))
        elif "_" in str(name) and _to_camel_case(str(name)) in fields:
            yield (*place, name), f"{UNKNOWN} {_shorten(model)}", f"Write {_to_camel_case(str(name))}."


def _list_fields(model: type[BaseModel] | None) -> dict[str, tuple[type[BaseModel] | None, bool]]:
    """Each field by its name in a manifest: (model of its value, whether it is a list of them)."""
    if model is None:
        return {}
    return {
        field.serialization_alias or name: _find_inner_model(field.annotation)
        for name, field in model.model_fields.items()
    }


def _find_inner_model(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    parts = typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    if typing.get_origin(annotation) is list:
        return _find_inner_model(parts[0])[0], True
    inner = [_find_inner_model(part) for part in parts if part is not type(None)]
    return inner[0] if len(inner) == 1 and typing.get_origin(annotation) is not dict else (None, False)


def _find_model(model: type[BaseModel], place: Sequence[str | int]) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    for part in place:
        if isinstance(part, str):
            current = _list_fields(current).get(part, (None, False))[0]
    return current


def _to_camel_case(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def _join_path(within: str, place: Place) -> str:
    return within + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
