"""Many jobs at once on one Ray head with a limit: none is lost, none runs twice, and the head's memory stays bounded.

    uv run python bench/ray_queue.py [--jobs 50] [--limit 8]

Each job is a step of its own (a thread here) of one of three users, whose program appends a line to a file. Prints
JSON: jobs that succeeded, lines in the file, the most jobs at once as the head's own list says, the head's memory
(PSS of all its processes, MB) before, at its highest and after, and the seconds that it took. Exit code 1 when a job is
lost or has run twice, more than the limit were there at once, or the memory grew by more than MB_PER_JOB for each job
that may be there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from f.flexcore.lib.core import contracts, driver, identity, redaction, resources
from f.flexcore.lib.ray import dashboard, job, job_adapter
from f.flexcore.lib.storage import object_store
from flexcore.ray_head import MARK, RayHead

PROGRAM = "open(parameters['file'], 'a').write(parameters['name'] + '\\n')\nresult = parameters['name']"
# A supervisor, the program of a job without CPUs of its own, and the workers that Ray keeps idle for a while.
MB_PER_JOB = 300
Json = dict[str, Any]


def head_memory_mb(mark: bytes) -> float:
    """PSS of the processes that the head has started, its jobs' among them."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                rollup = (entry / "smaps_rollup").read_text()
                total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        except (OSError, StopIteration):
            continue
    return total / 1024


def head_mark(head: RayHead) -> bytes:
    """The mark that all processes of this head carry."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"RAY_AUTH_TOKEN_PATH={head.folder.resolve() / 'auth_token'}".encode() in environment:
            return next(item for item in environment if item.startswith(MARK.encode()))
    raise RuntimeError("the head has no process")


def run_step(head: RayHead, folder: Path, number: int, limit: int) -> str:
    key = identity.execution_key({"WM_JOB_ID": f"bench-{number}", "WM_WORKSPACE": "bench"})
    parameters = {"file": str(folder / "lines"), "name": key.value}
    work = job.Job("program", {"flexcore_program.py": PROGRAM}, parameters, timeout_s=3600)

    def to_result(finished: job.FinishedJob) -> contracts.StepResult:
        return finished.step_result(data={"result": finished.result})

    cluster = resources.RayCluster.model_validate(head.resource | {"max_jobs": limit})
    store = object_store.Store(resources.Settings(storage_uri=f"file://{folder}/store"))
    with dashboard.RayApi(cluster) as api:
        user = f"{number % 3:08x}"
        context = job_adapter.Context(api, store, key, redaction.Redactor(), f"bench-{number}", f"{user}-{user}")
        adapter = job_adapter.JobAdapter(context, job_adapter.Work(work, to_result), report=lambda line: None)
        return str(driver.Driver(adapter, "", lambda line: None).run().data["result"])


def watch(head: RayHead, is_over: threading.Event, note: Callable[[int, float], None]) -> None:
    mark = head_mark(head)
    with httpx.Client(base_url=head.address, headers=head.headers, timeout=60) as client:
        while not is_over.wait(1):
            jobs = client.get("/api/jobs/").json()
            note(sum(item["status"] in ("PENDING", "RUNNING") for item in jobs), head_memory_mb(mark))


def measure(jobs: int, limit: int) -> Json:
    with tempfile.TemporaryDirectory() as name, RayHead(Path(name) / "ray") as head:
        folder, seen = Path(name), [(0, 0.0)]
        run_step(head, folder, -1, limit)
        (folder / "lines").unlink()
        before, is_over, began = head_memory_mb(head_mark(head)), threading.Event(), time.monotonic()
        watcher = threading.Thread(target=watch, args=(head, is_over, lambda *pair: seen.append(pair)), daemon=True)
        watcher.start()
        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(run_step, head, folder, number, limit) for number in range(jobs)]
        done = [future.result() for future in futures if future.exception() is None]
        took = time.monotonic() - began
        is_over.set()
        watcher.join(60)
        time.sleep(5)
        lines = (folder / "lines").read_text().split()
        return {
            "jobs": jobs,
            "limit": limit,
            "succeeded": len(set(done)),
            "failed": sorted({repr(future.exception())[:200] for future in futures if future.exception()}),
            "ran": len(lines),
            "ran_once": len(set(lines)) == len(lines),
            "most_at_once": max(count for count, _ in seen),
            "memory_before_mb": round(before),
            "memory_highest_mb": round(max(memory for _, memory in seen)),
            "memory_after_mb": round(head_memory_mb(head_mark(head))),
            "seconds": round(took, 1),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--limit", type=int, default=8)
    options = parser.parse_args()
    figures = measure(options.jobs, options.limit)
    print(json.dumps(figures))
    grown = figures["memory_highest_mb"] - figures["memory_before_mb"]
    complete = figures["succeeded"] == figures["ran"] == options.jobs and figures["ran_once"]
    return int(not complete or figures["most_at_once"] > options.limit or grown > options.limit * MB_PER_JOB)


if __name__ == "__main__":
    sys.exit(main())
