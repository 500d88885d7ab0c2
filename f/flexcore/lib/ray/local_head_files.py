# requirements: flexcore_base
"""Where a local head keeps what others must know of it: its address, its token, and its leases."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.ray import stored_leases
from f.flexcore.lib.storage import object_store

Object = dict[str, Any]


def heads_folder(env: Mapping[str, str] = os.environ) -> Path:
    return object_store.home(env) / "ray"


def open_leases(name: str, env: Mapping[str, str] = os.environ) -> stored_leases.StoredLeases:
    settings = resources.Settings(storage_uri=f"file://{heads_folder(env)}")
    return stored_leases.StoredLeases(object_store.Store(settings), {"local_head": name})


def read_address(name: str, env: Mapping[str, str] = os.environ) -> resources.RayCluster:
    """Raises NotFound when this machine has no such head."""
    folder = heads_folder(env) / name
    config = read_json(folder / "config.json")
    if config is None or not (folder / "head.json").exists():
        raise errors.NotFound(
            f"There is no local Ray head {name} on {socket.gethostname()}",
            subject="cluster.local_head",
            category="no_local_head",
            remedy="Run f/flexcore/ray/ensure_cluster first, on a worker of this machine: a local head is reached from "
            "its own machine alone.",
        )
    token = (folder / "auth_token").read_text().strip()
    return resources.RayCluster(address=str(config["address"]), token=token)


def read_json(path: Path) -> Object | None:
    """The parsed file; None when there is none, or it is half written."""
    try:
        value: Object = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value
