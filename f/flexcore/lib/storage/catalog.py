# requirements: flexcore_base
"""The store's data and models by name: what a form lists, and what a later run asks for as NAME or NAME:VERSION.

Below the store's URI: `catalog/<data|model>/<name>/<time>_<version>.json`, each the manifest itself. An entry is
written when what it names is complete, and never changed; NAME alone means the newest.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any, Literal

from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.storage import object_store

Kind = Literal["data", "model"]
# Three years of an hourly extraction; a listing of S3 brings 1,000 names at a time.
MOST = 30_000
STAMP = "%Y%m%dT%H%M%SZ"
FILE = re.compile(r"(\d{8}T\d{6}Z)_([A-Za-z0-9._-]+)\.json")


@dataclass(frozen=True, slots=True)
class Entry:
    """time: UTC, as YYYYMMDDTHHMMSSZ, so that text order is order in time."""

    name: str
    version: str
    time: str
    uri: str

    @property
    def label(self) -> str:
        year, clock = self.time[:8], self.time[9:15]
        return f"{self.name} {year[:4]}-{year[4:6]}-{year[6:]} {clock[:2]}:{clock[2:4]} UTC ({self.version})"


def add(
    store: object_store.Store,
    kind: Kind,
    name: str,
    version: str,
    manifest: contracts.DataManifest | contracts.ModelManifest,
) -> Entry:
    """Keeps the manifest under a name; adding the same version again changes nothing."""
    name = normalize_name(name)
    known = [item for item in list_entries(store, kind, name) if item.version == version]
    if known:
        return known[0]
    stamp = time.strftime(STAMP, time.gmtime())
    entry = Entry(name, version, stamp, store.uri("catalog", kind, name, f"{stamp}_{version}.json"))
    store.write_json(entry.uri, manifest.plain())
    return entry


def list_entries(store: object_store.Store, kind: Kind, name: str = "") -> list[Entry]:
    """The entries of a kind, of one name or of all, the newest first."""
    folder = store.uri("catalog", kind, *([name] if name else []))
    found = []
    for uri, _ in store.listing(folder, MOST):
        path = PurePosixPath(uri)
        if match := FILE.fullmatch(path.name):
            found.append(Entry(path.parent.name, match[2], match[1], uri))
    return sorted(found, key=lambda item: (item.time, item.version), reverse=True)


def find(store: object_store.Store, kind: Kind, reference: str) -> dict[str, Any]:
    """The manifest that NAME or NAME:VERSION means, unchecked. Raises InvalidInput or NotFound with what there is."""
    name, _, version = reference.strip().partition(":")
    if not name:
        raise errors.InvalidInput(f"No {kind} is chosen", subject=kind, remedy="Choose one by its name.")
    found = list_entries(store, kind, normalize_name(name))
    entry = next((item for item in found if version in ("", item.version)), None)
    if entry is None:
        raise _absent(store, kind, reference, [f"{item.name}:{item.version}" for item in found])
    manifest = store.read_json(entry.uri)
    return manifest if isinstance(manifest, dict) else {}


def find_data(store: object_store.Store, reference: Any) -> contracts.DataManifest:
    """By name, or the manifest itself."""
    return object_store.data_manifest(
        reference if isinstance(reference, dict) else find(store, "data", str(reference or "")), "data"
    )


def find_model(store: object_store.Store, reference: Any) -> contracts.ModelManifest:
    """By name, or the manifest itself."""
    return object_store.model_manifest(
        reference if isinstance(reference, dict) else find(store, "model", str(reference or ""))
    )


def normalize_name(text: str) -> str:
    """A name as the catalog keeps it: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:100] or "unnamed"


def _absent(store: object_store.Store, kind: Kind, reference: str, versions: list[str]) -> errors.NotFound:
    known = versions or list(dict.fromkeys(item.name for item in list_entries(store, kind)))
    near = get_close_matches(reference, known, 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    there = f"It has: {', '.join(known[:20])}." if known else f"It has no {kind} at all; check storage_uri."
    return errors.NotFound(f"The store has no {kind} {reference!r}", subject=kind, remedy=f"{hint}{there}")
