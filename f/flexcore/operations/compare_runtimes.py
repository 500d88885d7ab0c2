# requirements: flexcore_base
"""How the runtimes did at one type of workflow, by Windmill's own jobs, and which one to prefer."""

from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.operations import history
from f.flexcore.lib.selection import comparison
from f.flexcore.lib.views import html, selection_pages
from f.flexcore.lib.windmill import client


def main(workflow_type: str = "data_pipeline", since: str = "", until: str = "", most: int = 1000) -> dict[str, Any]:
    begin, end = history.parse_time(since, "since"), history.parse_time(until, "until")
    kind = errors.check_value(str, workflow_type or "data_pipeline", "workflow_type")
    limit = max(1, errors.check_value(int, most, "most"))
    found = comparison.compare_runs(history.read_runs(client.Client(), kind, begin, end, limit), kind, begin, end)
    print(f"{found.runs} runs of {kind}: {found.recommendation.reason}")
    plain = found.plain()
    return html.wrap_page(selection_pages.render_comparison_page(plain), plain)
