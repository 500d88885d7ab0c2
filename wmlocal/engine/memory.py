"""Memory of an engine that runs for days (glibc; with another C library nothing is done).

Each run has a thread. The allocator gives threads arenas of their own, up to eight for each core, and each keeps what
its threads have freed for threads to come.
"""

from __future__ import annotations

import contextlib
import ctypes

M_ARENA_MAX = -8


def share_one_arena() -> None:
    """All threads that start from now on take memory from the one arena of the process. One of them runs Python at a
    time, so they seldom wait for one another."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def return_freed_memory() -> None:
    """Gives the system back what this process has freed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
