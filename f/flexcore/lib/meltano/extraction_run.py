# requirements: flexcore_base
"""One attempt of a run: its folders, its environment and command for Meltano, its state, its result.

Into a file target a run works on a copy of the state, which is written back after the manifest: rows that nobody got to
see never count as extracted, whenever the step is killed. Any other target keeps what it confirmed, so such a run uses
the state's own place.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from f.flexcore.lib.core import contracts, errors, identity
from f.flexcore.lib.meltano import (
    catalog_cache,
    event_printer,
    installation,
    measures,
    observed,
    plugin_environments,
    preparation,
    process,
    request_models,
    run_log,
    run_outcome,
    state_changes,
    state_store,
    target_output,
    targets,
)
from f.flexcore.lib.storage import object_store


@dataclass
class ExtractionRun:
    """Seconds are time.monotonic(). locks: descriptors to hold until all is dead."""

    prepared: preparation.Prepared
    request: request_models.ExtractionRequest
    key: identity.ExecutionKey
    attempt: int
    asked_at: float
    began_at: float
    locks: Sequence[int] = ()
    log: run_log.RunLog = field(default_factory=run_log.RunLog)
    first_sign_at: float | None = None

    @property
    def taps(self) -> tuple[str, ...]:
        return tuple(tap.name for tap in self.prepared.taps)

    @property
    def work(self) -> Path:
        """A folder of this attempt, removed at its end: Meltano writes plugins' settings there, secrets included."""
        return installation.folder("work", self.key.name(self.attempt))

    @property
    def system(self) -> Path:
        return self.work / "system"

    @property
    def data_folder(self) -> Path:
        """Where a file target writes: in a local store the place where the data stays, else a folder to upload."""
        return object_store.local_path(self.data_uri) if self.prepared.store.local else self.work / "data"

    @property
    def data_uri(self) -> str:
        return self.prepared.store.uri(self.key.value, str(self.attempt), "data")

    def run(self) -> tuple[contracts.StepResult, state_changes.Changes]:
        """The result, and the state changes to write back once it is stored. Raises the typed error of a failed run."""
        shutil.rmtree(self.work, ignore_errors=True)
        try:
            return self._run()
        except BaseException:
            # Nobody will ever ask for it: the next attempt has a folder of its own.
            shutil.rmtree(self.data_folder, ignore_errors=True)
            raise
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    def _run(self) -> tuple[contracts.StepResult, state_changes.Changes]:
        prepared, self.log.taps, self.log.redact = self.prepared, self.taps, self.prepared.redactor.text
        plugins = (*prepared.taps, *prepared.mappers, prepared.target)
        plugin_environments.link_environments(prepared.project.root, plugins, self.system, prepared.redactor)
        catalogs = catalog_cache.Catalogs(prepared.source.identity, self.prepared.state_ids, self.taps, self.system)
        catalogs.bring()
        before = state_changes.read_states(prepared.place, self.prepared.state_ids)
        place = self._place_of_run(before)
        outcome = self._run_meltano(place)
        if outcome.exit_code or outcome.stopped:
            raise run_outcome.failure(
                outcome,
                self.log,
                self.taps,
                prepared.target.name,
                self.request.timeout_s,
                prepared.redactor,
                [plugin.name for plugin in prepared.mappers],
            )
        ran_at = time.monotonic()
        catalogs.keep()
        output = self._publish() if prepared.files else None
        self._check_not_empty(output)
        state_changes.keep_database(prepared.place, place)
        changes = state_changes.changes_between(before, state_changes.read_states(place, self.prepared.state_ids))
        result = self._result(outcome, output, changes, ran_at)
        return result, changes if place is not prepared.place else None

    def _place_of_run(self, before: state_changes.States) -> state_store.StatePlace:
        """A copy in the attempt's folder for a file target, else the state's own place."""
        if before is None or self.prepared.files is None:
            return self.prepared.place
        return state_changes.copy_state(self.prepared.place, before, self.work)

    def _run_meltano(self, place: state_store.StatePlace) -> process.Outcome:
        prepared, printer = self.prepared, event_printer.Printer(self.prepared.redactor)
        arguments = self._arguments(place)
        command = observed.observed_command(
            self.work / "observer", observed.asked_selection(prepared.env, self.taps), arguments
        )
        print(f"meltano {' '.join(arguments)}", flush=True)

        def on_line(line: str) -> None:
            text = self.log.add(line)
            if self.first_sign_at is None and self.log.started:
                self.first_sign_at = time.monotonic()
            if text:
                printer.show(text)

        left = max(self.request.timeout_s - (time.monotonic() - self.began_at), 0.0)
        outcome = process.run_supervised(
            command, self._environment(place), self.prepared.source.root, left, on_line, self.locks, self.work
        )
        printer.flush()
        return outcome

    def _arguments(self, place: state_store.StatePlace) -> list[str]:
        flags = ["--run-id", self.key.uuid(self.attempt), "--no-install"]
        if self.request.full_refresh:
            flags.append("--full-refresh")
        if place.private and place.database == self.prepared.place.database:
            # Whoever is alive in that database holds the lock that this run holds: a run that it still shows is dead.
            flags.append("--force")
        pairs = [name for tap in self.taps for name in (tap, *self.prepared.mappings, self.prepared.target.name)]
        # Below info a project's own level would leave out what the result is made of.
        general = ["--log-format=json", "--log-level=info", "--environment", self.prepared.project.environment]
        return [*general, "run", *flags, *pairs]

    def _environment(self, place: state_store.StatePlace) -> dict[str, str]:
        prepared = self.prepared
        files = (
            targets.folder_environment(prepared.target, prepared.files, str(self.data_folder)) if prepared.files else {}
        )
        if prepared.files:
            self.data_folder.mkdir(parents=True, exist_ok=True)
        return {
            **installation.base_environment(),
            **prepared.env,
            **place.env,
            **files,
            **({"MELTANO_DATABASE_URI": place.database} if place.private else {}),
            # A project without an id would get one written into its meltano.yml.
            **({} if prepared.project.setting("project_id") else {"MELTANO_PROJECT_ID": prepared.source.identity}),
            "MELTANO_PROJECT_ROOT": str(prepared.source.root),
            "MELTANO_SYS_DIR_ROOT": str(self.system),
            # Meltano writes its run logs there; the step has them already.
            "XDG_STATE_HOME": str(self.work / "logs"),
            "MELTANO_PROJECT_READONLY": "true",
            # A logging.yaml of the project would replace the JSON lines that this step reads.
            "MELTANO_CLI_LOG_CONFIG": str(self.work / "none.yaml"),
            "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
            "MELTANO_CLI_DISABLE_VERSION_CHECK": "true",
            "MELTANO_JOB_TRIGGER": "flexcore",
            "NO_COLOR": "1",
        }

    def _publish(self) -> contracts.DataManifest | None:
        """What the target wrote, checked and brought to the store."""
        prepared = self.prepared
        form = prepared.files.format if prepared.files else ""
        passed: dict[str, Mapping[str, str]] = {name: {} for rows in self.log.rows.values() for name in rows}
        manifest = target_output.manifest_of(
            self.data_folder, self.data_uri, form, {**passed, **self.log.columns}, self.log.warnings
        )
        self._check_complete(manifest)
        if manifest and not prepared.store.local:
            prepared.store.upload(self.data_folder, self.data_uri)
        return manifest

    def _check_complete(self, output: contracts.DataManifest | None) -> None:
        """Every row in a file of its own stream, before the state may count it as extracted."""
        passed = measures.rows_by_stream(self.log.rows, None)
        for name, taps in measures.shared_streams(self.log.rows).items() if output else ():
            raise errors.InvalidInput(
                f"{' and '.join(taps)} both have a stream {name}, and the target wrote them into one file",
                subject="taps",
                remedy="Run them in separate executions, or leave the stream out of one with select.",
            )
        if output and (mixed := target_output.mixed_streams(passed, output)):
            raise errors.InvalidInput(
                f"{self.prepared.target.name} wrote the streams {', '.join(mixed)} into one file",
                subject=self.prepared.target.name,
                remedy="Leave out its setting of one file name, or run them in separate executions with select.",
            )
        target = self.prepared.target.name
        for tap, name in measures.unread_batches(self.log.batches, passed, output):
            raise errors.InvalidInput(
                f"{tap} hands on {name} as files (BATCH messages), and {target} has not read them",
                subject=tap,
                remedy=run_outcome.BATCH_REMEDY.format(tap),
            )

    def _check_not_empty(self, output: contracts.DataManifest | None) -> None:
        streams = measures.rows_by_stream(self.log.rows, output)
        if measures.total_rows(streams, bool(self.prepared.files), output) == 0 and not self.request.allow_empty:
            raise errors.EmptyData(
                ": ".join([f"{', '.join(self.taps)} extracted no rows", *self.log.warnings[:1]]),
                subject="taps",
                remedy="Check source and selection, or extract everything again with full_refresh; where a form has "
                "allow_empty, it lets a run pass that finds nothing new.",
                streams=streams,
                log_tail=self.log_tail,
            )

    @property
    def log_tail(self) -> str:
        return self.log.shown_tail(self.prepared.redactor)

    def _result(
        self,
        outcome: process.Outcome,
        output: contracts.DataManifest | None,
        changes: state_changes.Changes,
        ran_at: float,
    ) -> contracts.StepResult:
        prepared, started = self.prepared, self.first_sign_at or ran_at
        streams = measures.rows_by_stream(self.log.rows, output)
        rows, seconds = measures.total_rows(streams, bool(prepared.files), output), ran_at - started
        differ = measures.disagreements(self.log.rows, output)
        for name, numbers in differ.items():
            print(f"{name}: the tap emitted {numbers['tap']:,} rows, the files hold {numbers['files']:,}", flush=True)
        warnings = [*self.log.warnings, *(line.text for line in self.log.odd_lines)]
        return contracts.StepResult(
            success=True,
            runtime="meltano",
            execution_key=self.key.value,
            attempt=self.attempt,
            data={
                "taps": list(self.taps),
                "target": prepared.target.name,
                **({"mappings": list(prepared.mappings)} if prepared.mappings else {}),
                "environment": prepared.project.environment,
                "streams": streams,
                "exit_code": outcome.exit_code,
                "state_advanced": None if changes is None else any(old != new for old, new in changes.values()),
                "states": None if changes is None else {name: old != new for name, (old, new) in changes.items()},
                "state_place": prepared.place.label,
                "full_refresh": self.request.full_refresh,
                **({"row_counts_differ": differ} if differ else {}),
                **({"warnings": [prepared.redactor.text(text) for text in warnings]} if warnings else {}),
                **({"commit": prepared.source.commit} if prepared.source.commit else {}),
            },
            output=output,
            metrics={
                "rows": rows,
                "bytes": output.bytes if output else None,
                "rows_per_s": round(rows / seconds, 1) if rows is not None and seconds > 0 else None,
            },
            resource_usage=contracts.ResourceUsage(
                cpu_seconds=outcome.cpu_seconds, peak_memory_bytes=outcome.peak_memory_bytes
            ),
            timings=contracts.Timings(
                queued=round(self.began_at - self.asked_at, 3),
                starting=round(started - self.began_at, 3),
                running=round(seconds, 3),
                finishing=round(time.monotonic() - ran_at, 3),
            ),
            remote=describe_run(self.key, self.attempt),
            log_tail=self.log_tail,
        )


def describe_run(key: identity.ExecutionKey, attempt: int) -> contracts.Remote:
    return contracts.Remote(kind="meltano run", name=key.name(attempt), uid=key.uuid(attempt))
