# requirements: flexcore_benchmark
"""A checksum of a table's rows that no order and no file format changes: how outputs of the race are compared.

A value becomes a 64-bit word (integers, days, microseconds, unscaled decimals as they are, floats as their bits, texts
by a polynomial of their UTF-8 bytes); a row mixes the words of its columns; the rows' words are added, and so are their
squares, mod 2^64. Equal rows in equal number give equal fingerprints; a difference is seen but for one in about 2^64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from f.flexcore.lib.benchmark import results, tables
from f.flexcore.lib.core import errors

Words = np.ndarray[Any, np.dtype[np.uint64]]
# Odd, so that multiplying loses nothing (FNV-1a's prime, and the constants of splitmix64).
PRIME = np.uint64(0x100000001B3)
GOLDEN, MIX_1, MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
NULL = np.uint64(0xD6E8FEB86659FD93)
ARROW_TYPES: dict[tables.Kind, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "text": pa.large_string(),
}


@dataclass(slots=True)
class Fingerprint:
    """Add batches; `marks` says what they held so far. columns: those that are compared; others are passed over."""

    columns: Sequence[tables.Column]
    rows: int = 0
    _sums: Words = field(default_factory=lambda: np.zeros(2, np.uint64))
    _column_sums: dict[str, int] = field(default_factory=dict)

    def add(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Raises DataError for a missing column, and for a value that its column cannot hold."""
        words = np.zeros(batch.num_rows, np.uint64)
        for number, column in enumerate(self.columns):
            if column.name not in batch.schema.names:
                raise errors.DataError(
                    f"The column {column.name} is missing",
                    subject=column.name,
                    remedy=f"It has: {', '.join(batch.schema.names)}.",
                )
            seed = _mix(np.full(1, number + 1, np.uint64))
            mixed = _mix(_hash_column(batch.column(column.name), column) ^ seed)
            total = self._column_sums.get(column.name, 0) + int(mixed.sum(dtype=np.uint64))
            self._column_sums[column.name] = total % 2**64
            words += mixed
        mixed = _mix(words)
        self.rows += batch.num_rows
        self._sums += np.array([mixed.sum(dtype=np.uint64), (mixed * mixed).sum(dtype=np.uint64)], np.uint64)

    @property
    def marks(self) -> results.Marks:
        columns = {name: f"{total:016x}" for name, total in self._column_sums.items()}
        return results.Marks(
            rows=self.rows, whole=f"{int(self._sums[0]):016x}{int(self._sums[1]):016x}", columns=columns
        )


def compute_fingerprint(
    batches: Iterable[pa.RecordBatch | pa.Table], columns: Sequence[tables.Column]
) -> results.Marks:
    fingerprint = Fingerprint(columns)
    for batch in batches:
        fingerprint.add(batch)
    return fingerprint.marks


def _hash_column(values: Any, column: tables.Column) -> Words:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    try:
        words = _to_words(array, column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise errors.DataError(
            f"The column {column.name} holds no {column.kind}: {str(error).splitlines()[0][:200]}",
            subject=column.name,
            remedy=f"It should be {column.type}, and is {array.type}.",
        ) from None
    if array.null_count:
        words[pc.is_null(array).to_numpy(zero_copy_only=False)] = NULL
    return words


def _to_words(array: Any, column: tables.Column) -> Words:
    if column.kind == "decimal":
        return _decimal_words(array, column.scale)
    if column.kind == "text":
        return _text_words(array.cast(pa.large_string()))
    if column.kind in ("timestamp", "timestamptz", "date") and pa.types.is_string(array.type):
        array = _parse_times(array, column.kind)
    if column.kind == "date" and pa.types.is_timestamp(array.type):
        array = _check_midnight(array.cast(pa.timestamp("us")))
    typed = array.cast(ARROW_TYPES[column.kind])
    if column.kind == "bool":
        typed = typed.cast(pa.int64())
    elif column.kind == "date":
        typed = typed.cast(pa.int32()).cast(pa.int64())
    elif column.kind in ("timestamp", "timestamptz"):
        typed = typed.cast(pa.int64())
    filled = typed.fill_null(0) if typed.null_count else typed
    # A copy: what Arrow hands out cannot be written to.
    return np.array(filled.to_numpy(zero_copy_only=False)).view(np.uint64)


def _check_midnight(times: Any) -> Any:
    """Singer's date is a time of midnight; any other is more than a date, and Arrow's cast would cut it off."""
    if pc.any(pc.not_equal(times, times.cast(pa.date32()).cast(pa.timestamp("us")))).as_py():
        raise pa.ArrowInvalid("a time of day")
    return times


def _parse_times(array: Any, kind: tables.Kind) -> Any:
    """ISO 8601 as Singer writes it, with or without an offset; of a date, the day."""
    if kind == "date":
        return pc.utf8_slice_codeunits(array, 0, 10)
    text = pc.replace_substring_regex(array, r"(Z|\+00:?00)$", "")
    return text.cast(pa.timestamp("us")).cast(ARROW_TYPES[kind]) if kind == "timestamp" else _assume_utc(text)


def _assume_utc(text: Any) -> Any:
    return pc.assume_timezone(text.cast(pa.timestamp("us")), "UTC")


def _decimal_words(array: Any, scale: int) -> Words:
    if pa.types.is_floating(array.type):
        # The shortest text of a float is the number that was meant, where it has at most 15 digits.
        array = array.cast(pa.string())
    typed = array.cast(pa.decimal128(38, scale))
    filled = typed.fill_null(0) if typed.null_count else typed
    # 128 bits in two words, the lower one first; the tables' numbers fit into that.
    halves = np.frombuffer(filled.buffers()[1], np.uint64)[2 * filled.offset : 2 * (filled.offset + len(filled))]
    return np.array(halves[::2])


def _text_words(array: Any) -> Words:
    """The polynomial of each text's bytes: the sum of (byte + 1) · PRIME^position."""
    if not len(array):
        return np.zeros(0, np.uint64)
    filled = array.fill_null("") if array.null_count else array
    _, offsets_buffer, data = filled.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[filled.offset : filled.offset + len(filled) + 1]
    lengths = np.diff(offsets)
    words: Words = lengths.astype(np.uint64)
    total = int(offsets[-1] - offsets[0])
    if total:
        bytes_ = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].astype(np.uint64) + np.uint64(1)
        positions = np.arange(total, dtype=np.int64) - np.repeat(offsets[:-1] - offsets[0], lengths)
        terms = bytes_ * _powers(int(lengths.max()))[positions]
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
        words = words + sums[offsets[1:] - offsets[0]] - sums[offsets[:-1] - offsets[0]]
    return words


def _powers(count: int) -> Words:
    return np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(count, PRIME)]), dtype=np.uint64)


def _mix(words: Words) -> Words:
    """splitmix64's finalizer (Steele, Lea, Flood 2014)."""
    mixed = words + GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * MIX_2
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), np.uint64)
