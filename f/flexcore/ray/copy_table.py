# requirements: flexcore_base
"""Copies a PostgreSQL table into Parquet files of the store, or such files into a table, verified, on Ray."""

from typing import Any, Literal

from f.flexcore.lib.ray import copy_job

c_ray_cluster = dict
c_flexcore_settings = dict
postgresql = dict


def main(
    cluster: c_ray_cluster,
    database: postgresql,
    table: str,
    direction: Literal["to_parquet", "to_database"] = "to_parquet",
    source: dict | None = None,
    stream: str = "",
    write: Literal["replace", "append", "merge"] = "replace",
    key_columns: list[str] | None = None,
    columns: list[str] | None = None,
    cursor_column: str = "",
    overlap: float = 0,
    state_id: str = "",
    full_refresh: bool = False,
    partition_column: str = "",
    partitions: int = 0,
    text_columns: list[str] | None = None,
    unfit: Literal["refuse", "text"] = "refuse",
    num_workers: int = 2,
    spread: Literal["auto", "always", "never"] = "auto",
    snapshot_max_age_s: int = 14400,
    packages: list[str] | None = None,
    timeout_s: int = 3600,
    own_cluster: dict | None = None,
    wait: Literal["block", "defer"] = "block",
    deferred: dict | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return copy_job.COPY_TABLE.run(locals())
