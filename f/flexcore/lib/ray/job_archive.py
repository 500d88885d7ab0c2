# requirements: flexcore_base
"""What is kept of a job whose cluster is about to go: its log, in the store, as its step would have shown it.

A log longer than MAX_LOG_BYTES is kept by its two ends. No secret gets there: each line is redacted.
"""

from __future__ import annotations

from f.flexcore.lib.core import errors, log_text, redaction
from f.flexcore.lib.ray import job_observer
from f.flexcore.lib.storage import attempt_records

LOG_NAME = "job.log"
# Of a longer log the first and the last half are kept; the dashboard sends the end of a file by lines.
MAX_LOG_BYTES = 16 * 1024 * 1024
MAX_END_LINES = 100_000


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
