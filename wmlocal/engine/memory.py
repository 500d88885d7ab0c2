"""Memory of an engine that runs for days."""

from __future__ import annotations

import contextlib
import ctypes


def return_freed_memory() -> None:
    """Gives the system back what this process has freed (glibc; elsewhere nothing). Each run has a thread, and the
    allocator keeps what a thread frees for threads to come."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
