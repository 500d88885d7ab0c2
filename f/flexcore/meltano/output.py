# requirements: flexcore_base
# py: ==3.11.*
"""What a file target wrote, as a manifest: files by stream, rows, checksums, columns with their types.

Each file is read once, for its checksum and its rows together. Columns are those that the data has; their types come
from the tap's catalog (JSON Schema), else from the first rows.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from f.flexcore.core.contracts import DataManifest, File, Stream
from f.flexcore.core.manifests import checksum_of, schema_hash

CHUNK = 1 << 20
# Rows looked at for the names of columns: a jsonl row leaves out what it has no value for.
SAMPLE_ROWS = 200
# Of the rows after these every so many is looked at: a column may come late, and whole numbers may get fractions.
SAMPLE_EVERY = 25
TIMESTAMP = re.compile(r"[-_]\d{8}(T\d{6}|[-_]\d{6})?Z?([-_]\d+)*$")
JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object", list: "array"}
Schemas = Mapping[str, Mapping[str, Any]]


def manifest_of(folder: Path, uri: str, form: str, schemas: Schemas) -> DataManifest | None:
    """The manifest of all files below `folder`, as they are or will be stored at `uri`; None when there are none.

    schemas: stream → JSON Schema properties, from the catalogs.
    """
    by_stream: dict[str, list[Path]] = {}
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        by_stream.setdefault(stream_of(path.relative_to(folder), schemas), []).append(path)
    streams = [stream(name, paths, folder, form, schemas.get(name, {})) for name, paths in by_stream.items()]
    if not streams:
        return None
    rows = [item.rows for item in streams]
    files = [file for item in streams for file in item.files]
    return DataManifest(
        uri=uri,
        format=form,
        bytes=sum(file.bytes for file in files),
        rows=None if None in rows else sum(row for row in rows if row is not None),
        schema_hash=streams[0].schema_hash if len(streams) == 1 else schema_hash(
            {f"{item.name}.{name}": kind for item in streams for name, kind in item.columns.items()}
        ),
        checksum=checksum_of(files),
        streams=streams,
    )  # fmt: skip


def stream_of(path: Path, schemas: Schemas) -> str:
    """The stream that a file belongs to: its folder's or its own name without a time stamp."""
    stem = path.name.split(".")[0]
    names = [*reversed(path.parts[:-1]), path.name.rsplit(".", 1)[0], stem, TIMESTAMP.sub("", stem)]
    return next((name for name in names if name in schemas), names[-1] or path.name)


def stream(name: str, paths: Iterable[Path], folder: Path, form: str, properties: Mapping[str, Any]) -> Stream:
    files: list[File] = []
    columns: dict[str, str] = {}
    rows = 0
    counted = form in ("jsonl", "csv")
    for path in paths:
        file, lines = scan(path, path.relative_to(folder).as_posix(), quoted=form == "csv")
        files.append(file)
        rows += max(lines - 1, 0) if form == "csv" else lines
        columns |= {key: kind for key, kind in columns_of(path, form, properties).items() if key not in columns}
    return Stream(
        name=name,
        rows=rows if counted else None,
        bytes=sum(file.bytes for file in files),
        columns=columns,
        schema_hash=schema_hash(columns) if columns else None,
        files=files,
    )


def scan(path: Path, name: str, quoted: bool) -> tuple[File, int]:
    """A file's manifest entry and its lines; `quoted`: a line break between double quotes belongs to a value."""
    digest, size, lines, inside, last = hashlib.sha256(), 0, 0, False, b"\n"
    with path.open("rb") as source:
        while block := source.read(CHUNK):
            digest.update(block)
            size += len(block)
            last = block[-1:]
            if not quoted:
                lines += block.count(b"\n")
                continue
            for number, part in enumerate(block.split(b'"')):
                inside = inside if number == 0 else not inside
                lines += 0 if inside else part.count(b"\n")
    lines += last != b"\n"
    return File(path=name, bytes=size, checksum=f"sha256:{digest.hexdigest()}"), lines


def columns_of(path: Path, form: str, properties: Mapping[str, Any]) -> dict[str, str]:
    """Column → JSON type, in the order of the data."""
    if form == "csv":
        with path.open(encoding="utf-8", newline="") as source:
            names = next(csv.reader(source), [])
        return {name: json_type(properties.get(name)) or "string" for name in names}
    if form != "jsonl":
        return {name: json_type(schema) or "string" for name, schema in properties.items()}
    found: dict[str, str] = {}
    with path.open(encoding="utf-8") as source:
        for number, line in enumerate(source):
            if number >= SAMPLE_ROWS and number % SAMPLE_EVERY:
                continue
            for name, value in json.loads(line).items():
                seen = json_type(properties.get(name)) or JSON_TYPES.get(type(value), "")
                found[name] = wider(found.get(name, ""), seen)
    return {name: kind or "null" for name, kind in found.items()}


def wider(first: str, second: str) -> str:
    if not first or not second or first == second:
        return first or second
    return "number" if {first, second} == {"integer", "number"} else "string"


def json_type(schema: Any) -> str:
    """The one type of a JSON Schema property besides null; empty when it does not say."""
    if not isinstance(schema, Mapping):
        return ""
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds or [])
    for choice in [*(schema.get("anyOf") or []), *(schema.get("oneOf") or [])]:
        kinds += [json_type(choice)]
    return next((kind for kind in kinds if kind and kind != "null"), "")


def catalog_schemas(path: Path) -> dict[str, Mapping[str, Any]]:
    """Stream → JSON Schema properties of a Singer catalog file; {} when there is none."""
    try:
        streams = json.loads(path.read_text(encoding="utf-8")).get("streams") or []
    except (OSError, ValueError, AttributeError):
        return {}
    found = {}
    for item in streams:
        properties = (item.get("schema") or {}).get("properties") or {}
        for name in (item.get("stream"), item.get("tap_stream_id")):
            if name:
                found[str(name)] = properties
    return found
