"""How long the dashboard takes from a click to its first rows, with 10,000 executions on the embedded engine.

    uv run python -m bench.dashboard_paint [--executions 10000] [--loads 5] [--max-s 1.5]
    FLEXCORE_LIVE_WINDMILL_TOKEN=… uv run python -m bench.dashboard_paint --server URL --workspace NAME --max-s 2.5

A browser opens the page anew for each load (nothing cached), and the time runs from there to the first row that it
shows; each load is repeated with the page in the browser's cache, as people who come back have it. The read alone, as
a job, stands beside it: what is left is the page's own. Of a Windmill, with the executions that it has, what came
before the start of the app's frame is Windmill's own page. Exit code 1 when the median is over the bar.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Error

from flexcore.panel.engine import PanelEngine
from tests.dashboard.chromium import open_browser
from tests.live.conftest import Windmill
from wmlocal.engine.engine import default_home
from wmlocal.engine.store import Store

if TYPE_CHECKING:
    from playwright._impl._api_structures import SetCookieParam
    from playwright.sync_api import BrowserContext

ROOT = Path(__file__).parents[1]
WORKFLOWS = ("f/flexcore/hybrid_pipeline", "f/flexcore/data_pipeline", "f/flexcore/templates/ml_training")
STATUSES = ("success",) * 8 + ("failure", "canceled")
READ = "f/flexcore/dashboard/read_dashboard"
SECONDS_APART = 60.0
PATIENCE_S = 60


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


@dataclass(frozen=True, slots=True)
class Place:
    """url: of the page; read: runs the page's first read as a job; cookies: of somebody who is logged in."""

    url: str
    read: Callable[[], bool]
    cookies: list[SetCookieParam]


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of each load to its first row: from the address, and from the start of the frame that the app is in; of
    loads with the page in the browser's cache; and of each read alone."""

    paints: list[float] = field(default_factory=list)
    app_paints: list[float] = field(default_factory=list)
    cached_paints: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)


def measure(place: Place, loads: int) -> Times:
    times = Times()
    with open_browser() as browser:
        for _ in range(loads):
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            context.set_default_timeout(60_000)
            context.add_cookies(place.cookies)
            paint, app_paint = load(context, place.url)
            times.paints.append(paint)
            times.app_paints.append(app_paint)
            times.cached_paints.append(load(context, place.url)[0])
            context.close()
            began = time.monotonic()
            assert place.read()
            times.reads.append(time.monotonic() - began)
    return times


def load(context: BrowserContext, url: str) -> tuple[float, float]:
    """Seconds from the address, and from the start of the app's frame, to its first row in a page of its own."""
    page = context.new_page()
    began = time.time()
    page.goto(url, wait_until="commit")
    while True:
        for frame in page.frames:
            with suppress(Error):
                if frame.get_by_role("gridcell").count():
                    ended = time.time()
                    app_began = frame.evaluate("performance.timeOrigin") / 1000
                    page.close()
                    return ended - began, ended - app_began
        if time.time() - began > PATIENCE_S:
            raise TimeoutError(f"{url} shows no row after {PATIENCE_S} s")
        page.wait_for_timeout(20)


@contextmanager
def open_engine(executions: int) -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (default_home() / "envs").mkdir(parents=True, exist_ok=True)
        (home / "envs").symlink_to(default_home() / "envs")
        store = Store(home)
        fill(store, executions)
        store.close()
        with PanelEngine(ROOT, home) as engine:
            engine.serve()
            place = Place(str(engine.page_url), lambda: engine.run(READ, {"want": ["executions"]}).success, [])
            # The first job of all makes its environment.
            assert place.read()
            yield place


def open_windmill(server: str, workspace: str) -> Place:
    windmill = Windmill(server, os.environ["FLEXCORE_LIVE_WINDMILL_TOKEN"], workspace)

    def read() -> bool:
        return windmill.finished(windmill.call("POST", f"jobs/run/p/{READ}", {"want": ["executions"]}))[0]

    return Place(
        f"{server}/apps_raw/get/f/flexcore/dashboard?workspace={workspace}",
        read,
        [{"name": "token", "value": windmill.token, "url": server}],
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--executions", type=int, default=10_000)
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--max-s", type=float, default=1.5)
    parser.add_argument("--server", metavar="URL")
    parser.add_argument("--workspace", default="dev")
    given = parser.parse_args()
    if given.server:
        times = measure(open_windmill(given.server, given.workspace), given.loads)
    else:
        with open_engine(given.executions) as place:
            times = measure(place, given.loads)
    print(
        json.dumps(
            {
                "executions": "as they are" if given.server else given.executions,
                "first_useful_paint_s": describe(times.paints),
                "from_the_apps_start_s": describe(times.app_paints),
                "page_in_cache_s": describe(times.cached_paints),
                "read_alone_s": describe(times.reads),
                "bar_s": given.max_s,
            }
        )
    )
    return int(statistics.median(times.paints) > given.max_s)


def describe(values: list[float]) -> dict[str, Any]:
    return {"median": round(statistics.median(values), 2), "all": [round(value, 2) for value in values]}


if __name__ == "__main__":
    sys.exit(main())
