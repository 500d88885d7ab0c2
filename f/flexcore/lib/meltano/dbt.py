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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from f.flexcore.lib.core import (
    attempts,
    contracts,
    driver,
    errors,
    identity,
    operation,
    redaction,
    resources,
)
from f.flexcore.lib.meltano import (
    dbt_folders,
    dbt_results,
    event_printer,
    inspection,
    installation,
    local_attempts,
    plugin_environments,
    plugin_settings,
    process,
    project_file,
    request_models,
    resolved_project,
    sources,
)
from f.flexcore.lib.storage import object_store

# From 1.12 on a part of dbt-core is fetched from GitHub while it is installed, which workers behind a mirror of PyPI
# cannot do.
DBT = "dbt-core==1.11.16"
TAIL_LINES = 60
Invocation = operation.Invocation[request_models.DbtRequest, resources.MeltanoProject]


@dataclass(frozen=True, slots=True)
class Work:
    """A checked request. seen: what dbt will have in its environment, the attempt's own folders aside."""

    request: request_models.DbtRequest
    source: sources.Source
    models: Path
    environment: str
    plugin: resolved_project.Plugin
    seen: Mapping[str, str]
    store: object_store.Store
    redactor: redaction.Redactor


def prepare(
    request: request_models.DbtRequest,
    resource: resources.MeltanoProject,
    settings: resources.Settings,
    env: Mapping[str, str] = os.environ,
) -> Work:
    """The request held against its project. Raises the UserErrors of a wrong one; starts Meltano for a utility that it
    does not know yet, and git for a project in a repository."""
    source = sources.local_project(resource, env)
    models = folder_of(source.root, request.folder)
    base = {**installation.base_environment(env), **resource.env}
    if request.run_by == "meltano":
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
        [*resource.secrets(), *settings.secrets(), *plugin_settings.variable_secrets(seen), *secrets]
    )
    return Work(request, source, models, chosen, plugin, seen, object_store.Store(settings, env), redactor)


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
    return resolved_project.Plugin(
        "utilities", name, "dbt", "dbt", name, requirements=(DBT, request_models.ADAPTERS[adapter])
    )


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


def check(
    request: request_models.DbtRequest, project: resources.MeltanoProject | None, settings: resources.Settings
) -> None:
    """Raises InvalidInput for what is wrong whatever the project holds."""
    if request.run_by == "meltano" and not request.utility:
        raise errors.InvalidInput(
            "utility is empty: run_by meltano needs one", subject="utility", remedy="Give a dbt utility of the project."
        )
    if project and project.git_url:
        sources.check_repository(project)


def plan(invocation: Invocation) -> contracts.StepResult:
    """What would run: project, models and utility are looked at; nothing is installed, and dbt is not started."""
    started = time.monotonic()
    work = prepare(invocation.request, invocation.service, invocation.settings)
    return contracts.StepResult(
        success=True,
        runtime=invocation.runtime,
        execution_key=invocation.key.value,
        attempt=1,
        data={
            "command": work.request.command,
            "dbt": work.plugin.name,
            "folder": work.models.relative_to(work.source.root).as_posix(),
            "environment": work.environment,
            **({"commit": work.source.commit} if work.source.commit else {}),
        },
        timings=contracts.Timings(running=round(time.monotonic() - started, 3)),
    )


@dataclass
class DbtAdapter(local_attempts.LocalAttempts):
    """asked_at: time.monotonic() of the call."""

    work: Work
    asked_at: float

    def create(self, number: int, earlier: Sequence[attempts.Attempt]) -> contracts.Remote:
        content = {"command": self.work.request.command, "dbt": self.work.plugin.name}
        self.record_start(number, self.work.request.timeout_s, content)
        return describe_run(self.key, number)

    def observe(self, number: int, remote: contracts.Remote) -> driver.Verdict:
        folder = installation.folder("work", self.key.name(number))
        run = DbtRun(self.work, self.key, number, folder, self.lock, self.asked_at)
        try:
            return driver.Verdict(run.run())
        except errors.FlexcoreError as error:
            if local_attempts.is_undecided(error):
                raise
            return driver.Verdict(error=error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def finish(self, result: contracts.StepResult) -> contracts.StepResult:
        return result


@contextmanager
def open_dbt(invocation: Invocation) -> Iterator[DbtAdapter]:
    """The adapter of one execution, with its request prepared and its lock held."""
    asked_at = time.monotonic()
    work = prepare(invocation.request, invocation.service, invocation.settings)
    with local_attempts.hold_execution(invocation.key, invocation.request.timeout_s) as lock:
        yield DbtAdapter(work.store, invocation.key, work.redactor, lock, work, asked_at)


@dataclass
class DbtRun:
    """One attempt in `folder`, which is its own. asked_at: time.monotonic() of the call."""

    work: Work
    key: identity.ExecutionKey
    attempt: int
    folder: Path
    lock: int
    asked_at: float
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    def run(self) -> contracts.StepResult:
        """Raises DeadlineExceeded, ExecutionFailed that names what failed, and EmptyData."""
        program, began_at = self._install(), time.monotonic()
        outcome = self._run_dbt(program)
        target = self.folder / "target"
        nodes = dbt_results.nodes_of(read(target / "run_results.json"), read(target / "manifest.json"))
        nodes = [dbt_results.redacted(node, self.work.redactor) for node in nodes]
        log = self.work.redactor.text("\n".join(self.tail))
        if problem := self._find_problem(outcome, nodes, log):
            raise problem
        for node in nodes:
            print(f"{node.status}: {node.kind} {node.name}", flush=True)
        return contracts.StepResult(
            success=True,
            runtime="meltano",
            execution_key=self.key.value,
            attempt=self.attempt,
            data={"command": self.work.request.command, "nodes": [node.model_dump() for node in nodes]},
            metrics=dbt_results.counts_of(nodes),
            resource_usage=contracts.ResourceUsage(
                cpu_seconds=outcome.cpu_seconds, peak_memory_bytes=outcome.peak_memory_bytes
            ),
            timings=contracts.Timings(
                starting=round(began_at - self.asked_at, 3), running=round(time.monotonic() - began_at, 3)
            ),
            remote=describe_run(self.key, self.attempt),
            log_tail=log,
        )

    def _install(self) -> list[str]:
        """The program that stands before dbt's own arguments."""
        work, root = self.work, self.work.source.root
        venv, _ = plugin_environments.environment_of(root, work.plugin, work.redactor)
        if work.request.run_by == "dbt":
            return [str(venv / work.plugin.kind / work.plugin.folder / "venv/bin" / "dbt")]
        plugin_environments.link_environments(root, [work.plugin], self.folder / "system", work.redactor)
        general = ["--environment", work.environment, "--log-level=warning"]
        return [str(installation.meltano_command()), *general, "invoke", "--no-install", work.plugin.name]

    def _run_dbt(self, program: list[str]) -> process.Outcome:
        """dbt's packages, where they are missing, then the command itself."""
        printer, models = event_printer.Printer(self.work.redactor), self.work.models
        commands = [["deps", "--project-dir", str(models)]] if needs_packages(models) else []
        outcome = process.Outcome(0)
        for arguments in (*commands, arguments_of(self.work, self.folder)):
            outcome = self._supervise(program, arguments, printer)
            if outcome.exit_code or outcome.stopped:
                break
        printer.flush()
        return outcome

    def _supervise(self, program: list[str], arguments: list[str], printer: event_printer.Printer) -> process.Outcome:
        work = self.work

        def on_line(line: str) -> None:
            self.tail.append(line)
            printer.show(line)

        print(f"dbt {' '.join(arguments)}", flush=True)
        left = max(work.request.timeout_s - (time.monotonic() - self.asked_at), 0.0)
        cwd = work.source.root if work.request.run_by == "meltano" else work.models
        env = environment(work, self.folder)
        return process.run_supervised([*program, *arguments], env, cwd, left, on_line, [self.lock], self.folder)

    def _find_problem(
        self, outcome: process.Outcome, nodes: Sequence[dbt_results.Node], log: str
    ) -> errors.FlexcoreError | None:
        if outcome.stopped:
            return errors.DeadlineExceeded(
                f"dbt did not end within {self.work.request.timeout_s} s",
                subject="timeout_s",
                remedy="Raise timeout_s, or select fewer models.",
                nodes=[node.model_dump() for node in nodes],
                log_tail=log,
            )
        if outcome.exit_code:
            return dbt_results.failure(nodes, outcome.exit_code, log)
        if not nodes:
            remedy = "Correct select and exclude, or add models to the project."
            return errors.EmptyData("dbt found nothing to do", subject="select", remedy=remedy, log_tail=log)
        return None


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


def describe_run(key: identity.ExecutionKey, attempt: int) -> contracts.Remote:
    return contracts.Remote(kind="dbt run", name=key.name(attempt))


RUN_DBT = operation.Operation(
    runtime="meltano",
    name="run_dbt",
    request=request_models.DbtRequest,
    service=resources.MeltanoProject,
    check=check,
    plan=plan,
    execute=lambda invocation: driver.drive(open_dbt, invocation),
    service_field="project",
)
