# requirements: flexcore_base
"""The form of a race between the runtimes: what work, on which tables, where, how often."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from f.flexcore.lib.benchmark import tables as race_tables
from f.flexcore.lib.core import forms, resources

# What a person can wait for, and a worker's disk holds: 5 million wide rows are 2 GB in the database.
MAX_ROWS, MAX_REPEATS = 5_000_000, 10


class BenchmarkRequest(resources.Form):
    """A race. Runtimes without a resource do not take part; the result says so."""

    database: Annotated[dict[str, Any], resources.SECRET] = Field(
        description="PostgreSQL database in which the race makes its tables, in schemas of its own, and removes them."
    )
    project: resources.MeltanoProject | None = Field(
        default=None, description="Meltano project with the tap and the targets; empty means without Meltano."
    )
    cluster: resources.RayCluster | None = Field(default=None, description="The Ray cluster; empty means without Ray.")
    works: list[race_tables.WorkName] = Field(
        default=["extract", "load"],
        min_length=1,
        description="extract: table to files; load: files to table; train: a model of lineitem's price; predict: "
        "that price for each row.",
    )
    tables: list[race_tables.TableName] = Field(
        default=list(race_tables.TABLES), min_length=1, description="narrow: 5 columns; wide: 24; lineitem: TPC-H's 16."
    )
    rows: int = Field(default=200_000, ge=1000, le=MAX_ROWS, description="Rows of each table.")
    repeats: int = Field(default=3, ge=1, le=MAX_REPEATS, description="How often each runtime does each work.")
    tap: str = Field(default="tap-postgres", description="Tap of the project that reads the database.")
    file_target: str = Field(default="target-jsonl", description="Target of the project that writes files.")
    table_target: str = Field(default="target-postgres", description="Target of the project that loads the database.")
    tap_config: list[str] = Field(
        default=['filter_schemas=["{schema}"]'],
        description="Settings of the tap as SETTING=VALUE; {schema} stands for the schema of the race's tables.",
    )
    table_target_config: list[str] = Field(
        default=["default_target_schema={schema}"],
        description="Settings of the target that loads, as SETTING=VALUE; {schema} stands for the schema to load into.",
    )
    workflow_type: str = Field(
        default="",
        description="Type of workflow under which the runs are kept, so that data_pipeline learns from them; empty "
        "means one for each work and table, e.g. benchmark/extract-wide.",
    )
    timeout_s: int = Field(default=3600, ge=10, description="Longest time for one run, in seconds.")
    plan_only: bool = Field(default=False, description="Only say what would be run, and what cannot be measured.")
    settings: resources.Settings = Field(
        default=resources.Settings(), description="Where runs store their files; each is removed once it is compared."
    )

    @field_validator("works", "tables")
    @classmethod
    def _without_duplicates(cls, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))

    @field_validator("workflow_type")
    @classmethod
    def _can_be_a_label(cls, value: str) -> str:
        if value and not forms.WORKFLOW_TYPE.fullmatch(value):
            raise ValueError(f"{value!r} is not a name: use letters, digits, spaces and _ . / -, at most 60")
        return value

    @model_validator(mode="after")
    def _has_something_to_learn(self) -> BenchmarkRequest:
        if not set(race_tables.LEARNING).isdisjoint(self.works) and "lineitem" not in self.tables:
            raise ValueError("train and predict need the table lineitem: add it to tables")
        return self
