# requirements: flexcore_base
"""The store through which stages hand on data: one URI of the settings, reached by fsspec.

`file://` works where worker, Ray and cluster share a disk (one machine); `s3://` everywhere. Layout below the URI:
`<execution key>/<attempt>/…`, with the manifest of an attempt written last, so that what has one is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from f.flexcore.lib.core import contracts, errors, resources

CHUNK = 1 << 20
AnyManifest = TypeVar("AnyManifest", contracts.DataManifest, contracts.ModelManifest)


def home(env: Mapping[str, str] = os.environ) -> Path:
    """Where a worker keeps what outlives a step: caches, and the default store."""
    return Path(env.get("FLEXCORE_HOME") or Path.home() / ".flexcore").absolute()


class Store:
    """Files below one URI. Every method takes full URIs, and raises NotFound, Forbidden or Unreachable.

    Source of the S3 options: s3fs's constructor (key, secret, endpoint_url, client_kwargs).
    """

    def __init__(self, settings: resources.Settings, env: Mapping[str, str] = os.environ) -> None:
        self.root = (settings.storage_uri or f"file://{home(env) / 'store'}").rstrip("/")
        self.options = storage_options(settings)
        self.protocol = self.root.split("://", 1)[0]

    @property
    def local(self) -> bool:
        return self.protocol == "file"

    def uri(self, *parts: str) -> str:
        return "/".join([self.root, *parts])

    def write_json(self, uri: str, value: Any) -> None:
        self.write_bytes(uri, json.dumps(value).encode())

    def write_bytes(self, uri: str, content: bytes) -> None:
        with self.reaching(uri) as fs:
            # A reader sees the whole file or none, also while two copies of a step write it at once; object stores give
            # this by themselves.
            if not self.local:
                fs.pipe_file(uri, content)
                return
            target = local_path(f"{uri}.{uuid4().hex}.part")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.replace(local_path(uri))

    def read_json(self, uri: str) -> Any | None:
        """The parsed file, or None when there is none."""
        with self.reaching(uri) as fs:
            try:
                content = local_path(uri).read_bytes() if self.local else fs.cat_file(uri)
            except FileNotFoundError:
                return None
        try:
            return json.loads(content)
        except ValueError:
            remedy = "Run the stage that wrote it again."
            raise errors.DataError(f"{uri} is not valid JSON", subject=uri, remedy=remedy) from None

    def upload(self, folder: Path, uri: str) -> list[contracts.File]:
        """Copies every file below `folder` to `uri` and returns what was stored, checksums included."""
        files = []
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            name = path.relative_to(folder).as_posix()
            files.append(file_entry(path, name))
            with self.reaching(uri) as fs:
                self._make_folder(fs, f"{uri}/{name}")
                fs.put_file(str(path), f"{uri}/{name}")
        return files

    def download(self, manifest: AnyManifest, folder: Path) -> AnyManifest:
        """Brings a manifest's files into `folder`, each verified; returns the manifest."""
        contracts.check_consistent(manifest)
        for expected in contracts.list_files(manifest):
            target = folder / expected.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with self.reaching(manifest.uri) as fs:
                fs.get_file(f"{manifest.uri}/{expected.path}", str(target))
            contracts.check_file(manifest.uri, expected, file_entry(target, expected.path))
        return manifest

    def verify(self, manifest: contracts.DataManifest | contracts.ModelManifest) -> None:
        """Reads every file that the manifest promises; ManifestMismatch when one is absent or differs."""
        contracts.check_consistent(manifest)
        for expected in contracts.list_files(manifest):
            contracts.check_file(manifest.uri, expected, self._actual(f"{manifest.uri}/{expected.path}", expected.path))

    def listing(self, pattern: str, most: int) -> list[tuple[str, int]]:
        """(URI, bytes) of the files that a file's URI, a folder's or a glob names, by name; [] when there are none.
        Raises InvalidInput when there are more than `most`."""
        found: list[tuple[str, int]] = []
        with self.reaching(pattern) as fs:
            for path, info in sorted(_matching(fs, pattern).items()):
                if info.get("type") != "directory":
                    found.append((f"{self.protocol}://{path}", int(info.get("size") or 0)))
                if len(found) > most:
                    remedy = "Name a smaller folder or a narrower pattern, or say the size."
                    raise errors.InvalidInput(f"{pattern} names more than {most} files", subject=pattern, remedy=remedy)
        return found

    def names(self, folder: str) -> list[str]:
        """The names of the files of a folder, not of those below it, as they are now; [] when there are none."""
        with self.reaching(folder) as fs:
            try:
                if self.local:
                    # Not by fsspec, which looks at each file, and fails for one that was removed meanwhile.
                    return sorted(entry.name for entry in os.scandir(local_path(folder)) if entry.is_file())
                # What s3fs has listed before, it would answer from memory.
                found = fs.ls(folder, detail=True, refresh=True)
            except FileNotFoundError:
                return []
        return sorted(item["name"].rsplit("/", 1)[-1] for item in found if item["type"] == "file")

    def remove(self, uri: str) -> None:
        """Removes a file; harmless when there is none."""
        with self.reaching(uri) as fs, suppress(FileNotFoundError):
            local_path(uri).unlink() if self.local else fs.rm_file(uri)

    def entry(self, folder: str, name: str) -> contracts.File:
        """A stored file as a manifest lists it; reads it. Raises NotFound."""
        found = self._actual(f"{folder}/{name}", name)
        if found is None:
            raise self._absent(f"{folder}/{name}")
        return found

    def head(self, uri: str, count: int) -> bytes:
        """The file's first bytes."""
        with self.reaching(uri) as fs:
            return bytes(fs.read_block(uri, 0, count))

    def check(self) -> None:
        """Writes, reads and removes a small object below the root; raises when the store cannot be used."""
        uri = self.uri(f".flexcore-check-{uuid4().hex}")
        self.write_bytes(uri, b"ok")
        with self.reaching(uri) as fs:
            fs.rm_file(uri)

    def _make_folder(self, fs: Any, uri: str) -> None:
        # An object store has no folders, and s3fs would create a missing bucket: a misspelt name must fail instead.
        if self.local:
            fs.makedirs(uri.rsplit("/", 1)[0], exist_ok=True)

    def _actual(self, uri: str, path: str) -> contracts.File | None:
        digest, size = hashlib.sha256(), 0
        with self.reaching(uri) as fs:
            try:
                with fs.open(uri, "rb") as stream:
                    while block := stream.read(CHUNK):
                        digest.update(block)
                        size += len(block)
            except FileNotFoundError:
                return None
        return contracts.File(path=path, bytes=size, checksum=f"sha256:{digest.hexdigest()}")

    def _absent(self, uri: str) -> errors.NotFound:
        """What is not there: the bucket itself, or a file in it."""
        bucket = uri.split("://", 1)[1].split("/", 1)[0]
        try:
            there = self.local or _FileSystem(self.protocol, self.options).exists(bucket)
        except Exception:
            there = True
        if there:
            return errors.NotFound(f"{uri} does not exist", subject=uri, remedy="Run the stage that writes it again.")
        return errors.NotFound(
            f"The bucket {bucket} does not exist", subject="storage_uri", remedy="Create it, or correct storage_uri."
        )

    @contextmanager
    def reaching(self, uri: str) -> Iterator[Any]:
        protocol = uri.split("://", 1)[0]
        if protocol != self.protocol:
            raise errors.InvalidInput(
                f"{uri} is not in the configured store {self.root}",
                subject="storage_uri",
                remedy="Use the settings with which it was written.",
            )
        try:
            yield _FileSystem(protocol, self.options)
        except errors.FlexcoreError:
            raise
        except FileNotFoundError:
            raise self._absent(uri) from None
        except PermissionError:
            raise errors.Forbidden(
                f"The store refuses access to {uri}",
                subject="storage_uri",
                remedy="Check the access key and its rights on the bucket or folder.",
            ) from None
        except OSError as error:
            raise self._unusable(error, "failed", error.strerror or "", "Check its endpoint and free space.") from None
        except Exception as error:
            # botocore's own errors (no endpoint, no credentials, bad bucket name) share no base with OSError.
            if not type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp")):
                raise
            remedy = "Check the storage URI, its endpoint, region and keys."
            raise self._unusable(error, "cannot be used", "", remedy) from None

    def _unusable(self, error: Exception, how: str, reason: str, remedy: str) -> errors.Unreachable:
        from f.flexcore.lib.core import tls_errors

        certificates = tls_errors.tls_remedy(tls_errors.error_chain(error))
        return errors.Unreachable(
            f"The store at {self.root} {how}: {reason or type(error).__name__}",
            subject="storage_endpoint_url" if certificates else "storage_uri",
            category="tls" if certificates else "",
            remedy=certificates or remedy,
        )


class _FileSystem:
    """fsspec's, imported when it is used: small files on a local disk need none of it."""

    def __init__(self, protocol: str, options: Mapping[str, Any]) -> None:
        self._protocol, self._options = protocol, options

    def __getattr__(self, name: str) -> Any:
        import fsspec

        return getattr(fsspec.filesystem(self._protocol, **self._options), name)


def storage_options(settings: resources.Settings) -> dict[str, Any]:
    """fsspec's keyword arguments for the settings' store."""
    if not settings.storage_uri.startswith("s3://"):
        return {}
    options: dict[str, Any] = {
        "key": settings.storage_access_key or None,
        "secret": settings.storage_secret_key or None,
        "endpoint_url": settings.storage_endpoint_url or None,
        "client_kwargs": {"region_name": settings.storage_region} if settings.storage_region else None,
    }
    return {key: value for key, value in options.items() if value}


def _matching(fs: Any, pattern: str) -> dict[str, dict[str, Any]]:
    """fsspec's path → info."""
    if any(sign in pattern for sign in "*?["):
        return dict(fs.glob(pattern, detail=True))
    try:
        return dict(fs.find(pattern, detail=True))
    except FileNotFoundError:
        return {}


def local_path(uri: str) -> Path:
    """The path of a `file://` URI."""
    return Path(uri.removeprefix("file://"))


def file_entry(path: Path, name: str) -> contracts.File:
    """A local file as a manifest lists it."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return contracts.File(path=name, bytes=path.stat().st_size, checksum=f"sha256:{digest}")


def data_manifest(value: Any, what: str = "source") -> contracts.DataManifest:
    """`value` as the manifest of extracted data; InvalidInput or ManifestMismatch when it is not."""
    _check_kind(value, what, "data", "not data", "Pass the output of an extraction.")
    return errors.validate(contracts.DataManifest, value, what)


def model_manifest(value: Any, what: str = "model") -> contracts.ModelManifest:
    """`value` as the manifest of a trained model; InvalidInput or ManifestMismatch when it is not."""
    _check_kind(value, what, "model", "not a model", "Pass the output of a training.")
    return errors.validate(contracts.ModelManifest, value, what)


def _check_kind(value: Any, what: str, kind: str, reason: str, remedy: str) -> None:
    if isinstance(value, dict) and (given := value.get("kind")) not in (None, kind):
        raise errors.ManifestMismatch(f"{what} is a {given} manifest, {reason}", subject=what, remedy=remedy)
