"""The page within Windmill's own: in a frame, same-origin or shut off, it keeps its links and works.

The frames are those of Windmill 1.743 (frontend RawAppPreview and unsandboxedRawAppHtml; backend raw_app_wrapper_html):
the page's hash is handed in, and each change of it is posted to the page around.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.dashboard import app_page
from tests.dashboard import workspace as ws

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FrameLocator, Page

APP_PATH = "apps_raw/get/f/flexcore/dashboard?workspace=dev"
WRAPPER = """<!DOCTYPE html><html><head><meta charset="UTF-8"><title>App</title>
<link rel="stylesheet" href="BASE/app.css">
<script>
  function notifyParent() {
    window.parent.postMessage({ type: 'windmill:hashchange', hash: window.location.hash }, '*')
  }
  var initialHash = 'HASH'
  if (initialHash && !window.location.hash) { try { history.replaceState(null, '', initialHash) } catch (_) {} }
  window.addEventListener('hashchange', notifyParent)
  setTimeout(notifyParent, 0)
</script></head><body><div id="root"></div><script src="BASE/app.js"></script></body></html>"""
AROUND = """<!DOCTYPE html><html><head><title>Windmill</title><link rel="icon" href="data:,"></head><body>
<script>
  window.addEventListener('message', (event) => {
    if (event.data.type === 'windmill:hashchange' && location.hash !== event.data.hash)
      history.replaceState(null, '', event.data.hash || location.pathname)
  })
  const frame = document.createElement('iframe')
  frame.title = 'raw-app'
  frame.style = 'width: 1200px; height: 700px'
  const html = WRAPPER.replace('HASH', location.hash)
  if (SANDBOX) {
    frame.setAttribute('sandbox', 'allow-scripts allow-forms allow-popups allow-downloads allow-modals')
    // Windmill's wrapper hands the hash in by a message; here it comes with the address.
    frame.src = '/frame' + location.hash
  } else frame.src = URL.createObjectURL(new Blob([html], { type: 'text/html' }))
  document.body.append(frame)
</script></body></html>"""
COPIED = (
    "Object.defineProperty(navigator, 'clipboard',"
    " { value: { writeText: async (text) => { document.documentElement.dataset.copied = text } } })"
)


class Framed:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.frame: FrameLocator = page.frame_locator("iframe")

    def copied(self) -> str | None:
        self.frame.get_by_role("button", name="Copy a link to this view").click()
        self.frame.get_by_text("Link copied").wait_for(state="attached")
        return self.frame.locator("html").get_attribute("data-copied")


@pytest.fixture(params=["same-origin", "sandboxed"])
def framed(request: pytest.FixtureRequest, browser: Browser, built_app: Path) -> Iterator[Framed]:
    wrapper = WRAPPER.replace("BASE/", app_page.ADDRESS)
    inner = wrapper.replace("</script>", "<\\/script>")
    around = AROUND.replace("SANDBOX", str(request.param == "sandboxed").lower()).replace("WRAPPER", f"`{inner}`")
    hash = "#/executions?status=failure"
    with app_page.open_app(
        browser,
        built_app,
        ws.busy_workspace(),
        hash,
        script=COPIED,
        pages={APP_PATH: around, "frame": wrapper},
        path=APP_PATH,
    ) as page:
        yield Framed(page)


def test_a_link_opens_its_view_in_the_frame_and_the_address_follows_clicks(framed: Framed) -> None:
    framed.frame.get_by_text("5 executions", exact=True).wait_for()
    framed.frame.get_by_role("link", name="Orphans").click()
    framed.frame.get_by_text("flexcore-extract-1").wait_for()
    framed.page.wait_for_function("() => location.hash === '#/orphans'")
    framed.page.go_back()
    framed.frame.get_by_text("5 executions", exact=True).wait_for()


def test_the_link_that_is_copied_is_that_of_the_page_around(framed: Framed) -> None:
    framed.frame.get_by_text("5 executions", exact=True).wait_for()
    around = ("http://localhost:8000/", app_page.ADDRESS)
    assert framed.copied() in [f"{server}{APP_PATH}#/executions?status=failure" for server in around]


def test_the_theme_can_be_switched_where_nothing_can_be_remembered(framed: Framed) -> None:
    framed.frame.get_by_role("button", name="Theme: system").click()
    framed.frame.get_by_role("button", name="Theme: light").wait_for()
