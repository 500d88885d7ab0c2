"""When a workflow runs by itself: its schedules, as files of the bundle. A push brings them to the server.

The schedules of a workflow are those whose `script_path` names it; a new one lies beside it, PATH.schedule.yaml.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from f.flexcore.lib.core.errors import InvalidInput, NotFound
from flexcore.bundle.templates import refuse_disabled
from flexcore.client.arguments import check_defaults, complete_arguments
from flexcore.client.workflows import resolve
from wmlocal.engine.bundle import Bundle
from wmlocal.lint.cron import cron_problem, timezones
from wmlocal.suggest import did_you_mean

NORMAL: dict[str, Any] = {"width": 10**9, "allow_unicode": True}


@dataclass(frozen=True, slots=True)
class Scheduled:
    """workflow: its path; file: from the bundle's root."""

    workflow: str
    file: str
    enabled: bool
    schedule: str
    timezone: str


def switch_on(root: Path, name: str, cron: str, timezone: str, given: dict[str, Any]) -> Scheduled:
    """The workflow's schedule, new or as it was but for what is given, and on. Raises NotFound or InvalidInput, and has
    written nothing then."""
    path, meta, is_flow = _workflow(root, name)
    refuse_disabled(root, path)
    _check_time(cron, timezone)
    files = _schedules(root, path)
    if len(files) > 1:
        raise InvalidInput(
            f"{path} has {len(files)} schedules: {', '.join(files)}",
            subject="NAME",
            remedy="Set `enabled: true` in the file of the one that you mean.",
        )
    if not files and not cron:
        raise InvalidInput(
            f"{path} has no schedule yet",
            subject="--cron",
            remedy="Say when, seconds first: --cron '0 0 3 * * *' is every night at three.",
        )
    file = next(iter(files), f"{path}.schedule.yaml")
    before = files.get(file, {})
    args = (before.get("args") or {}) | given
    schema = meta.get("schema") or {}
    with_defaults = complete_arguments(schema, args)
    check_defaults(schema, args)
    changes: dict[str, Any] = (
        {"enabled": True} | ({"schedule": cron} if cron else {}) | ({"timezone": timezone} if timezone else {})
    )
    if given or not files:
        changes["args"] = with_defaults
    new: dict[str, Any] = {
        "args": {},
        "cron_version": "v2",
        "description": "",
        "enabled": True,
        "is_flow": is_flow,
        "no_flow_overlap": is_flow,
        "schedule": cron,
        "script_path": path,
        "summary": meta.get("summary") or "",
        "timezone": timezone or "UTC",
        "ws_error_handler_muted": False,
    }
    return _write(root, file, before or new, changes)


def switch_off(root: Path, name: str) -> list[Scheduled]:
    """Every schedule of the workflow, which stays as it is but for being off. Raises NotFound when it has none."""
    path, _, _ = _workflow(root, name)
    files = _schedules(root, path)
    if not files:
        raise NotFound(f"{path} has no schedule", subject="NAME", remedy="`flexcore workflow schedule` makes one.")
    return [_write(root, file, document, {"enabled": False}) for file, document in files.items()]


def _workflow(root: Path, name: str) -> tuple[str, dict[str, Any], bool]:
    bundle = Bundle(root)
    path = resolve(bundle.path_of(name), [*bundle.paths("flow"), *bundle.paths("script")])
    flow = bundle.flow(path)
    found = flow or bundle.script(path)
    assert found is not None
    return path, found.meta, flow is not None


def _check_time(cron: str, timezone: str) -> None:
    if cron and (problem := cron_problem(cron)):
        raise InvalidInput(f"--cron: {problem}", subject="--cron", remedy="Every night at three is '0 0 3 * * *'.")
    if timezone and timezone not in timezones():
        raise InvalidInput(
            f"There is no time zone {timezone}{did_you_mean(timezone, timezones())}",
            subject="--timezone",
            remedy="Give one of the IANA list, such as Europe/Berlin.",
        )


def _schedules(root: Path, path: str) -> dict[str, dict[str, Any]]:
    """The documents by file. One that cannot be read is none of this workflow's; `flexcore check` tells of it."""
    found = {}
    for file in sorted(root.glob("[fu]/**/*.schedule.yaml")):
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            continue
        if isinstance(document, dict) and document.get("script_path") == path:
            found[file.relative_to(root).as_posix()] = document
    return found


def _write(root: Path, file: str, before: dict[str, Any], changes: dict[str, Any]) -> Scheduled:
    """A file that is there keeps every line but those that change."""
    target, after = root / file, before | changes
    if target.is_file() and "args" not in changes and changes.keys() <= before.keys():
        text = target.read_text(encoding="utf-8")
        for key, value in changes.items():
            line = yaml.safe_dump({key: value}, **NORMAL)
            text = re.sub(rf"^{key}: .*\n", line.replace("\\", "\\\\"), text, flags=re.MULTILINE)
    else:
        text = yaml.safe_dump(dict(sorted(after.items())), sort_keys=False, **NORMAL)
    target.write_text(text, encoding="utf-8")
    return Scheduled(
        after["script_path"], file, after["enabled"], str(after.get("schedule")), str(after.get("timezone"))
    )
