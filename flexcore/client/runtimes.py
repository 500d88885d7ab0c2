"""The runtimes as the command line shows them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from f.flexcore.lib.core.errors import ExecutionFailed, NotFound
from f.flexcore.lib.runtimes import RUNTIMES
from flexcore.client.watch import Watch, error_text
from flexcore.client.windmill import Windmill
from flexcore.console import json_object

CHECK = "f/flexcore/operations/check_runtimes"
CHECK_CLUSTERS = "f/flexcore/kubernetes/check_clusters"


def configured_runtimes(root: Path) -> list[dict[str, Any]]:
    """Every runtime, the one of the highest priority first. Raises InvalidInput when flexcore.yaml is wrong."""
    from flexcore.configuration.files import read_configuration

    configured = read_configuration(root).flexcore.runtimes
    found = [
        {
            "runtime": name,
            "enabled": item.enabled,
            "priority": item.priority,
            "runs": runtime.summary,
            "health_check_interval_s": item.health_check_interval,
        }
        for name, runtime in RUNTIMES.items()
        for item in [getattr(configured, name)]
    ]
    return sorted(found, key=lambda item: (not item["enabled"], item["priority"] or math.inf))


def measure_runtimes(client: Windmill, settings: str, usual: str, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The health of every runtime that the settings name, measured by a worker. Raises NotFound or ExecutionFailed."""
    shown = _run_check(client, CHECK, settings, usual, say)
    tables = [item["table-row-object"] for item in shown if "table-row-object" in item]
    rows: list[dict[str, Any]] = tables[0]
    return rows


def measure_clusters(
    client: Windmill, settings: str, usual: str, say: Callable[[str], None]
) -> dict[str, list[dict[str, Any]]]:
    """{clusters, work} of every Kubernetes cluster that the settings name. Raises NotFound or ExecutionFailed."""
    shown = _run_check(client, CHECK_CLUSTERS, settings, usual, say)
    found: dict[str, list[dict[str, Any]]] = next(item for item in shown if "clusters" in item)
    return found


def _run_check(
    client: Windmill, path: str, settings: str, usual: str, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """What a step that checks something shows: its page, and the same as plain data."""
    job = client.start("script", path, {"settings": _settings(client, settings, usual, say)})
    watch = Watch(client, job)
    ended = watch.follow(lambda event: None)
    if not ended.get("success"):
        raise ExecutionFailed(
            f"{path} failed: {error_text(ended)}", remedy=f"`flexcore workflow logs {job}` shows more."
        )
    shown: list[dict[str, Any]] = ended["result"]["render_all"]
    return shown


def _settings(client: Windmill, given: str, usual: str, say: Callable[[str], None]) -> Any:
    if given.startswith("@"):
        return json_object(given, "--settings")
    if given:
        path = given.removeprefix("$res:")
        if not client.get(f"resources/exists/{path}"):
            raise NotFound(f"There is no resource {path}", subject="--settings", remedy="Create it, or name another.")
        return f"$res:{path}"
    if client.get(f"resources/exists/{usual}"):
        return f"$res:{usual}"
    say(f"There is no resource {usual}: only this worker's own runtimes are asked. `flexcore config apply` makes one.")
    return {}
