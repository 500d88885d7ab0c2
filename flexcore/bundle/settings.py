"""What the bundle needs of a repository's wmill.yaml, as the smallest edit of its text; and that edit taken back.

    includes           must take f/flexcore
    nonDottedPaths     true: the bundle's flows are folders named NAME__flow
    dedupeLockfiles    true: its scripts share the locks below locks/
    syncBehavior       v1: with v0 a push finds its schedules changed every time
    includeSchedules   true where absent: without it a push passes over its schedules, `reconcile` among them
    includeTriggers    true where absent: the same for its HTTP routes

Comments and order stay. What cannot be changed safely is refused and named, never changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from f.flexcore.lib.core.errors import InvalidInput
from flexcore.bundle.installation import FOLDER, LEFT_BEHIND
from flexcore.bundle.manifest import SettingChange
from wmlocal.lint.globs import selections

SETTINGS = "wmill.yaml"
PATTERN = f"{FOLDER}/**"
REQUIRED: dict[str, Any] = {"nonDottedPaths": True, "dedupeLockfiles": True, "syncBehavior": "v1"}
# Written where they are absent; a `false` is somebody's decision.
EXPECTED = ("includeSchedules", "includeTriggers")
# A push with one of these passes over a part of the bundle. To turn one off could make the next push delete what
# lies in the workspace alone, so that is left to people.
SKIPS = ("skipScripts", "skipFlows", "skipResourceTypes", "skipFolders", "skipWorkspaceDependencies")
KNOWN_BEHAVIORS = (None, "v0", "v1")
DOTTED = re.compile(r"^[fu]/.*\.(flow|app|raw_app)(/|$)")
# Files of a team's own that rely on a setting: where they are, `remove` leaves it.
RELIANT = {
    "nonDottedPaths": re.compile(r"__(flow|app|raw_app)/"),
    "dedupeLockfiles": re.compile(r"^locks/"),
    "syncBehavior": re.compile(r"\.schedule\.yaml$|_trigger\.yaml$"),
    "includeSchedules": re.compile(r"\.schedule\.yaml$"),
    "includeTriggers": re.compile(r"_trigger\.yaml$"),
}
# As `wmill init` writes it, with what the bundle needs.
PLAIN = """\
# Windmill CLI configuration; `wmill config` prints the full reference.
defaultTs: bun
includes:
  - f/**
# The CLI would take this file for edited, for ever; `flexcore workflow deploy` knows when it is.
excludes:
  - f/flexcore/dashboard__raw_app/raw_app.yaml
codebases: []
skipVariables: false
skipResources: false
skipResourceTypes: false
skipSecrets: true
skipScripts: false
skipFlows: false
skipApps: false
skipFolders: false
skipWorkspaceDependencies: false
includeSchedules: true
includeTriggers: true
locksRequired: true
dedupeLockfiles: true
lint: true
nonDottedPaths: true
syncBehavior: v1
"""
DELETES = {
    "includeSchedules": "schedules",
    "includeTriggers": "triggers",
}


@dataclass(frozen=True, slots=True)
class SettingsPlan:
    """text: of the new wmill.yaml. notes: what people should know before they say yes."""

    text: str
    changes: tuple[SettingChange, ...] = ()
    notes: tuple[str, ...] = ()


def read_settings(root: Path) -> dict[str, Any]:
    """What wmill.yaml says; {} without one."""
    file = root / SETTINGS
    document = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return document if isinstance(document, dict) else {}


def plan_settings(text: str | None, own_files: Iterable[str]) -> SettingsPlan:
    """own_files: paths of the repository's files that are not of the bundle. text: None when there is no wmill.yaml.
    Raises InvalidInput with the first thing that people must change themselves."""
    if text is None:
        return SettingsPlan(PLAIN)
    document = _read(text)
    _refuse_unfit(document, own_files)
    changes = [SettingChange("includes", None, PATTERN)] if not _takes_bundle(document) else []
    wanted = {key: value for key, value in REQUIRED.items() if document.get(key) != value}
    wanted |= {key: True for key in EXPECTED if document.get(key) is None}
    changes += [SettingChange(key, document.get(key), value) for key, value in wanted.items()]
    after = text
    for change in changes:
        after = _add_include(after) if change.key == "includes" else _set_line(after, change)
    if not _parses_to(after, _apply_changes(document, changes)):
        lines = ", ".join(f"`{item.key}: {_yaml_scalar(item.after)}`" for item in changes)
        raise InvalidInput(
            f"{SETTINGS} is written in a way that cannot be edited line by line",
            subject=SETTINGS,
            remedy=f"Set there yourself: {lines}.",
        )
    return SettingsPlan(after, tuple(changes), tuple(_list_notes(document, changes)))


def undo_settings(
    text: str, changes: Iterable[SettingChange], own_files: Iterable[str]
) -> tuple[str, list[SettingChange]]:
    """The text without the changes, and the changes that stay: those that were edited since, or that the team's own
    files rely on."""
    own, kept = list(own_files), []
    for change in changes:
        after = text
        if change.key == "includes":
            if not any(path.startswith(f"{FOLDER}/") for path in own):
                after = _remove_include(text)
        elif not any(RELIANT[change.key].search(path) for path in own):
            after = _unset_line(text, change)
        if after == text:
            kept.append(change)
        text = after
    return text, kept


def _read(text: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        remedy = f"Correct it, then try again; `git diff {SETTINGS}` shows what has changed."
        raise InvalidInput(f"{SETTINGS} is not valid YAML: {problem}", subject=SETTINGS, remedy=remedy) from None
    if document is not None and not isinstance(document, dict):
        remedy = "Write `key: value` lines, such as defaultTs: bun."
        raise InvalidInput(f"{SETTINGS} must hold a mapping of keys to values", subject=SETTINGS, remedy=remedy)
    return document or {}


def _parses_to(text: str, expected: dict[str, Any]) -> bool:
    try:
        return _read(text) == expected
    except InvalidInput:
        return False


def _refuse_unfit(document: dict[str, Any], own_files: Iterable[str]) -> None:
    behavior = document.get("syncBehavior")
    if behavior not in KNOWN_BEHAVIORS:
        raise InvalidInput(
            f"{SETTINGS}: syncBehavior is {behavior}, and this bundle is written for v1",
            subject="syncBehavior",
            remedy="Take a newer flexcore, or a repository of its own for the bundle.",
        )
    for key in SKIPS:
        if document.get(key) is True:
            raise InvalidInput(
                f"{SETTINGS}: {key} is true, so a push passes over a part of the bundle",
                subject=key,
                remedy=f"Bring what the workspace has into the repository (`wmill sync pull`), set `{key}: false`, and"
                " run this again. Without the pull, the next push deletes what only the workspace has.",
            )
    dotted = sorted({match[0] for path in own_files if (match := DOTTED.match(path))})
    if document.get("nonDottedPaths") is not True and dotted:
        raise InvalidInput(
            f"{SETTINGS}: nonDottedPaths is not true, and {len(dotted)} flows or apps are in folders such as"
            f" {dotted[0].rstrip('/')}; the bundle's are named NAME__flow",
            subject="nonDottedPaths",
            remedy="Rename the folders (`.flow` to `__flow`, `.app` to `__app`, `.raw_app` to `__raw_app`), set"
            " `nonDottedPaths: true`, and run this again; or keep the bundle in a repository of its own.",
        )
    if not _takes_bundle(document | {"includes": [PATTERN]}):
        raise InvalidInput(
            f"{SETTINGS}: excludes or extraIncludes leave {FOLDER} out",
            subject=SETTINGS,
            remedy=f"Change them so that {PATTERN} is taken: a bundle that is here is pushed from here.",
        )


def _takes_bundle(document: dict[str, Any]) -> bool:
    return selections(document)[0].takes(f"{FOLDER}/folder.meta.yaml")


def _apply_changes(document: dict[str, Any], changes: Iterable[SettingChange]) -> dict[str, Any]:
    expected = dict(document)
    for change in changes:
        is_list = change.key == "includes"
        expected[change.key] = [*(document.get("includes") or []), change.after] if is_list else change.after
    return expected


def _list_notes(document: dict[str, Any], changes: Iterable[SettingChange]) -> Iterable[str]:
    for change in changes:
        if change.key == "syncBehavior":
            yield (
                "syncBehavior v1: a push keeps the owner of a schedule, trigger or flow that is in the workspace; files"
                " of yours that a v0 pull wrote lose their owner's line with the next `wmill sync pull`."
            )
        if kind := DELETES.get(change.key):
            yield (
                f"{change.key}: a plain `wmill sync push` then deletes {kind} that only the workspace has; bring them"
                f" here first (`wmill sync pull`), or push with `flexcore workflow deploy`, which keeps them."
            )
    for key in EXPECTED:
        if document.get(key) is False:
            yield f"{key} is false, so a push passes over the bundle's {DELETES[key]}."
    for selection in selections(document)[1:]:
        if not selection.takes(f"{FOLDER}/folder.meta.yaml"):
            yield f"workspaces: the overrides of one leave {FOLDER} out; no push brings the bundle there."


def _set_line(text: str, change: SettingChange) -> str:
    line = re.compile(rf"^{change.key}:[ \t]*[^\s#]*", re.MULTILINE)
    pair = f"{change.key}: {_yaml_scalar(change.after)}"
    return line.sub(pair, text, count=1) if line.search(text) else f"{_end_with_newline(text)}{pair}\n"


def _unset_line(text: str, change: SettingChange) -> str:
    line = rf"^{change.key}: {_yaml_scalar(change.after)}\b"
    if change.before is None:
        return re.sub(rf"{line}[ \t]*\n", "", text, count=1, flags=re.MULTILINE)
    return re.sub(line, f"{change.key}: {_yaml_scalar(change.before)}", text, count=1, flags=re.MULTILINE)


# A list of one item in each line, with comments between; and one in brackets, on one line.
BLOCK = re.compile(
    r"^includes:[ \t]*(?:#[^\n]*)?\n(?:[ \t]*(?:#[^\n]*)?\n)*(?:[ \t]*-[ \t][^\n]*\n(?:[ \t]*#[^\n]*\n)*)+", re.M
)
FLOW = re.compile(r"^(includes:[ \t]*\[[^\]\n]*?)[ \t]*\]", re.MULTILINE)


def _add_include(text: str) -> str:
    text = _end_with_newline(text)
    if block := BLOCK.search(text):
        last = list(re.finditer(r"^([ \t]*-[ \t]+)[^\n]*\n", block[0], re.MULTILINE))[-1]
        place = block.start() + last.end()
        return f"{text[:place]}{last[1]}{PATTERN}\n{text[place:]}"
    return FLOW.sub(lambda found: f"{found[1]}{'' if found[1].endswith('[') else ', '}{PATTERN}]", text, count=1)


def _remove_include(text: str) -> str:
    if block := BLOCK.search(text):
        shorter = re.sub(rf"^[ \t]*-[ \t]+{re.escape(PATTERN)}[ \t]*\n", "", block[0], count=1, flags=re.MULTILINE)
        return text[: block.start()] + shorter + text[block.end() :]
    return re.sub(rf"^(includes:[ \t]*\[[^\]\n]*?)(?:, )?{re.escape(PATTERN)}\]", r"\1]", text, count=1, flags=re.M)


def _end_with_newline(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _yaml_scalar(value: Any) -> str:
    return {True: "true", False: "false", None: "null"}.get(value, str(value))


def list_own_files(root: Path, is_bundle_file: Callable[[str], bool]) -> list[str]:
    """Paths below f/, u/ and locks/ that are not the bundle's."""
    found = (
        path.relative_to(root).as_posix()
        for base in ("f", "u", "locks", "dependencies")
        for path in sorted((root / base).rglob("*"))
        if path.is_file() and LEFT_BEHIND.isdisjoint(path.parts)
    )
    return [path for path in found if not is_bundle_file(path)]
