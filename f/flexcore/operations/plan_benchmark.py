# requirements: flexcore_pipeline
"""First step of the race: the form checked, each runtime asked how it is, the runs in their order."""

import os
from typing import Any, Literal

from f.flexcore.lib.benchmark import legs, race
from f.flexcore.lib.windmill import stops

postgresql = dict
c_meltano_project = dict
c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    database: postgresql,
    project: c_meltano_project | None = None,
    cluster: c_ray_cluster | None = None,
    works: list[Literal["extract", "load", "train", "predict"]] | None = None,
    tables: list[Literal["narrow", "wide", "lineitem"]] | None = None,
    rows: int = 200000,
    repeats: int = 3,
    tap: str = "tap-postgres",
    file_target: str = "target-jsonl",
    table_target: str = "target-postgres",
    tap_config: list[str] | None = None,
    table_target_config: list[str] | None = None,
    workflow_type: str = "",
    timeout_s: int = 3600,
    plan_only: bool = False,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    stops.refuse_stopped()
    plan = race.plan(locals(), legs.name_schema(os.environ.get("WM_FLOW_JOB_ID", "")))
    for gap in plan.gaps:
        print(f"Not measured: {gap.work} on {gap.runtime}: {gap.reason}")
    print(f"{len(plan.legs)} runs")
    return plan.plain()
