# requirements: flexcore_base
"""How an execution is: its steps with status, runtime, duration and resources, live while it runs, and what failed."""

import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import wmill

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import errors, monitoring
from f.flexcore.lib.operations import job_records, job_tree
from f.flexcore.lib.views import html, operation_pages
from f.flexcore.lib.windmill import instance


def main(id: str) -> dict[str, Any]:
    try:
        job = str(UUID(id.strip()))
    except (AttributeError, ValueError):
        raise errors.InvalidInput(
            f"{id!r} is no id of a run", subject="id", remedy="Copy it from the run's page."
        ) from None
    client: Any = wmill.Windmill()  # type: ignore[no-untyped-call]
    api = instance.WindmillApi(client.client, str(client.workspace))
    root, complete = job_tree.tree(job_records.Jobs(api), job)
    view = monitoring.View(
        os.environ.get("WM_BASE_URL", "").rstrip("/"), api.workspace, datetime.now(UTC), runtimes.RUNTIMES
    )
    record = monitoring.execution(root, view, complete)
    print(f"{record.path}: {record.status}")
    plain = record.plain()
    return html.wrap_page(operation_pages.render_execution_page(plain), plain)
