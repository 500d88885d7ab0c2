"""The cases of fidelity, one file for each feature of Windmill, in a form that a diff shows well.

cases/<feature>.json    name → value (a flow), args, expected {success, result} as a server answered
cases/subflows.json     `flows` by path, which are deployed first, and `cases` that call them

A case's feature is that of the first word of its name. Code of several lines is a list of lines. What fits into a line
stands in one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Case = dict[str, Any]
FOLDER = Path(__file__).with_name("cases")
SUBFLOWS, PREPROCESSORS = "subflows", "preprocessors"
WIDTH = 116
FEATURES = {
    "arguments": "arg args bytes keyword pass upper digit dash",
    "branches": "branchall branchone",
    "combinations": "mix mix2 fuzz",
    "environment": "env system import py same delete concurrent",
    "expressions": "js js2 dollar",
    "failures": "error failure continue",
    "flow_environment": "flow",
    "loops": "loop while",
    "modules": "linear identity mock empty",
    "order": "order marks",
    "result_references": "asked results",
    "results": "returns ret big odd num deep extra",
    "retries": "retry sleep timeout",
    "stops": "skip stop stopall early",
    "suspend": "suspend",
}
BY_WORD = {word: feature for feature, words in FEATURES.items() for word in words.split()}


def find_feature(name: str) -> str:
    """Raises KeyError for a first word that no feature has."""
    return BY_WORD[name.partition("_")[0]]


def read(feature: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / f"{feature}.json").read_text(encoding="utf-8"), object_hook=_joined)
    return document


def write(feature: str, document: dict[str, Any]) -> None:
    (FOLDER / f"{feature}.json").write_text(format_json(document) + "\n", encoding="utf-8")


def read_cases(features: Iterable[str] = FEATURES) -> dict[str, Case]:
    return {name: case for feature in features for name, case in read(feature).items()}


def write_cases(cases: dict[str, Case]) -> None:
    """Each into the file of its feature."""
    for feature in FEATURES:
        write(feature, {name: case for name, case in sorted(cases.items()) if find_feature(name) == feature})


def format_json(value: Any, indent: int = 0, before: int = 0) -> str:
    """JSON with sorted keys; a list or object that fits into the rest of its line is in one. before: what stands
    already in that line."""
    line = json.dumps(value, ensure_ascii=True, sort_keys=True)
    is_code = isinstance(value, dict) and "\n" in str(value.get("content", "")).rstrip("\n")
    if not isinstance(value, dict | list) or not value or (len(line) + before <= WIDTH and not is_code):
        return line
    inner, end = "\n" + " " * (indent + 1), "\n" + " " * indent
    if isinstance(value, list):
        return f"[{inner}" + f",{inner}".join(format_json(item, indent + 1, indent + 1) for item in value) + f"{end}]"
    parts = []
    for name in sorted(value):
        key = f"{json.dumps(name)}: "
        item = value[name].splitlines(keepends=True) if name == "content" and is_code else value[name]
        parts.append(key + format_json(item, indent + 1, indent + 1 + len(key)))
    return f"{{{inner}" + f",{inner}".join(parts) + f"{end}}}"


def _joined(value: dict[str, Any]) -> dict[str, Any]:
    content = value.get("content")
    if isinstance(content, list) and content and all(isinstance(line, str) for line in content):
        value["content"] = "".join(content)
    return value
