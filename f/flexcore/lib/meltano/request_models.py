# requirements: flexcore_base
"""Requests of the operations: all fields of their forms, with bounds and defaults, and what they say about the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from f.flexcore.lib.core import resources, workloads

# The adapters of dbt Labs and of the warehouses' makers that install from PyPI with the dbt of dbt.py.
ADAPTERS = {
    "postgres": "dbt-postgres==1.11.0",
    "snowflake": "dbt-snowflake==1.12.4",
    "bigquery": "dbt-bigquery==1.12.1",
    "redshift": "dbt-redshift==1.11.2",
    "duckdb": "dbt-duckdb==1.11.1",
    "sqlserver": "dbt-sqlserver==1.11.3",
    "trino": "dbt-trino==1.11.0",
    "clickhouse": "dbt-clickhouse==1.10.3",
}


def _drop_blank(value: Any) -> Any:
    """Windmill's forms send an empty text for a line that was added and not filled in."""
    return [item for item in value if not isinstance(item, str) or item.strip()] if isinstance(value, list) else value


Lines = Annotated[list[str], BeforeValidator(_drop_blank)]


class ExtractionRequest(resources.Form):
    """Which taps of a project to run into which target, and how."""

    taps: Lines = Field(min_length=1, description="Taps of the project to run, one after the other, e.g. tap-postgres.")
    target: str = Field(default="target-jsonl", description="Target of the project that all taps load into.")
    environment: str = Field(
        default="", description="Meltano environment; empty means the one of the project resource."
    )
    full_refresh: bool = Field(default=False, description="Extract everything again, whatever the state says.")
    select: Lines = Field(
        default=[],
        description="Catalog selection patterns, e.g. flights.* or !flights.comment, for one tap "
        "tap-postgres.flights.*; empty means the project's own selection.",
    )
    config: Lines = Field(
        default=[],
        description="Plugin settings for this run as PLUGIN.SETTING=VALUE, e.g. tap-postgres.dbname=sales. Secrets "
        "belong into the project resource.",
    )
    timeout_s: int = Field(default=3600, ge=1, description="Longest time for the run, in seconds.")
    allow_empty: bool = Field(
        default=False,
        description="Succeed even when there is nothing to extract, e.g. nothing new since the last run.",
    )
    tap_settings: Annotated[dict[str, Any] | None, resources.OPAQUE] = Field(
        default=None, description="A resource of any type whose fields are settings of the taps, e.g. a postgresql."
    )
    target_settings: Annotated[dict[str, Any] | None, resources.OPAQUE] = Field(
        default=None, description="A resource of any type whose fields are settings of the target."
    )
    mappings: Lines = Field(
        default=[],
        description="Mappings of the project that every row passes between tap and target, e.g. hide-emails.",
    )

    @field_validator("target")
    @classmethod
    def _is_not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is blank; give a target of the project, e.g. target-jsonl")
        return value


class DbtRequest(resources.Form):
    """Which models of a project dbt works on, and how."""

    run_by: Literal["dbt", "meltano"] = Field(
        default="dbt",
        description="dbt installs dbt with the chosen adapter; meltano runs a dbt utility of the Meltano project, with "
        "its settings.",
    )
    adapter: str = Field(
        default="postgres",
        description="The warehouse, for run_by dbt; any other runs as a utility of Meltano.",
    )
    utility: str = Field(default="", description="Utility of the project, e.g. dbt-snowflake, for run_by meltano.")
    folder: str = Field(
        default="",
        description="Folder of the project with dbt_project.yml; may stay empty when there is only one.",
    )
    command: Literal["build", "run", "test", "seed", "snapshot"] = Field(
        default="build", description="What dbt does; build is seeds, models, snapshots and tests in their order."
    )
    select: Lines = Field(
        default=[],
        description="Which models, in dbt's node selection, e.g. orders+ or tag:daily; empty means all.",
    )
    exclude: Lines = Field(default=[], description="Which models not, in dbt's node selection.")
    variables: Lines = Field(default=[], description="dbt variables as NAME=VALUE; not for secrets.")
    dbt_target: str = Field(default="", description="Target of the dbt profile; empty means its default.")
    full_refresh: bool = Field(default=False, description="Build incremental models and seeds from nothing.")
    threads: int | None = Field(
        default=None, ge=1, description="How many models at once; empty means what the profile says."
    )
    timeout_s: int = Field(default=3600, ge=1, description="Longest time, in seconds.")

    @field_validator("adapter")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in ADAPTERS:
            raise ValueError(f"{value!r} is not one of {', '.join(ADAPTERS)}; any other runs as a utility of Meltano")
        return value

    @field_validator("select", "exclude")
    @classmethod
    def _is_no_flag(cls, value: list[str]) -> list[str]:
        if flag := next((item for item in value if item.strip().startswith("-")), None):
            raise ValueError(f"{flag!r} is an option and not the name of a model")
        return value

    @field_validator("variables")
    @classmethod
    def _are_pairs(cls, value: list[str]) -> list[str]:
        # A line is not repeated: what stands behind the sign may be a secret.
        if number := next((str(number) for number, item in enumerate(value) if not item.partition("=")[1]), None):
            raise ValueError(f"line {number} is not NAME=VALUE")
        return value


def derive_work_hints(request: Mapping[str, Any]) -> workloads.WorkHints:
    """Return the hints of a plain request: one tap into its target is simple, more are complex."""
    taps = request.get("taps") or []
    if len(taps) == 1:
        return workloads.WorkHints(complexity="simple", complexity_reason="one tap into one target")
    return workloads.WorkHints(complexity="complex", complexity_reason=f"{len(taps)} taps")
