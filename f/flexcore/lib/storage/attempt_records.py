# requirements: flexcore_base
"""The ends of an execution's attempts, kept in the store: a repeat of the step returns what was recorded.

`<key>/<attempt>/outcome.json` holds one of
    {"call", "result"}                       a StepResult, taken for true only while its files are there as it says
    {"call", "error", "is_deterministic"}    a typed error
    {"call", "findings"}                     what the next attempt needs; this one did not do the work
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import attempts, contracts, driver, errors, identity
from f.flexcore.lib.storage import object_store


@dataclass(frozen=True, slots=True)
class StoreRecords:
    """Raises Unreachable when the store cannot be used."""

    store: object_store.Store
    key: identity.ExecutionKey

    def read(self, number: int) -> attempts.Attempt | None:
        stored = self.store.read_json(self.uri(number, "outcome.json"))
        if not isinstance(stored, dict):
            return None
        call = str(stored.get("call") or "")
        if "result" in stored:
            return self._read_result(number, stored["result"], call)
        if "error" in stored:
            error, again = errors.restore_error(stored["error"]), bool(stored.get("is_deterministic"))
            return attempts.Attempt(number, "failed", call=call, is_deterministic=again, error=error)
        return attempts.Attempt(number, "abandoned", call=call, findings=stored.get("findings") or {})

    def write(self, number: int, verdict: driver.Verdict, call: str) -> None:
        self.store.write_json(self.uri(number, "outcome.json"), {"call": call, **_end(verdict)})

    def uri(self, number: int, *parts: str) -> str:
        """Where an attempt keeps what is its own."""
        return self.store.uri(self.key.value, str(number), *parts)

    def _read_result(self, number: int, stored: Any, call: str) -> attempts.Attempt:
        result = errors.validate(contracts.StepResult, stored, "result")
        if isinstance(result.output, contracts.DataManifest | contracts.ModelManifest):
            try:
                self.store.verify(result.output)
            except errors.DataError as error:
                print(f"Attempt {number} is not used again: {error}", flush=True)
                return attempts.Attempt(number, "abandoned", call=call)
        return attempts.Attempt(number, "succeeded", result.remote, call, result=result)


def _end(verdict: driver.Verdict) -> dict[str, Any]:
    if verdict.result is not None:
        return {"result": verdict.result.plain()}
    if verdict.error is not None:
        return {"error": errors.stored_error(verdict.error), "is_deterministic": verdict.would_repeat}
    return {"findings": verdict.findings or {}}
