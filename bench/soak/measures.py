"""What is measured every few seconds: memory and descriptors by kind of process, the database, what lies about.

Memory is what a process holds for itself (RssAnon): files that it maps are shared, and the kernel takes them back. Of a
Ray head its daemons count, not the processes of its jobs, which come and go.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Container, Iterator
from contextlib import closing, suppress
from pathlib import Path

MB = 2**20
# What a head's own processes are, by what their command lines have among their first words. The agents and the
# dashboard's modules write a title over theirs, and over the environment that they were started with.
DAEMONS = {
    "gcs_server": "gcs_server",
    "raylet/raylet": "raylet",
    "dashboard/dashboard.py": "dashboard",
    "ray-dashboard-": "dashboard_modules",
    "dashboard/agent.py": "dashboard_agent",
    "ray::DashboardAgent": "dashboard_agent",
    "runtime_env/agent": "runtime_env_agent",
    "ray::RuntimeEnvAgent": "runtime_env_agent",
    "log_monitor.py": "log_monitor",
    "_private/monitor.py": "autoscaler_monitor",
    "ray.util.client.server": "client_server",
}
DASHBOARD = ("dashboard", "dashboard_modules")
TABLES = ("jobs", "logs", "resumes", "states", "deletions")
Values = dict[str, float | None]


def measure_process(kind: str, pids: list[int]) -> Values:
    """Memory, descriptors and threads of the processes together; None where there are none."""
    if not pids:
        return {f"{kind}_memory_mb": None, f"{kind}_descriptors": None}
    memory = sum(read_status(pid, "RssAnon") for pid in pids) / 1024
    return {f"{kind}_memory_mb": memory, f"{kind}_descriptors": sum(count_descriptors(pid) for pid in pids)}


def read_status(pid: int, field: str) -> int:
    """A number of /proc/PID/status, kB where it is a size; 0 when the process has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    return 0


def count_descriptors(pid: int, left_out: Container[str] = ()) -> int:
    """left_out: what /proc shows of descriptors that do not count, `socket:[INODE]`."""
    count = 0
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                count += str(entry.readlink()) not in left_out
    return count


def find_unix_sockets() -> set[str]:
    """All of this machine, as count_descriptors leaves them out."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return {f"socket:[{line.split()[6]}]" for line in lines}


def children(pid: int) -> list[int]:
    """Processes that any thread of this one has started and that have not been reaped."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def find_processes(mark: bytes) -> Iterator[int]:
    """Processes whose environment has this entry."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and has_entry(int(entry.name), mark):
            yield int(entry.name)


def has_entry(pid: int, mark: bytes) -> bool:
    with suppress(OSError):
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def read_command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def find_descendants(root: int) -> list[int]:
    """The process and all that it, or a process below it, has started and that are still below it."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children(pid)
    return found


def find_daemons(root: int) -> dict[int, str]:
    """A Ray head's own processes and what each is, below the `ray start` that keeps them: not those of its jobs.

    A worker's command line names daemons' files as well, in its options: the first words count."""
    found = {}
    for pid in find_descendants(root):
        words = read_command(pid).split()[:3]
        kind = next((kind for name, kind in DAEMONS.items() if any(name in word for word in words)), None)
        if kind:
            found[pid] = kind
    return found


def measure_head(name: str, root: int | None, temp: Path | None) -> Values:
    """Memory of a head's own processes, together and by what they are, their descriptors, and the jobs that it has
    run; root: the `ray start` that keeps them, None while there is none; temp: its folder.

    Left out are descriptors that have a bound which a soak does not reach: the log monitor's, which holds up to 200
    logs of workers that have ended open, two for each (RAY_LOG_MONITOR_MAX_OPEN_FILES), and the connections between the
    dashboard and its modules, as many as requests were ever under way at once: it takes them in turn, so that none is
    idle for long enough to be closed (get_http_session_to_module in ray.dashboard.subprocesses.utils, 2.60)."""
    daemons = find_daemons(root) if root else {}
    found = measure_process(name, list(daemons))
    if daemons:
        counted = [pid for pid, kind in daemons.items() if kind != "log_monitor"]
        connections = find_unix_sockets()
        found[f"{name}_descriptors"] = sum(
            count_descriptors(pid, connections if daemons[pid] in DASHBOARD else ()) for pid in counted
        )
    for pid, kind in daemons.items():
        key = f"{name}_{kind}_memory_mb"
        found[key] = (found.get(key) or 0) + read_status(pid, "RssAnon") / 1024
    return {**found, f"{name}_jobs": count_head_jobs(temp) if daemons else None}


def count_head_jobs(temp: Path | None) -> int | None:
    """Jobs that a head has run so far, by the logs that it writes of them and keeps; None while it has no folder."""
    return None if temp is None else sum(1 for _ in temp.glob("session_2*/logs/job-driver-*.log"))


def measure_database(file: Path) -> Values:
    """Rows that the engine keeps, by table, and the size of its files."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as database:
        rows = sum(database.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in TABLES)  # noqa: S608
        pages, size, free = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size", "freelist_count")
        )
    log = file.with_name(f"{file.name}-wal")
    return {
        "rows_kept": rows,
        "database_mb": (pages * size + (log.stat().st_size if log.exists() else 0)) / MB,
        "database_used_mb": (pages - free) * size / MB,
    }


def count_entries(*folders: Path) -> int:
    """What lies in the folders, directly."""
    count = 0
    for folder in folders:
        with suppress(OSError):
            count += sum(1 for _ in folder.iterdir())
    return count


def measure_tree(folder: Path) -> tuple[int, float]:
    """(files, MB) below a folder."""
    files, size = 0, 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += (Path(place) / name).lstat().st_size
                files += 1
    return files, size / MB
