# requirements: flexcore_base
"""Meltano's cache of discovered catalogs, kept over attempts: a discovery costs about as much as Meltano's own start.

Meltano itself decides, by the cache key beside a catalog, whether a kept one still fits. A source whose columns change
while the plugin's settings stay is discovered anew with the setting `_use_cached_catalog: false`, as in Meltano.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from f.flexcore.lib.meltano import installation, singer, sources

CATALOG_FILES = ("tap.properties.json", "tap.properties.cache_key")


@dataclass(frozen=True, slots=True)
class Catalogs:
    """The catalogs of one project's taps; the lock of each state id guards what is kept under it."""

    identity: str
    state_ids: Sequence[str]
    taps: Sequence[str]
    system: Path

    def bring(self) -> None:
        for kept, used in self._pairs():
            if holds_streams(kept / CATALOG_FILES[0]):
                shutil.copytree(kept, used, dirs_exist_ok=True)

    def keep(self) -> None:
        """Keeps the catalogs of this run. One without streams would hide from then on why a source shows none."""
        for kept, used in self._pairs():
            kept.mkdir(parents=True, exist_ok=True)
            for name in CATALOG_FILES:
                (kept / name).unlink(missing_ok=True)
                if (used / name).exists() and holds_streams(used / CATALOG_FILES[0]):
                    shutil.copy(used / name, kept / name)

    def _pairs(self) -> list[tuple[Path, Path]]:
        kept = installation.folder("catalogs", self.identity)
        pairs = zip(self.state_ids, self.taps, strict=True)
        return [(kept / sources.identity(key), self.system / "run" / tap) for key, tap in pairs]


def holds_streams(catalog: Path) -> bool:
    try:
        text = catalog.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return not singer.catalog_problem(text) and bool(json.loads(text)["streams"])
