"""A model goes back to its former version by the dashboard of a real Windmill, in a browser, as an operator does it.

The variables of test_model_server.py and of a Windmill whose workers reach the cluster and whose server has its pages.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.dashboard.chromium import open_browser
from tests.live.conftest import Windmill
from tests.live.places import read_resource
from tests.live.test_model_server import Place, place  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
SETTINGS = "f/flexcore/settings"
PAGE = "apps_raw/get/f/flexcore/dashboard"
# Of a server with a debug build, whose own page loads first.
PATIENCE_MS = 60_000


@pytest.fixture
def shown(pushed: Windmill, place: Place) -> Iterator[Place]:  # noqa: F811
    """A model with two versions on a cluster that the settings of the workspace name."""
    path = f"u/admin/live_{uuid.uuid4().hex[:8]}"
    cluster = {**read_resource(), "namespace": place.namespace}
    try:
        before = pushed.call("GET", f"resources/get_value/{SETTINGS}")
    except httpx.HTTPStatusError:
        before = None
    settings = {**place.settings, "namespace": place.namespace, "kubernetes_clusters": [path]}
    create(pushed, path, "c_kubernetes_cluster", cluster)
    replace(pushed, settings)
    for version in ("1", "2"):
        place.deploy(place.model(version))
    yield place
    place.undeploy()
    replace(pushed, before)
    pushed.call("DELETE", f"resources/delete/{path}")


def create(windmill: Windmill, path: str, kind: str, value: dict[str, Any]) -> None:
    windmill.call("POST", "resources/create", {"path": path, "value": value, "resource_type": kind})


def replace(windmill: Windmill, settings: dict[str, Any] | None) -> None:
    """The settings of the workspace; None: there are none."""
    if windmill.call("GET", f"resources/exists/{SETTINGS}"):
        windmill.call("DELETE", f"resources/delete/{SETTINGS}")
    if settings is not None:
        create(windmill, SETTINGS, "c_flexcore_settings", settings)


def test_a_model_is_rolled_back_in_a_few_clicks(pushed: Windmill, shown: Place) -> None:
    assert shown.ask("GET", "/v2/models/flowers")[1]["versions"] == ["2"]
    with open_browser() as browser:
        # Not tests' own page: what Windmill's logs as an error is not ours to judge.
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        page.context.add_cookies([{"name": "token", "value": pushed.token, "url": pushed.url}])
        page.goto(f"{pushed.url}/{PAGE}?workspace={pushed.workspace}")
        app = page.frame_locator("iframe")
        app.get_by_role("link", name="Deployments").wait_for()
        began = time.monotonic()
        app.get_by_role("link", name="Deployments").click()
        card = app.get_by_role("article", name="flowers")
        card.get_by_role("button", name="Roll back…").click()
        question = app.get_by_role("dialog", name="Roll back flowers")
        assert "from version 2 to the version that answered before, 1" in question.inner_text()
        question.get_by_role("button", name="Roll back").click()
        question.get_by_text("Traffic of flowers went back").wait_for(timeout=180_000)
        print(f"rolled back after 3 clicks and {time.monotonic() - began:.1f} s")
    assert shown.ask("GET", "/v2/models/flowers")[1]["versions"] == ["1"]
