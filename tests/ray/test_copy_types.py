"""Each type of PostgreSQL through Parquet and back: the same value, or a refusal that names the column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from f.flexcore.lib.ray.remote.shared_storage import Problem
from tests.pipeline.postgres_server import PostgresServer
from tests.ray.tables import Tables

Json = dict[str, Any]

SPECIAL_FLOATS = ["'NaN'", "'Infinity'", "'-Infinity'", "0", "'-0'", "1e-300"]
# type → (its type in Parquet, values as SQL literals); a null is added to each.
EXACT: dict[str, tuple[str, list[str]]] = {
    "boolean": ("bool", ["true", "false"]),
    "smallint": ("int16", ["-32768", "32767"]),
    "integer": ("int32", ["-2147483648", "2147483647"]),
    "bigint": ("int64", ["-9223372036854775808", "9223372036854775807"]),
    "oid": ("int64", ["0", "4294967295"]),
    "real": ("float", ["1.1", "'NaN'", "'Infinity'", "'-Infinity'", "1e-45"]),
    "double precision": ("double", ["0.1", *SPECIAL_FLOATS]),
    "numeric(10,2)": ("decimal128(10, 2)", ["12345678.91", "-0.01", "0"]),
    "numeric(18,18)": ("decimal128(18, 18)", ["0.000000000000000001", "-0.999999999999999999"]),
    "numeric(5,-2)": ("decimal128(7, 0)", ["1234500", "-100"]),
    "numeric(2,5)": ("decimal128(5, 5)", ["0.00099", "-0.00001"]),
    "numeric(38,10)": (
        "decimal128(38, 10)",
        ["1234567890123456789012345678.0123456789", "-0.0000000001", "1000000000000000000000000000"],
    ),
    "numeric": ("decimal128(33, 20)", ["0.00000000000000000001", "-1234567890123", "1.50"]),
    "money": ("decimal128(7, 2)", ["12345.67", "-0.01"]),
    "text": ("string", ["''", "'ä€😀'", "E'line\\nend\\\\'", "repeat('x', 70000)"]),
    "character varying(5)": ("string", ["'abc'", "''"]),
    "character(5)": ("string", ["'abc  '", "''"]),
    '"char"': ("string", ["'x'"]),
    "name": ("string", ["'a_name'"]),
    "bytea": ("binary", ["'\\x'", "'\\x00ff00'"]),
    "date": ("date32[day]", ["'2024-02-29'", "'4713-01-01 BC'", "'5874897-12-31'"]),
    "timestamp": ("timestamp[us]", ["'2024-02-29 23:59:59.999999'", "'4713-01-01 BC'", "'294246-12-31'"]),
    "timestamp with time zone": (
        "timestamp[us, tz=UTC]",
        ["'2024-02-29 23:59:59.999999+13:45'", "'0001-01-01 00:00+00'", "'1969-12-31 23:59:59.5-05'"],
    ),
    "time": ("time64[us]", ["'00:00'", "'23:59:59.999999'"]),
    "time with time zone": ("string", ["'00:00+02'", "'24:00-15:59'"]),
    "interval": ("string", ["'1 year -2 months 3 days -04:05:06.000007'", "'-178000000 years'", "'0'"]),
    "json": ("string", ["""'{"b": 1,  "a": [null, 1.50]}'"""]),
    "jsonb": ("string", ["""'{"b": 1,  "a": [null, 1.50]}'""", "'null'", "'12345678901234567890.10'"]),
    "uuid": ("string", ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
    "mood": ("string", ["'sad'", "'so so'"]),
    "positive": ("int32", ["1", "2147483647"]),
    "price": ("decimal128(6, 2)", ["1.10", "9999.99"]),
    "int4range": ("string", ["'[1,3)'", "'empty'", "'(,5)'"]),
    "tstzrange": ("string", ["'[2024-01-01 00:00+00,)'"]),
    "nummultirange": ("string", ["'{[1.5,2),[3,4]}'"]),
    "inet": ("string", ["'192.168.0.1/24'", "'::1'"]),
    "cidr": ("string", ["'10.0.0.0/8'"]),
    "macaddr": ("string", ["'08:00:2b:01:02:03'"]),
    "bit(3)": ("string", ["B'101'"]),
    "bit varying": ("string", ["B''", "B'1010101010101'"]),
    "point": ("string", ["'(0.1,-2)'"]),
    "polygon": ("string", ["'((0,0),(1,1),(1,0))'"]),
    "tsvector": ("string", ["'a fat cat'"]),
    "pg_lsn": ("string", ["'16/B374D848'"]),
    "pair": ("string", ["ROW(1, 'a,\"b')::pair"]),
    "integer[]": ("list<element: int32>", ["'{}'", "'{1,NULL,3}'"]),
    "text[]": ("list<element: string>", ["""'{"a,b",NULL,"NULL",""}'"""]),
    "date[]": ("list<element: date32[day]>", ["'{2024-01-01,NULL}'"]),
    "timestamptz[]": ("list<element: timestamp[us, tz=UTC]>", ["'{2024-01-01 00:00+02}'"]),
    "boolean[]": ("list<element: bool>", ["'{t,f,NULL}'"]),
    "float8[]": ("list<element: double>", ["'{NaN,0,-Infinity}'"]),
    "numeric[]": ("string", ["'{1.50,NULL,NaN}'"]),
    "uuid[]": ("string", ["'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'"]),
}
TYPES = (
    "CREATE TYPE mood AS ENUM ('sad', 'so so')",
    "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)",
    "CREATE DOMAIN amount AS numeric(6,2)",
    "CREATE DOMAIN price AS amount NOT NULL DEFAULT 1",
    "CREATE TYPE pair AS (number integer, name text)",
)


LONGEST = max(len(values) for _, values in EXACT.values()) + 1


@pytest.fixture(scope="module")
def round_trip(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Tables, Json]]:
    """One table with a column of each type, copied out, into a new table, and into that table again."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        tables = Tables(postgres_server, tmp_path_factory.mktemp("types"), monkeypatch)
        tables.run("DROP SCHEMA IF EXISTS public CASCADE", "CREATE SCHEMA public", *TYPES)
        columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(EXACT))
        rows = []
        for number in range(LONGEST):
            values = [values[number] if number < len(values) else None for _, values in EXACT.values()]
            filled = [value or ("1" if kind == "price" else "NULL") for kind, value in zip(EXACT, values, strict=True)]
            rows.append(f"({number}, {', '.join(filled)})")
        tables.run(
            f"CREATE TABLE source (id int PRIMARY KEY, {columns})", f"INSERT INTO source VALUES {', '.join(rows)}"
        )
        copied = tables.copy_out("source")
        tables.copy_in(copied, "target")
        tables.copy_in(copied, "again")
        tables.run("UPDATE again SET c0 = NULL")
        tables.copy_in(copied, "again")
        yield tables, copied


@pytest.mark.parametrize("kind", EXACT)
def test_a_value_is_the_same_after_a_round_trip(round_trip: tuple[Tables, Json], kind: str) -> None:
    tables, copied = round_trip
    name = f"c{list(EXACT).index(kind)}"
    assert copied["arrow_types"][name].replace("item:", "element:") == EXACT[kind][0]
    # The number of zeros behind the point is no part of a number's value.
    form = "numeric" if kind in ("numeric", "money") else "text"
    for target in ("target", "again"):
        pairs = f"source s FULL JOIN {target} t USING (id)"
        differing = tables.rows(
            f"SELECT s.{name}::text, t.{name}::text FROM {pairs} "
            f"WHERE s.{name}::{form} IS DISTINCT FROM t.{name}::{form}"
        )
        assert not differing
        assert tables.value(f"SELECT count(*) FROM {pairs} WHERE s.id IS NOT NULL AND t.id IS NOT NULL") == LONGEST
    declared = (
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '{}'::regclass AND attname = '{}'"
    )
    assert tables.value(declared.format("target", name)) == tables.value(declared.format("source", name))


UNFIT: dict[str, tuple[str, list[str], str]] = {
    "numeric NaN": ("numeric", ["'NaN'", "1"], "holds NaN or infinity"),
    "numeric infinity": ("numeric", ["'Infinity'"], "holds NaN or infinity"),
    "numeric(10,2) NaN": ("numeric(10,2)", ["'NaN'", "1"], "NaN"),
    "numeric(38,2) NaN": ("numeric(38,2)", ["'NaN'", "1"], "NaN"),
    "39 digits": ("numeric", ["123456789012345678901234567890123456789"], "needs 39 digits, and a decimal holds 38"),
    "40 digits about the point": ("numeric", ["1e20", "1e-19"], "needs 40 digits"),
    "numeric(50,0)": ("numeric(50,0)", ["1"], "has 50 digits, and a decimal holds 38"),
    "infinite date": ("date", ["'infinity'", "'2024-01-01'"], "infinite"),
    "minus infinite date": ("date", ["'-infinity'"], "infinite"),
    "infinite timestamp": ("timestamp", ["'infinity'"], "infinite"),
    "minus infinite timestamptz": ("timestamptz", ["'-infinity'"], "infinite"),
    "timestamp past Arrow's": ("timestamp", ["'294276-12-31'"], "too late"),
    "24:00": ("time", ["'24:00'"], "24:00"),
    "nested array": ("integer[]", ["'{{1,2},{3,4}}'"], "nested"),
    "array from 0 on": ("integer[]", ["'[0:1]={1,2}'"], "do not begin at 1"),
    "infinite date in an array": ("date[]", ["'{infinity}'"], "infinite"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_parquet_cannot_hold_is_refused_by_name_and_goes_exactly_as_text(tables: Tables, case: str) -> None:
    kind, values, reason = UNFIT[case]
    rows = ", ".join(f"({number}, {value})" for number, value in enumerate([*values, "NULL"]))
    tables.run(f"CREATE TABLE source (id int PRIMARY KEY, v {kind})", f"INSERT INTO source VALUES {rows}")
    with pytest.raises(Problem, match=r"v \(") as refused:
        tables.copy_out("source")
    assert refused.value.flexcore["type"] == "DataError"
    assert reason in str(refused.value) and "text_columns" in refused.value.flexcore["remedy"]
    copied = tables.copy_out("source", unfit="text")
    assert copied["arrow_types"]["v"] == "string" and any("v (" in note for note in copied["notes"])
    tables.copy_in(copied, "target")
    assert not tables.rows(
        "SELECT s.v::text, t.v::text FROM source s FULL JOIN target t USING (id) WHERE t.v IS DISTINCT FROM s.v"
    )


def test_a_column_goes_as_text_when_the_request_says_so(tables: Tables) -> None:
    tables.run("CREATE TABLE source AS SELECT 1 AS id, 'infinity'::date AS until")
    copied = tables.copy_out("source", text_columns=["until"])
    assert tables.files(copied).to_pylist() == [{"id": 1, "until": "infinity"}]
    with pytest.raises(Problem, match=r"text_columns: public.source has no column untill; did you mean until"):
        tables.copy_out("source", text_columns=["untill"])


def test_every_column_that_does_not_fit_is_named_at_once(tables: Tables) -> None:
    tables.run("CREATE TABLE many AS SELECT 'NaN'::numeric AS a, '{{1}}'::int[] AS b, 1::numeric AS c")
    with pytest.raises(Problem, match=r"a \(numeric\).*b \(integer\[\]\)") as refused:
        tables.copy_out("many")
    assert "c (" not in str(refused.value)
