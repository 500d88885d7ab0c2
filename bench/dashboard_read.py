"""How long the dashboard's read takes on the embedded engine, with many executions behind it.

    uv run python -m bench.dashboard_read [--executions 10000] [--repeats 7] [--json]

The executions are written into the engine's store as real runs leave them: flow, status of its modules, arguments,
result, labels. Then the runnable is run as the page runs it, a job each: the first page, what changed, one execution.
Bar: first page at most 1 s (median) with 10,000 executions. CPU seconds are those of the job and of the engine
together: on a machine that is busy with something else they still say what the read costs.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from wmlocal.engine import Engine
from wmlocal.engine.jobs import new_id
from wmlocal.engine.store import Store

ROOT = Path(__file__).parent.parent
READ = "f/flexcore/dashboard/read_dashboard"
WORKFLOWS = ("hybrid_pipeline", "data_pipeline", "templates/singer_extraction", "templates/container_job")
RUNTIMES = ("meltano", "ray", "kubernetes")
BAR_S = 1.0


def fill(store: Store, count: int, now: float) -> str:
    """The id of the newest execution. One in ten has failed, one in fifty was canceled."""
    chance = random.Random(7)
    newest = ""
    for number in range(count):
        id, created = new_id(), now - 30 * (count - number)
        runtime, workflow = chance.choice(RUNTIMES), chance.choice(WORKFLOWS)
        status = chance.choices(("success", "failure", "canceled"), (88, 10, 2))[0]
        step = new_id()
        state = "Success" if status == "success" else "Failure"
        modules = [{"id": "prepare", "type": "Success", "job": new_id()}, {"id": "run", "type": state, "job": step}]
        flow_status = {"step": 2, "modules": modules, "failure_module": {"type": "WaitingForPriorSteps", "job": ""}}
        store.add_job(
            id=id,
            kind="flow",
            path=f"f/flexcore/{workflow}",
            root=id,
            status=status,
            args={"taps": ["tap-postgres"], "settings": "$res:f/flexcore/settings", "note": "x" * 500},
            result=make_result(runtime, status, chance),
            created=created,
            started=created + 0.1,
            finished=created + chance.uniform(1, 25),
            labels=["flexcore", f"runtime:{runtime}"] if status == "success" else None,
            flow_status=flow_status,
            engine="bench",
        )
        newest = id
    return newest


def make_result(runtime: str, status: str, chance: random.Random) -> dict[str, Any]:
    if status != "success":
        return {"success": False, "error": "Extraction failed: relation does not exist " + "y" * 400}
    rows, seconds = chance.randrange(1, 10**6), chance.uniform(1, 25)
    run = {"workflow_type": "bench", "runtime": runtime, "rows": rows, "duration_s": seconds, "success": True}
    actual = {"duration_s": seconds, "cost_usd": 0.01, "rows": rows}
    return {"success": True, "runtime": runtime, "actual": actual, "run": run, "log_tail": "z" * 2000}


def used_cpu_s() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measure(engine: Engine, arguments: dict[str, Any], repeats: int) -> tuple[list[float], float, Any]:
    """(seconds of each run, CPU seconds of one, the last result)."""
    times, result, before = [], None, used_cpu_s()
    for _ in range(repeats):
        begin = time.perf_counter()
        done = engine.run(READ, arguments)
        times.append(time.perf_counter() - begin)
        if not done.success:
            raise SystemExit(json.dumps(done.result)[:2000])
        result = done.result
    return times, (used_cpu_s() - before) / repeats, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, Engine(ROOT, Path(home)) as engine:
        engine.serve()
        newest = fill(engine.store, given.executions, time.time())
        measure(engine, {"want": []}, 1)
        first, first_cpu, page = measure(engine, {"want": ["executions"]}, given.repeats)
        changed, changed_cpu, _ = measure(engine, {"want": ["executions"], "cursor": page["cursor"]}, given.repeats)
        one, one_cpu, _ = measure(engine, {"want": ["execution"], "execution": newest}, given.repeats)
    assert len(page["executions"]["rows"]) == min(500, given.executions)
    parts = (("first page", first), ("changes", changed), ("one execution", one))
    medians = {name: round(statistics.median(times), 3) for name, times in parts}
    used = (first_cpu, changed_cpu, one_cpu)
    cpu_s = {name: round(value, 3) for (name, _), value in zip(parts, used, strict=True)}
    figures = {
        "executions": given.executions,
        "median_s": medians,
        "cpu_s": cpu_s,
        "max_s": round(max(first), 3),
        "bar_s": BAR_S,
    }
    if given.json:
        print(json.dumps(figures))
        return
    for name, seconds in medians.items():
        print(f"{name:15} {seconds:6.3f} s, {cpu_s[name]:.3f} s of CPU")
    print(f"bar {BAR_S} s: {'met' if medians['first page'] <= BAR_S else 'MISSED'}")


if __name__ == "__main__":
    main()
