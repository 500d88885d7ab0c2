# requirements: flexcore_base
"""Pure arithmetic of manifests: one checksum and one schema hash for many files and columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from f.flexcore.lib.core import contracts, errors


def schema_hash(columns: Mapping[str, str]) -> str:
    """Hash of column names and types, whatever their order."""
    return "sha256:" + hashlib.sha256(json.dumps(sorted(columns.items())).encode()).hexdigest()


def compute_checksum(files: Iterable[contracts.File]) -> str:
    """One checksum over many files: the hash of their sorted paths and checksums."""
    lines = sorted(f"{file.path} {file.checksum}\n" for file in files)
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def list_files(manifest: contracts.DataManifest | contracts.ModelManifest) -> list[contracts.File]:
    """All files that a manifest vouches for."""
    if isinstance(manifest, contracts.ModelManifest):
        return manifest.files
    return [file for stream in manifest.streams for file in stream.files]


def check_consistent(manifest: contracts.DataManifest | contracts.ModelManifest) -> None:
    """Raises ManifestMismatch when a manifest contradicts itself (edited or damaged)."""
    files = list_files(manifest)
    if not files:
        raise errors.ManifestMismatch(
            f"The manifest of {manifest.uri} lists no files",
            subject=manifest.uri,
            remedy="Run the stage that produced it again.",
        )
    if manifest.checksum != compute_checksum(files):
        raise errors.ManifestMismatch(
            f"The manifest of {manifest.uri} does not match its own checksum",
            subject=manifest.uri,
            remedy="Pass the manifest on unchanged, or run the stage that produced it again.",
        )


def check_file(manifest_uri: str, expected: contracts.File, actual: contracts.File | None) -> None:
    """Raises ManifestMismatch when a stored file (None: absent) is not the one that the manifest promises."""
    if actual is None:
        problem = "is missing"
    elif actual.bytes != expected.bytes:
        problem = f"has {actual.bytes} bytes instead of {expected.bytes}"
    elif actual.checksum != expected.checksum:
        problem = "has another checksum"
    else:
        return
    raise errors.ManifestMismatch(
        f"{expected.path} at {manifest_uri} {problem}",
        subject=expected.path,
        remedy="Run the stage that produced it again.",
    )


def find_stream(manifest: contracts.DataManifest, name: str) -> str:
    """The name of the stream to use: the given one, or the only one. Raises InvalidInput with the choices."""
    names = [stream.name for stream in manifest.streams]
    if name in names or (not name and len(names) == 1):
        return name or names[0]
    problem = f"No stream is named {name!r}" if name else "The data has several streams and none is named"
    raise errors.InvalidInput(problem, subject="stream", remedy=f"Choose one of: {', '.join(names)}.")
