# requirements: flexcore_base
"""JSON files as tables: one object per line, or one array of objects. Shipped as source.

Arrow reads what it would not change; the rest is read value by value, into a type that holds all values of a column.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from f.flexcore.lib.ray.remote import file_blocks, shared_storage
from f.flexcore.lib.serving import column_kinds

Json = dict[str, Any]
# Deeper values are read as null: whoever reads them calls itself for each level.
MAX_DEPTH = 100
# More digits than Python reads as an integer are beyond any number of a model.
MAX_DIGITS = 4300
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')
# Integers that may be beyond 64 bits, which Arrow would take for fractions and round.
LONG_INTEGER = re.compile(rb"[:\[,]\s*-?\d{19,}\s*[,}\]]")
INT64, UINT64 = (-(2**63), 2**63 - 1), (0, 2**64 - 1)


def read_json_tables(
    fs: Any, path: str, name: str, columns: list[str] | None, declared: list[str]
) -> Iterator[tuple[Any, Json]]:
    """One object per line, or one array of objects."""
    lines, texts_known = 0, set(declared)
    for block in split_whole_lines(file_blocks.read_text_blocks(fs, path)):
        file_blocks.check_text(block, name, lines)
        if not lines and block.lstrip().startswith(b"["):
            rest = b"".join([block, *split_whole_lines(file_blocks.read_text_blocks(fs, path), skip=len(block))])
            yield make_table_of_rows(parse_array(rest, name), columns, name)
            return
        table = read_with_arrow(block, texts_known)
        if table is None:
            yield make_table_of_rows(parse_lines(block, name, lines), columns, name)
        else:
            taken = [item for item in table.column_names if columns is None or item in columns]
            yield (
                (table.select(taken) if taken else file_blocks.make_empty_columns(table.num_rows)),
                {"columns": table.column_names},
            )
        lines += block.count(b"\n") + (not block.endswith(b"\n"))


def split_whole_lines(blocks: Iterator[bytes], skip: int = 0) -> Iterator[bytes]:
    """The blocks cut at ends of lines; `skip` bytes are left out."""
    rest, block = b"", next(blocks, b"")
    while block:
        following = next(blocks, b"")
        block, skip = block[skip:], max(0, skip - len(block))
        head, end, tail = block.rpartition(b"\n") if following else (block, b"", b"")
        if end or not following:
            yield rest + head + end
            rest = tail
        else:
            rest += block
        block = following


def read_with_arrow(block: bytes, texts_known: set[str]) -> Any:
    """The table as Arrow reads it; None when a column is of several types, or of one that Arrow would change. Text that
    Arrow takes for points in time stays text, and is remembered as such."""
    import pyarrow as pa
    import pyarrow.json

    if LONG_INTEGER.search(block) or may_be_deep(block):
        return None
    while True:
        schema = pa.schema([(name, pa.string()) for name in sorted(texts_known) if name])
        options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer")
        reading = pa.json.ReadOptions(use_threads=False, block_size=max(len(block) + 1, 1 << 16))
        try:
            table = pa.json.read_json(io.BytesIO(block), reading, options)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
        times = {field.name for field in table.schema if pa.types.is_timestamp(field.type)}
        if not times:
            break
        texts_known |= times
    if "" in table.column_names or table.num_rows == 0 or has_times(table.schema):
        return None
    # Arrow puts the columns that it was told of first; the order of the file is the order of the model's inputs.
    first = [name for name in parse_first_names(block) if name in table.column_names]
    table = table.select([*first, *(name for name in table.column_names if name not in first)])
    return table


def parse_first_names(block: bytes) -> list[str]:
    """The names in the first line, in order; none when an object is spread over several lines."""
    try:
        return list(json.loads(block.lstrip().split(b"\n", 1)[0]))
    except (ValueError, RecursionError):
        return []


def may_be_deep(block: bytes) -> bool:
    """Whether a line may be nested so deeply that Arrow's parser, which calls itself for each level, would crash."""
    opened, lines = block.count(b"[") + block.count(b"{"), block.count(b"\n") + 1
    if opened <= lines or opened < MAX_DEPTH:
        return False
    return any(line.count(b"[") + line.count(b"{") > MAX_DEPTH for line in block.split(b"\n"))


def has_times(schema: Any) -> bool:
    """Whether Arrow read text inside of nested values as points in time."""
    return "timestamp" in str([field.type for field in schema])


def parse_lines(block: bytes, name: str, lines: int) -> Iterator[tuple[int, list[tuple[str, Any]]]]:
    """(line, pairs) of each object. Raises a DataError that names the line that holds none."""
    for number, line in enumerate(block.split(b"\n"), lines + 1):
        text = line.decode().strip()
        if not text:
            continue
        try:
            value = DECODER.decode(cut_deep_values(text))
        except (json.JSONDecodeError, RecursionError) as error:
            raise json_problem(error, name, number) from None
        if not isinstance(value, Pairs):
            raise file_blocks.line_problem(
                name, number, f"it holds {describe_json_type(value)} where an object is needed", ONE_PER_LINE
            )
        yield number, value.pairs


ONE_PER_LINE = "Write one JSON object for each row, on a line of its own."


def json_problem(error: json.JSONDecodeError | RecursionError, name: str, line: int) -> shared_storage.Problem:
    if isinstance(error, RecursionError):
        return file_blocks.line_problem(
            name, line, "its values are nested too deeply", "Extract the column flat, or leave it out."
        )
    # The first object of a file that is spread over lines looks as if it ended too early.
    return file_blocks.line_problem(
        name, line, f"it is not valid JSON at column {error.colno}: {error.msg}", ONE_PER_LINE
    )


def describe_json_type(value: Any) -> str:
    kinds = {list: "an array", str: "a text", bool: "a flag", int: "a number", float: "a number", type(None): "null"}
    return kinds[type(value)]


def parse_array(content: bytes, name: str) -> Iterator[tuple[int, list[tuple[str, Any]]]]:
    try:
        rows = DECODER.decode(cut_deep_values(content.decode().strip()))
    except json.JSONDecodeError as error:
        raise file_blocks.line_problem(
            name, error.lineno, f"it is not valid JSON at column {error.colno}: {error.msg}", ONE_PER_LINE
        ) from None
    except RecursionError as error:
        raise json_problem(error, name, 1) from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Pairs):
            raise file_blocks.line_problem(
                name, 1, f"item {number} of its array is {describe_json_type(row)}, not an object", ONE_PER_LINE
            )
        yield number, row.pairs


def cut_deep_values(text: str) -> str:
    """The JSON text with null for what is nested deeper than MAX_DEPTH."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return text
    kept, start, depth = list[str](), 0, 0
    for token in TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept.append(text[start : token.start()] + "null")
        elif token[0] in "]}":
            if depth == MAX_DEPTH + 1:
                start = token.end()
            depth -= 1
    # Of what is never closed the reader says where.
    return text if depth or not kept else "".join(kept) + text[start:]


def parse_whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


class Pairs:
    """A JSON object as it is written: a name may stand in it twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs

    def plain(self) -> Json:
        return {name: to_plain(value) for name, value in self.pairs}


DECODER = json.JSONDecoder(object_pairs_hook=Pairs, parse_constant=lambda _: None, parse_int=parse_whole_number)


def to_plain(value: Any) -> Any:
    if isinstance(value, Pairs):
        return value.plain()
    return [to_plain(item) for item in value] if isinstance(value, list) else value


def make_table_of_rows(
    rows: Iterator[tuple[int, list[tuple[str, Any]]]], columns: list[str] | None, name: str
) -> tuple[Any, Json]:
    """(table, facts) of parsed rows, column by column, each with a type that holds all its values."""
    wanted = None if columns is None else set(columns)
    cells, twice, names, count = dict[str, list[Any]](), dict[str, str](), dict[str, None](), 0
    for number, pairs in rows:
        seen = set[str]()
        for key, value in pairs:
            if key in seen:
                twice.setdefault(key, f"{name} line {number} has it twice")
            seen.add(key)
            names[key] = None
            if wanted is None or key in wanted:
                column = cells.setdefault(key, [])
                column += [None] * (count - len(column))
                # The last of two counts, as everywhere; whether it may be used is decided by the facts.
                column[count:] = [value]
        count += 1
    return make_table({key: column + [None] * (count - len(column)) for key, column in cells.items() if key}, count), {
        "columns": list(names),
        "twice": {key: where for key, where in twice.items() if wanted is None or key in wanted},
        "notes": [f"{name} has values without a name; they are left out"] if "" in cells else [],
    }


def make_table(cells: dict[str, list[Any]], rows: int) -> Any:
    """A table of Python's values."""
    import pyarrow as pa

    fields, arrays = [], []
    for name, column in cells.items():
        array, mark = make_array(column)
        fields.append(pa.field(name, array.type, metadata={file_blocks.MARK: mark.encode()} if mark else None))
        arrays.append(array)
    if not arrays:
        return file_blocks.make_empty_columns(rows)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def make_array(column: list[Any]) -> tuple[Any, str]:
    """(array, mark): of the one type that all values have, or of the text of each, marked nested or mixed."""
    import pyarrow as pa

    kinds = {type(value) for value in column} - {type(None)}
    if kinds & {list, Pairs, dict}:
        return pa.array([column_kinds.format_json(to_plain(value)) for value in column], pa.string()), "nested"
    if kinds == {int}:
        low, high = (
            min(value for value in column if value is not None),
            max(value for value in column if value is not None),
        )
        for (lowest, highest), kind in ((INT64, pa.int64()), (UINT64, pa.uint64())):
            if lowest <= low and high <= highest:
                return pa.array(column, kind), ""
        return pa.array([None if value is None else str(value) for value in column], pa.string()), ""
    if kinds and kinds <= {int, float}:
        return pa.array([to_float(value) for value in column], pa.float64()), ""
    if kinds == {bool}:
        return pa.array(column, pa.bool_()), ""
    return pa.array([format_scalar(value) for value in column], pa.string()), "mixed" if len(kinds) > 1 else ""


def to_float(value: int | float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except OverflowError:
        return float("inf") if value and value > 0 else float("-inf")


def format_scalar(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        # Half of a surrogate pair is JSON, but no text.
        return value if value is None else value.encode("utf-8", "replace").decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else column_kinds.format_number(value)
