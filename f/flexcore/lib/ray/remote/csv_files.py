# requirements: flexcore_base
"""CSV files as tables of text, whatever their delimiter; what makes a file unreadable is reported with its line.
Shipped as source."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

from f.flexcore.lib.ray.remote import file_blocks, shared_storage

Json = dict[str, Any]
# A header longer than this is no header.
HEADER_BYTES = 1 << 20
# What spreadsheets write for no value; words that may be a class (NA) are counted first, see column_kinds.MISSING.
NULLS = ["", "#N/A", "#N/A N/A", "#NA", "n/a", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"]
DELIMITERS = ",;\t|"


def read_csv_tables(fs: Any, path: str, name: str, columns: list[str] | None) -> Iterator[tuple[Any, Json]]:
    """Text alone: what it can be read as is decided from all of it."""
    import pyarrow as pa
    import pyarrow.csv

    blocks = QuoteCounter(file_blocks.read_text_blocks(fs, path))
    head = next(blocks, b"")
    if b"\0" in head[:HEADER_BYTES]:
        raise file_blocks.line_problem(name, 1, "it holds binary data", "Check that the file is a CSV file of text.")
    file_blocks.check_text(head, name, 0)
    header, delimiter, size = parse_header(head, name)
    if not header:
        return
    facts = describe_header(header, name)
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
    stream = io.BufferedReader(file_blocks.JoinedStream(head[size:], blocks), 1 << 16)
    # Without a column that is asked for, one still tells how many rows there are.
    included = [numbers[at] for at in take] or numbers[:1]
    try:
        reader = pa.csv.open_csv(
            stream,
            pa.csv.ReadOptions(use_threads=False, column_names=numbers, block_size=file_blocks.BLOCK_BYTES),
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
            raise find_bad_line(fs, path, name, delimiter, len(header)) from None
        yield make_empty_table([header[at] for at in take]), facts
        return
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            if blocks.quotes % 2:
                check_last_quote(fs, path, name, delimiter)
            return
        except pa.ArrowInvalid:
            raise find_bad_line(fs, path, name, delimiter, len(header)) from None
        table = pa.Table.from_batches([batch])
        if not take:
            table = file_blocks.make_empty_columns(table.num_rows)
        elif delimiter != ",":
            table = replace_decimal_commas(table)
        yield table.rename_columns([header[at] for at in take]), facts
        facts = {**facts, "notes": []}


DELIMITER_NAMES = {";": "semicolons; 0,5 in it is read as 0.5", "\t": "tabs; 0,5 in it is read as 0.5", "|": "bars"}


def parse_header(head: bytes, name: str) -> tuple[list[str], str, int]:
    """(names, delimiter, bytes) of the header; the delimiter is the one that makes the most columns of it."""
    text = head[:HEADER_BYTES].decode("utf-8", "ignore")
    skipped = re.match(r"(?:[ \t]*\r?\n)*(?:sep=(.)\r?\n)?", text)
    assert skipped
    start = text[skipped.end() :]
    candidates = skipped[1] or DELIMITERS
    headers = [(parse_record(start, delimiter), delimiter) for delimiter in candidates]
    (header, length), delimiter = max(headers, key=lambda item: len(item[0][0]))
    return header, delimiter, len(text[: skipped.end() + length].encode())


def parse_record(text: str, delimiter: str) -> tuple[list[str], int]:
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


def describe_header(header: list[str], name: str) -> Json:
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


def replace_decimal_commas(table: Any) -> Any:
    """Decimal commas, as they go with semicolons, as points; value by value, so that no part decides for itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pa.table(
        {
            name: pc.replace_substring_regex(table[name], r"^(\s*[+-]?\d+),(\d+\s*)$", r"\1.\2")
            for name in table.column_names
        }
    )


def make_empty_table(names: list[str]) -> Any:
    import pyarrow as pa

    return pa.table({name: pa.array([], pa.string()) for name in names})


class QuoteCounter:
    """Blocks of text, of which the double quotes are counted: an odd number may be one that is never closed."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.blocks, self.quotes = blocks, 0

    def __iter__(self) -> QuoteCounter:
        return self

    def __next__(self) -> bytes:
        block = next(self.blocks)
        self.quotes += block.count(b'"')
        return block


def check_last_quote(fs: Any, path: str, name: str, delimiter: str) -> None:
    """Raises when the last row is in a quote to the end of the file, which Arrow takes for its last value."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in read_lines(fs, path):
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
            raise file_blocks.line_problem(name, line, "a quote is opened that is never closed", QUOTES) from None


def read_lines(fs: Any, path: str) -> Iterator[str]:
    return io.TextIOWrapper(
        io.BufferedReader(file_blocks.JoinedStream(b"", file_blocks.read_text_blocks(fs, path))), "utf-8", newline=""
    )


def find_bad_line(fs: Any, path: str, name: str, delimiter: str, width: int) -> shared_storage.Problem:
    """The first line that Arrow could not read, found by reading the file once more."""
    lines = 0
    for block in file_blocks.read_text_blocks(fs, path):
        file_blocks.check_text(block, name, lines)
        lines += block.count(b"\n")
    csv.field_size_limit(1 << 30)
    reader = csv.reader(read_lines(fs, path), delimiter=delimiter)
    line = 1
    try:
        for row in reader:
            if row and len(row) != width and not (len(row) == 1 and row[0].startswith("sep=")):
                values_there = f"{len(row)} values where the header has {width}"
                return file_blocks.line_problem(name, line, f"it has {values_there}", QUOTES)
            line = reader.line_num + 1
    except csv.Error as error:
        return file_blocks.line_problem(name, line, str(error), QUOTES)
    return file_blocks.line_problem(
        name, line, "a row is longer than can be read, as after a quote that is never closed", QUOTES
    )


QUOTES = (
    "Correct the line where the file is made; a value that holds the separator or a line break needs double quotes."
)
