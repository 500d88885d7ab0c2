# requirements: flexcore_pipeline
"""First step of the race: the form checked, each runtime asked how it is, the runs in their order."""

import os
from typing import Any

from f.flexcore.lib.benchmark import legs, race


def main(request: dict) -> dict[str, Any]:
    plan = race.plan(request, legs.name_schema(os.environ.get("WM_FLOW_JOB_ID", "")))
    for gap in plan.gaps:
        print(f"Not measured: {gap.work} on {gap.runtime}: {gap.reason}")
    print(f"{len(plan.legs)} runs")
    return plan.plain()
