# requirements: flexcore_base
"""One attempt of an extraction: Meltano's run, what it wrote, its state before and after, its result.

Into a file target Meltano works on a copy of the state, which is written back after the outcome is stored: rows that
were not handed on never count as extracted, whenever the step is killed. Any other target keeps what it has confirmed,
so Meltano then uses the state's own place.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from f.flexcore.lib.core import contracts, errors, identity
from f.flexcore.lib.meltano import (
    backend_states,
    installation,
    plugin_environments,
    preparation,
    process,
    request_models,
    run_command,
    run_log,
    state_store,
    target_output,
)
from f.flexcore.lib.storage import object_store

LOADED_BEFORE = (
    "{} extracted no rows: an earlier attempt of this step ended half-way, and {} may have loaded them from it"
)


@dataclass
class ExtractionRun:
    """Seconds are time.monotonic(). locks: descriptors to hold until all is dead; may_be_loaded: whether an earlier
    attempt may have loaded what this one no longer finds."""

    prepared: preparation.Prepared
    request: request_models.ExtractionRequest
    key: identity.ExecutionKey
    attempt: int
    asked_at: float
    began_at: float
    locks: Sequence[int] = ()
    may_be_loaded: bool = False
    log: run_log.RunLog = field(default_factory=run_log.RunLog)
    started_at: float | None = None

    @property
    def taps(self) -> tuple[str, ...]:
        return tuple(tap.name for tap in self.prepared.taps)

    @property
    def work(self) -> Path:
        """A folder of this attempt, removed at its end: Meltano writes plugins' settings there, secrets included."""
        return installation.folder("work", self.key.name(self.attempt))

    @property
    def data_folder(self) -> Path:
        """Where a file target writes: in a local store the place where the data stays, else a folder to upload."""
        return object_store.local_path(self.data_uri) if self.prepared.store.local else self.work / "data"

    @property
    def data_uri(self) -> str:
        return self.prepared.store.uri(self.key.value, str(self.attempt), "data")

    def run(self) -> tuple[contracts.StepResult, state_store.Changes]:
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

    def _run(self) -> tuple[contracts.StepResult, state_store.Changes]:
        prepared, self.log.taps, self.log.redact = self.prepared, self.taps, self.prepared.redactor.text
        plugins = (*prepared.taps, *prepared.mappers, prepared.target)
        plugin_environments.link_environments(
            prepared.project.root, plugins, self.work / run_command.SYSTEM, prepared.redactor
        )
        catalogs = run_command.CatalogCache(
            prepared.source.identity, self.prepared.state_ids, self.taps, self.work / run_command.SYSTEM
        )
        catalogs.restore()
        before = state_store.read_states(prepared.place, self.prepared.state_ids)
        state_store.StateStore(prepared.place).make_database()
        place = prepared.place
        if prepared.files:
            before = backend_states.read_states(prepared) if before is None else before
            place = state_store.copy_state(prepared.place, before, self.work)
        outcome = self._run_meltano(place)
        if outcome.exit_code or outcome.stopped:
            # Only what failed is explained.
            from f.flexcore.lib.meltano import diagnosis

            raise diagnosis.run_error(
                outcome,
                self.log,
                self.taps,
                prepared.target.name,
                self.request.timeout_s,
                prepared.redactor,
                [plugin.name for plugin in prepared.mappers],
            )
        ran_at = time.monotonic()
        catalogs.save()
        output = self._publish() if prepared.files else None
        self._check_not_empty(output)
        changes = state_store.compare_states(before, state_store.read_states(place, self.prepared.state_ids))
        result = self._build_result(outcome, output, changes, ran_at)
        return result, changes if place is not prepared.place else None

    def _run_meltano(self, place: state_store.StatePlace) -> process.Outcome:
        prepared, printer = self.prepared, process.LogPrinter(self.prepared.redactor)
        arguments = run_command.build_arguments(prepared, place, self.key.uuid(self.attempt), self.request.full_refresh)
        command = run_command.build_command(prepared, arguments)
        env = self.key.trace_environment(self.attempt) | run_command.build_environment(
            prepared, place, self.work, self.data_folder
        )
        print(f"meltano {' '.join(arguments)}", flush=True)

        def on_line(line: str) -> None:
            text = self.log.add(line)
            if self.started_at is None and self.log.started:
                self.started_at = time.monotonic()
            if text:
                printer.print(text)

        left = max(self.request.timeout_s - (time.monotonic() - self.began_at), 0.0)
        outcome = process.run_supervised(command, env, prepared.source.root, left, on_line, self.locks, self.work)
        printer.flush()
        return outcome

    def _publish(self) -> contracts.DataManifest | None:
        """What the target wrote, checked and brought to the store."""
        prepared = self.prepared
        form = prepared.files.format if prepared.files else ""
        passed: dict[str, Mapping[str, str]] = {name: {} for rows in self.log.rows.values() for name in rows}
        manifest = target_output.build_manifest(
            self.data_folder, self.data_uri, form, {**passed, **self.log.columns}, self.log.warnings
        )
        self._check_complete(manifest)
        if manifest and not prepared.store.local:
            prepared.store.upload(self.data_folder, self.data_uri)
        return manifest

    def _check_complete(self, output: contracts.DataManifest | None) -> None:
        """Every row in a file of its own stream, before the state may count it as extracted."""
        passed = count_rows(self.log.rows, None)
        for name, taps in find_shared_streams(self.log.rows).items() if output else ():
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
        for tap, name in find_unread_batches(self.log.batches, passed, output):
            # What succeeded needs no remedy.
            from f.flexcore.lib.meltano import diagnosis

            raise errors.InvalidInput(
                f"{tap} hands on {name} as files (BATCH messages), and {target} has not read them",
                subject=tap,
                remedy=diagnosis.BATCH_REMEDY.format(tap),
            )

    def _check_not_empty(self, output: contracts.DataManifest | None) -> None:
        streams = count_rows(self.log.rows, output)
        if sum_rows(streams, bool(self.prepared.files), output) != 0 or self.request.allow_empty:
            return
        if self.may_be_loaded and not self.prepared.files:
            # The target has confirmed them, and the state says so.
            self.log.warnings.append(LOADED_BEFORE.format(", ".join(self.taps), self.prepared.target.name))
            return
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
        return self.log.format_tail(self.prepared.redactor)

    def _build_result(
        self,
        outcome: process.Outcome,
        output: contracts.DataManifest | None,
        changes: state_store.Changes,
        ran_at: float,
    ) -> contracts.StepResult:
        prepared, started = self.prepared, self.started_at or ran_at
        streams = count_rows(self.log.rows, output)
        rows, seconds = sum_rows(streams, bool(prepared.files), output), ran_at - started
        differ = find_differences(self.log.rows, output)
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
                began_at=process.find_instant(self.asked_at),
            ),
            remote=describe_run(self.key, self.attempt),
            log_tail=self.log_tail,
        )


def describe_run(key: identity.ExecutionKey, attempt: int) -> contracts.Remote:
    return contracts.Remote(kind="meltano run", name=key.name(attempt), uid=key.uuid(attempt))


# What the taps say that they emitted: rows[tap][stream].
RowCounts = Mapping[str, Mapping[str, int]]


def count_rows(emitted: RowCounts, output: contracts.DataManifest | None) -> dict[str, int | None]:
    """Rows of each stream: counted in the files, else as the taps say; None when neither could be."""
    found: dict[str, int | None] = {}
    for streams in emitted.values():
        for name, rows in streams.items():
            found[name] = (found.get(name) or 0) + rows
    if output:
        written = {item.name: item.rows if item.rows is not None else found.get(item.name) for item in output.streams}
        return {**dict.fromkeys(found, 0), **written}
    return found


def sum_rows(streams: Mapping[str, int | None], to_files: bool, output: contracts.DataManifest | None) -> int | None:
    """All rows; None when they could not be counted. A file target that wrote no file got none."""
    if to_files and output is None:
        return 0
    known = [rows for rows in streams.values() if rows is not None]
    return sum(known) if known and len(known) == len(streams) else None


def find_differences(emitted: RowCounts, output: contracts.DataManifest | None) -> dict[str, dict[str, int]]:
    """Streams of which the files hold another number of rows than the taps say."""
    if output is None:
        return {}
    counted, held = count_rows(emitted, None), count_rows(emitted, output)
    return {
        name: {"tap": rows or 0, "files": held[name] or 0}
        for name, rows in counted.items()
        if held[name] is not None and held[name] != rows
    }


def find_shared_streams(emitted: RowCounts) -> dict[str, list[str]]:
    """Streams that more than one tap wrote rows of, with those taps."""
    taps: dict[str, list[str]] = {}
    for tap, streams in emitted.items():
        for stream, rows in streams.items():
            if rows:
                taps.setdefault(stream, []).append(tap)
    return {stream: names for stream, names in taps.items() if len(names) > 1}


def find_unread_batches(
    batches: RowCounts, passed: Mapping[str, int | None], output: contracts.DataManifest | None
) -> list[tuple[str, str]]:
    """(tap, stream) whose rows came in files of their own, and of which the target wrote no more than came as rows."""
    held = {item.name: item.rows for item in output.streams} if output else {}
    return [
        (tap, stream)
        for tap, streams in batches.items()
        for stream in streams
        if (rows := held.get(stream, 0)) is not None and rows <= (passed.get(stream) or 0)
    ]
