# requirements: flexcore_base
# py: ==3.11.*
"""How an execution is: its steps with status, runtime, duration and resources, live while it runs, and what failed."""

import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import wmill

import f.flexcore.core.monitoring_page as monitoring_page
from f.flexcore.core.errors import InvalidInput
from f.flexcore.core.monitoring import View, execution
from f.flexcore.core.tables import rendered
from f.flexcore.operations.jobs import Jobs
from f.flexcore.operations.watching import tree
from f.flexcore.operations.windmill_api import WindmillApi


def main(id: str) -> dict[str, Any]:
    try:
        job = str(UUID(id.strip()))
    except (AttributeError, ValueError):
        raise InvalidInput(f"{id!r} is no id of a run", subject="id", remedy="Copy it from the run's page.") from None
    client: Any = wmill.Windmill()  # type: ignore[no-untyped-call]
    api = WindmillApi(client.client, str(client.workspace))
    root, complete = tree(Jobs(api), job)
    view = View(os.environ.get("WM_BASE_URL", "").rstrip("/"), api.workspace, datetime.now(UTC))
    record = execution(root, view, complete)
    print(f"{record.path}: {record.status}")
    return rendered(monitoring_page.html(record), record.plain())
