# requirements: flexcore_base
"""PostgreSQL's own hash of a row, computed from Arrow columns. Shipped as source.

    hash_rows(columns) == [hash_record_extended(ROW(…), 0) for every row] of PostgreSQL 14 and later, as uint64

Their sum does not depend on the order of the rows, and a row that is lost, doubled or changed changes it: the database
computes it by one query over the table, the copy by what it hands on, and nothing of the two ways is shared.

Source: hash_bytes_extended and hash_bytes_uint32_extended in src/common/hashfn.c (Bob Jenkins' lookup3),
hash_record_extended in rowtypes.c, hash_array_extended in arrayfuncs.c, and the types' functions in hashfunc.c.
"""

from __future__ import annotations

from typing import Any

# Rows at a time: what the arithmetic needs then stays in the processor's cache.
CHUNK_ROWS = 1 << 14
MODULUS = 1 << 64
GOLDEN, OFFSET = 0x9E3779B9, 3923095
TAIL_MASKS = (0, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF)
# PostgreSQL counts from 2000 on, Arrow from 1970: days, and microseconds.
EPOCHS = {"date": 10957, "timestamp": 946_684_800_000_000}
FINAL_SHIFTS = (14, 11, 25, 16, 4, 14, 24)
MIX_SHIFTS = (4, 6, 8, 16, 19, 4)


def sum_hashes(hashes: Any) -> int:
    """The sum of row hashes, modulo 2**64."""
    import numpy as np

    return int(hashes.sum(dtype=np.uint64)) if len(hashes) else 0


def hash_rows(columns: list[tuple[Any, str]]) -> Any:
    """uint64 hashes of the rows of (array, kind) columns; see `hash_values` for the kinds."""
    import numpy as np

    total = len(columns[0][0])
    rows = np.zeros(total, np.uint64)
    for start in range(0, total, CHUNK_ROWS):
        part = rows[start : start + CHUNK_ROWS]
        for array, kind in columns:
            part *= np.uint64(31)
            part += hash_column(array.slice(start, CHUNK_ROWS), kind)
    return rows


def hash_column(array: Any, kind: str) -> Any:
    """uint64 hashes of the values; 0 for a null, as a record has it."""
    import numpy as np

    hashes = hash_values(array, kind)
    if array.null_count:
        hashes = np.where(array.is_null().to_numpy(zero_copy_only=False), np.uint64(0), hashes)
    return hashes


def hash_values(array: Any, kind: str) -> Any:
    """kind: int32 (also of smaller ones and flags), int64 (also of times of day), double, bytes (also of text), date,
    timestamp, or list:KIND."""
    import numpy as np

    if kind.startswith("list:"):
        return hash_lists(array, kind.removeprefix("list:"))
    if kind == "bytes":
        return hash_bytes(array)
    if kind == "double":
        return hash_doubles(fixed_values(array).astype(np.float64))
    values = fixed_values(array)
    if kind in EPOCHS:
        values = values - EPOCHS[kind]
    if kind in ("int64", "timestamp"):
        low, high = values.astype(np.uint32), (values >> 32).astype(np.uint32)
        return hash_words(low ^ np.where(values >= 0, high, ~high))
    return hash_words(values.astype(np.int32).view(np.uint32))


def fixed_values(array: Any) -> Any:
    """The values of an array of fixed width as numbers, whatever stands in a null's place."""
    import numpy as np
    import pyarrow as pa

    if pa.types.is_boolean(array.type):
        return array.fill_null(False).to_numpy(zero_copy_only=False)
    if pa.types.is_decimal(array.type):
        # Of a number of 18 digits or less the lower half says it all.
        words = np.frombuffer(array.buffers()[1], np.int64)
        return words[2 * array.offset : 2 * (array.offset + len(array)) : 2]
    width = array.type.bit_width // 8
    dtype = {"f": np.dtype(f"f{width}")}.get("f" if pa.types.is_floating(array.type) else "", np.dtype(f"i{width}"))
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.zeros(len(array), dtype)
    return np.frombuffer(buffer, dtype)[array.offset : array.offset + len(array)]


def hash_doubles(values: Any) -> Any:
    """Both zeros are one, and so are all NaN."""
    import numpy as np

    values = np.where(np.isnan(values), np.float64("nan"), values)
    words = values.view(np.uint32).reshape(-1, 2)
    a, b, c = start_state(np.full(len(values), 8, np.uint32))
    return np.where(values == 0, np.uint64(0), finish_hash(a + words[:, 0], b + words[:, 1], c))


def hash_words(words: Any) -> Any:
    import numpy as np

    a, b, c = start_state(np.full(len(words), 4, np.uint32))
    return finish_hash(a + words, b, c)


def hash_bytes(array: Any) -> Any:
    """Of texts and byte strings: three words of each value at a time, until the last has none left."""
    import numpy as np

    starts, lengths, content = byte_ranges(array)
    a, b, c = start_state(lengths.astype(np.uint32))
    # At every byte begins a word; the padding is for the last ones.
    padded = np.frombuffer(bytes(content) + bytes(12), np.uint8)
    words = np.lib.stride_tricks.as_strided(padded[:4].view("<u4"), (len(padded) - 3,), (1,))
    active = np.flatnonzero(lengths >= 12)
    while len(active):
        at = starts[active]
        mixed = mix_state(a[active] + words[at], b[active] + words[at + 4], c[active] + words[at + 8])
        a[active], b[active], c[active] = mixed
        starts[active] += 12
        lengths[active] -= 12
        active = active[lengths[active] >= 12]
    masks = np.array(TAIL_MASKS, np.uint32)
    a += words[starts] & masks[np.minimum(lengths, 4)]
    b += words[starts + 4] & masks[np.clip(lengths - 4, 0, 4)]
    # The lowest byte of the third word was for the length, once.
    c += (words[starts + 8] & masks[np.clip(lengths - 8, 0, 4)]) << np.uint32(8)
    return finish_hash(a, b, c)


def byte_ranges(array: Any) -> tuple[Any, Any, Any]:
    """(start, length, content) of every value of a text or binary array; a null's length is whatever it is."""
    import numpy as np
    import pyarrow as pa

    is_large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    dtype = np.int64 if is_large else np.int32
    _, offsets, content = array.buffers()
    if not len(array) or offsets is None:
        empty = np.zeros(len(array), np.int64)
        return empty, empty.copy(), b""
    bounds = np.frombuffer(offsets, dtype)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    first, last = int(bounds[0]), int(bounds[-1])
    used = memoryview(content)[first:last] if content is not None else b""
    return bounds[:-1] - first, np.diff(bounds), used


def hash_lists(array: Any, kind: str) -> Any:
    """Of arrays of one dimension: the elements' hashes, combined as those of a record's columns, from 1 on."""
    import numpy as np

    lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    elements = hash_column(array.flatten(), kind)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)[:-1]]) if len(lengths) else lengths
    hashes = np.ones(len(array), np.uint64)
    active, number = np.flatnonzero(lengths > 0), 0
    while len(active):
        hashes[active] = hashes[active] * np.uint64(31) + elements[starts[active] + number]
        number += 1
        active = active[lengths[active] > number]
    return hashes


def start_state(lengths: Any) -> tuple[Any, Any, Any]:
    import numpy as np

    state = lengths + np.uint32(GOLDEN) + np.uint32(OFFSET)
    return state, state.copy(), state.copy()


def rotate(values: Any, by: int) -> Any:
    import numpy as np

    return (values << np.uint32(by)) | (values >> np.uint32(32 - by))


def mix_state(a: Any, b: Any, c: Any) -> tuple[Any, Any, Any]:
    for shift in MIX_SHIFTS:
        a = (a - c) ^ rotate(c, shift)
        c = c + b
        a, b, c = b, c, a
    return a, b, c


def finish_hash(a: Any, b: Any, c: Any) -> Any:
    import numpy as np

    for shift in FINAL_SHIFTS:
        c = (c ^ b) - rotate(b, shift)
        # The next line's c is this one's a, its b this one's c.
        a, b, c = b, c, a
    # After seven turns the names have moved once around and one further.
    a, b, c = c, a, b
    return (b.astype(np.uint64) << np.uint64(32)) | c.astype(np.uint64)
