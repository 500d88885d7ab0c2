# requirements: flexcore_base
"""dbt on a project's models, as an operation: what is checked, what a plan says, and how an execution's attempts are
made."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from f.flexcore.lib.core import (
    attempts,
    contracts,
    driver,
    errors,
    operation,
    redaction,
    resources,
)
from f.flexcore.lib.meltano import (
    dbt_run,
    inspection,
    installation,
    local_attempts,
    project_file,
    request_models,
    resolved_project,
    sources,
)
from f.flexcore.lib.storage import object_store

# From 1.12 on a part of dbt-core is fetched from GitHub while it is installed, which workers behind a mirror of PyPI
# cannot do.
DBT = "dbt-core==1.11.16"
Invocation = operation.Invocation[request_models.DbtRequest, resources.MeltanoProject]


def prepare(
    request: request_models.DbtRequest,
    resource: resources.MeltanoProject,
    settings: resources.Settings,
    env: Mapping[str, str] = os.environ,
) -> dbt_run.Prepared:
    """The request held against its project. Raises the UserErrors of a wrong one; starts Meltano for a utility that it
    does not know yet, and git for a project in a repository."""
    source = sources.open_project(resource, env)
    models = find_models(source.root, request.folder)
    base = {**installation.base_environment(env), **resource.env}
    if request.run_by == "meltano":
        project, plugin = resolve_utility(source.root, request.utility, resource.environment, base)
        variables, secrets = (
            {**project.variables, **base},
            [*resolved_project.project_secrets(project), *resolved_project.plugin_secrets(plugin)],
        )
        chosen = project.environment
    else:
        plugin, chosen = dbt_plugin(request.adapter), ""
        variables, secrets = {**inspection.read_dotenv(source.root, base), **base}, []
    redactor = redaction.Redactor(
        [*resource.secrets(), *settings.secrets(), *resolved_project.variable_secrets(variables), *secrets]
    )
    return dbt_run.Prepared(
        request, source, models, chosen, plugin, variables, object_store.Store(settings, env), redactor
    )


def resolve_utility(
    root: Path, name: str, environment: str, env: Mapping[str, str]
) -> tuple[resolved_project.Project, resolved_project.Plugin]:
    """The project and its utility as Meltano resolves them, checked."""
    declared = project_file.read_project(root)
    declared.check_environment(environment)
    wanted = ("utilities", declared.find_name("utilities", name))
    with inspection.Inspector(root, declared.files) as inspector:
        chosen, plugins = inspector.definitions(env, environment, [wanted])
        project, ((plugin,),) = inspector.values(env, chosen, [[wanted]], plugins)
    resolved_project.check_plugin(plugin, chosen)
    return project, plugin


def dbt_plugin(adapter: str) -> resolved_project.Plugin:
    """dbt with one adapter, as a plugin that can be installed."""
    name = f"dbt-{adapter}"
    return resolved_project.Plugin(
        "utilities", name, "dbt", "dbt", name, requirements=(DBT, request_models.ADAPTERS[adapter])
    )


def find_models(root: Path, requested: str) -> Path:
    """The folder with dbt_project.yml: the requested one, or the only one. Raises NotFound or InvalidInput."""
    if requested:
        chosen = (root / requested).resolve()
        if not chosen.is_relative_to(root.resolve()):
            raise errors.InvalidInput(
                "folder leads out of the project", subject="folder", remedy="Give a folder below its root."
            )
        if not (chosen / project_file.DBT_PROJECT_FILE).is_file():
            raise errors.NotFound(
                f"There is no {project_file.DBT_PROJECT_FILE} in {requested}",
                subject="folder",
                remedy=f"Use one of: {list_folders(root)}.",
            )
        return chosen
    found = project_file.find_dbt_folders(root)
    if len(found) != 1:
        problem = "has several" if found else "has no"
        raise errors.InvalidInput(
            f"The project {problem} {project_file.DBT_PROJECT_FILE}",
            subject="folder",
            remedy=f"Give its folder; the project has: {list_folders(root)}.",
        )
    return root / found[0]


def list_folders(root: Path) -> str:
    return ", ".join(project_file.find_dbt_folders(root)) or "none"


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

    work: dbt_run.Prepared
    asked_at: float

    def create(self, number: int, earlier: Sequence[attempts.Attempt]) -> contracts.Remote:
        content = {"command": self.work.request.command, "dbt": self.work.plugin.name}
        self.record_start(number, self.work.request.timeout_s, content)
        return dbt_run.describe_run(self.key, number)

    def observe(self, number: int, remote: contracts.Remote) -> driver.Verdict:
        folder = installation.folder("work", self.key.name(number))
        run = dbt_run.DbtRun(self.work, self.key, number, folder, self.lock, self.asked_at)
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
