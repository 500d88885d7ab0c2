# requirements: flexcore_base
"""The debug bundle as a file: in the store where there is one, and in the answer as far as it fits."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.dashboard import debug_bundle, notices, parts, read
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import client

FOLDER = "debug_bundles"
# What a page takes from a job's result.
MAX_INLINE_BYTES = 8_000_000


def make_debug_bundle(
    execution: str, windmill: client.Client | None = None, env: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """{uri, file_name, base64}: uri is null without settings, base64 for one that is too large. Settings that are wrong
    or forbidden are a notice in it: it may be wanted because of them. Raises NotFound, InvalidInput, and DataError for
    one that is too large and has nowhere to lie."""
    reading = read.Reading(windmill or client.Client(), datetime.now(UTC))
    reading.base_url = env.get("WM_BASE_URL", "").rstrip("/")
    reading.worker = env.get("WM_WORKER_GROUP") or reading.worker
    reading.user = reading.windmill.user()
    secrets = _read_settings(reading)
    reader = read.open_reader(reading)
    reader.secrets += secrets
    bundle = debug_bundle.DebugBundle(
        reading.windmill,
        reader,
        reading.settings,
        lambda: parts.read_runtimes(reading.windmill, reading.settings, reading.worker, reading.now),
        reading.now,
    )
    content = bundle.build(execution)
    name = f"flexcore-debug-{client.parse_job_id(execution, 'execution')}.zip"
    uri = _store(reading, name, content)
    fits = len(content) <= MAX_INLINE_BYTES
    if not fits and uri is None:
        raise errors.DataError(
            f"The debug bundle has {len(content)} bytes, more than a page can take",
            subject="execution",
            remedy="Create the resource f/flexcore/settings: it is then put into its store.",
        )
    return {"uri": uri, "file_name": name, "base64": base64.b64encode(content).decode() if fits else None}


def _read_settings(reading: read.Reading) -> list[str]:
    """Fills in the settings; the secrets in those that are wrong, which no longer say it themselves."""
    try:
        reading.settings = read.read_settings(reading.windmill)
        return []
    except errors.FlexcoreError as error:
        reading.notes.append(notices.unread("The settings", error))
    try:
        stored = reading.windmill.find_resource(client.SETTINGS)
    except errors.FlexcoreError:
        return []
    return list(resources.find_secrets("c_flexcore_settings", stored))


def _store(reading: read.Reading, name: str, content: bytes) -> str | None:
    """Its URI; None without settings, or when the store cannot be written."""
    if reading.settings is None:
        return None
    store = object_store.Store(reading.settings)
    uri = store.uri(FOLDER, name)
    try:
        store.write_bytes(uri, content)
    except errors.FlexcoreError as error:
        print(f"The debug bundle is not in the store: {error}", flush=True)
        return None
    return uri
