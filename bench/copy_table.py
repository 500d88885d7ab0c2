"""`ray/copy_table` of a PostgreSQL table against bare ADBC in one process, in turns, on one local head.

    uv run python bench/copy_table.py [--rows 2000000] [--rounds 3] [--tables narrow wide] [--spread auto]

Prints JSON. For each table, medians of seconds: of the bare copy (one query, snappy Parquet, nothing checked), of the
copy as the step measures it (from its first question to the database to the manifest, rows and checksum compared), of
the whole step with the start of its Ray job; and of the way back, into a new table. The bar: 0.5 of the bare rate.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from bench.ray_floor import open_head
from f.flexcore.ray.copy_table import main as copy_table
from tests.pipeline.postgres_server import PostgresServer

# 3 columns of fixed width; 16 of all common kinds, about 180 bytes a row.
TABLES = {
    "narrow": """
SELECT g::int8 AS id, (g * 7 % 1000)::int4 AS a, (g / 7.0)::float8 AS b FROM generate_series(1, {rows}) g""",
    "wide": """
SELECT g::int8 AS id, (g % 7)::int4 AS a, (g % 1000)::int4 AS b, (g * 7)::int8 AS c,
       (g % 99999 / 100.0)::numeric(15,2) AS price, (g % 777 / 100.0)::numeric(15,2) AS tax, g / 3.0::float8 AS f,
       g / 7.0::float8 AS h, 'name ' || g AS name, md5(g::text) AS digest,
       substr('the quick brown fox jumps over the lazy dog', 1, (g % 40)::int + 1) AS comment,
       date '1992-01-01' + (g % 2500)::int AS shipped, timestamp '2020-01-01' + g * interval '1 s' AS created,
       timestamptz '2020-01-01 00:00+00' + g * interval '1 s' AS updated, g % 2 = 0 AS is_paid,
       CASE WHEN g % 5 > 0 THEN 'R' END AS flag
FROM generate_series(1, {rows}) g""",
}


def copy_bare(resource: dict[str, Any], table: str, path: Path) -> float:
    """Seconds of the shortest program that brings the table into one Parquet file."""
    import adbc_driver_postgresql.dbapi

    names = {"host": "host", "port": "port", "user": "user", "password": "password", "dbname": "dbname"}
    uri = " ".join(f"{name}='{resource[key]}'" for name, key in names.items())
    began = time.perf_counter()
    with adbc_driver_postgresql.dbapi.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table}")
        writer = None
        for batch in cursor.fetch_record_batch():
            # Numbers come as an extension of text, which Parquet does not take.
            arrays = [item.storage if isinstance(item, pa.ExtensionArray) else item for item in batch.columns]
            plain = pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
            writer = writer or pa.parquet.ParquetWriter(path, plain.schema, compression="snappy")
            writer.write_batch(plain)
        assert writer is not None
        writer.close()
    return time.perf_counter() - began


def run_step(*given: Any, **fields: Any) -> tuple[dict[str, Any], float]:
    began = time.perf_counter()
    result = copy_table(*given, **fields)
    return result, time.perf_counter() - began


def measure_table(
    server: PostgresServer, cluster: dict[str, Any], folder: Path, name: str, options: argparse.Namespace
) -> Any:
    seconds: dict[str, list[float]] = {key: [] for key in ("bare", "copy", "step", "load", "load_step")}
    settings = {"storage_uri": f"file://{folder}/store"}
    for number in range(options.rounds):
        os.environ["WM_JOB_ID"] = f"bench-{name}-{number}-out-{time.time_ns()}"
        seconds["bare"].append(copy_bare(server.resource, name, folder / "bare.parquet"))
        out, took = run_step(cluster, server.resource, name, spread=options.spread, settings=settings)
        seconds["copy"].append(float(out["metrics"]["copy_s"]))
        seconds["step"].append(took)
        os.environ["WM_JOB_ID"] = f"bench-{name}-{number}-in-{time.time_ns()}"
        server.execute(f"DROP TABLE IF EXISTS {name}_back")
        into = {"direction": "to_database", "source": out["output"], "spread": options.spread, "settings": settings}
        back, took = run_step(cluster, server.resource, f"{name}_back", **into)
        assert back["data"]["row_hash"] == out["data"]["row_hash"] and back["metrics"]["rows"] == options.rows
        seconds["load"].append(float(back["metrics"]["copy_s"]))
        seconds["load_step"].append(took)
    medians = {key: round(statistics.median(values), 2) for key, values in seconds.items()}
    rates = {f"{key}_rows_per_s": round(options.rows / value) for key, value in medians.items()}
    ratios = {
        "copy_to_bare": round(medians["bare"] / medians["copy"], 2),
        "step_to_bare": round(medians["bare"] / medians["step"], 2),
    }
    return {"seconds": medians, **rates, **ratios, "parts": out["data"]["parts"], "bytes": out["output"]["bytes"]}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, PostgresServer() as server:
        for name in options.tables:
            server.execute(f"CREATE TABLE {name} AS {TABLES[name].format(rows=options.rows)}", f"ANALYZE {name}")
        with open_head(Path(folder), options.address, options.token_file) as cluster:
            tables = {name: measure_table(server, cluster, Path(folder), name, options) for name in options.tables}
    machine = {"cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "python": platform.python_version()}
    return {"rows": options.rows, "rounds": options.rounds, "spread": options.spread, "machine": machine, **tables}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--address", default="", help="of a head that runs here; else one is started")
    parser.add_argument("--token-file", default="", help="with the token of that head")
    parser.add_argument("--spread", choices=("auto", "always", "never"), default="auto")
    print(json.dumps(measure(parser.parse_args()), indent=2))
