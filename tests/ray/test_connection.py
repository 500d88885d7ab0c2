"""How a head is reached: by an address, through another resource, or by a reference whose token may be rotated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.ray import connection, dashboard
from tests.operations.fake_windmill import FakeWindmill
from tests.ray.fake_dashboard import FakeDashboard


@pytest.fixture
def head() -> Iterator[FakeDashboard]:
    with FakeDashboard() as running:
        yield running


@pytest.fixture
def windmill(head: FakeDashboard, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWindmill]:
    with FakeWindmill() as running:
        running.resources = {"f/x/ray": {"address": head.address, "token": "first-token-1234"}}
        for name, value in {"BASE_INTERNAL_URL": running.address, "WM_TOKEN": "t", "WM_WORKSPACE": "test"}.items():
            monkeypatch.setenv(name, value)
        yield running


def parse(**fields: Any) -> resources.RayCluster:
    return errors.validate(resources.RayCluster, fields, "cluster")


def test_an_address_is_taken_as_it_is() -> None:
    found = connection.connect(parse(address="https://ray.example.com", token="t0ken", headers={"x-team": "a"}))
    assert found.headers == {"x-team": "a", "Authorization": "Bearer t0ken"}
    assert set(found.secrets()) >= {"t0ken", "Bearer t0ken"}


def test_a_reference_to_a_resource_is_resolved_when_the_connection_is_opened(
    windmill: FakeWindmill, head: FakeDashboard
) -> None:
    with dashboard.RayApi(parse(resource="$res:f/x/ray")) as api:
        assert api.version()["ray_version"] == "2.60.0"
        assert (api.address, api.cluster.token) == (head.address, "first-token-1234")
        assert "first-token-1234" in api.secrets()


@pytest.mark.parametrize("code", [401, 403])
def test_a_token_that_was_rotated_meanwhile_is_picked_up_by_the_next_request(
    windmill: FakeWindmill, head: FakeDashboard, code: int
) -> None:
    refusals: list[Any] = []
    head.script = lambda method, path: refusals.pop() if refusals else None
    with dashboard.RayApi(parse(resource="f/x/ray")) as api:
        api.version()
        windmill.resources["f/x/ray"]["token"] = "second-token-1234"
        refusals.append((code, "no"))
        assert api.version()["ray_version"] == "2.60.0"
        assert api._auth.connection.headers["Authorization"] == "Bearer second-token-1234"


def test_a_refusal_that_no_new_token_explains_is_told_at_once(windmill: FakeWindmill, head: FakeDashboard) -> None:
    head.script = lambda method, path: (403, "no")
    with dashboard.RayApi(parse(resource="f/x/ray")) as api, pytest.raises(errors.Forbidden):
        api.version()
    assert len(head.requests) == 1


def test_a_resource_that_refers_to_another_reference_is_refused(windmill: FakeWindmill) -> None:
    windmill.resources["f/x/again"] = {"resource": "f/x/ray"}
    with pytest.raises(errors.InvalidInput, match="f/x/again refers to another one"):
        connection.connect(parse(resource="f/x/again"))


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"kubernetes_cluster": "f/x/k8s"}, errors.InvalidInput, "cluster.name is empty"),
        ({"kubernetes_cluster": "f/x/none", "name": "ml"}, errors.NotFound, "The resource f/x/none does not exist"),
        ({"resource": "f/x/none"}, errors.NotFound, "The resource f/x/none does not exist"),
        ({"name": "ml"}, errors.MissingSetting, "this worker does not run inside one"),
    ],
)
def test_a_reference_that_leads_nowhere_says_what_is_missing(
    windmill: FakeWindmill, fields: dict[str, str], kind: type[errors.FlexcoreError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        connection.connect(parse(**fields))
