# requirements: flexcore_base
# py: ==3.11.*
"""Rows of a run: what the taps say they emitted against what the files hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from f.flexcore.core.contracts import DataManifest

# rows[tap][stream]
Said = Mapping[str, Mapping[str, int]]


def rows_by_stream(said: Said, output: DataManifest | None) -> dict[str, int | None]:
    """Rows of each stream: counted in the files, else as the taps say; None when neither could be."""
    found: dict[str, int | None] = {}
    for streams in said.values():
        for name, rows in streams.items():
            found[name] = (found.get(name) or 0) + rows
    for item in output.streams if output else []:
        found[item.name] = item.rows if item.rows is not None else found.get(item.name)
    return found


def total_rows(streams: Mapping[str, int | None], to_files: bool, output: DataManifest | None) -> int | None:
    """All rows; None when they could not be counted. A file target that wrote no file got none."""
    if to_files and output is None:
        return 0
    known = [rows for rows in streams.values() if rows is not None]
    return sum(known) if known and len(known) == len(streams) else None


def disagreements(said: Said, output: DataManifest | None) -> dict[str, dict[str, int]]:
    """Streams of which the files hold another number of rows than the taps say."""
    emitted = rows_by_stream(said, None)
    return {
        item.name: {"tap": emitted[item.name] or 0, "files": item.rows}
        for item in (output.streams if output else [])
        if item.name in emitted and item.rows is not None and item.rows != emitted[item.name]
    }


def shared_streams(said: Said) -> dict[str, list[str]]:
    """Streams that more than one tap wrote rows of, with those taps."""
    taps: dict[str, list[str]] = {}
    for tap, streams in said.items():
        for stream, rows in streams.items():
            if rows:
                taps.setdefault(stream, []).append(tap)
    return {stream: names for stream, names in taps.items() if len(names) > 1}
