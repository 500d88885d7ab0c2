# requirements: flexcore_base
"""How Meltano is on this worker. It has no server of its own: what counts is what a run needs here."""

from __future__ import annotations

import os
import shutil

from f.flexcore.lib.core import errors, runtime_health
from f.flexcore.lib.meltano import (
    installation,
)

# Meltano and a few plugins take about as much.
MIN_FREE_BYTES = 2 * 2**30


def health(place: str) -> runtime_health.Health:
    """Raises MissingSetting when uv, which installs Meltano and its plugins, is not there."""
    installation.find_uv()
    problems = []
    installed = installation.is_usable(installation.folder(f"tool-{installation.MELTANO_VERSION}"))
    if not installed:
        problems.append("Meltano is not installed on this worker yet; the first run installs it (about 20 s)")
    free = shutil.disk_usage(installation.folder()).free
    if free < MIN_FREE_BYTES:
        problems.append(
            f"Only {free / 2**30:.1f} GiB are free in {installation.folder()}: free some, or set FLEXCORE_HOME"
        )
    return runtime_health.Health(
        runtime="meltano",
        place=place,
        state="limited" if problems else "ready",
        version=installation.MELTANO_VERSION if installed else None,
        cpus_total=os.cpu_count(),
        detail="; ".join(problems),
        capabilities={"installed": installed, "plugin_environments": _count_environments(), "disk_free_bytes": free},
    )


def _count_environments() -> int | None:
    try:
        return sum(1 for path in installation.folder("plugins").iterdir() if (path / installation.COMPLETE).exists())
    except (OSError, errors.FlexcoreError):
        return None
