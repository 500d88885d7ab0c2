# requirements: flexcore_base
"""dbt on a project's models: by itself, in an environment made for its adapter, or as the project's own utility.

dbt runs under the same supervisor as Meltano: cancelled, timed out or orphaned, it is drained and then killed with all
its children. Its artifacts and logs go to a folder of the attempt, never into the project.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from f.flexcore.lib.core import contracts, errors, identity, redaction, resources
from f.flexcore.lib.meltano import (
    attempts,
    dbt_folders,
    dbt_results,
    event_printer,
    inspection,
    installation,
    plugin_environments,
    plugin_settings,
    process,
    project_file,
    resolved_project,
    sources,
)
from f.flexcore.lib.storage import object_store

# From 1.12 on a part of dbt-core is fetched from GitHub while it is installed, which workers behind a mirror of PyPI
# cannot do.
DBT = "dbt-core==1.11.16"
# The adapters of dbt Labs and of the warehouses' makers that install from PyPI with that dbt.
ADAPTERS = {
    "postgres": "dbt-postgres==1.11.0",
    "snowflake": "dbt-snowflake==1.12.4",
    "bigquery": "dbt-bigquery==1.12.1",
    "redshift": "dbt-redshift==1.11.2",
    "duckdb": "dbt-duckdb==1.11.1",
    "sqlserver": "dbt-sqlserver==1.11.3",
    "trino": "dbt-trino==1.11.0",
    "clickhouse": "dbt-clickhouse==1.10.3",
}
TAIL_LINES = 60


class DbtRequest(resources.Form):
    """run_by dbt: `adapter` says what to install; run_by meltano: `utility` is a plugin of the project. folder: where
    dbt_project.yml is, below the project. variables: NAME=VALUE lines."""

    run_by: Literal["dbt", "meltano"] = "dbt"
    adapter: str = "postgres"
    utility: str = ""
    folder: str = ""
    command: Literal["build", "run", "test", "seed", "snapshot"] = "build"
    select: list[str] = []
    exclude: list[str] = []
    variables: list[str] = []
    dbt_target: str = ""
    full_refresh: bool = False
    threads: int | None = Field(default=None, ge=1)
    timeout_s: int = Field(default=3600, ge=1)

    @field_validator("adapter")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in ADAPTERS:
            raise ValueError(f"{value!r} is none of {', '.join(ADAPTERS)}; any other runs as a utility of Meltano")
        return value

    @field_validator("select", "exclude")
    @classmethod
    def _is_no_flag(cls, value: list[str]) -> list[str]:
        if flag := next((item for item in value if item.strip().startswith("-")), None):
            raise ValueError(f"{flag!r} is a flag and no name of a model")
        return value

    @field_validator("variables")
    @classmethod
    def _are_pairs(cls, value: list[str]) -> list[str]:
        # A line is not repeated: what stands behind the sign may be a secret.
        if number := next((str(number) for number, item in enumerate(value) if not item.partition("=")[1]), None):
            raise ValueError(f"line {number} is not NAME=VALUE")
        return value


@dataclass(frozen=True, slots=True)
class Work:
    """A checked request. seen: what dbt will have in its environment, the attempt's own folders aside."""

    request: DbtRequest
    source: sources.Source
    models: Path
    environment: str
    plugin: resolved_project.Plugin
    seen: Mapping[str, str]
    store: object_store.Store
    redactor: redaction.Redactor


def prepare(project: Any, asked: dict[str, Any], settings: Any, env: Mapping[str, str] = os.environ) -> Work:
    """Raises the UserErrors of a wrong request; starts nothing but git, for a project in a repository."""
    request = errors.validated(DbtRequest, asked, "")
    resource = errors.validated(resources.MeltanoProject, project, "project")
    wanted = errors.validated(resources.Settings, settings or {}, "settings")
    source = sources.local_project(resource, env)
    models = folder_of(source.root, request.folder)
    base = {**installation.base_environment(env), **resource.env}
    if request.run_by == "meltano":
        if not request.utility:
            raise errors.InvalidInput(
                "No utility is chosen", subject="utility", remedy="Name a dbt utility of the project."
            )
        project, plugin = utility(source.root, request.utility, resource.environment, base)
        seen, secrets = (
            {**project.variables, **base},
            [*plugin_settings.project_secrets(project), *plugin_settings.secrets_in(plugin)],
        )
        chosen = project.environment
    else:
        plugin, chosen = direct(request.adapter), ""
        seen, secrets = {**inspection.read_dotenv(source.root, base), **base}, []
    redactor = redaction.Redactor(
        [*resource.secrets(), *wanted.secrets(), *plugin_settings.variable_secrets(seen), *secrets]
    )
    return Work(request, source, models, chosen, plugin, seen, object_store.Store(wanted, env), redactor)


def utility(
    root: Path, name: str, environment: str, env: Mapping[str, str]
) -> tuple[resolved_project.Project, resolved_project.Plugin]:
    """The project and its utility as Meltano resolves them, checked."""
    declared = project_file.read_project(root)
    declared.check_environment(environment)
    wanted = ("utilities", declared.full_name("utilities", name))
    with inspection.Inspector(root, declared.files) as inspector:
        chosen, plugins = inspector.definitions(env, environment, [wanted])
        project, ((plugin,),) = inspector.values(env, chosen, [[wanted]], plugins)
    plugin_settings.check_plugin(plugin, chosen)
    return project, plugin


def direct(adapter: str) -> resolved_project.Plugin:
    """dbt with one adapter, in the form in which plugins are installed."""
    name = f"dbt-{adapter}"
    return resolved_project.Plugin("utilities", name, "dbt", "dbt", name, requirements=(DBT, ADAPTERS[adapter]))


def folder_of(root: Path, asked: str) -> Path:
    """The folder with dbt_project.yml: the one asked for, or the only one. Raises NotFound or InvalidInput."""
    if asked:
        chosen = (root / asked).resolve()
        if not chosen.is_relative_to(root.resolve()):
            raise errors.InvalidInput(
                "folder leads out of the project", subject="folder", remedy="Give one below its root."
            )
        if not (chosen / dbt_folders.PROJECT_FILE).is_file():
            raise errors.NotFound(
                f"There is no {dbt_folders.PROJECT_FILE} in {asked}",
                subject="folder",
                remedy=f"It is in: {listed(root)}.",
            )
        return chosen
    found = dbt_folders.find_folders(root)
    if len(found) != 1:
        problem = "has several" if found else "has no"
        raise errors.InvalidInput(
            f"The project {problem} {dbt_folders.PROJECT_FILE}",
            subject="folder",
            remedy=f"Name its folder; found: {listed(root)}.",
        )
    return root / found[0]


def listed(root: Path) -> str:
    return ", ".join(dbt_folders.find_folders(root)) or "nowhere"


def execute(project: Any, asked: dict[str, Any], settings: Any) -> contracts.StepResult:
    """Runs dbt once per execution key: a repeat gets the stored result."""
    asked_at = time.monotonic()
    work = prepare(project, asked, settings)
    key = identity.execution_key(os.environ)
    # A worker that was thought dead may still run the same step: its copy waits here for the first one's result.
    with installation.locked(installation.folder("locks") / key.value, work.request.timeout_s) as mine:
        found = attempts.finished_or_next(work.store, key)
        if isinstance(found, contracts.StepResult):
            print(f"Attempt {found.attempt} of {key.value} has finished already", flush=True)
            return found
        what = {"command": work.request.command, "dbt": work.plugin.name}
        attempts.begin(work.store, key, found, work.request.timeout_s, what)
        place = installation.folder("work", key.name(found))
        try:
            result = run(work, key, found, place, mine, asked_at)
        except errors.FlexcoreError as error:
            attempts.fail(work.store, key, found, error)
            raise
        finally:
            shutil.rmtree(place, ignore_errors=True)
        attempts.finish(work.store, key, result)
        return result


def run(
    work: Work, key: identity.ExecutionKey, attempt: int, place: Path, lock: int, asked_at: float
) -> contracts.StepResult:
    """One attempt in `place`, a folder of its own."""
    request = work.request
    venv, _ = plugin_environments.environment_of(work.source.root, work.plugin, work.redactor)
    program = [str(venv / work.plugin.kind / work.plugin.folder / "venv/bin" / "dbt")]
    if request.run_by == "meltano":
        plugin_environments.link_environments(work.source.root, [work.plugin], place / "system", work.redactor)
        general = ["--environment", work.environment, "--log-level=warning"]
        program = [str(installation.meltano_command()), *general, "invoke", "--no-install", work.plugin.name]
    env, tail = environment(work, place), deque[str](maxlen=TAIL_LINES)
    printer, began_at = event_printer.Printer(work.redactor), time.monotonic()

    def on_line(line: str) -> None:
        tail.append(line)
        printer.show(line)

    def supervised(arguments: list[str]) -> process.Outcome:
        print(f"dbt {' '.join(arguments)}", flush=True)
        left = max(request.timeout_s - (time.monotonic() - asked_at), 0.0)
        cwd = work.source.root if request.run_by == "meltano" else work.models
        return process.run_supervised([*program, *arguments], env, cwd, left, on_line, [lock], place)

    outcome = process.Outcome(0)
    if needs_packages(work.models):
        outcome = supervised(["deps", "--project-dir", str(work.models)])
    if not outcome.exit_code and not outcome.stopped:
        outcome = supervised(arguments_of(work, place))
    printer.flush()
    nodes = dbt_results.nodes_of(read(place / "target/run_results.json"), read(place / "target/manifest.json"))
    nodes = [dbt_results.redacted(node, work.redactor) for node in nodes]
    log = work.redactor.text("\n".join(tail))
    if outcome.stopped:
        raise errors.DeadlineExceeded(
            f"dbt did not end within {request.timeout_s} s",
            subject="timeout_s",
            remedy="Raise timeout_s, or select fewer models.",
            nodes=[node.model_dump() for node in nodes],
            log_tail=log,
        )
    if outcome.exit_code:
        raise dbt_results.failure(nodes, outcome.exit_code, log)
    if not nodes:
        remedy = "Correct select and exclude, or add models to the project."
        raise errors.EmptyData("dbt found nothing to do", subject="select", remedy=remedy, log_tail=log)
    for node in nodes:
        print(f"{node.status}: {node.kind} {node.name}", flush=True)
    return contracts.StepResult(
        success=True,
        runtime="meltano",
        execution_key=key.value,
        attempt=attempt,
        data={"command": request.command, "nodes": [node.model_dump() for node in nodes]},
        metrics=dbt_results.counts_of(nodes),
        resource_usage=contracts.ResourceUsage(
            cpu_seconds=outcome.cpu_seconds, peak_memory_bytes=outcome.peak_memory_bytes
        ),
        timings=contracts.Timings(
            starting=round(began_at - asked_at, 3), running=round(time.monotonic() - began_at, 3)
        ),
        remote=contracts.Remote(kind="dbt run", name=key.name(attempt)),
        log_tail=log,
    )


def arguments_of(work: Work, place: Path) -> list[str]:
    request = work.request
    variables = {name.strip(): value for name, _, value in (item.partition("=") for item in request.variables)}
    options = {"--select": request.select, "--exclude": request.exclude}
    folders = ["--project-dir", str(work.models), "--target-path", str(place / "target"), "--log-path", str(place)]
    profiles = next(
        (path for path in (work.models, work.models / "profiles") if (path / "profiles.yml").is_file()), None
    )
    return [
        request.command,
        *folders,
        *(["--profiles-dir", str(profiles)] if profiles and request.run_by == "dbt" else []),
        *(part for flag, names in options.items() if names for part in (flag, *names)),
        *(["--vars", json.dumps(variables)] if variables else []),
        *(["--target", request.dbt_target] if request.dbt_target else []),
        *(["--threads", str(request.threads)] if request.threads else []),
        *(["--full-refresh"] if request.full_refresh and request.command in ("build", "run", "seed") else []),
        "--no-use-colors",
    ]


def environment(work: Work, place: Path) -> dict[str, str]:
    return {
        **work.seen,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_NO_VERSION_CHECK": "true",
        "NO_COLOR": "1",
        "MELTANO_PROJECT_ROOT": str(work.source.root),
        "MELTANO_SYS_DIR_ROOT": str(place / "system"),
        "MELTANO_DATABASE_URI": f"sqlite:///{place}/meltano.db",
        "MELTANO_PROJECT_ID": work.source.identity,
        "XDG_STATE_HOME": str(place / "logs"),
        "MELTANO_PROJECT_READONLY": "true",
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
        "MELTANO_CLI_DISABLE_VERSION_CHECK": "true",
    }


def needs_packages(models: Path) -> bool:
    """Whether dbt packages are declared and not there yet."""
    declared = any((models / name).is_file() for name in ("packages.yml", "dependencies.yml"))
    return declared and not (models / "dbt_packages").is_dir()


def read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
