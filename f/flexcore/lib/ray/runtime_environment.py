# requirements: flexcore_base
"""Ray's runtime environment of a caller, checked before anything is submitted: Ray's supervisor would report a mistake
minutes later, in a traceback. Pure; a value of a variable never appears in an error.

Source: ray/runtime_env/runtime_env.py and ray/_private/runtime_env/validation.py of Ray 2.60.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

# What flexcore sets itself.
SET_BY_FLEXCORE = {"working_dir": "program", "pip": "packages", "uv": "packages"}
# Ray takes these alone, and a job of flexcore always has a working_dir.
UNSUPPORTED = ("container", "image_uri")
ARCHIVES = (".zip", ".whl", ".tar.gz", ".tgz", ".tar.xz")
TYPE_NAMES = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
    list: "a list",
    dict: "a mapping",
}


def check_runtime_env(value: Mapping[str, Any]) -> dict[str, Any]:
    """The environment when Ray can take it; ValueError that names the field, and what it should be, otherwise."""
    for name, field in value.items():
        if name in SET_BY_FLEXCORE:
            raise ValueError(f"{name} is set by flexcore; use {SET_BY_FLEXCORE[name]}")
        if name in UNSUPPORTED:
            raise ValueError(
                f"{name} cannot be used with a program of flexcore: Ray takes it without other fields only"
            )
        if name not in FIELDS and not name.startswith("_"):
            raise ValueError(f"{name} is unknown{_suggest(name, [*FIELDS, *SET_BY_FLEXCORE])}")
        FIELDS.get(name, _accept_any)(field)
    return dict(value)


def check_with_packages(environment: Mapping[str, Any], packages: list[str]) -> None:
    if packages and environment.get("conda"):
        raise ValueError("packages and runtime_env.conda cannot both be given: list them in conda's dependencies")


def _env_vars(value: Any) -> None:
    for name, item in _mapping(value, "env_vars").items():
        if not isinstance(name, str) or not re.fullmatch(r"[^=\0]+", name):
            raise ValueError("env_vars has a name that is not an environment variable: use letters, digits and _")
        if not isinstance(item, str):
            what = TYPE_NAMES.get(type(item), "no text")
            raise ValueError(f"env_vars.{name} is {what}: write it as text in quotes, or leave it out")
        if "\0" in item:
            raise ValueError(f"env_vars.{name} holds a NUL character")


def _config(value: Any) -> None:
    known = {"setup_timeout_seconds": _seconds, "eager_install": _boolean, "log_files": _texts("config.log_files")}
    for name, item in _mapping(value, "config").items():
        if name not in known:
            raise ValueError(f"config.{name} is unknown{_suggest(str(name), list(known))}")
        known[name](item)


def _seconds(value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or (value < 1 and value != -1):
        raise ValueError(
            "config.setup_timeout_seconds must be a whole number of seconds such as 600, or -1 for no limit"
        )


def _boolean(value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError("config.eager_install must be true or false")


def _py_modules(value: Any) -> None:
    _texts("py_modules")(value)
    for number, item in enumerate(value):
        if "://" not in item or not item.partition("?")[0].endswith(ARCHIVES):
            raise ValueError(
                f"py_modules.{number} is not the URI of an archive: give one that the Ray nodes can read, such as "
                "s3://bucket/module.zip (Ray does not see the worker's files)"
            )


def _conda(value: Any) -> None:
    if isinstance(value, str) and value.strip():
        if value.endswith((".yml", ".yaml")) and not value.startswith("/"):
            raise ValueError(f"conda names the file {value}, which Ray does not see: give its content as a mapping")
    elif not isinstance(value, dict):
        raise ValueError("conda must be the name of an environment, or the content of an environment.yaml")
    elif not isinstance(value.get("dependencies", []), list):
        raise ValueError("conda.dependencies must be a list, such as [python=3.11, {pip: [pandas]}]")


def _text(name: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not isinstance(value, str) or not value:
            raise ValueError(f"{name} must be a text")

    return check


def _texts(name: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name} must be a list of texts")

    return check


def _accept_any(value: Any) -> None:
    """What differs between versions of Ray, which alone can tell."""


def _mapping(value: Any, name: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a mapping")
    return value


def _suggest(name: str, known: list[str]) -> str:
    near = get_close_matches(name.lower(), known, 1)
    return f"; did you mean {near[0]}?" if near else f" (there are: {', '.join(sorted(known))})"


FIELDS: dict[str, Callable[[Any], None]] = {
    "conda": _conda,
    "config": _config,
    "env_vars": _env_vars,
    "excludes": _texts("excludes"),
    "java_jars": _texts("java_jars"),
    "mpi": _accept_any,
    "nsight": _accept_any,
    "py_executable": _text("py_executable"),
    "py_modules": _py_modules,
    "rocprof_sys": _accept_any,
    "worker_process_setup_hook": _text("worker_process_setup_hook"),
}
