"""Every problem of the two files, each at its line."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from f.flexcore.lib.core.resources import marked_fields
from f.flexcore.lib.runtimes import RUNTIMES
from flexcore.configuration.document import Document, Path_
from flexcore.configuration.models import MEANINGS, ClusterRuntimes, FlexcoreFile, WindmillFile
from wmlocal.suggest import did_you_mean

Model = TypeVar("Model", bound=BaseModel)
# Values that must come from the environment; "*" stands for every key.
SECRETS: list[Path_] = [
    ("server", "database_url"),
    *(
        (
            "runtimes",
            name,
            field,
            *(("*",) if typing.get_origin(runtime.service.model_fields[field].annotation) else ()),
        )
        for name, runtime in RUNTIMES.items()
        for field in marked_fields(runtime.service)
    ),
    ("storage", "access_key"),
    ("storage", "secret_key"),
    ("observability", "otlp_headers"),
    ("token",),
]
NUMBER, BOOLEAN, MAPPING = "must be a whole number", "must be true or false", "must be a mapping of names to values"
TYPES = {
    "missing": "is missing",
    "int_parsing": NUMBER,
    "int_type": NUMBER,
    "int_from_float": NUMBER,
    "bool_type": BOOLEAN,
    "bool_parsing": BOOLEAN,
    "string_type": "must be text",
    "list_type": "must be a list",
    "model_type": MAPPING,
    "model_attributes_type": MAPPING,
    "dict_type": MAPPING,
}
# What a server cannot do without, each with an example.
NEEDED = {"server_url": "https://windmill.example.com", "workspace": "prod", "token": "${FLEXCORE_TOKEN}"}


def parse_section(model: type[Model], document: Document) -> Model | None:
    """The file as a model; None when it is none, and the document says why."""
    if document.data is None:
        return None
    _literal_secrets(document)
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_input=False):
            document.complain(tuple(item["loc"]), _describe(model, item))
        return None


def _describe(model: type[BaseModel], item: Any) -> str:
    path: Path_ = item["loc"]
    where = ".".join(str(part) for part in path)
    if item["type"] == "extra_forbidden":
        return f"unknown key {where}{did_you_mean(str(path[-1]), known_keys(model, path[:-1]))}"
    if item["type"] == "string_pattern_mismatch":
        # The resources' own fields say their pattern.
        pattern = item["ctx"]["pattern"]
        return f"{where} must be {MEANINGS[pattern]}" if pattern in MEANINGS else f"{where} must match {pattern}"
    said = TYPES.get(item["type"]) or item["msg"].removeprefix("Value error, ").replace("Input should", "must")
    return f"{where} {said}" if where else said


def known_keys(model: type[BaseModel], path: Path_) -> list[str]:
    """The keys that a mapping at `path` may have."""
    for part in path:
        inner = model.model_fields.get(str(part))
        found = next(_models(inner.annotation), None) if inner else model
        if found is None:
            return []
        model = found
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models(inner)


def _literal_secrets(document: Document) -> None:
    for pattern in SECRETS:
        for path, value in _at(document.data, pattern, ()):
            if value and path not in document.from_environment:
                where = ".".join(map(str, path))
                document.complain(path, f"{where} is a secret: write ${{NAME}}, and set NAME in the environment")


def _at(value: Any, pattern: Path_, path: Path_) -> Iterator[tuple[Path_, Any]]:
    if not pattern:
        yield path, value
    elif isinstance(value, dict):
        keys = list(value) if pattern[0] == "*" else [pattern[0]] if pattern[0] in value else []
        for key in keys:
            yield from _at(value[key], pattern[1:], (*path, key))


def windmill_problems(document: Document, file: WindmillFile) -> None:
    """What no field shows by itself."""
    tags = file.workers.tags
    for name in ClusterRuntimes.model_fields:
        runtime = getattr(file.runtimes, name)
        if runtime and "tag" in runtime.model_fields_set and tags and runtime.tag not in tags:
            said = f"runtimes.{name}.tag is {runtime.tag}, which no worker listens to{did_you_mean(runtime.tag, tags)}"
            document.complain(("runtimes", name, "tag"), f"{said}; add it to workers.tags")
    for index, tag in enumerate(tags):
        if tag in tags[:index]:
            document.complain(("workers", "tags", index), f"workers.tags has {tag} twice")


def flexcore_problems(document: Document, file: FlexcoreFile, root: Path) -> None:
    if file.engine == "windmill":
        for name, example in NEEDED.items():
            # A variable that is not set has been complained about already.
            if not getattr(file, name) and (name,) not in document.from_environment:
                where: Path_ = (name,) if name in document.data else ("engine",)
                document.complain(where, f"{name} is missing: engine windmill needs it; add `{name}: {example}`")
    for name, template in file.templates.items():
        _template(document, file, root, name, template.file, template.runtime)


def _template(document: Document, file: FlexcoreFile, root: Path, name: str, given: str, runtime: str) -> None:
    folder = given.removesuffix("/flow.yaml").rstrip("/")
    if ".." in Path(folder).parts or not (root / folder / "flow.yaml").is_file():
        have = {path.parent.relative_to(root).as_posix() for path in root.glob("f/**/*__flow/flow.yaml")}
        document.complain(
            ("templates", name, "file"), f"templates.{name}.file: there is no flow {given}{did_you_mean(folder, have)}"
        )
    if file.templates[name].enabled and not getattr(file.runtimes, runtime).enabled:
        document.complain(
            ("templates", name, "runtime"), f"templates.{name} is enabled, and its runtime {runtime} is not"
        )
