# requirements: flexcore_base
"""How the runtimes did at one type of workflow, by Windmill's own jobs, and which one to prefer."""

from typing import Any

from f.flexcore.lib.core import errors, tables
from f.flexcore.lib.operations import history
from f.flexcore.lib.selection import comparison
from f.flexcore.lib.views import comparison_page
from f.flexcore.lib.windmill import client


def main(workflow_type: str = "data_pipeline", since: str = "", until: str = "", most: int = 1000) -> dict[str, Any]:
    begin, end = history.parse_time(since, "since"), history.parse_time(until, "until")
    kind = errors.checked(str, workflow_type or "data_pipeline", "workflow_type")
    limit = max(1, errors.checked(int, most, "most"))
    found = comparison.compare(history.read_runs(client.Client(), kind, begin, end, limit), kind, begin, end)
    print(f"{found.runs} runs of {kind}: {found.recommendation.reason}")
    return tables.rendered(comparison_page.html(found), found.plain())
