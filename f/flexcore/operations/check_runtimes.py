# requirements: flexcore_kubernetes
"""Health of every runtime that the settings name, and of the store between them, as a colored table."""

import os
from dataclasses import asdict
from typing import Any

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.operations import configured_runtimes
from f.flexcore.lib.views import html, operation_pages
from f.flexcore.lib.windmill import client

c_flexcore_settings = dict


def main(settings: c_flexcore_settings | None = None) -> dict[str, Any]:
    chosen = errors.validate(resources.Settings, settings or {}, "settings")
    worker = os.environ.get("WM_WORKER_GROUP") or "this worker"
    health = configured_runtimes.check_all(chosen, client.Client().resource, worker)
    for item in health:
        print(f"{item.runtime} {item.place}: {item.state}{f' ({item.detail})' if item.detail else ''}")
    rows = [asdict(item) for item in health]
    return html.wrap_page(operation_pages.render_health_page(rows), {"table-row-object": rows})
