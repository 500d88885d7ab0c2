# requirements: flexcore_base
"""What a file target wrote, as a manifest: files by stream, rows, checksums, columns with their types.

Each file is read once, for its checksum, rows and types together. Columns are those that the data has; a type is the
one that holds what the stream's schemas declare and every value that is there.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.meltano.remote import (
    singer,
)

CHUNK_BYTES = 1 << 20
# What targets put behind a stream's name: the format, and before or behind it a compression.
ENDINGS = re.compile(r"\.(jsonl|json|csv|parquet|gz|bz2|zst|zstd|snappy|lz4|brotli|singer)$", re.IGNORECASE)
# A target that splits by time adds when, and perhaps which part: -20260102T030405, _2026-01-02-1, -1767322800; as a
# plain name has it.
STAMP = re.compile(r"_+(\d{8,}|\d{4}_\d\d_\d\d)([_t]+\d+)*z?(_+\d+)*")
# Values that Python writes and JSON does not know, apart from texts that hold these words.
CONSTANT = re.compile(rb'"(?:[^"\\]|\\.)*"|-?Infinity|NaN')
CONSTANT_WORDS = (b"NaN", b"Infinity")

# stream → column → JSON type, as the schemas declare it ("": they do not say).
DeclaredColumns = Mapping[str, Mapping[str, str]]


@dataclass
class Scan:
    """One file, read. nulled: column → values that were no JSON and are null now."""

    file: contracts.File
    rows: int | None
    columns: dict[str, str]
    nulled: dict[str, int] = field(default_factory=dict)


def build_manifest(
    folder: Path, uri: str, form: str, declared: DeclaredColumns, warnings: list[str] | None = None
) -> contracts.DataManifest | None:
    """The manifest of all files below `folder`, as they are or will be stored at `uri`; None when there are none.

    declared: all streams that the target got, with their columns; warnings: gets what was changed in a file.
    Raises DataError when a file is none of its format.
    """
    paths = sorted(item for item in folder.rglob("*") if item.is_file())
    by_stream: dict[str, list[Path]] = {}
    for path in paths:
        by_stream.setdefault(match_stream(path.relative_to(folder), list(declared)), []).append(path)
    streams = [
        build_stream(name, files, folder, form, declared.get(name, {}), warnings if warnings is not None else [])
        for name, files in by_stream.items()
    ]
    if not streams:
        return None
    rows = [item.rows for item in streams]
    files = [file for item in streams for file in item.files]
    return contracts.DataManifest(
        uri=uri,
        format=form,
        bytes=sum(file.bytes for file in files),
        rows=None if None in rows else sum(row for row in rows if row is not None),
        schema_hash=streams[0].schema_hash
        if len(streams) == 1
        else contracts.schema_hash(
            {f"{item.name}.{name}": kind for item in streams for name, kind in item.columns.items()}
        ),
        checksum=contracts.compute_checksum(files),
        streams=streams,
    )


def match_stream(path: Path, streams: Sequence[str]) -> str:
    """The stream that a file belongs to, of those that the target got. A target may write a stream's name as a folder,
    add a time, or replace what a file's name cannot hold; a file that matches none is a stream of its own name."""
    stems = list(_strip_endings(path.name))
    inner = [f"{path.parent.as_posix()}/{stem}" for stem in stems] if len(path.parts) > 1 else []
    folders = [part.as_posix() for part in list(path.parents)[:-1]] + list(reversed(path.parts[:-1]))
    names = [*inner, *stems, *folders]
    found = next((name for name in names if name in streams), None)
    if found is not None:
        return found
    for spelling in SPELLINGS:
        spelled = {spelling(name) for name in names} - {""}
        if alike := [name for name in streams if spelling(name) in spelled]:
            return max(alike, key=len)
    if stamped := _match_before_time(streams, names):
        return max(stamped, key=len)
    return stems[1] if len(stems) > 1 else stems[0]


def _strip_endings(name: str) -> Iterator[str]:
    """The file's name, then without its endings, one after the other."""
    yield name
    while match := ENDINGS.search(name):
        name = name[: match.start()]
        if name:
            yield name


def _match_before_time(streams: Iterable[str], names: Iterable[str]) -> list[str]:
    """Streams that a name begins with, before a time."""
    return [
        stream
        for stream in streams
        for name in names
        if _plain(name).startswith(_plain(stream)) and STAMP.fullmatch(_plain(name)[len(_plain(stream)) :])
    ]


def mixed_streams(passed: Mapping[str, int | None], output: contracts.DataManifest) -> list[str]:
    """Streams whose rows the target wrote into one file: two names that are one as a file's name, or fewer files of
    other names than streams without one."""
    written = [item.name for item in output.streams]
    missing = [name for name, rows in passed.items() if rows and name not in written]
    for name in missing:
        if twins := [item for item in written if _are_alike(item, name)]:
            return [*twins, *(item for item in missing if _are_alike(item, name))]
    others = [name for name in written if name not in passed]
    return missing if len(missing) > len(others) > 0 else []


def _plain(name: str) -> str:
    return re.sub(r"\W", "_", name).casefold()


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def _without_accents(name: str) -> str:
    return _bare(unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode())


# How targets make a file's name of a stream's: each replaces more than the one before.
SPELLINGS = (_plain, _bare, _without_accents)


def _are_alike(first: str, second: str) -> bool:
    return any(spelling(first) == spelling(second) != "" for spelling in SPELLINGS)


def build_stream(
    name: str, paths: Iterable[Path], folder: Path, form: str, declared: Mapping[str, str], warnings: list[str]
) -> contracts.Stream:
    files: list[contracts.File] = []
    columns: dict[str, str] = {}
    rows: int | None = 0
    nulled: dict[str, int] = {}
    for path in paths:
        scan = SCANS.get(form, scan_other)(path, path.relative_to(folder).as_posix(), declared)
        files.append(scan.file)
        rows = None if rows is None or scan.rows is None else rows + scan.rows
        for column, kind in scan.columns.items():
            columns[column] = singer.widen_type(columns.get(column, ""), kind)
        for column, count in scan.nulled.items():
            nulled[column] = nulled.get(column, 0) + count
    if nulled:
        columns_text = ", ".join(f"{column} ({count:,})" for column, count in nulled.items())
        warnings.append(f"{name}: NaN and Infinity are not JSON and were replaced by null: {columns_text}")
    columns = {column: kind or declared.get(column, "") or "null" for column, kind in columns.items()}
    return contracts.Stream(
        name=name,
        rows=rows,
        bytes=sum(file.bytes for file in files),
        columns=columns,
        schema_hash=contracts.schema_hash(columns) if columns else None,
        files=files,
    )


def scan_jsonl(path: Path, name: str, declared: Mapping[str, str]) -> Scan:
    nulled = replace_constants(path, name) if has_constants(path) else {}
    digest, size, rows = hashlib.sha256(), 0, 0
    seen: dict[str, str] = {}
    # Nearly all rows have the columns and types of one before.
    shapes: set[tuple[Any, ...]] = set()
    with path.open("rb") as source:
        for number, line in enumerate(source, 1):
            digest.update(line)
            size += len(line)
            if line.isspace():
                continue
            rows += 1
            row = parse_row(line, name, number)
            shape = (*row, *map(type, row.values()))
            if shape not in shapes:
                shapes.add(shape)
                for column, value in row.items():
                    seen[column] = singer.widen_type(seen.get(column, ""), singer.JSON_TYPES.get(type(value), ""))
    columns = {column: singer.widen_type(declared.get(column, ""), kind) for column, kind in seen.items()}
    return Scan(contracts.File(path=name, bytes=size, checksum=f"sha256:{digest.hexdigest()}"), rows, columns, nulled)


# Python refuses whole numbers of more than 4300 digits; which number it is does not matter here.
ANY_NUMBER = json.JSONDecoder(parse_int=lambda _: 0)


def parse_row(line: bytes, name: str, number: int) -> dict[str, Any]:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        row = json.loads(text) if len(text) < 4300 else ANY_NUMBER.decode(text)
    except ValueError as error:
        raise errors.DataError(
            f"{name}, which the target wrote, is not JSON in line {number}: {error}",
            subject=name,
            remedy="Extract it again, or use another target or another version of it.",
        ) from None
    if not isinstance(row, dict):
        raise errors.DataError(
            f"{name}, which the target wrote, has {type(row).__name__} in place of a row in line {number}",
            subject=name,
            remedy="Use a target that writes one JSON object for each row.",
        )
    return row


def has_constants(path: Path) -> bool:
    with path.open("rb") as source:
        rest = b""
        while block := source.read(CHUNK_BYTES):
            if any(word in rest + block for word in CONSTANT_WORDS):
                return True
            rest = block[-8:]
    return False


def replace_constants(path: Path, name: str) -> dict[str, int]:
    """Makes NaN and Infinity null, and leaves every other character as it is. Returns column → how many."""
    part = path.with_name(f"{path.name}.part")
    nulled: dict[str, int] = {}
    with path.open("rb") as source, part.open("wb") as target:
        for number, line in enumerate(source, 1):
            if any(word in line for word in CONSTANT_WORDS):
                for column, value in parse_row(line, name, number).items():
                    if count := count_constants(value):
                        nulled[column] = nulled.get(column, 0) + count
                line = CONSTANT.sub(lambda found: found[0] if found[0].startswith(b'"') else b"null", line)
            target.write(line)
    part.replace(path)
    return nulled


def count_constants(value: Any) -> int:
    if isinstance(value, dict | list):
        return sum(map(count_constants, value.values() if isinstance(value, dict) else value))
    return int(isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))))


def scan_csv(path: Path, name: str, declared: Mapping[str, str]) -> Scan:
    file, lines = scan_bytes(path, name, quoted=True)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as source:
        reader = csv.reader(source)
        names = next(reader, [])
        kinds = [declared.get(column) or "string" for column in names]
        for cells in reader:
            for at, (kind, cell) in enumerate(zip(kinds, cells, strict=False)):
                if kind in CELL_CHECKS and cell and not CELL_CHECKS[kind](cell):
                    kinds[at] = "number" if kind == "integer" and is_number(cell) else "string"
    return Scan(file, max(lines - 1, 0), dict(zip(names, kinds, strict=True)))


def scan_other(path: Path, name: str, declared: Mapping[str, str]) -> Scan:
    return Scan(
        scan_bytes(path, name, quoted=False)[0], None, {column: kind or "string" for column, kind in declared.items()}
    )


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# Declared type → whether a cell of a CSV file holds such a value; of any other type a cell holds the text.
CELL_CHECKS: dict[str, Callable[[str], bool]] = {
    "integer": lambda cell: bool(re.fullmatch(r"\s*[+-]?\d+\s*", cell)),
    "number": is_number,
    "boolean": lambda cell: cell.strip().casefold() in ("true", "false", "0", "1"),
}
SCANS = {"jsonl": scan_jsonl, "csv": scan_csv}


def scan_bytes(path: Path, name: str, quoted: bool) -> tuple[contracts.File, int]:
    """A file's manifest entry and its lines; `quoted`: a line break between double quotes belongs to a value."""
    digest, size, lines, inside, last = hashlib.sha256(), 0, 0, False, b"\n"
    with path.open("rb") as source:
        while block := source.read(CHUNK_BYTES):
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
    return contracts.File(path=name, bytes=size, checksum=f"sha256:{digest.hexdigest()}"), lines
