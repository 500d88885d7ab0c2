# requirements: flexcore_base
"""What is kept of a job whose cluster is about to go, in the store: its log, as its step would have shown it, and the
result, which the job itself writes there where it gets at the store: a step that collects late still finds it.

A log longer than MAX_LOG_BYTES is kept by its two ends. No secret gets there: each line is redacted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from f.flexcore.lib.core import errors, log_text, redaction
from f.flexcore.lib.ray import job as ray_job
from f.flexcore.lib.ray import job_observer
from f.flexcore.lib.ray.remote import job_entry
from f.flexcore.lib.storage import attempt_records

LOG_NAME, RESULT_NAME = "job.log", "job-result.json"
# Of a longer log the first and the last half are kept; the dashboard sends the end of a file by lines.
MAX_LOG_BYTES = 16 * 1024 * 1024
MAX_END_LINES = 100_000


# Follows the program of a job that has `storage`. What fails here must not make the job fail.
KEEP_RESULT = f"""

try:
    from f.flexcore.lib.ray.remote import shared_storage

    shared_storage.RemoteStore(storage).write_json(storage["folder"] + "/{RESULT_NAME}", {{"result": result}})
except Exception as error:
    print(f"The result was not copied to the store: {{error}}")
"""


def keep_result(job: ray_job.Job) -> ray_job.Job:
    """The job, which also writes its result into the store when it gets at it."""
    program = job.files.get(job_entry.PROGRAM)
    if job.storage is None or program is None:
        return job
    return replace(job, files=job.files | {job_entry.PROGRAM: program + KEEP_RESULT})


def read_result(records: attempt_records.StoreRecords, number: int) -> dict[str, Any] | None:
    """{result} of an attempt whose job has kept it."""
    stored = records.store.read_json(records.uri(number, RESULT_NAME))
    return stored if isinstance(stored, dict) and "result" in stored else None


def archive_log(
    log: job_observer.JobLog, records: attempt_records.StoreRecords, number: int, redactor: redaction.Redactor
) -> str:
    """The URI of the stored log; "" when there is none. Raises the errors of the head and of the store."""
    try:
        content = log.start(MAX_LOG_BYTES + 1)
    except errors.NotFound:
        return ""
    if len(content) > MAX_LOG_BYTES:
        half = MAX_LOG_BYTES // 2
        end = log.end(MAX_END_LINES, half)
        content = content[:half] + b"\n[flexcore: the middle of this log was left out]\n" + end
    uri = records.uri(number, LOG_NAME)
    records.store.write_bytes(uri, redact_log(content, redactor).encode())
    return uri


def redact_log(content: bytes, redactor: redaction.Redactor) -> str:
    """The log as lines in their last state, without secrets."""
    lines = redactor.lines()
    return "".join(f"{lines.line(line)}\n" for line in log_text.clean_log(content).split("\n")).rstrip("\n") + "\n"
