# requirements: flexcore_base
"""How the runtimes did at one type of workflow, by Windmill's own jobs, and which one to prefer."""

from datetime import UTC, datetime
from typing import Any

import wmill

from f.flexcore.lib.core import errors
from f.flexcore.lib.operations import history, job_records
from f.flexcore.lib.selection import comparison
from f.flexcore.lib.views import html, selection_pages
from f.flexcore.lib.windmill import instance


def main(workflow_type: str = "data_pipeline", since: str = "", until: str = "", most: int = 1000) -> dict[str, Any]:
    begin, end = moment(since, "since"), moment(until, "until")
    if begin and end and begin >= end:
        raise errors.InvalidInput("since is not before until", subject="since", remedy="Exchange them.")
    client: Any = wmill.Windmill()  # type: ignore[no-untyped-call]
    jobs = job_records.Jobs(instance.WindmillApi(client.client, str(client.workspace)))
    kind = errors.checked(str, workflow_type or "data_pipeline", "workflow_type")
    found = comparison.compare_runs(
        history.history(jobs, kind, begin, end, max(1, errors.checked(int, most, "most"))), kind, begin, end
    )
    print(f"{found.runs} runs of {kind}: {found.recommendation.reason}")
    plain = found.plain()
    return html.wrap_page(selection_pages.render_comparison_page(plain), plain)


def moment(text: str | None, field: str) -> datetime | None:
    """A time with its zone, UTC when it names none. Raises InvalidInput."""
    try:
        found = datetime.fromisoformat(text) if text else None
    except (TypeError, ValueError):
        remedy = "Write it as 2026-01-31T06:00:00+00:00."
        raise errors.InvalidInput(f"{field}: {text!r} is not a time", subject=field, remedy=remedy) from None
    return found and (found if found.tzinfo else found.replace(tzinfo=UTC))
