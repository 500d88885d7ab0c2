# requirements: flexcore_base
"""The staging table of one execution, into which files are loaded side by side, each exactly once. Shipped as source.

    flexcore_stage_<key>    the rows; unlogged, as nobody needs them after a crash
    flexcore_parts_<key>    one row per part that is in it, written in the part's own transaction

Their comment says whose they are and until when; what a dead execution has left is dropped by the next copy into the
same schema once that time has passed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.ray.remote import load_plans, postgres, row_hash, shared_storage

Json = dict[str, Any]
STAGE, PARTS = "flexcore_stage_", "flexcore_parts_"
KEEP_S = 24 * 3600
BATCH_ROWS = 1 << 16
DUPLICATE = "23505"
# A table's comment is looked at only when it is one of ours, by name and by content.
LEFT_OVERS = """
SELECT c.relname::text, obj_description(c.oid, 'pg_class')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = {schema} AND c.relkind = 'r' AND c.relname LIKE 'flexcore\\_%'
"""


@dataclass(frozen=True)
class LoadPart:
    """A run of row groups of one file; is_first: it verifies the file's checksum, too."""

    number: int
    file: Json
    groups: tuple[int, ...]
    weight: float
    is_first: bool


@dataclass(frozen=True)
class Staging:
    schema: str
    key: str

    @property
    def table(self) -> str:
        return postgres.quote_name(self.schema, STAGE + self.key)

    @property
    def parts(self) -> str:
        return postgres.quote_name(self.schema, PARTS + self.key)

    def prepare(
        self, session: postgres.Session, plans: Sequence[load_plans.LoadPlan], signature: str, keep_s: float
    ) -> bool:
        """Whether an earlier attempt's staging of the same data goes on; else an empty one is made."""
        found = dict(session.rows(LEFT_OVERS.format(schema=postgres.quote_text(self.schema))))
        self._drop_left_overs(session, found)
        comment = read_comment(found.get(STAGE + self.key))
        if comment.get("signature") == signature and PARTS + self.key in found:
            return True
        self.drop(session)
        columns = ", ".join(f"{postgres.quote_name(plan.name)} {plan.staged}" for plan in plans)
        text = json.dumps({"flexcore": self.key, "deadline": time.time() + keep_s + KEEP_S, "signature": signature})
        with session.transaction():
            session.run(f"CREATE UNLOGGED TABLE {self.table} ({columns})")
            session.run(
                f"CREATE UNLOGGED TABLE {self.parts} (number int4 PRIMARY KEY, rows int8, "
                "row_hash text NOT NULL DEFAULT '0')"
            )
            for name in (self.table, self.parts):
                session.run(f"COMMENT ON TABLE {name} IS {postgres.quote_text(text)}")
        return False

    def loaded(self, session: postgres.Session) -> dict[int, Json]:
        rows = session.rows(f"SELECT number, rows, row_hash FROM {self.parts}")
        return {number: {"number": number, "rows": count, "row_hash": text} for number, count, text in rows}

    def drop(self, session: postgres.Session) -> None:
        session.run(f"DROP TABLE IF EXISTS {self.table}, {self.parts}")

    def _drop_left_overs(self, session: postgres.Session, found: dict[str, Any]) -> None:
        for name, text in found.items():
            comment = read_comment(text)
            is_old = float(comment.get("deadline") or "inf") < time.time()
            if is_old and name in (f"{STAGE}{comment.get('flexcore')}", f"{PARTS}{comment.get('flexcore')}"):
                session.run(f"DROP TABLE IF EXISTS {postgres.quote_name(self.schema, name)}")
                print(f"Dropped {self.schema}.{name}, which a copy that has died had left")


def read_comment(text: Any) -> Json:
    try:
        comment = json.loads(text or "")
    except ValueError:
        return {}
    return comment if isinstance(comment, dict) else {}


class PartLoader:
    """Called with a part; returns its record {number, rows, row_hash}."""

    def __init__(
        self,
        database: postgres.Database,
        staging: Staging,
        plans: Sequence[load_plans.LoadPlan],
        storage: Json,
        uri: str,
        schema: Any,
    ) -> None:
        self.database, self.staging, self.plans = database, staging, list(plans)
        self.storage, self.uri, self.schema = storage, uri, schema

    def __call__(self, part: LoadPart) -> Json:
        store = shared_storage.RemoteStore(self.storage)
        if part.is_first:
            store.verify(self.uri, [part.file])
        with self.database.open() as session:
            try:
                with session.transaction():
                    return self.load(session, store, part)
            except shared_storage.Problem as problem:
                if problem.flexcore["details"].get("sqlstate") != DUPLICATE:
                    raise
                # Another copy of this task was first; its transaction has been waited for.
                return self.staging.loaded(session)[part.number]

    def load(self, session: postgres.Session, store: shared_storage.RemoteStore, part: LoadPart) -> Json:
        import pyarrow as pa

        # First of all: whoever else works on this part waits here, until this one has ended.
        session.run(f"INSERT INTO {self.staging.parts} (number) VALUES ({part.number})")
        batches = Batches(store, f"{self.uri}/{part.file['path']}", part, self.plans, self.schema)
        reader = pa.RecordBatchReader.from_batches(self.schema, batches)
        try:
            session.ingest(self.staging.schema, STAGE + self.staging.key, reader)
        except shared_storage.Problem:
            # What the file's side raised arrives as the driver's error without a cause.
            if batches.problem:
                raise batches.problem from None
            raise
        record = {"number": part.number, "rows": batches.rows, "row_hash": str(batches.hashes % row_hash.MODULUS)}
        session.run(
            f"UPDATE {self.staging.parts} SET rows = {record['rows']}, row_hash = '{record['row_hash']}' "
            f"WHERE number = {part.number}"
        )
        return record


class Batches:
    """The batches of a part; counts and hashes what it hands out. problem: what stopped it."""

    def __init__(
        self,
        store: shared_storage.RemoteStore,
        uri: str,
        part: LoadPart,
        plans: Sequence[load_plans.LoadPlan],
        schema: Any,
    ) -> None:
        self.store, self.uri, self.part, self.plans, self.schema = store, uri, part, plans, schema
        self.rows, self.hashes = 0, 0
        self.problem: shared_storage.Problem | None = None

    def __iter__(self) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.parquet

        name = self.part.file["path"]
        try:
            with self.store.fs.open_input_file(self.store.path(self.uri)) as stream:
                file = pa.parquet.ParquetFile(stream)
                columns = self.schema.names
                for batch in file.iter_batches(BATCH_ROWS, row_groups=list(self.part.groups), columns=columns):
                    converted = load_plans.cast_batch(batch, self.schema, name)
                    self.rows += converted.num_rows
                    self.hashes += load_plans.hash_batch(converted, self.plans)
                    yield converted
        except shared_storage.Problem as problem:
            self.problem = problem
            raise
        except (pa.ArrowInvalid, OSError) as error:
            self.problem = load_plans.file_problem(name, f"cannot be read: {str(error).splitlines()[0][:200]}")
            raise self.problem from None
