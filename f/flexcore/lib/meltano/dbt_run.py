# requirements: flexcore_base
"""One attempt of dbt: by itself, in an environment made for its adapter, or as the project's own utility.

dbt runs under the same supervisor as Meltano: canceled, timed out or orphaned, it is drained and then killed with all
its children. Its artifacts and logs go to a folder of the attempt, never into the project.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity, redaction
from f.flexcore.lib.meltano import (
    dbt_results,
    installation,
    plugin_environments,
    process,
    request_models,
    resolved_project,
    sources,
)
from f.flexcore.lib.storage import object_store

TAIL_LINES = 60


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked request. env: dbt's environment but for the attempt's own folders."""

    request: request_models.DbtRequest
    source: sources.Source
    models: Path
    environment: str
    plugin: resolved_project.Plugin
    env: Mapping[str, str]
    store: object_store.Store
    redactor: redaction.Redactor


@dataclass
class DbtRun:
    """One attempt in `folder`, which is its own. asked_at: time.monotonic() of the call."""

    work: Prepared
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
        nodes = dbt_results.parse_nodes(read_json(target / "run_results.json"), read_json(target / "manifest.json"))
        nodes = [dbt_results.redact_node(node, self.work.redactor) for node in nodes]
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
            metrics=dbt_results.count_nodes(nodes),
            resource_usage=contracts.ResourceUsage(
                cpu_seconds=outcome.cpu_seconds, peak_memory_bytes=outcome.peak_memory_bytes
            ),
            timings=contracts.Timings(
                starting=round(began_at - self.asked_at, 3),
                running=round(time.monotonic() - began_at, 3),
                began_at=process.find_instant(self.asked_at),
            ),
            remote=describe_run(self.key, self.attempt),
            log_tail=log,
        )

    def _install(self) -> list[str]:
        """The program that stands before dbt's own arguments."""
        work, root = self.work, self.work.source.root
        venv, _ = plugin_environments.ensure_environment(root, work.plugin, work.redactor)
        if work.request.run_by == "dbt":
            return [str(venv / work.plugin.kind / work.plugin.folder / "venv/bin" / "dbt")]
        plugin_environments.link_environments(root, [work.plugin], self.folder / "system", work.redactor)
        general = ["--environment", work.environment, "--log-level=warning"]
        return [str(installation.meltano_command()), *general, "invoke", "--no-install", work.plugin.name]

    def _run_dbt(self, program: list[str]) -> process.Outcome:
        """dbt's packages, where they are missing, then the command itself."""
        printer, models = process.LogPrinter(self.work.redactor), self.work.models
        commands = [["deps", "--project-dir", str(models)]] if needs_packages(models) else []
        outcome = process.Outcome(0)
        for arguments in (*commands, build_arguments(self.work, self.folder)):
            outcome = self._supervise(program, arguments, printer)
            if outcome.exit_code or outcome.stopped:
                break
        printer.flush()
        return outcome

    def _supervise(self, program: list[str], arguments: list[str], printer: process.LogPrinter) -> process.Outcome:
        work = self.work

        def on_line(line: str) -> None:
            self.tail.append(line)
            printer.print(line)

        print(f"dbt {' '.join(arguments)}", flush=True)
        left = max(work.request.timeout_s - (time.monotonic() - self.asked_at), 0.0)
        cwd = work.source.root if work.request.run_by == "meltano" else work.models
        env = self.key.trace_environment(self.attempt) | build_environment(work, self.folder)
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
            return dbt_results.dbt_error(nodes, outcome.exit_code, log)
        if not nodes:
            remedy = "Correct select and exclude, or add models to the project."
            return errors.EmptyData("dbt found nothing to do", subject="select", remedy=remedy, log_tail=log)
        return None


def build_arguments(work: Prepared, folder: Path) -> list[str]:
    request = work.request
    variables = {name.strip(): value for name, _, value in (item.partition("=") for item in request.variables)}
    options = {"--select": request.select, "--exclude": request.exclude}
    folders = ["--project-dir", str(work.models), "--target-path", str(folder / "target"), "--log-path", str(folder)]
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


def build_environment(work: Prepared, folder: Path) -> dict[str, str]:
    return {
        **work.env,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_NO_VERSION_CHECK": "true",
        "NO_COLOR": "1",
        "MELTANO_PROJECT_ROOT": str(work.source.root),
        "MELTANO_SYS_DIR_ROOT": str(folder / "system"),
        "MELTANO_DATABASE_URI": f"sqlite:///{folder}/meltano.db",
        "MELTANO_PROJECT_ID": work.source.identity,
        "XDG_STATE_HOME": str(folder / "logs"),
        "MELTANO_PROJECT_READONLY": "true",
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
        "MELTANO_CLI_DISABLE_VERSION_CHECK": "true",
    }


def needs_packages(models: Path) -> bool:
    """Whether dbt packages are declared and not there yet."""
    declared = any((models / name).is_file() for name in ("packages.yml", "dependencies.yml"))
    return declared and not (models / "dbt_packages").is_dir()


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def describe_run(key: identity.ExecutionKey, attempt: int) -> contracts.Remote:
    return contracts.Remote(kind="dbt run", name=key.name(attempt))
