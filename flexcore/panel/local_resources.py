"""The resources of `flexcore up`: what requests and forms name instead of addresses.

$res:u/admin/local_ray         the Ray head, its token a secret variable
$res:u/admin/local_settings    the store's folder
$res:u/admin/local_project     a Meltano project that takes CSV files and PostgreSQL
f/flexcore/settings            the same settings, where operations look, unless somebody has put others there: in the
                               workspace, or in a file of the bundle
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wmlocal.engine.bundle import Bundle
from wmlocal.engine.errors import BadBundle
from wmlocal.engine.store import Store

RAY, RAY_TOKEN = "u/admin/local_ray", "u/admin/local_ray_token"
SETTINGS, PROJECT = "u/admin/local_settings", "u/admin/local_project"
SHARED_SETTINGS = "f/flexcore/settings"
WRITTEN_BY = "Written by `flexcore up`."


def write_resources(store: Store, root: Path, home: Path, ray: Mapping[str, str] | None) -> None:
    """ray: address and token of the head; None when there is none, and then no resource of a former one either."""
    settings: dict[str, Any] = {"storage_uri": f"file://{home.resolve() / 'store'}"}
    if ray is None:
        store.delete_resource(RAY)
        store.delete_variable(RAY_TOKEN)
    else:
        store.set_variable(RAY_TOKEN, ray["token"], True, WRITTEN_BY)
        head = {"address": ray["address"], "token": f"$var:{RAY_TOKEN}"}
        store.set_resource(RAY, head, "c_ray_cluster", WRITTEN_BY)
        settings["ray_clusters"] = [RAY]
    _share(store, root, settings)
    store.set_resource(SETTINGS, settings, "c_flexcore_settings", WRITTEN_BY)
    project = root / "resources/meltano_sample"
    if project.is_dir():
        store.set_resource(PROJECT, {"path": str(project)}, "c_meltano_project", WRITTEN_BY)


def _share(store: Store, root: Path, settings: dict[str, Any]) -> None:
    """Before SETTINGS is written: what is there is what was written last. A changed value keeps its description."""
    shared, last = store.resource(SHARED_SETTINGS), store.resource(SETTINGS)
    written = (settings, last and last["value"])
    if shared is not None and (shared["description"] != WRITTEN_BY or shared["value"] not in written):
        return
    if _has_file(root):
        # What is in the workspace would hide it.
        store.delete_resource(SHARED_SETTINGS)
    else:
        store.set_resource(SHARED_SETTINGS, settings, "c_flexcore_settings", WRITTEN_BY)


def _has_file(root: Path) -> bool:
    """Whether the bundle has such settings; a file that cannot be read is told where it is read."""
    try:
        return Bundle(root).resource(SHARED_SETTINGS, os.environ.get("FLEXCORE_WORKSPACE") or "local") is not None
    except BadBundle:
        return True
