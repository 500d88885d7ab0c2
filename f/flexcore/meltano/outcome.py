# requirements: flexcore_base
# py: ==3.11.*
"""A failed run as a typed error: which plugin failed, with which exit code, what it said last, what to do.

deadline           the run took longer than it may
locked             another run of the same taps into the same target holds the state
extractor_failed, loader_failed, mapper_failed   that plugin ended badly
out_of_memory      a plugin was killed by the kernel
disk               Meltano's own files did not fit on the worker's disk
meltano_failed     Meltano itself ended badly before or between the plugins
Pure: takes what was seen, returns an exception.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from f.flexcore.core.contracts import Diagnosis
from f.flexcore.core.errors import DeadlineExceeded, ExecutionFailed, FlexcoreError, Unavailable
from f.flexcore.core.redaction import Redactor
from f.flexcore.core.tls import tls_remedy
from f.flexcore.meltano.process import Outcome
from f.flexcore.meltano.run_log import INTERMEDIATE, PluginLog, RunLog

KILLED = (-9, 137)
LONGEST_CAUSE = 400
# SQLite and the system say so in a line before the one that Meltano ends with.
DISK_FULL = re.compile(r"database or disk is full|disk I/O error|No space left on device")
NOT_STARTED = re.compile(r"Cannot start plugin ([^\s:]+): (.+)", re.DOTALL)


def failure(
    outcome: Outcome, log: RunLog, taps: Sequence[str], target: str, timeout_s: float, redactor: Redactor,
    mappers: Sequence[str] = (),
) -> FlexcoreError:  # fmt: skip
    """The error of a run that did not end with exit code 0."""
    for said in (*log.plugins.values(), log.meltano, log.discovery):
        # Before it is shortened: half a secret is no secret that anybody knows.
        said.cause = redactor.text(said.cause)
    diagnosis = diagnose(outcome, log, taps, target, timeout_s, mappers)
    certificates = tls_remedy(diagnosis.detail)
    if certificates:
        diagnosis = diagnosis.model_copy(update={"remedy": certificates})
    diagnosis = Diagnosis(**redactor.data(diagnosis.model_dump()))
    kinds = {"deadline": DeadlineExceeded, "locked": Unavailable, "disk": Unavailable}
    kind = kinds.get(diagnosis.category, ExecutionFailed)
    return kind(
        diagnosis.detail,
        subject=failed_plugin(log, taps, target, mappers) or "meltano",
        remedy=diagnosis.remedy,
        category=diagnosis.category,
        diagnosis=diagnosis.model_dump(),
        exit_code=outcome.exit_code,
        streams={tap: dict(rows) for tap, rows in log.rows.items()},
        finished_taps=finished_taps(log, taps),
        log_tail=log.shown_tail(redactor),
        **({"held_by": log.locked} if log.locked else {}),
    )


def diagnose(
    outcome: Outcome, log: RunLog, taps: Sequence[str], target: str, timeout_s: float, mappers: Sequence[str] = ()
) -> Diagnosis:
    if outcome.stopped == "deadline":
        return Diagnosis(
            category="deadline",
            detail=f"{current_tap(log, taps)} into {target} did not end within {timeout_s:g} s",
            remedy="Raise timeout_s, select less, or run the taps in separate executions.",
        )
    if outcome.stopped:
        return Diagnosis(category="cancelled", detail="The run was stopped from outside", remedy="Run it again.")
    if log.locked:
        return Diagnosis(
            category="locked",
            detail=f"Another run of {log.locked['job']} holds its state since {log.locked['since']}",
            remedy="Wait for it to end; a dead one is given up five minutes after its last sign of life.",
        )
    return (
        broken_chain(log, target, mappers)
        or plugin_failure(log, taps, target)
        or full_disk(log)
        or Diagnosis(
            category="meltano_failed",
            detail=f"Meltano failed with exit code {outcome.exit_code}: {said(log.meltano)}",
            remedy="See log_tail for what it printed.",
        )
    )


def broken_chain(log: RunLog, target: str, mappers: Sequence[str]) -> Diagnosis | None:
    """A mapper, or the target behind one, that ended while rows were still coming: then Meltano itself stumbles over
    the broken pipe, and tells no exit code or a made-up one. Who said what went wrong is to blame."""
    name = end_of_chain(log, target, mappers)
    if not name:
        return None
    if not log.plugins[name].weight:
        return Diagnosis(
            category="mapper_failed",
            detail=f"{name} ended while rows were still coming, and gave no reason",
            remedy="A plugin that was killed says nothing: give the worker more memory, or extract less at once.",
        )
    return Diagnosis(
        category="loader_failed" if name == target else "mapper_failed",
        detail=f"{name} failed while rows were still coming: {said(log.plugins[name])}",
        remedy=f"Check the settings of {name} and what it printed (log_tail).",
    )


def end_of_chain(log: RunLog, target: str, mappers: Sequence[str]) -> str:
    """The plugin that broke the chain; empty when it was not broken, or when Meltano knows the exit codes."""
    block = failed_block(log)
    known = block and exit_codes(block) and INTERMEDIATE not in str(block.get("err") or "")
    if not mappers or not log.broken or known:
        return ""
    return max((*mappers, target), key=lambda name: log.plugins[name].weight)


def plugin_failure(log: RunLog, taps: Sequence[str], target: str) -> Diagnosis | None:
    block = failed_block(log)
    codes = exit_codes(block) if block else {}
    if block and not codes:
        return start_failure(log, str(block.get("err") or ""), target)
    if not block:
        return None
    name, kind, code = blamed(codes, tap_of(block, taps), target)
    if code in KILLED:
        return Diagnosis(
            category="out_of_memory",
            detail=f"{name} was killed (SIGKILL), as the kernel does when memory runs out",
            remedy="Give the worker more memory, or extract less at once.",
        )
    return Diagnosis(
        category=kind,
        detail=f"{name} failed with exit code {code}: {said(log.plugins[name])}",
        remedy=f"Check the settings of {name} and what it printed (log_tail).",
    )


def full_disk(log: RunLog) -> Diagnosis | None:
    told = next((found[0] for line in log.tail if (found := DISK_FULL.search(line))), None)
    if not told:
        return None
    return Diagnosis(
        category="disk",
        detail=f"The worker's disk does not take Meltano's files: {told}",
        remedy="Free space on the worker, or set FLEXCORE_HOME to a larger volume.",
    )


def start_failure(log: RunLog, problem: str, target: str) -> Diagnosis | None:
    """A plugin that ended before any row: its catalog could not be discovered, or it does not start at all."""
    match = NOT_STARTED.match(problem)
    if not match:
        return None
    name, why = match.groups()
    discovering = why.startswith("Catalog discovery failed") and log.discovery.cause
    return Diagnosis(
        category="loader_failed" if name == target else "extractor_failed",
        detail=f"{name} cannot start: {(log.discovery.cause if discovering else why.splitlines()[0])[:LONGEST_CAUSE]}",
        remedy=f"Check the settings of {name} and that its source can be reached (log_tail).",
    )


def said(plugin: PluginLog) -> str:
    return plugin.cause[:LONGEST_CAUSE] or "it gave no reason"


def blamed(codes: Mapping[str, int], tap: str, target: str) -> tuple[str, str, int]:
    # A target that dies takes its tap with it: its own last line says more than the tap's broken pipe.
    if codes.get("loaders"):
        return target, "loader_failed", codes["loaders"]
    if codes.get("extractors"):
        return tap, "extractor_failed", codes["extractors"]
    name, code = next(iter(codes.items()))
    return name, "mapper_failed", code


def exit_codes(block: Mapping[str, Any]) -> dict[str, int]:
    """`exit_codes` of Meltano's event: {"extractors": 1}, or a list of {mapper: code}."""
    codes = block.get("exit_codes") or {}
    pairs = codes.items() if isinstance(codes, Mapping) else [pair for item in codes for pair in item.items()]
    return {str(name): int(code) for name, code in pairs}


def failed_block(log: RunLog) -> Mapping[str, Any] | None:
    return next((block for block in log.blocks.values() if not block.get("success")), None)


def failed_plugin(log: RunLog, taps: Sequence[str], target: str, mappers: Sequence[str] = ()) -> str:
    if name := end_of_chain(log, target, mappers):
        return name
    block = failed_block(log)
    codes = exit_codes(block) if block else {}
    match = NOT_STARTED.match(str(block.get("err") or "")) if block else None
    if match:
        return match[1]
    return blamed(codes, tap_of(block, taps), target)[0] if block and codes else ""


def tap_of(block: Mapping[str, Any], taps: Sequence[str]) -> str:
    number = int(block.get("set_number") or 0)
    return taps[number] if number < len(taps) else taps[-1]


def finished_taps(log: RunLog, taps: Sequence[str]) -> list[str]:
    return [tap_of(block, taps) for _, block in sorted(log.blocks.items()) if block.get("success")]


def current_tap(log: RunLog, taps: Sequence[str]) -> str:
    done = finished_taps(log, taps)
    return next((tap for tap in taps if tap not in done), taps[-1])
