"""How long the dashboard takes from a click to its first rows, with 10,000 executions on the embedded engine.

    uv run python -m bench.dashboard_paint [--executions 10000] [--loads 5] [--max-s 1.5]

A browser opens the page anew for each load (nothing cached), and the time runs from there to the first row that it
shows. The read alone, as a job of the engine, stands beside it: what is left is the page's own. Exit code 1 when the
median is over the bar.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from flexcore.panel.engine import PanelEngine
from tests.dashboard.chromium import open_browser, open_page
from wmlocal.engine.engine import default_home
from wmlocal.engine.store import Store

ROOT = Path(__file__).parents[1]
WORKFLOWS = ("f/flexcore/hybrid_pipeline", "f/flexcore/data_pipeline", "f/flexcore/templates/ml_training")
STATUSES = ("success",) * 8 + ("failure", "canceled")
READ = "f/flexcore/dashboard/read_dashboard"
SECONDS_APART = 60.0


def fill(store: Store, executions: int) -> None:
    """Finished runs of three workflows, each with a result as a run has it, one a minute."""
    now = time.time()
    for number in range(executions):
        path, status = WORKFLOWS[number % len(WORKFLOWS)], STATUSES[number % len(STATUSES)]
        job, created = str(uuid.UUID(int=number)), now - SECONDS_APART * (number + 1)
        success = status == "success"
        error = None if success else {"message": "The Ray dashboard cannot be reached", "name": "Unreachable"}
        result: dict[str, Any] = {"success": success, "error": error, "stages": [], "runtime": "ray"}
        store.add_job(id=job, kind="flow", path=path, root=job, status=status, args={"n": number}, created=created)
        store.update_job(job, started=created + 0.2, finished=created + 30, result=result, labels=["flexcore"])


def measure(engine: PanelEngine, loads: int) -> tuple[list[float], list[float]]:
    """Seconds of each load to its first row, and of each read alone."""
    paints, reads = [], []
    with open_browser() as browser:
        for _ in range(loads):
            with open_page(browser) as page:
                page.set_default_timeout(60_000)
                began = time.monotonic()
                page.goto(engine.page_url, wait_until="commit")
                page.get_by_role("gridcell").first.wait_for()
                paints.append(time.monotonic() - began)
            began = time.monotonic()
            assert engine.run(READ, {"want": ["executions"]}).success
            reads.append(time.monotonic() - began)
    return paints, reads


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--executions", type=int, default=10_000)
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--max-s", type=float, default=1.5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (default_home() / "envs").mkdir(parents=True, exist_ok=True)
        (home / "envs").symlink_to(default_home() / "envs")
        store = Store(home)
        fill(store, given.executions)
        store.close()
        with PanelEngine(ROOT, home) as engine:
            engine.serve()
            # The first job of all makes its environment.
            assert engine.run(READ, {"want": ["executions"]}).success
            paints, reads = measure(engine, given.loads)
    median = statistics.median(paints)
    print(
        json.dumps(
            {
                "executions": given.executions,
                "first_useful_paint_s": {"median": round(median, 2), "all": [round(value, 2) for value in paints]},
                "read_alone_s": {"median": round(statistics.median(reads), 2)},
                "bar_s": given.max_s,
            }
        )
    )
    return int(median > given.max_s)


if __name__ == "__main__":
    sys.exit(main())
