"""Exit codes by consequence: what the caller can do next.

0    done
1    the work ran and failed, or something was found that must not be (a runtime down, a check not passed)
2    nothing can come of it until the request, the settings or the rights are changed
3    the same call may succeed later (no answer, overload)
4    it did not end within its time
5    it was canceled
130  interrupted with Ctrl-C
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from f.flexcore.lib.core.errors import FlexcoreError

# Why the embedded engine cancels what runs in it.
CTRL_C = "signal SIGINT"
DONE, FAILED, CANNOT_START, TRY_LATER, TOO_LATE, CANCELED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


def of_error(kind: type[FlexcoreError]) -> int:
    from f.flexcore.lib.core.errors import DeadlineExceeded, TransientError, UserError

    codes = {UserError: CANNOT_START, TransientError: TRY_LATER, DeadlineExceeded: TOO_LATE}
    return next((code for base, code in codes.items() if issubclass(kind, base)), FAILED)


def of_run(job: dict[str, Any], cause: dict[str, Any]) -> int:
    """Of a run that has ended, by the job that made it fail: a typed error of ours says what can be done."""
    from f.flexcore.lib.core.errors import KINDS
    from flexcore.client.watch import find_error

    if job.get("success"):
        return DONE
    if job.get("canceled"):
        return INTERRUPTED if str(job.get("canceled_reason")).startswith(CTRL_C) else CANCELED
    kind = KINDS.get(str(find_error(cause).get("name")))
    return of_error(kind) if kind else FAILED
