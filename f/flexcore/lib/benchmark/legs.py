# requirements: flexcore_base
"""What the steps of a race hand to one another: its runs and what is not measured. The order is planning's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from f.flexcore.lib.benchmark import tables
from f.flexcore.lib.core import contracts

# A single process of the worker, with no runtime around it: what the others are compared with.
REFERENCE = "reference"
# Of the schemas that a race makes in the database; what loads write lies in a second one, with _loaded behind it.
SCHEMA_PREFIX = "flexcore_benchmark_"
# What train and predict learn from lineitem, and the model that does so.
TARGET, FEATURES = "l_extendedprice", ("l_partkey", "l_suppkey", "l_quantity", "l_discount", "l_tax")
TREES, MAX_DEPTH = 100, 6
# Of the variance of the price, what the predictions of a correct run explain at least.
MIN_R2 = 0.9


class Leg(contracts.Contract):
    """One run. arguments: of the runtime's own step or flow, without resources; source: the schema of the source table;
    loaded: the schema that a load writes to."""

    number: int
    turn: int
    work: tables.WorkName
    table: tables.TableName
    runtime: str
    workflow_type: str
    source: str
    loaded: str
    arguments: dict[str, Any] = {}


class Gap(contracts.Contract):
    """What is not measured, and why."""

    runtime: str
    work: str
    reason: str


class Plan(contracts.Contract):
    """versions: of the runtimes, as they say it. model: arguments of the training on Ray whose model its runs of
    predict use; null when there are none."""

    legs: list[Leg]
    gaps: list[Gap] = []
    versions: dict[str, str] = {}
    model: dict[str, Any] | None = None
    rows: int
    repeats: int


def name_schema(race: str) -> str:
    """The schema of a race. race: the id of its flow's job."""
    return f"{SCHEMA_PREFIX}{race.replace('-', '')[:12] or 'local'}"


def list_tables(plan: Plan) -> Sequence[tables.TableName]:
    return list(dict.fromkeys(leg.table for leg in plan.legs))
