# requirements: flexcore_base
"""An execution's steps with status, runtime, duration and resources, live while it runs, and what failed."""

import os
from datetime import UTC, datetime
from typing import Any

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import monitoring
from f.flexcore.lib.views import html, operation_pages
from f.flexcore.lib.windmill import client, job_tree, trace_links


def main(id: str) -> dict[str, Any]:
    windmill = client.Client()
    root, complete = job_tree.read_job_tree(windmill, client.parse_job_id(id, "id"))
    base_url = os.environ.get("WM_BASE_URL", "").rstrip("/")
    view = monitoring.View(base_url, windmill.workspace, datetime.now(UTC), runtimes.RUNTIMES)
    record = monitoring.build_execution(root, view, complete)
    links = trace_links.read_trace_links(windmill)
    if links and (trace := links.find(record.id, job_tree.list_results(root))):
        record = record.with_trace(trace.trace_id, trace.page)
    print(f"{record.path}: {record.status}")
    plain = record.plain()
    return html.wrap_page(operation_pages.render_execution_page(plain), plain)
