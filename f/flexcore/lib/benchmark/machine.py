# requirements: flexcore_base
"""The worker's machine: what figures of a race are worth without is nothing."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

GROUP = Path("/sys/fs/cgroup")


def describe_machine(packages: Iterable[str] = ()) -> dict[str, Any]:
    """cores: those that this process may use; memory_bytes and load: null where the system does not say."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": read_memory_bytes(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **read_versions(packages)},
    }


def read_versions(packages: Iterable[str]) -> dict[str, str]:
    """Of the packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def read_memory_bytes() -> int | None:
    """The memory of the machine, or of the container when that has less."""
    limits = [_read_number(GROUP / "memory.max"), _read_number(GROUP / "memory/memory.limit_in_bytes")]
    with contextlib.suppress(ValueError, OSError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min((limit for limit in limits if limit), default=None)


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
