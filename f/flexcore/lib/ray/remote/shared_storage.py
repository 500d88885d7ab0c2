# requirements: flexcore_base
"""The store as seen by a program on Ray: files by pyarrow, which Ray Data needs anyway. Shipped as source.

Raises `Problem`, which comes back to the step as the typed error that it names (see job_entry).
"""

from __future__ import annotations

import errno
import hashlib
import json
import posixpath
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from f.flexcore.lib.serving import problems

CHUNK_BYTES = 1 << 20
# Any S3-compatible service accepts it, and without one the client asks the cloud's metadata service, which may hang.
REGION = "us-east-1"
CONNECT_TIMEOUT_S = 10
FULL = ("No space left on device", "Disk quota exceeded", "errno 28", "StorageFull", "Insufficient Storage")
REQUEST_TIMEOUT_S = 60


# What the programs raise; its own module, since what serves a model needs no store.
Problem = problems.Problem


class RemoteStore:
    """storage: {uri, endpoint_url, access_key, secret_key, region, probe}, of which all but the first may be empty."""

    def __init__(self, storage: dict[str, Any]) -> None:
        self.storage = storage
        self.local = storage["uri"].startswith("file://")
        self.fs = local_filesystem() if self.local else s3_filesystem(storage)

    def path(self, uri: str) -> str:
        """The path that the file system takes for a URI of the store."""
        return uri.split("://", 1)[1]

    def check_shared(self) -> None:
        """The step left a small file; when it is not here, then this node does not see the step's disk."""
        probe = self.storage.get("probe")
        if self.local and probe and not Path(self.path(probe)).exists():
            raise Problem(
                "InvalidInput",
                f"The store {self.storage['uri']} is a folder of the worker, which the Ray cluster cannot see",
                "settings.storage_uri",
                "Use an s3:// store, or a folder that is mounted on the worker and on every Ray node.",
            )

    def verify(self, uri: str, files: list[dict[str, Any]]) -> None:
        """Raises a ManifestMismatch when a file is absent or has another checksum."""
        for item in files:
            actual = self.checksum(f"{uri}/{item['path']}")
            if actual != item["checksum"]:
                what = "is missing" if actual is None else "has another checksum"
                raise Problem(
                    "ManifestMismatch",
                    f"{item['path']} at {uri} {what}",
                    item["path"],
                    "Run the stage that produced it again.",
                )

    def checksum(self, uri: str) -> str | None:
        digest = hashlib.sha256()
        try:
            with self.fs.open_input_stream(self.path(uri), compression=None) as stream:
                while True:
                    block = stream.read(CHUNK_BYTES)
                    if not block:
                        return f"sha256:{digest.hexdigest()}"
                    digest.update(block)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.store_problem(error) from None

    def upload(self, folder: Path, uri: str) -> list[dict[str, Any]]:
        """Copies a folder's files to `uri`, each whole or not at all; returns them as a manifest lists them."""
        files = []
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            name, digest = path.relative_to(folder).as_posix(), hashlib.sha256()

            def read_blocks(path: Path = path, digest: Any = digest) -> Iterator[bytes]:
                with path.open("rb") as file:
                    while block := file.read(CHUNK_BYTES):
                        digest.update(block)
                        yield block

            self._write(f"{uri}/{name}", read_blocks())
            checksum = f"sha256:{digest.hexdigest()}"
            files.append({"path": name, "bytes": path.stat().st_size, "checksum": checksum})
        return files

    def write_json(self, uri: str, value: Any) -> None:
        self._write(uri, [json.dumps(value).encode()])

    def _write(self, uri: str, blocks: Iterable[bytes]) -> None:
        """Writes a file under its name once it is whole: a folder's by another name first; S3 does so by itself."""
        target = self.path(uri)
        part = f"{target}.{uuid.uuid4().hex[:8]}.part" if self.local else target
        try:
            if self.local:
                self.fs.create_dir(posixpath.dirname(target), recursive=True)
            with self.fs.open_output_stream(part) as stream:
                for block in blocks:
                    stream.write(block)
            if self.local:
                self.fs.move(part, target)
        except OSError as error:
            if self.local:
                Path(part).unlink(missing_ok=True)
            raise self.store_problem(error) from None

    def write_file(self, uri: str, content: bytes) -> None:
        """Makes the folder too; a reader sees the whole file or none."""
        self._write(uri, [content])

    def read_json(self, uri: str) -> Any:
        with self.fs.open_input_stream(self.path(uri)) as stream:
            return json.loads(stream.read())

    def download(self, uri: str, files: list[dict[str, Any]], folder: Path) -> None:
        """Brings a manifest's files into `folder`, each verified."""
        self.verify(uri, files)
        for item in files:
            target = folder / item["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            with self.fs.open_input_stream(self.path(f"{uri}/{item['path']}"), compression=None) as stream:
                target.write_bytes(stream.read())

    def store_problem(self, error: OSError) -> Problem:
        text = str(error)
        if is_disk_full(error):
            return full_problem(f"writing to the store {self.storage['uri']}", "")
        denied = isinstance(error, PermissionError) or any(
            word in text for word in ("ACCESS_DENIED", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH", "403")
        )
        if denied:
            remedy = "Check the access key and its rights on the bucket or folder."
            return Problem("Forbidden", f"The store {self.storage['uri']} refuses Ray", "settings.storage_uri", remedy)
        return Problem(
            "Unreachable",
            f"Ray cannot use the store {self.storage['uri']}: {text.splitlines()[0][:300]}",
            "settings.storage_uri",
            "Check that the store's endpoint can be reached from the Ray nodes.",
        )


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that a disk, a quota or an S3 store is full; a file system of Arrow's says it in words."""
    text = str(error)
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(word in text for word in FULL)


def disk_problem(error: BaseException, work: str, folder: str) -> Exception:
    """The failure of `work` for want of disk as a problem that says so; another error as it is."""
    if not is_disk_full(error):
        return error if isinstance(error, Exception) else RuntimeError(str(error))
    return full_problem(work, folder)


def full_problem(work: str, folder: str) -> Problem:
    where = f" (folder {folder})" if folder else ""
    return Problem(
        "ExecutionFailed",
        f"A disk was full while {work}{where}: nothing of it counts",
        "disk",
        "Free space there, or name a larger disk, then run again.",
    )


def local_filesystem() -> Any:
    from pyarrow.fs import LocalFileSystem

    return LocalFileSystem()


def s3_filesystem(storage: dict[str, Any]) -> Any:
    from pyarrow.fs import S3FileSystem

    options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S, "request_timeout": REQUEST_TIMEOUT_S}
    if storage.get("access_key"):
        options |= {"access_key": storage["access_key"], "secret_key": storage.get("secret_key", "")}
    if storage.get("endpoint_url"):
        endpoint = urlsplit(storage["endpoint_url"])
        options |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme, "region": REGION}
    if storage.get("region"):
        options["region"] = storage["region"]
    return S3FileSystem(**options)
