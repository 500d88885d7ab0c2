"""A browser for the tests of the dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.dashboard.chromium import open_browser, open_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


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
