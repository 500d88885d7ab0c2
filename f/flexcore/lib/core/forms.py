# requirements: flexcore_base
"""The data pipeline's own form: where the data is, what is known of the work, and what the choice is to look at.

How each runtime would do the work is the request of one of its operations, in a section named after the runtime.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from f.flexcore.lib.core import resources, workloads


class DataSource(resources.Form):
    """Where the data lies, to be measured there; a size and rows that are given win over what is measured."""

    uris: list[str] = Field(default=[], description="Files, folders or globs: paths of the worker, file://… or s3://….")
    postgres: Annotated[dict[str, Any] | None, resources.SECRET] = Field(
        default=None, description="PostgreSQL database that is read."
    )
    tables: list[str] = Field(default=[], description="Tables of the database as SCHEMA.TABLE; empty means all.")
    manifest: dict[str, Any] | None = Field(default=None, description="Manifest that an earlier stage has handed on.")
    size: int | None = Field(
        default=None,
        ge=0,
        description="Size, when you know it: e.g. 500MB, 50GB or 1.5TiB. It wins over what is measured.",
    )
    rows: int | None = Field(default=None, ge=0, description="Rows, when you know them.")

    @field_validator("size", mode="before")
    @classmethod
    def _size_in_bytes(cls, value: Any) -> int | None:
        return workloads.parse_size(value)


class DeclaredWork(resources.Form):
    """What the caller knows of the work; each wins over what the analysis estimates."""

    complexity: Literal["simple", "complex", "ml"] | None = Field(
        default=None, description="How involved the work is; empty means estimated."
    )
    scaling: Literal["low", "medium", "high"] | None = Field(
        default=None, description="How far it has to scale; empty means estimated."
    )
    cpu: float | None = Field(default=None, ge=0, description="Cores that it needs.")
    memory: int | None = Field(default=None, ge=0, description="Memory that it needs, e.g. 16GiB.")
    gpu: float | None = Field(default=None, ge=0, description="GPUs that it needs.")
    parallelizable: bool | None = Field(
        default=None, description="Whether it can be split over several machines; empty means estimated."
    )
    containerized: bool | None = Field(
        default=None, description="Whether it comes as a container; empty means estimated."
    )
    step_type: str | None = Field(
        default=None, description="Kind of a single step, e.g. singer_tap or dbt_model; empty for a pipeline."
    )

    @field_validator("memory", mode="before")
    @classmethod
    def _memory_in_bytes(cls, value: Any) -> int | None:
        return workloads.parse_size(value)


# The name of a type of workflow is a label of its runs; a comma would be two labels to Windmill.
WORKFLOW_TYPE = re.compile(r"[A-Za-z0-9][\w ./-]{0,59}", re.ASCII)


class DataPipelineForm(resources.Form):
    """All of the data pipeline's form but the runtimes' sections."""

    explain_only: bool = Field(
        default=False,
        description="Only say which runtime would be chosen, why, at what price, and whether the services would take "
        "the work; nothing is run.",
    )
    settings: resources.Settings = Field(
        default=resources.Settings(),
        description="Where stages store what they hand on, and what the runtimes are and cost.",
    )
    workflow_type: str = Field(
        default="data_pipeline",
        description="Name under which runs are compared with each other and forecasts learned.",
    )
    data: DataSource = Field(
        default=DataSource(),
        description="Where the data is, to measure it there; empty means what the taps' configuration says.",
    )
    workload: DeclaredWork = Field(
        default=DeclaredWork(), description="What you know of the work; the rest is measured or estimated."
    )
    objective: Literal["balanced", "cost", "time"] = Field(default="balanced", description="What the choice looks at.")
    deadline_s: float | None = Field(
        default=None,
        description="Seconds from now in which the work is to be done; the choice weighs the chance of that.",
    )
    deadline: str = Field(
        default="", description="Or the time at which it is to be done, e.g. 2026-01-31T06:00:00+00:00."
    )
    pin: str = Field(default="", description="Runtime to take whatever the analysis says.")

    @field_validator("workflow_type")
    @classmethod
    def _can_be_a_label(cls, value: str) -> str:
        if not WORKFLOW_TYPE.fullmatch(value):
            raise ValueError(
                f"{value!r} is not a name: use letters, digits, spaces and _ . / -, at most 60, a letter or digit first"
            )
        return value
