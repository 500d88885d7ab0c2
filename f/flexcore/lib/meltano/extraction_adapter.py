# requirements: flexcore_base
"""How the attempts of an extraction are made, observed and settled.

The state of an attempt is stored before its outcome and written back after it: rows that were not handed on never count
as extracted, and a step that is killed in between is settled by the one that repeats it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from f.flexcore.lib.core import attempts, contracts, driver, errors, operation, resources
from f.flexcore.lib.meltano import (
    backend_states,
    extraction_run,
    installation,
    local_attempts,
    preparation,
    request_models,
    sources,
    state_store,
)


@dataclass
class ExtractionAdapter(local_attempts.LocalAttempts):
    """asked_at: time.monotonic() of the call; held: closes the descriptors of the state's locks."""

    request: request_models.ExtractionRequest
    prepared: preparation.Prepared
    asked_at: float
    held: ExitStack
    locks: list[int] = field(default_factory=list)
    may_be_loaded: bool = False

    def create(self, number: int, earlier: Sequence[attempts.Attempt]) -> contracts.Remote:
        self.may_be_loaded = any(map(may_have_loaded, earlier))
        self.locks = [self.lock, *(self._hold_state(name) for name in self.prepared.state_ids)]
        taps = [tap.name for tap in self.prepared.taps]
        what = {"taps": taps, "target": self.prepared.target.name, "run_id": self.key.uuid(number)}
        self.record_start(number, self.request.timeout_s, what)
        return extraction_run.describe_run(self.key, number)

    def observe(self, number: int, remote: contracts.Remote) -> driver.Verdict:
        run = extraction_run.ExtractionRun(
            self.prepared,
            self.request,
            self.key,
            number,
            self.asked_at,
            time.monotonic(),
            self.locks,
            self.may_be_loaded,
        )
        try:
            result, changes = run.run()
        except errors.FlexcoreError as error:
            if local_attempts.is_undecided(error):
                raise
            return driver.Verdict(error=error)
        self.store.write_json(self.records.uri(number, "state.json"), changes)
        self.record_manifest(result)
        return driver.Verdict(result)

    def finish(self, result: contracts.StepResult) -> contracts.StepResult:
        """Writes the state back, and puts what was handed on into the store's catalog, where forms and later runs find
        it by the taps' names."""
        changes = self.store.read_json(self.records.uri(result.attempt, "state.json"))
        self._write_back({name: (old, new) for name, (old, new) in (changes or {}).items()})
        if isinstance(result.output, contracts.DataManifest):
            # A target that loads elsewhere hands on no files.
            from f.flexcore.lib.storage import catalog

            name = "-".join(tap.name.removeprefix("tap-") for tap in self.prepared.taps)
            catalog.add(self.store, "data", name, f"{result.execution_key}-{result.attempt}", result.output)
        return result

    def _write_back(self, changes: state_store.Changes) -> None:
        if state_store.StateStore(self.prepared.place).is_readable:
            state_store.write_back(self.prepared.place, changes)
        else:
            backend_states.write_back(self.prepared, changes)

    def _hold_state(self, name: str) -> int:
        """The descriptor of a state's lock. Raises Unavailable that names the owner when another run of this machine
        holds it."""
        path = installation.folder("state", self.prepared.source.identity) / f"{sources.hash_identity(name)}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.held.callback(os.close, descriptor)
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
        content = {"job": self.key.owner_job, "key": self.key.value, "since": time.time()}
        os.pwrite(descriptor, json.dumps(content).encode(), 0)
        return descriptor


def may_have_loaded(attempt: attempts.Attempt) -> bool:
    """Whether the target may hold rows of an attempt without a result: it was killed, or failed with rows under way."""
    if attempt.error is None:
        return attempt.state == "abandoned"
    streams = attempt.error.details.get("streams") or {}
    return any(any(rows.values()) for rows in streams.values() if isinstance(rows, dict))


@contextmanager
def open_extraction(
    invocation: operation.Invocation[request_models.ExtractionRequest, resources.MeltanoProject],
) -> Iterator[ExtractionAdapter]:
    """The adapter of one execution, with its request prepared and its lock held."""
    asked_at = time.monotonic()
    prepared = preparation.prepare(invocation.request, invocation.service, invocation.settings)
    with local_attempts.hold_execution(invocation.key, invocation.request.timeout_s) as lock, ExitStack() as held:
        yield ExtractionAdapter(
            prepared.store, invocation.key, prepared.redactor, lock, invocation.request, prepared, asked_at, held
        )
