# requirements: flexcore_base
"""Files of the store that no extraction has written, as a manifest: from here on they are verified like any other."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import PurePosixPath

from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.storage import object_store

FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
# Text may be packed; Parquet packs by itself.
PACKED = (".gz", ".bz2", ".zst")
# Each is read once for its checksum.
MOST = 10_000


def manifest_of_files(store: object_store.Store, patterns: Sequence[str]) -> contracts.DataManifest:
    """One stream of all files that the URIs name: files, folders or globs. Reads each once.

    Raises NotFound for a URI without files, InvalidInput for files of several or unknown formats."""
    uris: list[str] = []
    for pattern in (item.strip() for item in patterns if item.strip()):
        listed = [uri for uri, size in store.listing(pattern, MOST) if size]
        if not listed:
            raise errors.NotFound(f"{pattern} matches no file with content", subject="files", remedy="Correct the URI.")
        uris += listed
    if not uris:
        raise errors.InvalidInput(
            "No files are named", subject="files", remedy="Give URIs, e.g. s3://bucket/sales/*.parquet."
        )
    uris = sorted(dict.fromkeys(uris))
    form = detect_format(uris)
    root = posixpath.commonpath([posixpath.dirname(uri.split("://", 1)[1]) for uri in uris])
    scheme = f"{store.protocol}://"
    files = [store.entry(f"{scheme}{root}", posixpath.relpath(uri.removeprefix(scheme), root)) for uri in uris]
    size = sum(item.bytes for item in files)
    stream = contracts.Stream(name=PurePosixPath(root).name or "files", bytes=size, files=files)
    return contracts.DataManifest(
        uri=f"{scheme}{root}", format=form, bytes=size, streams=[stream], checksum=contracts.compute_checksum(files)
    )


def detect_format(uris: Sequence[str]) -> str:
    suffixes = sorted({find_suffix(uri) for uri in uris})
    formats = {FORMATS.get(suffix, "") for suffix in suffixes}
    if len(formats) != 1 or "" in formats:
        raise errors.InvalidInput(
            f"The files end in {', '.join(suffix or 'nothing' for suffix in suffixes)}",
            subject="files",
            remedy=f"Name files of one kind: {', '.join(FORMATS)}, text also packed ({', '.join(PACKED)}).",
        )
    return formats.pop()


def find_suffix(uri: str) -> str:
    """The suffix that says the format: that before the one of packed text."""
    path = PurePosixPath(uri.lower())
    inner = path.with_suffix("").suffix if path.suffix in PACKED else ""
    return inner if FORMATS.get(inner) in ("csv", "jsonl") else path.suffix
