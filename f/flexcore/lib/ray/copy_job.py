# requirements: flexcore_base
"""Bulk copies between PostgreSQL and Parquet as a Ray job, and what the job reports as a step's result."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from f.flexcore.lib.core import contracts, errors, operation, resources
from f.flexcore.lib.ray import cluster, dashboard, job, job_adapter, job_inputs, own_cluster_field
from f.flexcore.lib.ray.remote import postgres
from f.flexcore.lib.storage import catalog, object_store

OUT_PROGRAM = "from f.flexcore.lib.ray.remote.copy_out import run\n\nresult = run(parameters, storage)\n"
IN_PROGRAM = "from f.flexcore.lib.ray.remote.copy_in import run\n\nresult = run(parameters, storage)\n"
CHECK = 'from f.flexcore.lib.ray.remote.copy_packages import check\n\ncheck(parameters["requires"])\n'
SHARED = (
    "problems",
    "shared_storage",
    "copy_packages",
    "postgres",
    "row_hash",
    "table_catalog",
    "column_plans",
    "column_arrays",
    "part_runner",
    "part_files",
    "table_parts",
    "table_snapshot",
)
OUT_MODULES = (*SHARED, "copy_cursor", "copy_out")
IN_MODULES = (*SHARED, "load_plans", "staging", "publish_plans", "publishing", "copy_in")
REQUIRED = ("pyarrow", "adbc_driver_manager", "adbc_driver_postgresql")
TABLE_NAME = re.compile(r"[^.\s][^.]*(\.[^.]+)?")
# Ends that say nothing of the request: a repeat goes on where the job was killed.
RESUMABLE = ("killed", "supervisor_died", "outcome_lost", "ray_failed")
# Of the request, what is the step's own and no parameter of the program.
STEP_FIELDS = {
    "database",
    "direction",
    "source",
    "stream",
    "packages",
    "timeout_s",
    "own_cluster",
    "wait",
    "state_id",
    "full_refresh",
}


class CopyTableRequest(resources.Form):
    """A table, where it goes, and how it is read or written."""

    database: resources.Postgresql = Field(description="The PostgreSQL database, as a postgresql resource.")
    table: str = Field(description="Table or view, as SCHEMA.TABLE; without a schema that of public.")
    direction: Literal["to_parquet", "to_database"] = Field(
        default="to_parquet", description="to_parquet copies the table into the store, to_database the data into it."
    )
    source: dict[str, Any] | None = Field(default=None, description="Manifest of the data, in Parquet files.")
    stream: str = Field(default="", description="Stream of the data; may stay empty when there is only one.")
    write: Literal["replace", "append", "merge"] = Field(
        default="replace",
        description="replace puts the data in the place of the table's rows, append adds it, merge "
        "updates rows by key_columns and adds new ones.",
    )
    key_columns: list[str] = Field(
        default=[], description="Columns that tell rows apart; the table has a unique index on them."
    )
    columns: list[str] = Field(default=[], description="Columns to copy; empty means all.")
    cursor_column: str = Field(
        default="",
        description="Column that grows with every change of a row, e.g. updated_at; the next copy reads "
        "from the last one's end on.",
    )
    overlap: float = Field(
        default=0,
        ge=0,
        allow_inf_nan=False,
        description="How far before the last cursor to read again, for rows that came late: seconds, or the unit of "
        "a number.",
    )
    state_id: str = Field(
        default="",
        pattern=r"^$|^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$",
        description="Name of the cursor's state in the store; empty means one of database, table and cursor.",
    )
    full_refresh: bool = Field(default=False, description="Read the whole table once, and let the cursor go on there.")
    partition_column: str = Field(
        default="", description="Column to divide the table by; empty means its blocks on the disk."
    )
    partitions: int = Field(default=0, ge=0, le=512, description="Number of parts; 0 goes by the size.")
    text_columns: list[str] = Field(default=[], description="Columns to hand on as PostgreSQL's own exact text.")
    unfit: Literal["refuse", "text"] = Field(
        default="refuse",
        description="What becomes of columns that Parquet cannot hold exactly (NaN in a numeric, infinite "
        "dates, more than 38 digits, nested arrays): refuse them by name, or hand them on as text.",
    )
    num_workers: int = Field(default=2, ge=1, le=64, description="At most that many parts are copied at once.")
    spread: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Whether Ray's workers copy, or the job's own process; auto spreads from 1 GiB on.",
    )
    snapshot_max_age_s: int = Field(
        default=4 * 3600,
        ge=1,
        description="Longest time for which the snapshot is kept open in the database, in seconds.",
    )
    packages: job.Packages = Field(
        default=[], description="Packages to install for this job, e.g. adbc-driver-postgresql==1.13.0."
    )
    timeout_s: int = Field(default=3600, ge=1, description="Longest time for the copy, in seconds.")
    own_cluster: own_cluster_field.OptionalOwnCluster = Field(default=None, description=own_cluster_field.DESCRIPTION)
    wait: Literal["block", "defer"] = Field(
        default="block",
        description="block keeps the worker until the work has ended; defer waits without one and needs "
        "operations/reconcile on its schedule.",
    )

    @field_validator("table")
    @classmethod
    def _is_named(cls, value: str) -> str:
        if not TABLE_NAME.fullmatch(value.strip()):
            raise ValueError("is not the name of a table: write it as SCHEMA.TABLE")
        return value.strip()

    @model_validator(mode="after")
    def _belongs_together(self) -> CopyTableRequest:
        if self.direction == "to_database" and self.cursor_column:
            raise ValueError("cursor_column is for to_parquet alone: leave it empty, or turn the direction around")
        if self.direction == "to_database" and self.write == "merge" and not self.key_columns:
            raise ValueError("merge needs key_columns: name the columns that tell rows apart")
        if self.overlap and not self.cursor_column:
            raise ValueError("overlap needs a cursor_column")
        return self

    @property
    def needs(self) -> cluster.Needs:
        return cluster.Needs(cpus=1 if self.spread == "always" else 0, subject="spread")


Invocation = operation.Invocation[CopyTableRequest, resources.RayCluster]


def check(request: CopyTableRequest, service: resources.RayCluster | None, settings: resources.Settings) -> None:
    """Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without the cluster and the data."""
    own_cluster_field.check(request, service)
    job_inputs.check_store(service, settings)
    host = request.database.host
    job_inputs.check_reach("database.host", f"http://{host}", service, "the database", host)
    if request.direction == "to_database" and request.source is not None:
        select_source(request)


def select_source(request: CopyTableRequest) -> tuple[contracts.DataManifest, contracts.Stream]:
    manifest = job_inputs.parse_source(request.source)
    if manifest.format != "parquet":
        raise errors.InvalidInput(
            f"source.format: the data is {manifest.format}, and copy_table loads Parquet alone",
            subject="source.format",
            remedy="Extract by a target that writes Parquet, or load it by a target of Meltano.",
        )
    name = contracts.find_stream(manifest, request.stream)
    return manifest, next(item for item in manifest.streams if item.name == name)


# --- the cursor's state: `<store>/state/copy_table/<id>.json`, written after the copy is published


def state_uri(request: CopyTableRequest, store: object_store.Store) -> str:
    """Where the cursor of a request is kept; "" when it has none."""
    if not request.cursor_column:
        return ""
    parts = (request.database.host, str(request.database.port), request.database.dbname, request.table)
    digest = hashlib.sha256("\0".join((*parts, request.cursor_column)).encode()).hexdigest()[:20]
    return store.uri("state", "copy_table", f"{request.state_id or digest}.json")


def read_state(request: CopyTableRequest, store: object_store.Store) -> dict[str, Any]:
    """{column, type, value, rows, generation, execution_key}; {} before the first copy. Raises InvalidInput for the
    state of another cursor."""
    uri = state_uri(request, store)
    state: dict[str, Any] = (store.read_json(uri) if uri else None) or {}
    if state and state.get("column") != request.cursor_column:
        raise errors.InvalidInput(
            f"cursor_column: the state {uri} is one of {state.get('column')}, not of {request.cursor_column}",
            subject="cursor_column",
            remedy="Choose another state_id, or the cursor that it was made with.",
        )
    return state


def advance_state(
    request: CopyTableRequest, store: object_store.Store, result: contracts.StepResult
) -> contracts.StepResult:
    """Moves the state to where this copy has come. Safe to repeat; a state that another copy has moved since is left
    alone, so that it never goes back."""
    uri, cursor = state_uri(request, store), result.data.get("cursor") or {}
    if not uri or not cursor or cursor["value"] is None:
        return result
    current = read_state(request, store)
    if current.get("execution_key") == result.execution_key:
        return result
    if int(current.get("generation") or 0) != int(cursor["generation"]):
        print(f"The state {uri} has moved on in another copy and is left alone", flush=True)
        return result
    kept = {name: cursor[name] for name in ("column", "type", "value", "rows")}
    moved = kept | {"generation": int(cursor["generation"]) + 1, "execution_key": result.execution_key}
    store.write_json(uri, moved)
    print(f"The next copy goes on from {cursor['column']} {cursor['value']}", flush=True)
    return result


# --- the job


def copy_job(invocation: Invocation, context: job_adapter.Context) -> job.Job:
    """Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without data."""
    request, is_out = invocation.request, invocation.request.direction == "to_parquet"
    state = read_state(request, context.store)
    parameters = {
        "database": request.database.model_dump(exclude={"password"}),
        "requires": job.required_packages(*REQUIRED),
        "since": None if request.full_refresh else state.get("value"),
        "generation": int(state.get("generation") or 0),
        **request.model_dump(exclude=STEP_FIELDS),
    }
    if not is_out:
        manifest, stream = select_source(request)
        parameters["source"] = job_inputs.source_parameters(manifest, stream)
    return job.Job(
        kind="copy_table",
        files=job.program_files(OUT_MODULES if is_out else IN_MODULES, OUT_PROGRAM if is_out else IN_PROGRAM),
        parameters=parameters,
        storage=job_inputs.storage_access(invocation.settings, context.store, context.key),
        secrets={postgres.PASSWORD: request.database.password} if request.database.password else {},
        packages=request.packages,
        needs=request.needs,
        timeout_s=request.timeout_s,
        check=CHECK,
    )


def out_result(finished: job.FinishedJob) -> contracts.StepResult:
    """The table as data, which any later stage takes."""
    result = finished.result
    files = [contracts.File.model_validate(item) for item in result["files"]]
    size, schema = sum(item.bytes for item in files), contracts.schema_hash(result["types"])
    stream = contracts.Stream(
        name=result["table"].rpartition(".")[2],
        rows=result["rows"],
        bytes=size,
        columns=result["columns"],
        schema_hash=schema,
        files=files,
    )
    manifest = contracts.DataManifest(
        uri=result["uri"],
        format=result["format"],
        bytes=size,
        rows=result["rows"],
        schema_hash=schema,
        checksum=contracts.compute_checksum(files),
        streams=[stream],
    )
    names = ("table", "types", "row_hash", "parts", "resumed_parts", "spread", "cursor", "notes")
    data = {name: result[name] for name in names} | {"packages": finished.packages}
    return finished.step_result(output=manifest, metrics=measure(result), data=data)


def in_result(finished: job.FinishedJob) -> contracts.StepResult:
    names = ("table", "write", "publish", "row_hash", "parts", "resumed_parts", "spread", "notes")
    data = {name: finished.result[name] for name in names} | {"packages": finished.packages}
    return finished.step_result(metrics=measure(finished.result), data=data)


def measure(result: dashboard.Json) -> dict[str, float | int | None]:
    """copy_s: from the first question to the database to what was published; the start of the job is in the timings."""
    seconds = result["copy_s"]
    rate = round(result["rows"] / seconds) if seconds else None
    return {"rows": result["rows"], "copy_s": seconds, "rows_per_s": rate}


def _prepare(invocation: Invocation, context: job_adapter.Context) -> job_adapter.Work:
    request = invocation.request
    work = copy_job(invocation, context)
    if request.direction == "to_database":
        return job_adapter.Work(work, in_result)

    def publish(result: contracts.StepResult) -> contracts.StepResult:
        assert isinstance(result.output, contracts.DataManifest)
        name = re.sub(r"[^a-z0-9]+", "-", request.table.lower()).strip("-") or "table"
        catalog.add(context.store, "data", name, f"{result.execution_key}-{result.attempt}", result.output)
        return advance_state(request, context.store, result)

    return job_adapter.Work(work, out_result, publish)


_execute = job_adapter.execute_with(_prepare, check)


def execute(invocation: Invocation) -> dict[str, Any]:
    """The plain result. A job that was killed is worth a retry: it goes on with what is there."""
    try:
        return _execute(invocation)
    except errors.ExecutionFailed as error:
        error.retryable = error.category in RESUMABLE
        raise


COPY_TABLE = operation.Operation(
    runtime="ray",
    name="copy_table",
    request=CopyTableRequest,
    service=resources.RayCluster,
    check=check,
    plan=job_adapter.plan_with(check),
    execute=execute,
)
