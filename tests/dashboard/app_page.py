"""The app of the dashboard in a browser, in front of a workspace of the test: no server, and no network either."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.dashboard.chromium import open_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

    from tests.dashboard.workspace import Workspace

ROOT = Path(__file__).parents[2]
APP = ROOT / "f/flexcore/dashboard__raw_app"
# Where `make dashboard` installs what the app imports.
PACKAGES = ROOT / ".flexcore/dashboard/node_modules"
HERE = Path(__file__).parent / "page"
ADDRESS = "http://dashboard.test/"
# As Windmill's own frame of a raw app is.
HTML = (
    '<!DOCTYPE html><html><head><meta charset="UTF-8"><title>App</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<link rel="icon" href="data:,"><link rel="stylesheet" href="/app.css"></head>'
    '<body><div id="root"></div><script src="/app.js"></script></body></html>'
)


def bundle(entry: Path, target: Path, *options: str) -> Path:
    """The bundle of a source of the app, written to `target`."""
    node = shutil.which("node")
    assert node and PACKAGES.is_dir(), f"{PACKAGES} is missing: run `make setup`"
    command = [node, str(HERE / "build.mjs"), str(entry), str(target), str(PACKAGES), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return target


@contextlib.contextmanager
def open_app(
    browser: Browser,
    built: Path,
    workspace: Workspace,
    hash: str = "",
    script: str = "",
    clock: datetime | None = None,
    path: str = "",
    pages: dict[str, str] | None = None,
    **options: Any,
) -> Iterator[Page]:
    """The page of the app at `hash`; its jobs are answered by the workspace. script: runs before the app; clock: the
    viewer's, if it is not the workspace's; pages: what else the address
    answers, by path; the first one to be opened is at `path`."""

    def serve(route: Route) -> None:
        name = route.request.url.removeprefix(ADDRESS)
        if name in ("app.js", "app.css"):
            kind = "text/javascript" if name.endswith("js") else "text/css"
            file = built.with_suffix(Path(name).suffix)
            # For a frame without an origin of its own everything is of elsewhere.
            headers = {"Content-Type": f"{kind}; charset=utf-8", "Access-Control-Allow-Origin": "*"}
            route.fulfill(path=file, headers=headers)
        else:
            route.fulfill(body=(pages or {}).get(name, HTML), content_type="text/html; charset=utf-8")

    with open_page(browser, **options) as page:
        page.route(f"{ADDRESS}**", serve)
        page.clock.install(time=clock or workspace.now)
        page.add_init_script(script)
        page.expose_function("answer", workspace.answer)
        page.goto(f"{ADDRESS}{path}{hash}")
        yield page
