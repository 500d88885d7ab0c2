from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.core.resources import RayCluster
from f.flexcore.lib.ray.serve_job import DEPLOY_MODEL, candidate_ports, check_name, endpoint_url, listening_host

OURS = {
    "route_prefix": "/delay",
    "deployments": {"model": {"deployment_config": {"user_config": {"flexcore/key": "fc-1"}}}},
}
RAY_CLUSTER = {"kubernetes_cluster": "f/x/k8s", "namespace": "work", "name": "ml"}
THEIRS = {"route_prefix": "/shop", "deployments": {"web": {"deployment_config": {"user_config": None}}}}


@pytest.mark.parametrize(
    ("cluster", "url"),
    [
        ({"address": "http://127.0.0.1:8265"}, "http://127.0.0.1:8001/delay"),
        ({"address": "https://ray.example.com"}, "http://ray.example.com:8001/delay"),
        ({"address": "http://[::1]:8265"}, "http://[::1]:8001/delay"),
        ({"serve_url": "https://models.example.com/"}, "https://models.example.com/delay"),
        # Of a RayCluster the API server's address, by which the worker may reach it, says nothing.
        (RAY_CLUSTER, "http://ml-head-svc.work.svc:8001/delay"),
        ({**RAY_CLUSTER, "serve_url": "https://models.example.com"}, "https://models.example.com/delay"),
    ],
)
def test_callers_reach_the_model_at_serve_url_or_at_the_dashboards_host(cluster: dict[str, Any], url: str) -> None:
    assert endpoint_url(RayCluster(**cluster), 8001, "delay") == url


@pytest.mark.parametrize(
    ("cluster", "first", "many"),
    [
        ({"address": "http://127.0.0.1:8265"}, 8000, True),
        ({"address": "http://ray-head:8265"}, 8000, False),
        ({"address": "http://127.0.0.1:8265", "serve_url": "http://127.0.0.1:8123"}, 8123, False),
        ({"address": "http://127.0.0.1:8265", "serve_url": "https://models.example.com"}, 8000, False),
        (RAY_CLUSTER, 8000, False),
    ],
)
def test_another_port_is_taken_on_ones_own_machine_alone(cluster: dict[str, Any], first: int, many: bool) -> None:
    ports = candidate_ports(RayCluster(**cluster))
    assert ports[0] == first
    assert (len(ports) > 1) is many


@pytest.mark.parametrize(
    ("cluster", "host"),
    [
        ({"address": "http://127.0.0.1:8265"}, "127.0.0.1"),
        ({"address": "http://localhost:8265"}, "127.0.0.1"),
        ({"address": "http://127.0.0.2:8265"}, "127.0.0.2"),
        ({"address": "http://[::1]:8265"}, "::1"),
        ({"address": "http://10.0.0.9:8265"}, "0.0.0.0"),
        (RAY_CLUSTER, "0.0.0.0"),
    ],
)
def test_serve_listens_where_callers_are_sent_and_beyond_ones_own_machine_everywhere(
    cluster: dict[str, Any], host: str
) -> None:
    assert listening_host(RayCluster(**cluster)) == host


def test_an_application_of_ours_is_updated_and_a_free_name_taken() -> None:
    assert check_name("delay", {"applications": {"delay": OURS, "shop": THEIRS}}) is True
    assert check_name("delay", {"applications": {"shop": THEIRS}}) is False
    assert check_name("delay", None) is False


@pytest.mark.parametrize(("name", "text"), [("web", "route"), ("taken", "flexcore did not deploy it")])
def test_somebody_elses_application_is_left_alone(name: str, text: str) -> None:
    details = {"applications": {"taken": THEIRS, "other": THEIRS | {"route_prefix": "/web"}}}
    with pytest.raises(InvalidInput, match=text) as caught:
        check_name(name, details)
    assert caught.value.subject == "name"


@pytest.mark.parametrize(
    ("argument", "value"), [("replicas", 0), ("cpus", -1), ("name", "Not A Name"), ("timeout_s", 0)]
)
def test_a_wrong_argument_is_told_by_name(argument: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        DEPLOY_MODEL.parse({argument: value})
    assert caught.value.subject == argument
