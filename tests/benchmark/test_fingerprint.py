"""A fingerprint says whether two outputs hold the same rows, whatever wrote them."""

from __future__ import annotations

import datetime
import decimal
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f.flexcore.lib.benchmark import fingerprint, outputs, results, tables
from f.flexcore.lib.core import contracts, errors, resources
from f.flexcore.lib.storage import object_store

COLUMNS = (
    tables.Column("id", "int", "bigint"),
    tables.Column("price", "decimal", "numeric(12,2)", scale=2),
    tables.Column("ratio", "float", "double precision"),
    tables.Column("active", "bool", "boolean"),
    tables.Column("day", "date", "date"),
    tables.Column("at", "timestamptz", "timestamptz"),
    tables.Column("naive", "timestamp", "timestamp"),
    tables.Column("note", "text", "text"),
)
DAY, AT = datetime.date(1999, 12, 31), datetime.datetime(2020, 2, 29, 23, 59, 59, 123456)
Row = dict[str, Any]


def row(number: int, **other: Any) -> Row:
    return {
        "id": number,
        "price": decimal.Decimal(number) / 100,
        "ratio": number / 7,
        "active": number % 2 == 0,
        "day": DAY + datetime.timedelta(number),
        "at": (AT + datetime.timedelta(hours=number)).replace(tzinfo=datetime.UTC),
        "naive": AT - datetime.timedelta(minutes=number),
        "note": f"text €{number}" if number % 3 else None,
        **other,
    }


ROWS = [row(number) for number in range(50)]


def arrow(rows: list[Row]) -> pa.Table:
    types = fingerprint.ARROW_TYPES | {"decimal": pa.decimal128(12, 2)}
    return pa.Table.from_pylist(rows, pa.schema([(column.name, types[column.kind]) for column in COLUMNS]))


def marks(*batches: pa.Table) -> results.Marks:
    return fingerprint.compute_fingerprint(batches, COLUMNS)


def stored(folder: Path, name: str, form: str) -> contracts.DataManifest:
    file = contracts.File(path=name, bytes=(folder / name).stat().st_size, checksum=f"sha256:{'0' * 64}")
    stream = contracts.Stream(name="table", bytes=file.bytes, files=[file])
    return contracts.DataManifest(uri=f"file://{folder}", format=form, streams=[stream])


def read(manifest: contracts.DataManifest) -> results.Marks:
    store = object_store.Store(resources.Settings(storage_uri="file:///"))
    return fingerprint.compute_fingerprint(outputs.read_manifest(manifest, store, COLUMNS), COLUMNS)


def test_neither_the_order_of_rows_nor_their_batches_nor_further_columns_count() -> None:
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    further = arrow(shuffled[:13]).append_column("_sdc_batched_at", pa.array(["x"] * 13))
    assert marks(further, arrow(shuffled[13:])) == marks(arrow(ROWS))


def test_a_repeated_row_and_a_lost_one_do_not_cancel_out() -> None:
    assert marks(arrow([*ROWS[:-1], ROWS[0]])).whole != marks(arrow(ROWS)).whole
    assert marks(arrow([*ROWS, ROWS[3], ROWS[3]])).whole != marks(arrow([*ROWS, ROWS[4], ROWS[4]])).whole


def test_values_that_changed_rows_are_seen_though_each_column_has_the_same_ones() -> None:
    swapped = [dict(item) for item in ROWS]
    swapped[1]["ratio"], swapped[2]["ratio"] = swapped[2]["ratio"], swapped[1]["ratio"]
    found = marks(arrow(swapped))
    assert found.columns == marks(arrow(ROWS)).columns
    assert "the values of other rows" in results.explain_difference(marks(arrow(ROWS)), found)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", 99),
        ("price", decimal.Decimal("0.02")),
        ("ratio", 1 / 7 + 1e-16),
        ("ratio", None),
        ("active", None),
        ("day", DAY),
        ("at", AT.replace(tzinfo=datetime.UTC) + datetime.timedelta(hours=1, microseconds=1)),
        ("naive", None),
        ("note", "text €1 "),
        ("note", "text €\0001"),
        ("note", ""),
        ("note", None),
    ],
)
def test_another_value_in_one_cell_is_seen_and_its_column_is_named(column: str, value: Any) -> None:
    changed = marks(arrow([ROWS[0], row(1, **{column: value}), *ROWS[2:]]))
    assert results.explain_difference(marks(arrow(ROWS)), changed).endswith(f"and other values in {column}")


def test_null_and_an_empty_text_and_zero_are_three_things() -> None:
    found = {marks(arrow([row(0, note=note, id=number)])).whole for note in (None, "") for number in (None, 0)}
    assert len(found) == 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=9))
def test_texts_differ_when_their_letters_do(texts: list[str]) -> None:
    column = [tables.Column("note", "text", "text")]
    words = [
        fingerprint.compute_fingerprint([pa.table({"note": pa.array([text], pa.string())})], column).whole
        for text in texts
    ]
    assert len(set(words)) == len(set(texts))


def test_parquet_with_decimals_as_texts_or_floats_is_the_same_table(tmp_path: Path) -> None:
    table = arrow(ROWS)
    floats = pa.array([float(item["price"]) for item in ROWS])
    for prices in (table["price"].cast(pa.string()), floats, table["price"].cast(pa.decimal128(38, 10))):
        pq.write_table(table.set_column(1, "price", prices), tmp_path / "table.parquet")
        assert read(stored(tmp_path, "table.parquet", "parquet")) == marks(table)


@pytest.mark.parametrize("as_text", [False, True])
def test_json_lines_as_singer_targets_write_them_are_the_same_table(tmp_path: Path, as_text: bool) -> None:
    def plain(item: Row) -> Row:
        price = str(item["price"]) if as_text else float(item["price"])
        midnight = f"{item['day'].isoformat()}T00:00:00+00:00"
        times = {name: item[name].isoformat() for name in ("at", "naive")}
        return {**item, **times, "price": price, "day": midnight, "_sdc_extracted_at": "2026-01-01T00:00:00Z"}

    lines = "".join(json.dumps(plain(item)) + "\n" for item in ROWS)
    (tmp_path / "table.jsonl").write_text(lines)
    assert read(stored(tmp_path, "table.jsonl", "jsonl")) == marks(arrow(ROWS))


def test_an_offset_of_the_naive_time_and_a_z_are_read_as_utc(tmp_path: Path) -> None:
    column = [tables.Column("at", "timestamptz", "timestamptz")]
    texts = ["2020-02-29T23:59:59Z", "2020-02-29T23:59:59+00:00", "2020-02-29 23:59:59.000000+0000"]
    words = {
        fingerprint.compute_fingerprint([pa.table({"at": [text]})], column).whole
        for text in [*texts, AT.replace(microsecond=0, tzinfo=datetime.UTC)]
    }
    assert len(words) == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"id": [1]}), "The column price is missing"),
        (arrow(ROWS).set_column(1, "price", pa.array(["much"] * 50)), "The column price holds no decimal"),
        (arrow(ROWS).set_column(4, "day", pa.array([AT] * 50)), "The column day holds no date"),
        (arrow(ROWS).set_column(5, "at", pa.array(["soon"] * 50)), "The column at holds no timestamptz"),
    ],
)
def test_an_output_that_cannot_be_the_table_is_named(table: pa.Table, message: str) -> None:
    with pytest.raises(errors.DataError, match=message):
        marks(table)


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [
        ("table.jsonl", "jsonl", "table.jsonl cannot be read"),
        ("table.parquet", "parquet", "table.parquet cannot be read"),
        ("table.bin", "avro", "Files of the format avro cannot be compared"),
    ],
)
def test_a_file_that_is_none_of_its_format_is_named(tmp_path: Path, name: str, form: str, message: str) -> None:
    (tmp_path / name).write_bytes(b'{"id": ')
    with pytest.raises(errors.DataError, match=message):
        read(stored(tmp_path, name, form))
