# requirements: flexcore_base
"""Bytes and text of a stream's files, and what every format of them needs. Shipped as source."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import Any

from f.flexcore.lib.ray.remote import shared_storage

Json = dict[str, Any]
BLOCK_BYTES = 16 << 20
# What a column of text was: nested values as JSON, or values of several types.
MARK = b"flexcore"
BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
GZIP = b"\x1f\x8b"


def get_mark(field: Any) -> str:
    return str((field.metadata or {}).get(MARK, b"").decode())


def line_problem(name: str, line: int, cause: str, remedy: str) -> shared_storage.Problem:
    return shared_storage.Problem("DataError", f"{name} line {line}: {cause}", name, remedy, line=line)


def read_text_blocks(fs: Any, path: str) -> Iterator[bytes]:
    """A text file's content as UTF-8, uncompressed and without a byte order mark."""
    import pyarrow as pa

    stream = fs.open_input_stream(path, compression="detect")
    first = stream.read(BLOCK_BYTES)
    if first.startswith(GZIP):
        stream = pa.CompressedInputStream(pa.PythonFile(JoinedStream(first, stream), "r"), "gzip")
        first = stream.read(BLOCK_BYTES)
    encoding, mark = detect_encoding(first)
    decode = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)()
    block = first[mark:]
    while block:
        yield block if decode is None else decode.decode(block).encode()
        block = stream.read(BLOCK_BYTES)


def detect_encoding(head: bytes) -> tuple[str, int]:
    """(encoding, length of the byte order mark); text without one is UTF-16 when every other byte is zero."""
    for mark, encoding in BOMS.items():
        if head.startswith(mark):
            return encoding, len(mark)
    if len(head) >= 4 and head[0] and not head[1] and not head[3]:
        return "utf-16-le", 0
    if len(head) >= 4 and not head[0] and head[1] and not head[2]:
        return "utf-16-be", 0
    return "utf-8", 0


class JoinedStream(io.RawIOBase):
    """What was read already, and then the rest of a stream or of blocks."""

    def __init__(self, first: bytes, rest: Any) -> None:
        self.block, self.rest = first, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.block:
            self.block = self.rest.read(BLOCK_BYTES) if hasattr(self.rest, "read") else next(self.rest, b"")
            if not self.block:
                return 0
        size = min(len(buffer), len(self.block))
        buffer[:size], self.block = self.block[:size], self.block[size:]
        return size


def check_text(block: bytes, name: str, lines_before: int) -> None:
    """Raises for bytes that are not UTF-8."""
    if block.isascii():
        return
    try:
        block.decode()
    except UnicodeDecodeError as error:
        line = lines_before + block.count(b"\n", 0, error.start) + 1
        raise line_problem(
            name, line, f"the byte 0x{block[error.start]:02x} is not UTF-8", "Save the file as UTF-8 (or UTF-16)."
        ) from None


def make_empty_columns(rows: int) -> Any:
    """A table without columns that still has rows."""
    import pyarrow as pa

    return pa.table({"": pa.nulls(rows)}).select([])
