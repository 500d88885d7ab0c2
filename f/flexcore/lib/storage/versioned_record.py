# requirements: flexcore_base
"""A small JSON record in the store that several processes change: each change is made on top of the version that was
read, or not at all.

`<folder>/<version>.json`, written once and never overwritten: who creates the next version has made the change, all
others read again. A folder of the worker does it by a hard link, an S3 store by a conditional PUT (If-None-Match).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from f.flexcore.lib.core import errors
from f.flexcore.lib.storage import object_store

# A change takes milliseconds between reading and writing; who was stopped for longer than this in between must not find
# the number of an old version free again.
KEEP_S = 24 * 3600.0
# Of old versions that many are left, whatever their age.
KEPT_VERSIONS = 20
DIGITS = 12


@dataclass(slots=True)
class VersionedRecord:
    """Raises the errors of the store."""

    store: object_store.Store
    folder: str
    clock: Callable[[], float] = field(default=time.time)

    def read(self) -> tuple[int, Any]:
        """(version, value) of the newest; (0, None) when there is none."""
        versions = self._versions()
        while versions:
            newest = versions[-1]
            stored = self.store.read_json(self._uri(newest))
            if isinstance(stored, dict) and "value" in stored:
                return newest, stored["value"]
            # Pruned since it was listed: then there are newer ones.
            versions = [item for item in self._versions() if item > newest]
        return 0, None

    def write(self, version: int, value: Any) -> bool:
        """Whether `value` is the version after `version` now; False when somebody else's is."""
        # By its writer each content is told from every other.
        content = json.dumps({"written": self.clock(), "writer": uuid4().hex, "value": value}).encode()
        if not self._create(self._uri(version + 1), content):
            return False
        if version % KEPT_VERSIONS == 0:
            self._prune(version)
        return True

    def remove(self) -> None:
        """Removes every version, and from a folder of the worker what held them, which would be listed for ever."""
        for name in self.store.names(self.folder):
            self.store.remove(f"{self.folder}/{name}")
        if self.store.local:
            # Somebody may have begun it anew meanwhile.
            with suppress(OSError):
                object_store.local_path(self.folder).rmdir()

    def _uri(self, version: int) -> str:
        return f"{self.folder}/{version:0{DIGITS}d}.json"

    def _versions(self) -> list[int]:
        numbers = [name.removesuffix(".json") for name in self.store.names(self.folder) if name.endswith(".json")]
        return sorted(int(number) for number in numbers if number.isdigit())

    def _create(self, uri: str, content: bytes) -> bool:
        if self.store.local:
            return self._create_file(uri, content)
        # The store's own errors are told by the store; this one is the answer.
        with self.store.reaching(uri) as fs:
            try:
                fs.pipe_file(uri, content, mode="create")
            except FileExistsError:
                # A request whose answer was lost is sent again, and then refused for what it has written itself.
                return self._holds(fs, uri, content)
        return True

    @staticmethod
    def _holds(fs: Any, uri: str, content: bytes) -> bool:
        with suppress(FileNotFoundError):
            return bool(fs.cat_file(uri) == content)
        return False

    def _create_file(self, uri: str, content: bytes) -> bool:
        """The whole file or none: a name that is linked to a finished file."""
        part = f"{uri}.{uuid4().hex}.part"
        with self.store.reaching(uri):
            path, target = object_store.local_path(part), object_store.local_path(uri)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            try:
                os.link(path, target)
            except FileExistsError:
                return False
            finally:
                path.unlink()
        return True

    def _prune(self, newest: int) -> None:
        """Removes versions that are old by number and by age; failing to do so harms nothing."""
        with suppress(errors.FlexcoreError):
            for version in self._versions():
                if version > newest - KEPT_VERSIONS:
                    return
                stored = self.store.read_json(self._uri(version))
                if isinstance(stored, dict) and self.clock() - float(stored.get("written") or 0) < KEEP_S:
                    return
                with self.store.reaching(self._uri(version)) as fs, suppress(FileNotFoundError):
                    fs.rm_file(self._uri(version))


def list_records(store: object_store.Store, folder: str) -> list[str]:
    """The folders of the records below `folder`."""
    with store.reaching(folder) as fs:
        fs.invalidate_cache()
        try:
            entries = fs.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        found = [str(item["name"]) for item in entries if item.get("type") == "directory"]
    return [f"{store.protocol}://{name.removeprefix(f'{store.protocol}://')}" for name in sorted(found)]
