"""The `wmill` CLI's own profiles: which servers this machine knows, and which is active. Read only.

CONFIG/windmill/remotes.ndjson    a line of {name, remote, workspaceId, token} for each profile
CONFIG/windmill/activeWorkspace   the active profile's name
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    url: str
    workspace: str
    token: str = field(repr=False)


def folder() -> Path:
    """As the CLI finds it."""
    given = os.environ.get("WMILL_CONFIG_DIR") or os.environ.get("XDG_CONFIG_HOME")
    usual = "Library/Preferences" if sys.platform == "darwin" else ".config"
    return (Path(given) if given else Path.home() / usual) / "windmill"


def profiles() -> list[Profile]:
    found = []
    for line in _text(folder() / "remotes.ndjson").splitlines():
        try:
            entry = json.loads(line)
            found.append(Profile(entry["name"], entry["remote"].rstrip("/"), entry["workspaceId"], entry["token"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # the CLI leaves lines it cannot read alone, too
    return found


def active() -> Profile | None:
    name = _text(folder() / "activeWorkspace").strip()
    return next((item for item in profiles() if item.name == name), None) if name else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
