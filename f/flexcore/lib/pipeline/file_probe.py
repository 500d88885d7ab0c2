# requirements: flexcore_pipeline
"""Amount of data in files: bytes by listing, rows by counting small files and sampling large ones.

Rows are counted where they are lines (CSV, TSV, JSON lines); of others (Parquet, compressed files) bytes alone are
known.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.selection import analysis
from f.flexcore.lib.storage import object_store

# A listing of S3 brings 1,000 names at a time: this many take some seconds.
MAX_FILES = 20_000
# Enough rows for an average, and read from S3 within a second.
SAMPLE_BYTES = 1 << 20
MAX_SAMPLED_FILES = 5
DELIMITERS = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson", ".singer")
Listed = Sequence[tuple[str, int]]


def measure_files(uri: str, settings: resources.Settings, base: Path | None = None) -> analysis.Part:
    """All files that `uri` names: one file, a folder, or a glob; a path without a scheme is the worker's, below `base`.

    Raises NotFound when there are none, and the store's errors (Forbidden, Unreachable).
    """
    full = make_absolute(uri, base)
    store = object_store.Store(settings.model_copy(update={"storage_uri": find_root(full)}))
    files = store.listing(full, MAX_FILES)
    if not files:
        raise errors.NotFound(
            f"{uri} matches no file", subject=uri, remedy="Correct the path, or let this worker read it."
        )
    rows, is_sure, note = count_rows(store, files)
    return analysis.Part(
        place=uri,
        bytes=sum(size for _, size in files),
        bytes_source="measured",
        rows=rows,
        rows_source="not measured" if rows is None else "measured" if is_sure else "estimated",
        detail=", ".join(filter(None, [f"{len(files)} file{'s' if len(files) != 1 else ''}", note])),
    )


def make_absolute(uri: str, base: Path | None = None) -> str:
    if "://" in uri:
        return uri
    path = Path(uri).expanduser()
    return f"file://{path if path.is_absolute() else (base or Path.cwd()) / path}"


def find_root(uri: str) -> str:
    """The store that a URI is in: the bucket, or the folder itself."""
    scheme, _, rest = uri.partition("://")
    return uri if scheme == "file" else f"{scheme}://{rest.split('/', 1)[0]}"


def count_rows(store: object_store.Store, files: Listed) -> tuple[int | None, bool, str]:
    """(rows, whether they were all counted, what to say about it)."""
    kinds: dict[str, list[tuple[str, int]]] = {}
    for uri, size in files:
        kinds.setdefault(PurePosixPath(uri).suffix.lower(), []).append((uri, size))
    uncounted = [kind or "no suffix" for kind in kinds if kind not in DELIMITERS and kind not in LINES]
    if uncounted:
        return None, False, f"rows of {', '.join(sorted(uncounted))} are not counted"
    rows, is_sure = 0, True
    for kind, group in kinds.items():
        count, is_whole = _count_rows_of_kind(store, kind, group)
        if count is None:
            return None, False, "no whole row within the first MiB"
        rows, is_sure = rows + count, is_sure and is_whole
    return rows, is_sure, "" if is_sure else "rows by a sample"


def _count_rows_of_kind(store: object_store.Store, kind: str, group: Listed) -> tuple[int | None, bool]:
    largest = sorted(group, key=lambda item: item[1], reverse=True)[:MAX_SAMPLED_FILES]
    sampled_bytes = rows = 0
    is_whole = len(largest) == len(group)
    for uri, size in largest:
        text = store.head(uri, SAMPLE_BYTES)
        is_complete = len(text) >= size
        is_whole = is_whole and is_complete
        # The last line of a part is cut off.
        part = text if is_complete else text[: text.rfind(b"\n") + 1]
        rows += count_lines(kind, part)
        sampled_bytes += len(part)
    if is_whole:
        return rows, True
    return (
        (round(sum(size for _, size in group) * rows / sampled_bytes), False)
        if rows and sampled_bytes
        else (None, False)
    )


def count_lines(kind: str, content: bytes) -> int:
    """Rows in a text; a CSV's header is none, and its quoted line breaks end none."""
    if kind in DELIMITERS:
        text = io.StringIO(content.decode("utf-8", errors="replace"), newline="")
        return max(0, sum(1 for row in csv.reader(text, delimiter=DELIMITERS[kind]) if row) - 1)
    return sum(1 for line in content.splitlines() if line.strip())
