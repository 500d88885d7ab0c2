# requirements: flexcore_base
"""The files of a stream as parts that no type has to be agreed on for. Shipped as source.

    read(source, columns) → one row per part: {file, part, facts (JSON), schema, table (as an Arrow stream)}

A part is some megabytes of one file. Its table has the types that are in these rows; what the whole column is, is
decided from all parts' profiles (see on_ray_table). So a column may be null in one file and text in another, or hold
both, and a column that is not asked for cannot stop anything. What makes a file unreadable is told with its line, as a
fact of its part: the first one in the order of the files counts.

facts: {rows, profile: column → profile, columns: all names, twice: column → where, notes, error, name: of the file}
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from f.flexcore.lib.ray.remote import column_kinds, shared_storage

Json = dict[str, Any]
BLOCK_BYTES = 16 << 20
# Rows of a Parquet part, of which the bytes are not known before.
BLOCK_ROWS = 200_000
# A header longer than this is no header.
HEADER_BYTES = 1 << 20
# What a column of text was: nested values as JSON, or values of several types.
MARK = b"flexcore"
# Deeper values are read as null: whoever reads them calls itself for each level.
MAX_DEPTH = 100
# More digits than Python reads as an integer are beyond any number of a model.
MAX_DIGITS = 4300
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')
# What spreadsheets write for no value; words that may be a class (NA) are counted first, see column_kinds.MISSING.
NULLS = ["", "#N/A", "#N/A N/A", "#NA", "n/a", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"]
DELIMITERS = ",;\t|"
# Integers that may be beyond 64 bits, which Arrow would take for fractions and round.
LONG_INTEGER = re.compile(rb"[:\[,]\s*-?\d{19,}\s*[,}\]]")
INT64, UINT64 = (-(2**63), 2**63 - 1), (0, 2**64 - 1)
BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
GZIP = b"\x1f\x8b"


def read(source: Json, store: shared_storage.RemoteStore, columns: list[str] | None, cpus: float) -> Any:
    """The parts of all files as a dataset in memory; `columns` None reads them all."""
    import ray.data

    form = format_of(source)
    declared = [name for name, kind in source["columns"].items() if kind == "string"]
    items = [
        {"number": number, "uri": f"{source['uri']}/{item['path']}", "name": item["path"]}
        for number, item in enumerate(source["files"])
    ]
    files = ray.data.from_items(items, override_num_blocks=len(items))
    return files.map_batches(
        Parts(store.storage, form, columns, declared), batch_format="pyarrow", batch_size=1, num_cpus=cpus
    ).materialize()


def format_of(source: Json) -> str:
    """parquet, csv or jsonl, by the manifest or else by the files' names."""
    names = [source["format"].lower(), *(item["path"].lower() for item in source["files"][:1])]
    for form, words in {"parquet": ("parquet",), "csv": ("csv",), "jsonl": ("json", "singer")}.items():
        if any(word in name for word in words for name in names):
            return form
    raise shared_storage.Problem(
        "InvalidInput",
        f"The data's format {source['format']!r} cannot be trained on",
        "source.format",
        "Extract with a target that writes jsonl, csv or parquet.",
    )


class Parts:
    """Called with one file, yields its parts; a failure is a last part that says so."""

    def __init__(self, storage: Json, form: str, columns: list[str] | None, declared: list[str]) -> None:
        self.storage, self.form, self.columns, self.declared = storage, form, columns, declared

    def __call__(self, batch: Any) -> Iterator[Any]:
        for item in batch.to_pylist():
            number = 0
            try:
                for number, (table, facts) in enumerate(self.tables(item)):
                    yield part_row(item, number, table, facts)
            except Exception as error:
                yield part_row(item, number + 1, None, {"error": problem_of(error, item["name"]).flexcore})

    def tables(self, item: Json) -> Iterator[tuple[Any, Json]]:
        store = shared_storage.RemoteStore(self.storage)
        path, name = store.path(item["uri"]), item["name"]
        if self.form == "parquet":
            yield from parquet_tables(store.fs, path, name, self.columns)
        elif self.form == "csv":
            yield from csv_tables(store.fs, path, name, self.columns)
        else:
            yield from json_tables(store.fs, path, name, self.columns, self.declared)


def part_row(item: Json, part: int, table: Any, facts: Json) -> Any:
    import pyarrow as pa

    facts = {"rows": 0, "profile": {}, "columns": [], "twice": {}, "notes": [], "error": None, **facts}
    facts["name"], content, schema = item["name"], b"", b""
    if table is not None:
        facts["rows"] = table.num_rows
        facts["profile"] = {
            field.name: column_kinds.profile_column(table[field.name], mark_of(field)) for field in table.schema
        }
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        content, schema = sink.getvalue().to_pybytes(), table.schema.serialize().to_pybytes()
    return pa.table(
        {
            "file": pa.array([item["number"]], pa.int64()),
            "part": pa.array([part], pa.int64()),
            "facts": pa.array([json.dumps(facts)], pa.string()),
            "schema": pa.array([schema], pa.large_binary()),
            "table": pa.array([content], pa.large_binary()),
        }
    )


def open_part(content: bytes) -> Any:
    """The table of a part; None when the part says only that its file cannot be read."""
    import pyarrow as pa

    return pa.ipc.open_stream(content).read_all() if content else None


def mark_of(field: Any) -> str:
    return str((field.metadata or {}).get(MARK, b"").decode())


def problem_of(error: Exception, name: str) -> shared_storage.Problem:
    """What is wrong with a file, without a word of what stands in it."""
    if isinstance(error, shared_storage.Problem):
        return error
    text = (str(error).splitlines() or [""])[0]
    if "AWS Error" in text or isinstance(error, (FileNotFoundError, PermissionError)):
        remedy = "Check that the store can be reached from the Ray nodes, then run again."
        return shared_storage.Problem(
            "Unreachable", f"{name} cannot be read from the store: {text[:300]}", name, remedy
        )
    return shared_storage.Problem(
        "DataError",
        f"{name} cannot be read: {type(error).__name__}: {text[:300]}",
        name,
        "Check that the file is whole and of the format that its name says.",
    )


def unfit(name: str, line: int, cause: str, remedy: str) -> shared_storage.Problem:
    return shared_storage.Problem("DataError", f"{name} line {line}: {cause}", name, remedy, line=line)


# Bytes ---------------------------------------------------------------------------------------------------------------


def text_blocks(fs: Any, path: str) -> Iterator[bytes]:
    """A text file's content as UTF-8, uncompressed and without a byte order mark."""
    import pyarrow as pa

    stream = fs.open_input_stream(path, compression="detect")
    first = stream.read(BLOCK_BYTES)
    if first.startswith(GZIP):
        stream = pa.CompressedInputStream(pa.PythonFile(Joined(first, stream), "r"), "gzip")
        first = stream.read(BLOCK_BYTES)
    encoding, mark = encoding_of(first)
    decode = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)()
    block = first[mark:]
    while block:
        yield block if decode is None else decode.decode(block).encode()
        block = stream.read(BLOCK_BYTES)


def encoding_of(head: bytes) -> tuple[str, int]:
    """(encoding, length of the byte order mark); text without one is UTF-16 when every other byte is zero."""
    for mark, encoding in BOMS.items():
        if head.startswith(mark):
            return encoding, len(mark)
    if len(head) >= 4 and head[0] and not head[1] and not head[3]:
        return "utf-16-le", 0
    if len(head) >= 4 and not head[0] and head[1] and not head[2]:
        return "utf-16-be", 0
    return "utf-8", 0


class Joined(io.RawIOBase):
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
    """Raises for bytes that are no UTF-8."""
    if block.isascii():
        return
    try:
        block.decode()
    except UnicodeDecodeError as error:
        line = lines_before + block.count(b"\n", 0, error.start) + 1
        raise unfit(
            name, line, f"the byte 0x{block[error.start]:02x} is no UTF-8", "Save the file as UTF-8 (or UTF-16)."
        ) from None


# JSON ----------------------------------------------------------------------------------------------------------------


def json_tables(
    fs: Any, path: str, name: str, columns: list[str] | None, declared: list[str]
) -> Iterator[tuple[Any, Json]]:
    """One object per line, or one array of objects."""
    lines, texts_known = 0, set(declared)
    for block in whole_lines(text_blocks(fs, path)):
        check_text(block, name, lines)
        if not lines and block.lstrip().startswith(b"["):
            rest = b"".join([block, *whole_lines(text_blocks(fs, path), skip=len(block))])
            yield json_rows(array_rows(rest, name), columns, name)
            return
        table = fast_json(block, texts_known)
        if table is None:
            yield json_rows(line_rows(block, name, lines), columns, name)
        else:
            taken = [item for item in table.column_names if columns is None or item in columns]
            yield (table.select(taken) if taken else rows_only(table.num_rows)), {"columns": table.column_names}
        lines += block.count(b"\n") + (not block.endswith(b"\n"))


def whole_lines(blocks: Iterator[bytes], skip: int = 0) -> Iterator[bytes]:
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


def fast_json(block: bytes, texts_known: set[str]) -> Any:
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
    first = [name for name in first_names(block) if name in table.column_names]
    table = table.select([*first, *(name for name in table.column_names if name not in first)])
    return table


def first_names(block: bytes) -> list[str]:
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


def line_rows(block: bytes, name: str, lines: int) -> Iterator[tuple[int, list[tuple[str, Any]]]]:
    """(line, pairs) of each object. Raises a DataError that names the line that holds none."""
    for number, line in enumerate(block.split(b"\n"), lines + 1):
        text = line.decode().strip()
        if not text:
            continue
        try:
            value = DECODER.decode(shallow(text))
        except (json.JSONDecodeError, RecursionError) as error:
            raise bad_json(error, name, number) from None
        if not isinstance(value, Pairs):
            raise unfit(name, number, f"it holds {json_kind(value)} where an object is needed", ONE_PER_LINE)
        yield number, value.pairs


ONE_PER_LINE = "Write one JSON object for each row, on a line of its own."


def bad_json(error: json.JSONDecodeError | RecursionError, name: str, line: int) -> shared_storage.Problem:
    if isinstance(error, RecursionError):
        return unfit(name, line, "its values are nested too deeply", "Extract the column flat, or leave it out.")
    # The first object of a file that is spread over lines looks as if it ended too early.
    return unfit(name, line, f"it is not valid JSON at column {error.colno}: {error.msg}", ONE_PER_LINE)


def json_kind(value: Any) -> str:
    kinds = {list: "an array", str: "a text", bool: "a flag", int: "a number", float: "a number", type(None): "null"}
    return kinds[type(value)]


def array_rows(content: bytes, name: str) -> Iterator[tuple[int, list[tuple[str, Any]]]]:
    try:
        rows = DECODER.decode(shallow(content.decode().strip()))
    except json.JSONDecodeError as error:
        raise unfit(
            name, error.lineno, f"it is not valid JSON at column {error.colno}: {error.msg}", ONE_PER_LINE
        ) from None
    except RecursionError as error:
        raise bad_json(error, name, 1) from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Pairs):
            raise unfit(name, 1, f"item {number} of its array is {json_kind(row)}, not an object", ONE_PER_LINE)
        yield number, row.pairs


def shallow(text: str) -> str:
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


def whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


class Pairs:
    """A JSON object as it is written: a name may stand in it twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs

    def plain(self) -> Json:
        return {name: plain_json(value) for name, value in self.pairs}


DECODER = json.JSONDecoder(object_pairs_hook=Pairs, parse_constant=lambda _: None, parse_int=whole_number)


def plain_json(value: Any) -> Any:
    if isinstance(value, Pairs):
        return value.plain()
    return [plain_json(item) for item in value] if isinstance(value, list) else value


def json_rows(
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
    return table_of({key: column + [None] * (count - len(column)) for key, column in cells.items() if key}, count), {
        "columns": list(names),
        "twice": {key: where for key, where in twice.items() if wanted is None or key in wanted},
        "notes": [f"{name} has values without a name; they are left out"] if "" in cells else [],
    }


def table_of(cells: dict[str, list[Any]], rows: int) -> Any:
    """A table of Python's values."""
    import pyarrow as pa

    fields, arrays = [], []
    for name, column in cells.items():
        array, mark = array_of(column)
        fields.append(pa.field(name, array.type, metadata={MARK: mark.encode()} if mark else None))
        arrays.append(array)
    if not arrays:
        return rows_only(rows)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def rows_only(rows: int) -> Any:
    """A table without columns that still has rows."""
    import pyarrow as pa

    return pa.table({"": pa.nulls(rows)}).select([])


def array_of(column: list[Any]) -> tuple[Any, str]:
    """(array, mark): of the one type that all values have, or of the text of each, marked nested or mixed."""
    import pyarrow as pa

    kinds = {type(value) for value in column} - {type(None)}
    if kinds & {list, Pairs, dict}:
        return pa.array([column_kinds.json_text(plain_json(value)) for value in column], pa.string()), "nested"
    if kinds == {int}:
        low, high = (
            min(value for value in column if value is not None),
            max(value for value in column if value is not None),
        )
        for (least, most), kind in ((INT64, pa.int64()), (UINT64, pa.uint64())):
            if least <= low and high <= most:
                return pa.array(column, kind), ""
        return pa.array([None if value is None else str(value) for value in column], pa.string()), ""
    if kinds and kinds <= {int, float}:
        return pa.array([as_float(value) for value in column], pa.float64()), ""
    if kinds == {bool}:
        return pa.array(column, pa.bool_()), ""
    return pa.array([scalar_text(value) for value in column], pa.string()), "mixed" if len(kinds) > 1 else ""


def as_float(value: int | float | None) -> float | None:
    try:
        return None if value is None else float(value)
    except OverflowError:
        return float("inf") if value and value > 0 else float("-inf")


def scalar_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        # Half of a surrogate pair is JSON, but no text.
        return value if value is None else value.encode("utf-8", "replace").decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else column_kinds.number_text(value)


# CSV -----------------------------------------------------------------------------------------------------------------


def csv_tables(fs: Any, path: str, name: str, columns: list[str] | None) -> Iterator[tuple[Any, Json]]:
    """Text alone: what it can be read as is decided from all of it."""
    import pyarrow as pa
    import pyarrow.csv

    blocks = Blocks(text_blocks(fs, path))
    head = next(blocks, b"")
    if b"\0" in head[:HEADER_BYTES]:
        raise unfit(name, 1, "it holds binary data", "Check that the file is a CSV file of text.")
    check_text(head, name, 0)
    header, delimiter, size = header_of(head, name)
    if not header:
        return
    facts = header_facts(header, name)
    if delimiter != ",":
        facts["notes"].append(f"{name} is separated by {DELIMITER_NAMES[delimiter]}")
    take = [
        at
        for at, item in enumerate(header)
        if header.count(item) == 1 and item and (columns is None or item in columns)
    ]
    if columns is not None:
        facts["twice"] = {item: where for item, where in facts["twice"].items() if item in columns}
    numbers = [str(at) for at in range(len(header))]
    stream = io.BufferedReader(Joined(head[size:], blocks), 1 << 16)
    # Without a column that is asked for, one still tells how many rows there are.
    included = [numbers[at] for at in take] or numbers[:1]
    try:
        reader = pa.csv.open_csv(
            stream,
            pa.csv.ReadOptions(use_threads=False, column_names=numbers, block_size=BLOCK_BYTES),
            pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pa.csv.ConvertOptions(
                column_types={item: pa.string() for item in included},
                include_columns=included,
                null_values=NULLS,
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV file" not in str(error):
            raise bad_csv(fs, path, name, delimiter, len(header)) from None
        yield empty_table([header[at] for at in take]), facts
        return
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            if blocks.quotes % 2:
                check_last_quote(fs, path, name, delimiter)
            return
        except pa.ArrowInvalid:
            raise bad_csv(fs, path, name, delimiter, len(header)) from None
        table = pa.Table.from_batches([batch])
        if not take:
            table = rows_only(table.num_rows)
        elif delimiter != ",":
            table = with_points(table)
        yield table.rename_columns([header[at] for at in take]), facts
        facts = {**facts, "notes": []}


DELIMITER_NAMES = {";": "semicolons; 0,5 in it is read as 0.5", "\t": "tabs; 0,5 in it is read as 0.5", "|": "bars"}


def header_of(head: bytes, name: str) -> tuple[list[str], str, int]:
    """(names, delimiter, bytes) of the header; the delimiter is the one that makes the most columns of it."""
    text = head[:HEADER_BYTES].decode("utf-8", "ignore")
    skipped = re.match(r"(?:[ \t]*\r?\n)*(?:sep=(.)\r?\n)?", text)
    assert skipped
    start = text[skipped.end() :]
    candidates = skipped[1] or DELIMITERS
    found = [(record(start, delimiter), delimiter) for delimiter in candidates]
    (header, length), delimiter = max(found, key=lambda item: len(item[0][0]))
    return header, delimiter, len(text[: skipped.end() + length].encode())


def record(text: str, delimiter: str) -> tuple[list[str], int]:
    """(values, characters) of the first record of a text."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    try:
        cells = next(csv.reader(lines(), delimiter=delimiter), [])
    except csv.Error:
        cells = []
    return cells, sum(map(len, taken))


def header_facts(header: list[str], name: str) -> Json:
    places: dict[str, list[int]] = {}
    for at, item in enumerate(header, 1):
        places.setdefault(item, []).append(at)
    nameless = places.pop("", [])
    twice = {
        item: f"{name} line 1 has it as columns {' and '.join(map(str, at))}"
        for item, at in places.items()
        if len(at) > 1
    }
    notes = [f"{name}: column {at} has no name and is left out" for at in nameless]
    return {"columns": list(places), "twice": twice, "notes": notes}


def with_points(table: Any) -> Any:
    """Decimal commas, as they go with semicolons, as points; value by value, so that no part decides for itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pa.table(
        {
            name: pc.replace_substring_regex(table[name], r"^(\s*[+-]?\d+),(\d+\s*)$", r"\1.\2")
            for name in table.column_names
        }
    )


def empty_table(names: list[str]) -> Any:
    import pyarrow as pa

    return pa.table({name: pa.array([], pa.string()) for name in names})


class Blocks:
    """Blocks of text, of which the double quotes are counted: an odd number may be one that is never closed."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.blocks, self.quotes = blocks, 0

    def __iter__(self) -> Blocks:
        return self

    def __next__(self) -> bytes:
        block = next(self.blocks)
        self.quotes += block.count(b'"')
        return block


def check_last_quote(fs: Any, path: str, name: str, delimiter: str) -> None:
    """Raises when the last row is in a quote to the end of the file, which Arrow takes for its last value."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in csv_lines(fs, path):
            taken.append(line)
            yield line

    csv.field_size_limit(1 << 30)
    reader, line, last = csv.reader(lines(), delimiter=delimiter), 1, list[str]()
    for _ in reader:
        last, line = list(taken), reader.line_num - len(taken) + 1
        taken.clear()
    try:
        list(csv.reader(last, delimiter=delimiter, strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise unfit(name, line, "a quote is opened that is never closed", QUOTES) from None


def csv_lines(fs: Any, path: str) -> Iterator[str]:
    return io.TextIOWrapper(io.BufferedReader(Joined(b"", text_blocks(fs, path))), "utf-8", newline="")


def bad_csv(fs: Any, path: str, name: str, delimiter: str, width: int) -> shared_storage.Problem:
    """The first line that Arrow could not read, found by reading the file once more."""
    lines = 0
    for block in text_blocks(fs, path):
        check_text(block, name, lines)
        lines += block.count(b"\n")
    csv.field_size_limit(1 << 30)
    reader = csv.reader(csv_lines(fs, path), delimiter=delimiter)
    line = 1
    try:
        for row in reader:
            if row and len(row) != width and not (len(row) == 1 and row[0].startswith("sep=")):
                values_there = f"{len(row)} values where the header has {width}"
                return unfit(name, line, f"it has {values_there}", QUOTES)
            line = reader.line_num + 1
    except csv.Error as error:
        return unfit(name, line, str(error), QUOTES)
    return unfit(name, line, "a row is longer than can be read, as after a quote that is never closed", QUOTES)


QUOTES = (
    "Correct the line where the file is made; a value that holds the separator or a line break needs double quotes."
)


# Parquet -------------------------------------------------------------------------------------------------------------


def parquet_tables(fs: Any, path: str, name: str, columns: list[str] | None) -> Iterator[tuple[Any, Json]]:
    import pyarrow as pa
    import pyarrow.parquet

    with fs.open_input_file(path) as stream:
        try:
            file = pa.parquet.ParquetFile(stream)
        except (pa.ArrowInvalid, OSError) as error:
            if "AWS Error" in str(error):
                raise
            message = f"{name} is not a Parquet file: {str(error).splitlines()[0][:200]}"
            raise shared_storage.Problem("DataError", message, name, "Check that the file is whole.") from None
        names = file.schema_arrow.names
        twice = {
            item: f"{name} has {names.count(item)} columns of this name"
            for item in dict.fromkeys(names)
            if names.count(item) > 1 and (columns is None or item in columns)
        }
        facts = {"columns": names, "twice": twice}
        take = [item for item in names if item and names.count(item) == 1 and (columns is None or item in columns)]
        if not take:
            yield rows_only(file.metadata.num_rows), facts
            return
        for batch in file.iter_batches(BLOCK_ROWS, columns=take, use_threads=False):
            yield pa.Table.from_batches([batch]).select(take), facts
