"""check_cluster against a dashboard over real HTTP, well-behaved and not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from f.flexcore.lib.core.errors import FlexcoreError, Forbidden, InvalidInput, Unavailable, Unreachable
from f.flexcore.ray.check_cluster import main
from flexcore.ray_head import free_ports
from tests.ray.fake_dashboard import FakeDashboard


@pytest.fixture
def dashboard() -> Iterator[FakeDashboard]:
    with FakeDashboard() as running:
        yield running


def test_what_the_cluster_has_is_measured(dashboard: FakeDashboard) -> None:
    dashboard.jobs["x"] = {"status": "RUNNING"}
    details = {
        "controller_info": {"actor_id": "1"},
        "http_options": {"port": 8123},
        "applications": {"m": {"status": "RUNNING"}},
    }
    dashboard.serve = (200, details)
    data = main({"address": dashboard.address})["data"]
    assert (data["ray_version"], data["running_jobs"]) == ("2.60.0", 1)
    assert (data["cpus_total"], data["cpus_free"], data["gpus_total"]) == (4, 0, 0)
    assert (data["serve_running"], data["serve_port"], data["serve_applications"]) == (True, 8123, {"m": "RUNNING"})


def test_what_the_cluster_does_not_tell_is_null_and_not_zero(dashboard: FakeDashboard) -> None:
    dashboard.serve = (501, "Serve dependencies are not installed.")
    dashboard.script = lambda method, path: (500, "boom") if "cluster_status" in path else None
    data = main({"address": dashboard.address})["data"]
    assert data["cpus_total"] is None and data["gpus_free"] is None and data["nodes"] is None
    assert data["serve_running"] is None


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        ((401, ""), Forbidden, "refused the credentials"),
        ((403, ""), Forbidden, "refused the right"),
        ((401, "Unauthorized: Missing authentication token"), Forbidden, "got no token, though one was sent"),
        ((403, "Forbidden: Invalid authentication token"), Forbidden, "its token is another one, or was rotated"),
        ((404, "not here"), InvalidInput, "not a Ray dashboard"),
        ((200, "<html>"), InvalidInput, "not a Ray dashboard"),
        ((500, "Traceback\nValueError: inner words"), Unavailable, "inner words"),
        ("cut", Unreachable, "cannot be reached"),
    ],
)
def test_what_is_wrong_with_the_address_is_told(
    dashboard: FakeDashboard, answer: Any, error: type[FlexcoreError], text: str
) -> None:
    dashboard.script = lambda method, path: answer
    with pytest.raises(error, match=text) as caught:
        main({"address": dashboard.address, "token": "sesame-1234"})
    assert dashboard.address in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_cluster_that_is_not_there_is_told_at_once() -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port} cannot be reached"):
        main({"address": f"http://127.0.0.1:{port}"})


def test_https_to_an_http_dashboard_is_told(dashboard: FakeDashboard) -> None:
    with pytest.raises(InvalidInput, match="TLS"):
        main({"address": dashboard.address.replace("http", "https")})


def test_a_text_that_is_no_certificate_is_told_before_anything_is_asked() -> None:
    with pytest.raises(InvalidInput, match="PEM"):
        main({"address": "https://ray.example.com", "ca_certificate": "hello"})


def test_an_address_without_a_protocol_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        main({"address": "ray-head:8265"})
    assert caught.value.subject == "cluster.address"
