# requirements: flexcore_base
"""Meltano's command line for one attempt: arguments, environment, discovered catalogs, and the observer that it runs
under in Meltano's own Python."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from f.flexcore.lib.meltano import installation, preparation, request_settings, resolved_project, sources, state_store
from f.flexcore.lib.meltano.remote import singer

# Below an attempt's folder: what Meltano takes for the project's .meltano.
SYSTEM = "system"
# The observer, and what it imports.
MODULES = ("observer", "selection", "singer")
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from f.flexcore.lib.meltano.remote.observer import run_observed; "
    "run_observed(sys.argv[2:])"
)


def build_command(prepared: preparation.Prepared, arguments: Sequence[str]) -> list[str]:
    """The command that runs `meltano ARGUMENTS` under the observer."""
    folder = installation.install_modules(MODULES)
    # The tool's script is a link into its environment. -P: the project's own files are no modules of Meltano.
    python = installation.meltano_command().resolve().with_name("python")
    requested = requested_patterns(prepared.env, [tap.name for tap in prepared.taps])
    return [str(python), "-P", "-c", START, str(folder), json.dumps(requested), *arguments]


def build_arguments(
    prepared: preparation.Prepared, place: state_store.StatePlace, run_id: str, full_refresh: bool
) -> list[str]:
    """Meltano's own arguments. place: the state that this attempt works on."""
    flags = ["--run-id", run_id, "--no-install"]
    if full_refresh:
        flags.append("--full-refresh")
    if place.private and place.database == prepared.place.database:
        # Any live run in that database would hold the lock that this run holds: one that it still shows is dead.
        flags.append("--force")
    blocks = [name for tap in prepared.taps for name in (tap.name, *prepared.mappings, prepared.target.name)]
    # Below info a project's own level would leave out what the result is made of.
    general = ["--log-format=json", "--log-level=info", "--environment", prepared.project.environment]
    return [*general, "run", *flags, *blocks]


def build_environment(
    prepared: preparation.Prepared, place: state_store.StatePlace, work: Path, data_folder: Path
) -> dict[str, str]:
    """Meltano's environment. work: the attempt's folder; data_folder: where a file target writes, made if need be."""
    files = {}
    if prepared.files:
        data_folder.mkdir(parents=True, exist_ok=True)
        files = request_settings.folder_environment(prepared.target, prepared.files, str(data_folder))
    return {
        **project_environment(prepared, place, work / SYSTEM),
        **files,
        # Meltano writes its run logs there; the step has them already.
        "XDG_STATE_HOME": str(work / "logs"),
        # A logging.yaml of the project would replace the JSON lines that this step reads.
        "MELTANO_CLI_LOG_CONFIG": str(work / "none.yaml"),
        "MELTANO_JOB_TRIGGER": "flexcore",
    }


def project_environment(prepared: preparation.Prepared, place: state_store.StatePlace, system: Path) -> dict[str, str]:
    """The environment in which Meltano finds project, database and state. system: its folder for this work."""
    return {
        **installation.base_environment(),
        **prepared.env,
        **place.env,
        **({"MELTANO_DATABASE_URI": place.database} if place.private else {}),
        # A project without an id would get one written into its meltano.yml.
        **({} if prepared.project.setting("project_id") else {"MELTANO_PROJECT_ID": prepared.source.identity}),
        "MELTANO_PROJECT_ROOT": str(prepared.source.root),
        "MELTANO_SYS_DIR_ROOT": str(system),
        "MELTANO_PROJECT_READONLY": "true",
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
        "MELTANO_CLI_DISABLE_VERSION_CHECK": "true",
        "NO_COLOR": "1",
    }


def requested_patterns(env: Mapping[str, str], taps: Sequence[str]) -> dict[str, list[str]]:
    """The taps whose selection comes with the request, each with its patterns that all taps of several share."""
    chosen = {
        tap: patterns
        for tap in taps
        if (patterns := _parse_patterns(env.get(resolved_project.variable(tap, "_select"), ""))) is not None
    }
    shared = set.intersection(*(set(patterns) for patterns in chosen.values())) if len(chosen) > 1 else set()
    return {tap: [item for item in patterns if item in shared] for tap, patterns in chosen.items()}


def _parse_patterns(text: str) -> list[str] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return [text] if text else None
    return [str(item) for item in value] if isinstance(value, list) else None


CATALOG_FILES = ("tap.properties.json", "tap.properties.cache_key")


@dataclass(frozen=True, slots=True)
class CatalogCache:
    """Discovered catalogs of one project's taps, kept over attempts: a discovery takes as long as Meltano's start.

    The lock of each state id guards what is stored under it. Meltano itself decides, by the cache key beside a catalog,
    whether a stored one still fits. A source whose columns change while the plugin's settings stay is discovered anew
    with the setting `_use_cached_catalog: false`, as in Meltano.
    """

    identity: str
    state_ids: Sequence[str]
    taps: Sequence[str]
    system: Path

    def restore(self) -> None:
        for stored, used in self._pairs():
            if has_streams(stored / CATALOG_FILES[0]):
                shutil.copytree(stored, used, dirs_exist_ok=True)

    def save(self) -> None:
        """Stores the catalogs of this run. One without streams would hide from then on why a source shows none."""
        for stored, used in self._pairs():
            stored.mkdir(parents=True, exist_ok=True)
            for name in CATALOG_FILES:
                (stored / name).unlink(missing_ok=True)
                if (used / name).exists() and has_streams(used / CATALOG_FILES[0]):
                    shutil.copy(used / name, stored / name)

    def _pairs(self) -> list[tuple[Path, Path]]:
        stored = installation.folder("catalogs", self.identity)
        pairs = zip(self.state_ids, self.taps, strict=True)
        return [(stored / sources.hash_identity(key), self.system / "run" / tap) for key, tap in pairs]


def has_streams(catalog: Path) -> bool:
    try:
        text = catalog.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return not singer.find_catalog_problem(text) and bool(json.loads(text)["streams"])
