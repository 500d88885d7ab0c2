# requirements: flexcore_pipeline
"""Last step of the race: who did what how fast, as a chart and a table and as plain data; of a plan, what would run."""

from typing import Any

from f.flexcore.lib.benchmark import legs, results
from f.flexcore.lib.core import errors
from f.flexcore.lib.views import benchmark_pages, html


def main(plan: dict, data: dict | None = None, measured: list | None = None) -> dict[str, Any]:
    checked = errors.validate(legs.Plan, plan, "plan")
    if not data:
        return html.wrap_page(benchmark_pages.render_plan_page(plan), {"success": True, "plan": plan})
    plain = results.finish(checked, data, measured or [])
    print("\n".join(benchmark_pages.format_race_lines(plain["standings"])))
    return html.wrap_page(benchmark_pages.render_race_page(plain), plain)
