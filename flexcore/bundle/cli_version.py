"""The version of the wmill CLI, and what it must be able to do for this bundle.

Before 1.819 the CLI pushes every raw app with `execution_mode: publisher`, whatever its file states: everyone who opens
the dashboard would then look, cancel and stop with the rights of whoever pushed it.
Source: `executionModeForPush` of windmill-cli 1.819, and its place in earlier ones.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from f.flexcore.lib.core.errors import InvalidInput

Version = tuple[int, int]
# States the policy of a raw app as its file has it.
LOWEST: Version = (1, 819)
VERSION = re.compile(r"(\d+)\.(\d+)\.\d+")
PACKAGE = "windmill-cli"
# From the program up to the package's own folder.
MAX_LEVELS = 4


def read_version(cli: str) -> Version | None:
    """By the package that the program lies in, since the program itself asks the network; None when it lies in none."""
    for folder in list(Path(cli).resolve().parents)[:MAX_LEVELS]:
        try:
            package = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(package, dict) and package.get("name") == PACKAGE:
            match = VERSION.match(str(package.get("version")))
            return (int(match[1]), int(match[2])) if match else None
    return None


def is_too_old(version: Version | None) -> bool:
    return version is not None and version < LOWEST


def describe(version: Version) -> str:
    return ".".join(map(str, version))


def check_raw_apps(cli: str, root: Path) -> None:
    """Raises InvalidInput for a CLI that would push a raw app of the bundle with its publisher's rights."""
    version = read_version(cli)
    if is_too_old(version) and next((root / "f").rglob("raw_app.yaml"), None) is not None:
        assert version
        raise InvalidInput(
            f"wmill {describe(version)} pushes every raw app with the rights of its publisher, the dashboard too",
            subject="wmill",
            remedy=f"Install {PACKAGE} {describe(LOWEST)} or later.",
        )
