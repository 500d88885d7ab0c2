"""A new workflow from one that the bundle has: a copy of its flow, with its own summary and defaults."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from f.flexcore.lib.core.errors import InvalidInput, NotFound
from flexcore.bundle.settings import read_settings
from flexcore.client.arguments import check_defaults
from flexcore.configuration.files import FLEXCORE, read_configuration
from wmlocal.engine.bundle import Bundle
from wmlocal.engine.unsupported import check_flow
from wmlocal.lint.globs import selections
from wmlocal.suggest import did_you_mean

OURS, SPACES = "f/flexcore", ("f/", "u/")
# Flows of our own that are front doors; the others are parts of these.
DOORS = re.compile(r"^f/flexcore/(templates/)?[a-z0-9_]+$")
PART = re.compile(r"^[a-z_][a-z0-9_]{0,99}$")


@dataclass(frozen=True, slots=True)
class Created:
    """notes: what is left to do, each as a sentence."""

    path: str
    file: Path
    notes: list[str]


def templates(root: Path) -> dict[str, str]:
    """The flow's path, by the template's name: those of the bundle, and those that flexcore.yaml names, but for those
    that it disables."""
    file = read_configuration(root).flexcore
    found = {path.rsplit("/", 1)[-1]: path for path in Bundle(root).paths("flow") if DOORS.match(path)}
    found |= {name: item.path for name, item in file.templates.items() if item.enabled}
    return {name: path for name, path in found.items() if path not in file.disabled_templates}


def refuse_disabled(root: Path, path: str, runtimes: Sequence[str] = ()) -> None:
    """Raises InvalidInput when flexcore.yaml disables the flow, or every runtime that it may run on."""
    if not (root / FLEXCORE).is_file():
        return
    file = read_configuration(root).flexcore
    if path in file.disabled_templates:
        raise InvalidInput(
            f"{path} is disabled: {FLEXCORE} says so at templates.{file.disabled_templates[path]}",
            subject="NAME",
            remedy="Set its `enabled: true`, or choose another workflow.",
        )
    disabled = [name for name in runtimes if not getattr(file.runtimes, name).enabled]
    if disabled and len(disabled) == len(runtimes):
        raise InvalidInput(
            f"{path} would run on {' and '.join(disabled)}, which {FLEXCORE} disables at runtimes.{disabled[0]}",
            subject="--runtime",
            remedy="Set its `enabled: true`, or choose another runtime or workflow.",
        )


def create(root: Path, name: str, template: str, defaults: dict[str, Any], summary: str, place: str = "") -> Created:
    """place: path or folder of the new flow, when the name is not its path. Raises NotFound or InvalidInput, and has
    written nothing then."""
    bundle, path = Bundle(root), _new_path(root, name, place)
    known = templates(root)
    disabled = read_configuration(root).flexcore.disabled_templates
    by_name = {path.rsplit("/", 1)[-1]: path for path in disabled} | {name: path for path, name in disabled.items()}
    if template not in known and template in by_name:
        refuse_disabled(root, by_name[template])
    if template not in known:
        raise NotFound(
            f"There is no template {template}{did_you_mean(template, known)}",
            subject="--template",
            remedy=f"Choose one of {', '.join(sorted(known))}.",
        )
    if bundle.flow(path) or bundle.script(path):
        raise InvalidInput(f"{path} is there already", subject="NAME", remedy="Choose another name, or edit its files.")
    source, target = root / f"{known[template]}__flow", root / f"{path}__flow"
    document = yaml.safe_load((source / "flow.yaml").read_text(encoding="utf-8"))
    check_defaults(document.get("schema") or {}, defaults)
    document["summary"] = summary or path.rsplit("/", 1)[-1].replace("_", " ").capitalize()
    for key, value in defaults.items():
        document["schema"]["properties"][key]["default"] = value
    shutil.copytree(source, target)
    text = yaml.safe_dump(document, sort_keys=False, width=10**9, allow_unicode=True)
    (target / "flow.yaml").write_text(text, encoding="utf-8")
    flow = bundle.flow(path)
    assert flow is not None
    check_flow(bundle, flow)
    return Created(path, target / "flow.yaml", _left_to_do(root, path))


def _new_path(root: Path, name: str, place: str) -> str:
    """The new flow's path: in the team's folder, never in the bundle's own."""
    option = "--path" if place else "NAME"
    given = _join_place(name, place.rstrip("/")) if place else name
    path = given if place or given.startswith(SPACES) else _default_path(root, given)
    parts = path.split("/")
    if not path.startswith(SPACES) or len(parts) < 3 or not all(PART.match(part) for part in parts[1:]):
        raise InvalidInput(
            f"{path} is not a path for a workflow",
            subject=option,
            remedy="Write a path such as f/sales/nightly; a-z, 0-9 and _ only.",
        )
    if path.startswith(f"{OURS}/"):
        raise InvalidInput(
            f"{path} is in the bundle's own folder, which `flexcore upgrade` replaces",
            subject=option,
            remedy="Choose a folder of your own, such as --path f/sales/nightly.",
        )
    return path


def _join_place(name: str, place: str) -> str:
    """place: a folder such as f/sales, or the whole path."""
    return f"{place}/{name.rsplit('/', 1)[-1]}" if place.count("/") == 1 else place


def _default_path(root: Path, name: str) -> str:
    """In the one folder below f/ that is not the bundle's."""
    own = sorted(f"f/{entry.name}" for entry in (root / "f").glob("*") if entry.is_dir() and entry.name != "flexcore")
    if len(own) == 1:
        return f"{own[0]}/{name}"
    there = f"several: {', '.join(own)}" if own else "none of its own yet"
    raise InvalidInput(
        f"{name} says no folder, and the repository has {there}",
        subject="NAME",
        remedy=f"Say where it goes: --path {own[0] if own else 'f/sales'}/{name.rsplit('/', 1)[-1]}.",
    )


def _left_to_do(root: Path, path: str) -> list[str]:
    folder = "/".join(path.split("/")[:2])
    notes = []
    if path.startswith("f/") and not (root / folder / "folder.meta.yaml").is_file():
        notes.append(f"{folder} is a new folder: `wmill folder add-missing` writes its folder.meta.yaml.")
    if not _is_pushed(root, path):
        notes.append(f"wmill.yaml: a push sees {path} only when `includes` names it; add `- {folder}/**`.")
    return notes


def _is_pushed(root: Path, path: str) -> bool:
    return selections(read_settings(root))[0].takes(f"{path}__flow/flow.yaml")
