"""The bundle goes into the wheel below flexcore/_bundle; an editable install has it beside flexcore/ already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PARTS = (
    "f",
    "dependencies",
    "locks",
    "resources/meltano_sample",
    "resources/samples",
    "wmill.yaml",
    "wmill-lock.yaml",
    "c_*.resource-type.yaml",
)
# Ignored by git; pyproject.toml names it as what is packed all the same.
PAGE = "flexcore/panel/static/index.html"


class BundleHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if version == "standard":
            found = [path for part in PARTS for path in sorted(root.glob(part))]
            build_data["force_include"] |= {
                str(path): f"flexcore/_bundle/{path.relative_to(root).as_posix()}" for path in found
            }
            if not (root / PAGE).is_file():
                self.app.display_warning("The wheel has no dashboard: build it first with `make dashboard`.")
