"""What a workspace and its server lack of the configuration: secrets, settings, the workers' tags, how long jobs stay.

Each is read first and changed only where it differs, so that a second `apply` finds nothing. Values are never shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from f.flexcore.core.errors import Forbidden, NotFound
from flexcore.client.windmill import Windmill
from flexcore.configuration.files import Configuration
from flexcore.configuration.plan import SETTINGS, Plan

# What the workers of a new group listen to beside our tags: Windmill's own defaults.
USUAL_TAGS = ["deno", "python3", "go", "bash", "powershell", "dependency", "flow", "hub", "other", "bun"]
DAY_S = 24 * 3600
CUSTOM_TAGS, RETENTION = "settings/global/custom_tags", "settings/global/retention_period_secs"


@dataclass(frozen=True, slots=True)
class ServerChange:
    """what: for people, without any value."""

    what: str
    make: Callable[[], Any]


def server_changes(client: Windmill, configuration: Configuration, plan: Plan, embedded: bool) -> list[ServerChange]:
    """Raises FlexcoreError when the server cannot be asked. The embedded engine has no workers to set up."""
    found = [change for path, value in plan.secrets.items() for change in _secret(client, path, value)]
    if plan.settings is not None:
        found += _settings(client, plan.settings)
    if not embedded and "windmill.yaml" in configuration.given:
        found += [*_workers(client, configuration), *_retention(client, configuration)]
    return found


def _secret(client: Windmill, path: str, value: str) -> list[ServerChange]:
    body = {"value": value, "is_secret": True, "description": "From the environment, by `flexcore config apply`."}
    try:
        now = client.get(f"variables/get_value/{path}")
    except NotFound:
        return [
            ServerChange(
                f"create secret variable {path}", lambda: client.post("variables/create", body | {"path": path})
            )
        ]
    return (
        []
        if now == value
        else [ServerChange(f"update secret variable {path}", lambda: client.post(f"variables/update/{path}", body))]
    )


def _settings(client: Windmill, fields: dict[str, Any]) -> list[ServerChange]:
    """Fields that the configuration does not know stay as they are."""
    try:
        now = client.get(f"resources/get/{SETTINGS}")["value"] or {}
        verb = "update"
    except NotFound:
        now, verb = {}, "create"
    changed = [name for name in fields if now.get(name) != fields[name]]
    body = {
        "path": SETTINGS,
        "value": now | fields,
        "resource_type": "c_flexcore_settings",
        "description": "From windmill.yaml, by `flexcore config apply`.",
    }

    def make() -> None:
        client.post("resources/create", body, update_if_exists="true")

    return [ServerChange(f"{verb} resource {SETTINGS}: {', '.join(changed)}", make)] if changed else []


def _workers(client: Windmill, configuration: Configuration) -> list[ServerChange]:
    tags, group = configuration.windmill.workers.tags, configuration.flexcore.worker_group
    found = []
    custom = client.ask("GET", CUSTOM_TAGS) or []
    if missing := [tag for tag in tags if tag not in custom]:
        found.append(
            ServerChange(
                f"custom tags of the instance: add {', '.join(missing)}",
                lambda: _as_superadmin(client, CUSTOM_TAGS, {"value": [*custom, *missing]}),
            )
        )
    path = f"configs/get/worker__{group}"
    config = client.ask("GET", path) or {}
    listens = config.get("worker_tags") or USUAL_TAGS
    # A deployment whose workers are divided by tag, as resources/deploy has them, stays divided.
    served = client.ask("GET", f"workers/exists_workers_with_tags?tags={','.join(tags)}") or {} if tags else {}
    if lacking := [tag for tag in tags if tag not in listens and not served.get(tag)]:
        body = config | {"worker_tags": [*listens, *lacking]}
        found.append(
            ServerChange(
                f"worker group {group}: listen to {', '.join(lacking)}",
                lambda: _as_superadmin(client, f"configs/update/worker__{group}", body),
            )
        )
    return found


def _retention(client: Windmill, configuration: Configuration) -> list[ServerChange]:
    days = configuration.windmill.observability.retention_days
    if days is None or client.ask("GET", RETENTION) == days * DAY_S:
        return []
    return [
        ServerChange(
            f"keep finished jobs for {days} days", lambda: _as_superadmin(client, RETENTION, {"value": days * DAY_S})
        )
    ]


def _as_superadmin(client: Windmill, path: str, body: Any) -> None:
    try:
        client.ask("POST", path, body)
    except Forbidden as error:
        raise Forbidden(
            f"The settings of the instance are its superadmin's to change ({error})",
            subject="token",
            remedy="Apply once with the token of a superadmin; the files of the bundle were not changed.",
        ) from None
