# requirements: flexcore_base
"""A failed run as a typed error: which plugin failed, with which exit code and last words, and what to do.

deadline           the run took longer than it may
locked             another run of the same taps into the same target holds the state
extractor_failed, loader_failed, mapper_failed   that plugin ended badly
out_of_memory      a plugin was killed by the kernel
invalid_input      the request has no effect: a selection that matches nothing
disk               Meltano's own files did not fit on the worker's disk
meltano_failed     Meltano itself ended badly before or between the plugins
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from f.flexcore.lib.core import contracts, errors, redaction, tls_errors
from f.flexcore.lib.meltano import (
    process,
    run_log,
)

BATCH_REMEDY = "Leave batch_config out of the settings of {}, or use a target that takes batches."
KILLED_CODES = (-9, 137)
NOT_UPGRADED = "Cannot upgrade the system database"
# SQLite and the system say so in a line before the one that Meltano ends with.
DISK_FULL = re.compile(r"database or disk is full|disk I/O error|No space left on device")
NOT_STARTED = re.compile(r"Cannot start plugin ([^\s:]+): (.+)", re.DOTALL)
DISCOVERY_ENDED = re.compile(r"Catalog discovery failed: command .*? returned (-?\d+)", re.DOTALL)


def run_error(
    outcome: process.Outcome,
    log: run_log.RunLog,
    taps: Sequence[str],
    target: str,
    timeout_s: float,
    redactor: redaction.Redactor,
    mappers: Sequence[str] = (),
) -> errors.FlexcoreError:
    """The error of a run that did not end with exit code 0."""
    for plugin in (*log.plugins.values(), log.meltano, log.discovery):
        # Before it is shortened: half of a secret would not be recognized.
        plugin.cause = redactor.text(plugin.cause)
    diagnosis = diagnose(outcome, log, taps, target, timeout_s, mappers)
    certificates = tls_errors.tls_remedy(diagnosis.detail)
    if certificates:
        diagnosis = diagnosis.model_copy(update={"remedy": certificates})
    diagnosis = contracts.Diagnosis(**redactor.data(diagnosis.model_dump()))
    kinds = {
        "deadline": errors.DeadlineExceeded,
        "locked": errors.Unavailable,
        "disk": errors.Unavailable,
        "database": errors.Unavailable,
        "invalid_input": errors.InvalidInput,
    }
    kind = kinds.get(diagnosis.category, errors.ExecutionFailed)
    return kind(
        diagnosis.detail,
        subject=find_subject(log, taps, target, mappers),
        remedy=diagnosis.remedy,
        category=diagnosis.category,
        diagnosis=diagnosis.model_dump(),
        exit_code=outcome.exit_code,
        streams={tap: dict(rows) for tap, rows in log.rows.items()},
        finished_taps=list_finished_taps(log, taps),
        log_tail=log.format_tail(redactor),
        **({"held_by": log.lock_holder} if log.lock_holder else {}),
        **({"odd_lines": redactor.data([line.text for line in log.odd_lines])} if log.odd_lines else {}),
    )


def diagnose(
    outcome: process.Outcome,
    log: run_log.RunLog,
    taps: Sequence[str],
    target: str,
    timeout_s: float,
    mappers: Sequence[str] = (),
) -> contracts.Diagnosis:
    if outcome.stopped == "deadline":
        return contracts.Diagnosis(
            category="deadline",
            detail=f"{find_current_tap(log, taps)} into {target} did not end within {timeout_s:g} s",
            remedy="Raise timeout_s, select less, or run the taps in separate executions.",
        )
    if outcome.stopped:
        return contracts.Diagnosis(
            category="cancelled", detail="The run was stopped from outside", remedy="Run it again."
        )
    if log.lock_holder:
        return contracts.Diagnosis(
            category="locked",
            detail=f"Another run of {log.lock_holder['job']} holds its state since {log.lock_holder['since']}",
            remedy="Wait for it to end; Meltano gives up a dead one five minutes after its last heartbeat.",
        )
    if log.refusal:
        return contracts.Diagnosis(
            category=log.refusal["category"], detail=log.refusal["message"], remedy=log.refusal["remedy"]
        )
    return (
        diagnose_odd_line(log, taps, target, mappers)
        or diagnose_broken_chain(log, target, mappers)
        or diagnose_plugin(log, taps, target)
        or diagnose_disk(log)
        or diagnose_database(log)
        or contracts.Diagnosis(
            category="meltano_failed",
            detail=f"Meltano failed with exit code {outcome.exit_code}: {last_words(log.meltano)}",
            remedy="See log_tail for what it printed.",
        )
    )


def find_subject(log: run_log.RunLog, taps: Sequence[str], target: str, mappers: Sequence[str]) -> str:
    odd = find_misleading_line(log, taps, target, mappers)
    return (
        log.refusal.get("subject")
        or (odd.plugin if odd else find_failed_plugin(log, taps, target, mappers))
        or "meltano"
    )


def find_misleading_line(
    log: run_log.RunLog, taps: Sequence[str], target: str, mappers: Sequence[str]
) -> run_log.OddLine | None:
    """The line of a plugin before it that the failed plugin could not read: who printed it is to blame."""
    failed = find_failed_plugin(log, taps, target, mappers)
    if failed not in (target, *mappers):
        return None
    return pick_worst_line([line for line in log.odd_lines if line.plugin not in (failed, target)])


def diagnose_odd_line(
    log: run_log.RunLog, taps: Sequence[str], target: str, mappers: Sequence[str]
) -> contracts.Diagnosis | None:
    odd = find_misleading_line(log, taps, target, mappers)
    if not odd:
        return None
    failed = find_failed_plugin(log, taps, target, mappers)
    return contracts.Diagnosis(
        category="mapper_failed" if odd.plugin in mappers else "extractor_failed",
        detail=f"{odd.text}; {failed} failed: {last_words(log.plugins[failed])}",
        remedy=BATCH_REMEDY.format(odd.plugin)
        if "BATCH" in odd.problem
        else f"{odd.plugin} must print Singer messages alone to standard output, a schema before its rows, and its "
        "log to standard error: change its settings or its version.",
    )


def pick_worst_line(lines: Sequence[run_log.OddLine]) -> run_log.OddLine | None:
    """The line that a reader is the likeliest to fail on: an empty one rarely is."""
    return min(lines, key=lambda line: line.problem == "an empty line", default=None)


def diagnose_broken_chain(log: run_log.RunLog, target: str, mappers: Sequence[str]) -> contracts.Diagnosis | None:
    """A mapper, or the target behind one, that ended while rows were still coming: then Meltano itself stumbles over
    the broken pipe, and reports no exit code or a wrong one. The plugin whose log explains more is to blame."""
    name = find_chain_end(log, target, mappers)
    if not name:
        return None
    if not log.plugins[name].weight:
        return contracts.Diagnosis(
            category="mapper_failed",
            detail=f"{name} ended while rows were still coming, without a reason in its log",
            remedy="It may have been killed: give the worker more memory, or extract less at once.",
        )
    return contracts.Diagnosis(
        category="loader_failed" if name == target else "mapper_failed",
        detail=f"{name} failed while rows were still coming: {last_words(log.plugins[name])}",
        remedy=f"Check the settings of {name} and what it printed (log_tail).",
    )


def find_chain_end(log: run_log.RunLog, target: str, mappers: Sequence[str]) -> str:
    """The plugin that broke the chain; empty when it was not broken, or when Meltano knows the exit codes."""
    block = find_failed_block(log)
    known = block and parse_exit_codes(block) and run_log.INTERMEDIATE not in str(block.get("err") or "")
    if not mappers or not log.is_chain_broken or known:
        return ""
    return max((*mappers, target), key=lambda name: log.plugins[name].weight)


def diagnose_plugin(log: run_log.RunLog, taps: Sequence[str], target: str) -> contracts.Diagnosis | None:
    block = find_failed_block(log)
    codes = parse_exit_codes(block) if block else {}
    if block and not codes:
        return diagnose_start(log, str(block.get("err") or ""), target)
    if not block:
        return None
    name, kind, code = find_culprit(codes, block_tap(block, taps), target)
    if code in KILLED_CODES:
        return contracts.Diagnosis(
            category="out_of_memory",
            detail=f"{name} was killed (SIGKILL), as the kernel does when memory runs out",
            remedy="Give the worker more memory, or extract less at once.",
        )
    return contracts.Diagnosis(
        category=kind,
        detail=f"{name} failed with exit code {code}: {find_reason(log, name)}",
        remedy=suggest_stream_name(log, name) or f"Check the settings of {name} and what it printed (log_tail).",
    )


def suggest_stream_name(log: run_log.RunLog, name: str) -> str:
    """What to do when a file target took a stream's name as a path; empty when it did not."""
    stream = next((item for item in log.columns if "/" in item and item in log.plugins[name].cause), "")
    return f"{name} makes a file's name of the stream {stream!r}: rename the stream with a mapping." if stream else ""


def diagnose_disk(log: run_log.RunLog) -> contracts.Diagnosis | None:
    reason = next((match[0] for line in log.tail if (match := DISK_FULL.search(line))), None)
    if not reason:
        return None
    return contracts.Diagnosis(
        category="disk",
        detail=f"The worker's disk cannot hold Meltano's files: {reason}",
        remedy="Free space on the worker, or set FLEXCORE_HOME to a larger volume.",
    )


def diagnose_database(log: run_log.RunLog) -> contracts.Diagnosis | None:
    """A project's own system database whose tables another first run made meanwhile, or that no Meltano can upgrade."""
    if not log.meltano.cause.startswith(NOT_UPGRADED):
        return None
    return contracts.Diagnosis(
        category="database",
        detail="Meltano could not make the tables of its system database",
        remedy="Run it again: another run may have made them meanwhile. If it fails alike, log_tail says what is wrong "
        "with the project's database_uri.",
    )


def diagnose_start(log: run_log.RunLog, problem: str, target: str) -> contracts.Diagnosis | None:
    """A plugin that ended before any row: its catalog could not be discovered, or it does not start at all."""
    match = NOT_STARTED.match(problem)
    if not match:
        return None
    name, why = match.groups()
    if ended := DISCOVERY_ENDED.match(why):
        return diagnose_discovery(log, name, int(ended[1]))
    remedy = f"Check the settings of {name} and that its source can be reached (log_tail)."
    if "Permission denied" in why:
        remedy = "Make the file executable (chmod +x) where the worker reads it, and commit that."
    return contracts.Diagnosis(
        category="loader_failed" if name == target else "extractor_failed",
        detail=f"{name} cannot start: {why.splitlines()[0][: run_log.MAX_CAUSE_CHARACTERS]}",
        remedy=remedy,
    )


def diagnose_discovery(log: run_log.RunLog, name: str, code: int) -> contracts.Diagnosis:
    if code in KILLED_CODES:
        return contracts.Diagnosis(
            category="out_of_memory",
            detail=f"The discovery of {name} was killed (SIGKILL), as the kernel does when memory runs out",
            remedy=f"Give the worker more memory, or let {name} discover less at once.",
        )
    output = log.discovery.cause or log.discovery_output.get(name) or "it printed nothing"
    return contracts.Diagnosis(
        category="extractor_failed",
        detail=f"The discovery of {name} failed with exit code {code}: {output[: run_log.MAX_CAUSE_CHARACTERS]}",
        remedy=f"Check the settings of {name} and that its source can be reached (log_tail).",
    )


def find_reason(log: run_log.RunLog, name: str) -> str:
    """A plugin's last words, if need be those that it wrote to standard output."""
    printed = pick_worst_line([line for line in log.odd_lines if line.plugin == name])
    return printed.line if printed and printed.line and not log.plugins[name].cause else last_words(log.plugins[name])


def last_words(plugin: run_log.PluginLog) -> str:
    return plugin.cause[: run_log.MAX_CAUSE_CHARACTERS] or "its log gives no reason"


def find_culprit(codes: Mapping[str, int], tap: str, target: str) -> tuple[str, str, int]:
    # A target that dies takes its tap with it: its own last line says more than the tap's broken pipe.
    if codes.get("loaders"):
        return target, "loader_failed", codes["loaders"]
    if codes.get("extractors"):
        return tap, "extractor_failed", codes["extractors"]
    name, code = next(iter(codes.items()))
    return name, "mapper_failed", code


def parse_exit_codes(block: Mapping[str, Any]) -> dict[str, int]:
    """`exit_codes` of Meltano's event: {"extractors": 1}, or a list of {mapper: code}."""
    codes = block.get("exit_codes") or {}
    pairs = codes.items() if isinstance(codes, Mapping) else [pair for item in codes for pair in item.items()]
    return {str(name): int(code) for name, code in pairs}


def find_failed_block(log: run_log.RunLog) -> Mapping[str, Any] | None:
    return next((block for block in log.blocks.values() if not block.get("success")), None)


def find_failed_plugin(log: run_log.RunLog, taps: Sequence[str], target: str, mappers: Sequence[str] = ()) -> str:
    if name := find_chain_end(log, target, mappers):
        return name
    block = find_failed_block(log)
    codes = parse_exit_codes(block) if block else {}
    match = NOT_STARTED.match(str(block.get("err") or "")) if block else None
    if match:
        return match[1]
    return find_culprit(codes, block_tap(block, taps), target)[0] if block and codes else ""


def block_tap(block: Mapping[str, Any], taps: Sequence[str]) -> str:
    number = int(block.get("set_number") or 0)
    return taps[number] if number < len(taps) else taps[-1]


def list_finished_taps(log: run_log.RunLog, taps: Sequence[str]) -> list[str]:
    return [block_tap(block, taps) for _, block in sorted(log.blocks.items()) if block.get("success")]


def find_current_tap(log: run_log.RunLog, taps: Sequence[str]) -> str:
    done = list_finished_taps(log, taps)
    return next((tap for tap in taps if tap not in done), taps[-1])
