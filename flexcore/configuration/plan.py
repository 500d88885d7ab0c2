"""What the bundle's files and the server must be by the two configuration files; pure but for reading the bundle.

tags        in the metadata of every step of a runtime: which workers run it
resources   f/flexcore/{meltano_project,ray_cluster,kubernetes_cluster}.resource.yaml
settings    f/flexcore/settings, in the workspace alone: the wmill CLI (1.819) takes every file named settings.* for the
            workspace's own settings, and passes over settings.resource.yaml in silence
schedules   operations/reconcile and operations/check_runtimes
secrets     variables of the workspace: what came from the environment is in no file, resources refer to it by path
deployment  resources/deploy/windmill.env: where the server listens, how many workers listen to which tag
workers     the tags of the worker group that nobody else listens to, and the instance's list of custom tags
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from f.flexcore.lib.runtimes import RUNTIMES
from flexcore.configuration.check import SECRETS
from flexcore.configuration.document import Path_
from flexcore.configuration.files import Configuration

FOLDER = "f/flexcore"
SETTINGS = f"{FOLDER}/settings"
# By runtime: the name and the type of its resource, and the field of the settings that lists it.
RESOURCES = {
    runtime.name: (runtime.resource_type.removeprefix("c_"), runtime.resource_type, runtime.clusters_field or "")
    for runtime in RUNTIMES.values()
    if runtime.resource_type
}
MAIN = re.compile(r"^(async )?def main\(", re.MULTILINE)
TAG = re.compile(r"^tag: .*\n", re.MULTILINE)
ENABLED, TIMES = re.compile(r"^enabled: .*$", re.MULTILINE), re.compile(r"^schedule: .*$", re.MULTILINE)
KEY = re.compile(r"^(\w+):", re.MULTILINE)
DEPLOY = "resources/deploy/windmill.env"
# Where the dashboard is published before a server; on one machine alone it is 8080.
PANEL_PORT = 8081
# What the settings call by the same name.
TRACES = {"otlp_endpoint", "otlp_headers", "trace_sample_ratio", "trace_url"}
RECONCILE, CHECK = f"{FOLDER}/operations/reconcile", f"{FOLDER}/operations/check_runtimes"
# How the description ends of what is made here; what has another one is somebody else's.
FROM = ("from windmill.yaml.", "From flexcore.yaml.")
MAKES = (*(f"{FOLDER}/{name}.resource.yaml" for name, _, _ in RESOURCES.values()), f"{CHECK}.schedule.yaml")


@dataclass(frozen=True, slots=True)
class FileChange:
    """path: from the bundle's root; before: None for a new file; after: None for one that goes."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """secrets: their values by variable path. settings: by the place in the resource: `storage_uri`,
    `runtimes.ray.enabled`, `ray_clusters[f/flexcore/ray_cluster]` for an item of a list.
    gone: resources and schedules that an earlier configuration may have made, and this one does not have."""

    files: list[FileChange]
    secrets: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    gone: tuple[str, ...] = ()


def plan(root: Path, configuration: Configuration) -> Plan:
    secrets: dict[str, str] = {}
    resources, lists = _resources(configuration, secrets)
    settings = _settings(configuration, secrets) | lists | _uses(configuration)
    made = {**resources, **_health_check(configuration)}
    gone = tuple(path for path in MAKES if path not in made)
    wanted: dict[str, str | None] = {
        **_tags(root, configuration),
        **{path: None for path in gone if _is_ours(root / path)},
        **made,
        **_shipped_schedules(root, configuration),
        **_deployment(root, configuration),
    }
    return Plan(_differing(root, wanted), secrets, settings, gone)


def _differing(root: Path, wanted: dict[str, str | None]) -> list[FileChange]:
    changes = []
    for path, after in sorted(wanted.items()):
        file = root / path
        before = file.read_text(encoding="utf-8") if file.is_file() else None
        if before != after:
            changes.append(FileChange(path, before, after))
    return changes


def _is_ours(file: Path) -> bool:
    """A resource or schedule that no person wrote: its description says where it is from."""
    document = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
    return isinstance(document, dict) and is_ours(document.get("description"))


def is_ours(description: Any) -> bool:
    return isinstance(description, str) and description.endswith(FROM)


# Tags


def _tags(root: Path, configuration: Configuration) -> dict[str, str]:
    """Without windmill.yaml, and for a tag that no worker listens to, a step runs wherever Python does."""
    found = {}
    for runtime in RESOURCES:
        tag = find_worker_tag(configuration, runtime)
        for script in sorted((root / FOLDER / runtime).glob("*.py")):
            metadata = script.with_suffix(".script.yaml")
            if metadata.is_file() and MAIN.search(script.read_text(encoding="utf-8")):
                text = metadata.read_text(encoding="utf-8")
                found[metadata.relative_to(root).as_posix()] = with_tag(text, tag)
    return found


def find_worker_tag(configuration: Configuration, runtime: str) -> str:
    if "windmill.yaml" not in configuration.given:
        return ""
    tag = _tag_meant(configuration, runtime)
    return tag if tag in configuration.windmill.workers.tags else ""


def _tag_meant(configuration: Configuration, runtime: str) -> str:
    used = getattr(configuration.windmill.runtimes, runtime)
    return used.tag if used else RUNTIMES[runtime].worker_tag


def with_tag(metadata: str, tag: str) -> str:
    """The metadata with this tag, or with none; its keys stay sorted, as the server writes them."""
    text = TAG.sub("", metadata)
    if not tag:
        return text
    later = next((match.start() for match in KEY.finditer(text) if match[1] > "tag"), len(text))
    return f"{text[:later]}tag: {tag}\n{text[later:]}"


# Resources


def _resources(configuration: Configuration, secrets: dict[str, str]) -> tuple[dict[str, str], dict[str, Any]]:
    """The files, and the places in the settings that list them: what a disabled runtime has left is reconciled, too."""
    files: dict[str, str] = {}
    lists: dict[str, Any] = {}
    windmill = configuration.windmill
    for runtime, (name, kind, listed_in) in RESOURCES.items():
        model = getattr(windmill.runtimes, runtime)
        if model is None:
            continue
        value = model.model_dump(mode="json", exclude_unset=True, exclude={"tag"})
        if listed_in and not windmill.security.verify_tls:
            value.setdefault("verify_tls", False)
        value = _without_secrets(value, ("runtimes", runtime), name, configuration, secrets)
        files[f"{FOLDER}/{name}.resource.yaml"] = _resource(kind, f"{runtime.capitalize()}, from windmill.yaml.", value)
        if listed_in:
            lists[f"{listed_in}[{FOLDER}/{name}]"] = f"{FOLDER}/{name}"
    return files, lists


def _uses(configuration: Configuration) -> dict[str, Any]:
    """What flexcore.yaml says of each runtime, for the choice between them."""
    uses: Any = configuration.flexcore.runtimes
    said = uses.model_dump(exclude_unset=True, exclude_none=True)
    return {
        f"runtimes.{runtime}.{name}": used[name]
        for runtime, used in said.items()
        for name in ("enabled", "priority")
        if name in used
    }


def _settings(configuration: Configuration, secrets: dict[str, str]) -> dict[str, Any]:
    storage, observability = configuration.windmill.storage, configuration.windmill.observability
    value = storage.model_dump(mode="json", exclude_unset=True) if storage else {}
    hidden = _without_secrets(value, ("storage",), "settings_storage", configuration, secrets)
    traces = observability.model_dump(mode="json", exclude_unset=True, include=TRACES)
    return {
        **{f"storage_{key}": item for key, item in hidden.items()},
        **_without_secrets(traces, ("observability",), "settings", configuration, secrets),
    }


def _resource(kind: str, description: str, value: dict[str, Any]) -> str:
    return dump_yaml({"description": description, "resource_type": kind, "value": value})


def _without_secrets(
    value: Any, path: Path_, name: str, configuration: Configuration, secrets: dict[str, str]
) -> dict[str, Any]:
    """Each secret, and whatever else came from the environment, as a reference to a variable."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        here, variable = (*path, key), re.sub(r"\W", "_", f"{name}_{key}").lower()
        if isinstance(item, dict):
            found[key] = _without_secrets(item, here, variable, configuration, secrets)
        elif isinstance(item, str) and item and (here in configuration.from_environment or _is_secret(here)):
            secrets[f"{FOLDER}/{variable}"] = item
            found[key] = f"$var:{FOLDER}/{variable}"
        else:
            found[key] = item
    return found


def _is_secret(path: Path_) -> bool:
    return any(
        len(pattern) == len(path) and all(a in ("*", b) for a, b in zip(pattern, path, strict=True))
        for pattern in SECRETS
    )


# Deployment


def _deployment(root: Path, configuration: Configuration) -> dict[str, str]:
    """What resources/deploy/compose.yaml reads; the database's address is a secret, and a file beside it.

    Each runtime has workers of its own for its tag, and none when its steps have none; tags of no runtime go to the
    workers of Windmill's own work."""
    if not (root / DEPLOY).is_file() or "windmill.yaml" not in configuration.given:
        return {}
    server, workers = configuration.windmill.server, configuration.windmill.workers
    meant = {runtime: _tag_meant(configuration, runtime) for runtime in RESOURCES}
    lines: dict[str, str | int] = {
        "WINDMILL_HOST": server.host,
        "WINDMILL_PORT": server.port,
        "WINDMILL_BASE_URL": server.base_url or f"http://localhost:{server.port}",
        "PANEL_PORT": PANEL_PORT,
        "PANEL_WORKSPACE": configuration.flexcore.workspace or "main",
        "WINDMILL_WORKERS": workers.count,
        "WINDMILL_MORE_TAGS": ",".join(tag for tag in workers.tags if tag not in meant.values()),
    }
    for runtime, tag in meant.items():
        lines[f"WINDMILL_TAG_{runtime.upper()}"] = tag
        lines[f"WINDMILL_WORKERS_{runtime.upper()}"] = workers.count if tag in workers.tags else 0
    return {DEPLOY: "".join(f"{name}={value}\n" for name, value in lines.items())}


# Schedules


def _shipped_schedules(root: Path, configuration: Configuration) -> dict[str, str]:
    """Reconcile by its interval; those of disabled templates off."""
    found = {}
    every = configuration.windmill.observability.reconcile_interval
    shipped = root / f"{RECONCILE}.schedule.yaml"
    if shipped.is_file():
        found[f"{RECONCILE}.schedule.yaml"] = with_times(shipped.read_text(encoding="utf-8"), every)
    disabled = configuration.flexcore.disabled_templates
    for file in sorted(root.glob("f/**/*.schedule.yaml")) if disabled else ():
        text = file.read_text(encoding="utf-8")
        if (yaml.safe_load(text) or {}).get("script_path") in disabled:
            found[file.relative_to(root).as_posix()] = with_times(text, None)
    return found


def _health_check(configuration: Configuration) -> dict[str, str]:
    intervals = list(_health_intervals(configuration))
    return {f"{CHECK}.schedule.yaml": dump_yaml(_health_schedule(min(intervals)))} if intervals else {}


def with_times(schedule: str, every: int | None) -> str:
    """The schedule as often as that, or off; nothing else in the file is touched."""
    text = ENABLED.sub(f"enabled: {'true' if every else 'false'}", schedule)
    return TIMES.sub(f"schedule: '{cron(every)}'", text) if every else text


def _health_intervals(configuration: Configuration) -> Iterator[int]:
    """One schedule asks all runtimes, as often as the most impatient of them wants."""
    for name in RESOURCES:
        used = getattr(configuration.flexcore.runtimes, name)
        if used.enabled and used.health_check_interval:
            yield used.health_check_interval


def _health_schedule(seconds: int) -> dict[str, Any]:
    return {
        "args": {"settings": f"$res:{SETTINGS}"},
        "cron_version": "v2",
        "description": "From flexcore.yaml.",
        "enabled": True,
        "is_flow": False,
        "no_flow_overlap": False,
        "schedule": cron(seconds),
        "script_path": CHECK,
        "summary": "How every runtime is",
        "timezone": "UTC",
        "ws_error_handler_muted": False,
    }


def cron(seconds: int) -> str:
    """Six fields, with seconds; for what `models.interval` lets pass."""
    if seconds < 60:
        return f"*/{seconds} * * * * *"
    if seconds < 3600:
        return f"0 */{seconds // 60} * * * *"
    return f"0 0 */{seconds // 3600} * * *" if seconds < 86400 else "0 0 0 * * *"


def dump_yaml(document: dict[str, Any]) -> str:
    """The server's normal form, so that a push finds nothing to change."""
    return yaml.safe_dump(document, sort_keys=True, width=10**9, allow_unicode=True)
