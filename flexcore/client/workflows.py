"""Workflows by the name that a person types, and the runtimes that they use."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from f.flexcore.lib.core.errors import InvalidInput, NotFound
from f.flexcore.lib.runtimes import RUNTIMES
from flexcore.client.windmill import Windmill
from wmlocal.engine.bundle import Bundle
from wmlocal.engine.errors import BadBundle
from wmlocal.suggest import did_you_mean

# Where a short name is looked for first; then it may be the last part of any one path.
PLACES = ("f/flexcore/templates/", "f/flexcore/")
STEP_OF = re.compile(rf"^f/flexcore/({'|'.join(RUNTIMES)})/")
AT_ONCE = 8
SETTINGS, SETTINGS_FORMAT = "f/flexcore/settings", "resource-c_flexcore_settings"


@dataclass(frozen=True, slots=True)
class Workflow:
    path: str
    kind: str
    summary: str
    schema: dict[str, Any]
    runtimes: tuple[str, ...] = ()
    # Whether what it is started with goes through a preprocessor, which makes the arguments of the form.
    has_preprocessor: bool = False

    def as_json(self) -> dict[str, Any]:
        shown = asdict(self) | {"runtimes": list(self.runtimes)}
        del shown["has_preprocessor"]
        return shown


def resolve(name: str, paths: Iterable[str]) -> str:
    """The path that `name` means. Raises NotFound with the nearest one, or InvalidInput when it means several."""
    known = sorted(set(paths))
    name = name.removesuffix("/").removesuffix("__flow").removesuffix(".py")
    for path in (name, *(place + name for place in PLACES)):
        if path in known:
            return path
    ending = [path for path in known if path.endswith(f"/{name}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise InvalidInput(f"{name} may be {', '.join(ending)}", subject=name, remedy="Give the whole path.")
    by_name = {path.rsplit("/", 1)[-1]: path for path in known}
    raise NotFound(
        f"There is no workflow {name}{did_you_mean(name, [*by_name, *known])}",
        subject=name,
        remedy="`flexcore workflow list` shows what is there.",
    )


def normalize_name(root: Path, given: str) -> str:
    """The name that a person means by a file of the bundle; any other word as it is."""
    try:
        return Bundle(root).path_of(given)
    except BadBundle:
        return given


def find(client: Windmill, name: str) -> Workflow:
    """A flow or a script that is deployed. A path that is in no list is asked for by itself: the answer may be why it
    cannot be read."""
    paths = {item["path"]: "flow" for item in client.list_all("flows/list")}
    if name not in paths:
        scripts = [item["path"] for item in client.list_all("scripts/list")]
        paths |= {path: "script" for path in scripts if path not in paths}
    try:
        path = resolve(name, paths)
    except NotFound as missing:
        if not name.startswith(("f/", "u/")):
            raise
        with contextlib.suppress(NotFound):
            return read(client, name)
        raise missing from None
    return read(client, path, paths[path])


def read(client: Windmill, path: str, kind: str = "flow") -> Workflow:
    found = client.get(f"flows/get/{path}" if kind == "flow" else f"scripts/get/p/{path}")
    value = found.get("value")
    preprocessor = value.get("preprocessor_module") if isinstance(value, dict) else found.get("has_preprocessor")
    return Workflow(
        path,
        kind,
        str(found.get("summary") or ""),
        form(found.get("schema")),
        find_used_runtimes(path, value),
        bool(preprocessor),
    )


def form(schema: Any) -> dict[str, Any]:
    """A schema as a form can use it: one whose properties are no mapping of fields says nothing."""
    if not isinstance(schema, dict):
        return {}
    fields = schema.get("properties") or {}
    whole = isinstance(fields, dict) and all(isinstance(field, dict) for field in fields.values())
    return schema if whole else {key: item for key, item in schema.items() if key not in ("properties", "required")}


def every(client: Windmill) -> list[Workflow]:
    """All flows, by path."""
    paths = sorted(item["path"] for item in client.list_all("flows/list"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda path: read(client, path), paths))


def find_used_runtimes(path: str, value: Any) -> tuple[str, ...]:
    """The runtimes that a flow's steps belong to."""
    found = {match[1] for text in (f"{path}/", *_paths(value)) if (match := STEP_OF.match(text))}
    return tuple(runtime for runtime in RUNTIMES if runtime in found)


def _paths(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        if value.get("type") in ("script", "flow") and isinstance(value.get("path"), str):
            yield value["path"]
        for item in value.values():
            yield from _paths(item)
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item)


def with_settings(client: Windmill, workflow: Workflow, args: dict[str, Any]) -> dict[str, Any]:
    """The arguments, with the settings that `config apply` makes where the form takes some and none are given."""
    field = (workflow.schema.get("properties") or {}).get("settings") or {}
    if field.get("format") != SETTINGS_FORMAT or "settings" in args or not client.get(f"resources/exists/{SETTINGS}"):
        return args
    return args | {"settings": f"$res:{SETTINGS}"}


def known_runtime(name: str) -> str:
    if name not in RUNTIMES:
        raise InvalidInput(
            f"There is no runtime {name}{did_you_mean(name, RUNTIMES)}",
            subject="--runtime",
            remedy=f"Choose {', '.join(RUNTIMES)}.",
        )
    return name


def with_runtime(workflow: Workflow, args: dict[str, Any], runtime: str) -> dict[str, Any]:
    """The arguments, with the runtime where the workflow lets it be chosen. Raises InvalidInput when it does not and
    another one was asked for."""
    if not runtime:
        return args
    known_runtime(runtime)
    field = next((name for name in ("runtime", "pin") if name in (workflow.schema.get("properties") or {})), None)
    if field:
        return args | {field: runtime}
    if workflow.runtimes != (runtime,):
        runs_on = " and ".join(workflow.runtimes) or "no runtime"
        raise InvalidInput(
            f"{workflow.path} runs on {runs_on} and has no choice of runtime",
            subject="--runtime",
            remedy=f"`flexcore workflow list --runtime {runtime}` shows those that run on {runtime}.",
        )
    return args
