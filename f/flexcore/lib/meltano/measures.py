# requirements: flexcore_base
"""Rows of a run: what the taps say they emitted against what the files hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from f.flexcore.lib.core import contracts

# rows[tap][stream]
Said = Mapping[str, Mapping[str, int]]


def rows_by_stream(said: Said, output: contracts.DataManifest | None) -> dict[str, int | None]:
    """Rows of each stream: counted in the files, else as the taps say; None when neither could be."""
    found: dict[str, int | None] = {}
    for streams in said.values():
        for name, rows in streams.items():
            found[name] = (found.get(name) or 0) + rows
    if output:
        written = {item.name: item.rows if item.rows is not None else found.get(item.name) for item in output.streams}
        return {**dict.fromkeys(found, 0), **written}
    return found


def total_rows(streams: Mapping[str, int | None], to_files: bool, output: contracts.DataManifest | None) -> int | None:
    """All rows; None when they could not be counted. A file target that wrote no file got none."""
    if to_files and output is None:
        return 0
    known = [rows for rows in streams.values() if rows is not None]
    return sum(known) if known and len(known) == len(streams) else None


def disagreements(said: Said, output: contracts.DataManifest | None) -> dict[str, dict[str, int]]:
    """Streams of which the files hold another number of rows than the taps say."""
    if output is None:
        return {}
    emitted, held = rows_by_stream(said, None), rows_by_stream(said, output)
    return {
        name: {"tap": rows or 0, "files": held[name] or 0}
        for name, rows in emitted.items()
        if held[name] is not None and held[name] != rows
    }


def shared_streams(said: Said) -> dict[str, list[str]]:
    """Streams that more than one tap wrote rows of, with those taps."""
    taps: dict[str, list[str]] = {}
    for tap, streams in said.items():
        for stream, rows in streams.items():
            if rows:
                taps.setdefault(stream, []).append(tap)
    return {stream: names for stream, names in taps.items() if len(names) > 1}


def unread_batches(
    batches: Said, passed: Mapping[str, int | None], output: contracts.DataManifest | None
) -> list[tuple[str, str]]:
    """(tap, stream) whose rows came in files of their own, and of which the target wrote no more than came as rows."""
    held = {item.name: item.rows for item in output.streams} if output else {}
    return [
        (tap, stream)
        for tap, streams in batches.items()
        for stream in streams
        if (rows := held.get(stream, 0)) is not None and rows <= (passed.get(stream) or 0)
    ]
