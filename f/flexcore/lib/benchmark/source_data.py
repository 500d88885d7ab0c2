# requirements: flexcore_benchmark
"""What the runs of a race read: the tables of the database, and each as one Parquet file for those that load."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from f.flexcore.lib.benchmark import database, fingerprint, learning, legs, machine, reference, tables
from f.flexcore.lib.core import errors
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import client

if TYPE_CHECKING:
    from f.flexcore.lib.core import contracts, identity

PACKAGES = ("pyarrow", "adbc-driver-postgresql", "tpchgen-cli", "xgboost-cpu")


def make(
    plan: legs.Plan,
    place: database.Database,
    store: object_store.Store,
    key: identity.ExecutionKey,
    windmill: client.Client,
    race: str,
) -> dict[str, Any]:
    """{folder, tables: name → {rows, bytes, fingerprint, manifest}, machine}; folder: of the store, with all files.

    Tables of races that have ended and left theirs are removed first."""
    schema = plan.legs[0].source
    with database.open_session(place) as connection:
        for name, owner in database.list_races(connection).items():
            if owner != race and has_ended(windmill, owner):
                print(f"{name}: its race {owner} has ended; its tables are removed", flush=True)
                database.drop_schemas(connection, name)
        database.make_schemas(connection, schema, race)
        sizes = {name: database.make_table(connection, schema, name, plan.rows) for name in legs.list_tables(plan)}
        server = database.read_server_version(connection)
    described = machine.describe_machine(PACKAGES)
    described["versions"]["postgresql"] = server
    made = {}
    for name, (rows, size) in sizes.items():
        marks = fingerprint.compute_fingerprint(reference.read_table(place, schema, name), tables.COLUMNS[name])
        manifest = write_file(plan, place, store, key, name)
        made[name] = {
            "rows": rows,
            "bytes": size,
            "fingerprint": marks.plain(),
            "manifest": manifest and manifest.plain(),
        }
        print(f"{name}: {rows:,} rows, {size:,} bytes, fingerprint {marks.whole}", flush=True)
    return {"folder": store.uri(key.value), "tables": made, "machine": described}


def has_ended(windmill: client.Client, job: str) -> bool:
    """Whether Windmill says so; a job that it does not know, or cannot be asked about, may be another workspace's."""
    try:
        return windmill.job(client.parse_job_id(job, "race")).get("type") == "CompletedJob"
    except errors.FlexcoreError:
        return False


def write_file(
    plan: legs.Plan,
    place: database.Database,
    store: object_store.Store,
    key: identity.ExecutionKey,
    table: tables.TableName,
) -> contracts.DataManifest | None:
    """The Parquet file that runs read, and the reference's model beside it; None when no run reads it."""
    works = {leg.work for leg in plan.legs if leg.table == table}
    if works <= {"extract"}:
        return None
    uri = store.uri(key.value, "1", "source", table)
    with tempfile.TemporaryDirectory() as name:
        folder = object_store.local_path(uri) if store.local else Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        query = reference.build_select(plan.legs[0].source, table)
        rows = reference.write_parquet(place, query, folder / f"{table}.parquet", tables.COLUMNS[table])
        if "predict" in works:
            learning.train(folder / f"{table}.parquet", folder / reference.MODEL)
        return reference.build_manifest(store, uri, folder, table, rows)
