# requirements: flexcore_base
"""Tasks that run at once and are waited for no longer than a caller can wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable


def run_for(tasks: Iterable[Callable[[], object]], timeout_s: float) -> None:
    """Returns when all have ended, or after `timeout_s` seconds; the others go on, and end with the process."""
    # Not a pool: its threads would be waited for at the end of the process.
    threads = [threading.Thread(target=task, daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    until = time.monotonic() + timeout_s
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0))
