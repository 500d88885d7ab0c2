"""The browser that the tests of the dashboard stand on can see what is wrong with a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.dashboard import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

GOOD = '<html lang="en"><title>Runs</title><main><h1>Runs</h1><button>Cancel</button></main>'


def test_a_good_page_has_no_findings(page: Page) -> None:
    page.set_content(GOOD)
    assert page.get_by_role("button", name="Cancel").is_visible()
    assert chromium.serious_findings(page) == []


def test_text_has_a_font(page: Page) -> None:
    page.set_content(GOOD)
    box = page.get_by_role("heading").bounding_box()
    assert box is not None and box["height"] > 10


def test_a_button_without_a_name_is_a_serious_finding(page: Page) -> None:
    page.set_content(GOOD.replace(">Cancel<", "><"))
    assert [finding.partition(":")[0] for finding in chromium.serious_findings(page)] == ["button-name"]


def test_a_page_that_throws_fails_its_test(browser: Browser) -> None:
    with pytest.raises(AssertionError, match="no such run"), chromium.open_page(browser) as page:
        page.set_content("<script>setTimeout(() => { throw new Error('no such run') })</script>")
        page.wait_for_timeout(50)


def test_without_the_browser_the_message_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chromium, "UNPACKED", tmp_path)
    monkeypatch.delenv("FLEXCORE_CHROMIUM", raising=False)
    with pytest.raises(chromium.NoBrowser, match="make setup"):
        chromium.find_browser()


def test_another_browser_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEXCORE_CHROMIUM", str(tmp_path / "chromium"))
    assert chromium.find_browser()[0] == str(tmp_path / "chromium")
