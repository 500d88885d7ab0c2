# requirements: flexcore_base
"""Runs dbt on a project's models and reports each: status, seconds, rows; a failed test names its model and column."""

from typing import Any, Literal

from f.flexcore.lib.meltano import (
    dbt,
)
from f.flexcore.lib.windmill import stops

c_meltano_project = dict
c_flexcore_settings = dict


def main(
    project: c_meltano_project,
    run_by: Literal["dbt", "meltano"] = "dbt",
    adapter: str = "postgres",
    utility: str = "",
    folder: str = "",
    command: Literal["build", "run", "test", "seed", "snapshot"] = "build",
    select: list[str] | None = None,
    exclude: list[str] | None = None,
    variables: list[str] | None = None,
    dbt_target: str = "",
    full_refresh: bool = False,
    threads: int | None = None,
    timeout_s: int = 3600,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    stops.refuse_stopped()
    return dbt.RUN_DBT.run(locals())
