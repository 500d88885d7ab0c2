"""A browser for the tests of the dashboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.dashboard import app_page
from tests.dashboard.chromium import open_browser, open_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.dashboard.workspace import Workspace


# Not for the session: Playwright keeps an event loop running, in which no asynchronous test of another module can run.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page; what it logs as an error fails the test."""
    with open_page(browser) as opened:
        yield opened


@pytest.fixture(scope="session")
def built_app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the app, as Windmill would make it, with the tests' `./wmill`."""
    return app_page.bundle(app_page.APP / "index.tsx", tmp_path_factory.mktemp("app") / "app.js")


@pytest.fixture
def show(browser: Browser, built_app: Path) -> Iterator[Callable[..., Page]]:
    """Open the app in front of a workspace: show(workspace, "#/runtimes", color_scheme="dark"). What a page logs as an
    error fails the test."""
    with ExitStack() as stack:

        def open_one(workspace: Workspace, hash: str = "", **options: Any) -> Page:
            return stack.enter_context(app_page.open_app(browser, built_app, workspace, hash, **options))

        yield open_one
