# requirements: flexcore_kubernetes
"""How every runtime is that the settings name, and the store between them: asked side by side, as a coloured table."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import wmill

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.operations import health
from f.flexcore.lib.views import html, operation_pages

c_flexcore_settings = dict
AT_ONCE = 8


def main(settings: c_flexcore_settings | None = None) -> dict[str, Any]:
    chosen = errors.validated(resources.Settings, settings or {}, "settings")
    client: Any = wmill.Windmill()  # type: ignore[no-untyped-call]
    worker = os.environ.get("WM_WORKER_GROUP") or "this worker"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(health.measured, health.checks_of(chosen, client.get_resource, worker)))
    for item in found:
        print(f"{item.runtime} {item.place}: {item.state}{f' ({item.detail})' if item.detail else ''}")
    rows = [asdict(item) for item in found]
    return html.wrap_page(operation_pages.render_health_page(rows), {"table-row-object": rows})
