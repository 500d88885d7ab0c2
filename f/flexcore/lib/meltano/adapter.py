# requirements: flexcore_base
"""Meltano as a runtime: `check` looks whether a request can run, `execute` runs it or attaches to its result."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity
from f.flexcore.lib.meltano import attempts, extraction, installation, preparation, sources, state_changes, state_store
from f.flexcore.lib.storage import catalog

# A flow passes null for what its form left empty.
DEFAULT_TARGET = "target-jsonl"
DEFAULT_TIMEOUT_S = 3600.0


def check(
    project: Any,
    taps: Sequence[str],
    target: str | None,
    environment: str | None,
    config: Sequence[str] | None,
    settings: Any,
    tap_settings: Any,
    target_settings: Any,
    mappings: Sequence[str] | None = None,
) -> contracts.StepResult:
    """A dry run: project, plugins, settings and state are looked at; no plugin is installed or started."""
    started = time.monotonic()
    prepared = preparation.prepare(
        project,
        taps,
        target or DEFAULT_TARGET,
        environment or "",
        None,
        config,
        settings,
        tap_settings,
        target_settings,
        mappings,
    )
    key = identity.execution_key(os.environ)
    return contracts.StepResult(
        success=True,
        runtime="meltano",
        execution_key=key.value,
        attempt=1,
        data={
            "taps": [tap.name for tap in prepared.taps],
            "target": prepared.target.name,
            "environment": prepared.project.environment,
            "hands_on_files": prepared.files is not None,
            "state_place": prepared.place.label,
            "state_reachable": state_store.StateStore(prepared.place).check(),
            "meltano_version": installation.MELTANO_VERSION,
            **({"commit": prepared.source.commit} if prepared.source.commit else {}),
        },
        timings=contracts.Timings(running=round(time.monotonic() - started, 3)),
    )


def execute(
    project: Any,
    taps: Sequence[str],
    target: str | None,
    environment: str | None,
    full_refresh: bool,
    select: Sequence[str] | None,
    config: Sequence[str] | None,
    timeout_s: float | None,
    settings: Any,
    allow_empty: bool,
    tap_settings: Any,
    target_settings: Any,
    mappings: Sequence[str] | None = None,
) -> contracts.StepResult:
    """Runs the taps into the target, once per execution key: a repeat gets the stored result."""
    asked_at = time.monotonic()
    timeout_s = DEFAULT_TIMEOUT_S if timeout_s is None else errors.checked(float, timeout_s, "timeout_s")
    if timeout_s <= 0:
        raise errors.InvalidInput("timeout_s must be above 0", subject="timeout_s", remedy="Give seconds, e.g. 3600.")
    prepared = preparation.prepare(
        project,
        taps,
        target or DEFAULT_TARGET,
        environment or "",
        select,
        config,
        settings,
        tap_settings,
        target_settings,
        mappings,
    )
    key = identity.execution_key(os.environ)
    installation.remove_older(installation.folder("locks"), attempts.TTL_S)
    installation.remove_dead(installation.folder("work"), installation.folder("locks"))
    with installation.disk_errors(), ExitStack() as stack:
        # A worker that was thought dead may still run the same step: its copy waits here for the first one's result.
        mine = stack.enter_context(installation.locked(installation.folder("locks") / key.value, timeout_s))
        found = attempts.finished_or_next(prepared.store, key)
        if isinstance(found, contracts.StepResult):
            settle(prepared, key, found.attempt)
            list_data(prepared, found)
            print(f"Attempt {found.attempt} of {key.value} has finished already", flush=True)
            return found
        execution = extraction.Execution(
            prepared, key, found, bool(full_refresh), bool(allow_empty), timeout_s, asked_at, time.monotonic()
        )
        execution.locks = [mine, *(hold_state(stack, execution, name) for name in execution.state_ids)]
        what = {"taps": list(execution.taps), "target": prepared.target.name, "run_id": key.uuid(found)}
        attempts.begin(prepared.store, key, found, timeout_s, what)
        try:
            result, changes = execution.run()
        except errors.FlexcoreError as error:
            attempts.fail(prepared.store, key, found, error)
            raise
        prepared.store.write_json(attempts.uri(prepared.store, key, found, "state.json"), changes)
        attempts.finish(prepared.store, key, result)
        state_changes.write_back(prepared.place, changes)
        list_data(prepared, result)
        return result


def list_data(prepared: preparation.Prepared, result: contracts.StepResult) -> None:
    """Puts what was handed on into the store's catalog, where forms and later runs find it by the taps' names."""
    if isinstance(result.output, contracts.DataManifest):
        name = "-".join(tap.name.removeprefix("tap-") for tap in prepared.taps)
        catalog.add(prepared.store, "data", name, f"{result.execution_key}-{result.attempt}", result.output)


def settle(prepared: preparation.Prepared, key: identity.ExecutionKey, attempt: int) -> None:
    """Writes back the state of a stored result, for a step that was killed just before it could."""
    changes = prepared.store.read_json(attempts.uri(prepared.store, key, attempt, "state.json"))
    state_changes.write_back(prepared.place, {name: (old, new) for name, (old, new) in (changes or {}).items()})


def hold_state(stack: ExitStack, execution: extraction.Execution, name: str) -> int:
    """Locks one state for this run; Unavailable that names the owner when a run of this machine holds it."""
    path = installation.folder("state", execution.prepared.source.identity) / f"{sources.identity(name)}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    stack.callback(os.close, descriptor)
    if not installation.try_lock(descriptor):
        owner = path.read_text()
        held = json.loads(owner) if owner else {}
        age = round(time.time() - held.get("since", time.time()))
        raise errors.Unavailable(
            f"Another run of {name} is in progress for {age} s (job {held.get('job', 'unknown')})",
            subject=name,
            remedy="Wait for it to end, then run again.",
            category="locked",
            held_by=held,
        )
    os.ftruncate(descriptor, 0)
    content = {"job": execution.key.owner_job, "key": execution.key.value, "since": time.time()}
    os.pwrite(descriptor, json.dumps(content).encode(), 0)
    return descriptor
