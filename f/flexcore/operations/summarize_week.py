# requirements: flexcore_base
"""First step of the weekly report: a week of executions beside the week before, from Windmill's own jobs."""

import os
from datetime import UTC, datetime
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.operations import cause_remedies, history, weekly_report
from f.flexcore.lib.windmill import client, stops


def main(week: str = "") -> dict[str, Any]:
    stops.refuse_stopped()
    name, begin, end = weekly_report.find_week(errors.check_value(str, week or "", "week"), datetime.now(UTC))
    windmill = client.Client()
    now, before = (history.read_week(windmill, *bounds) for bounds in weekly_report.list_bounds(begin))
    report = weekly_report.build_report(name, begin, end, os.environ.get("WM_WORKSPACE", ""), now, before)
    print(f"{name}: {report.runs} runs, {report.rate.successes} of {report.rate.runs} successful")
    return cause_remedies.add_remedies(windmill, report).plain()
