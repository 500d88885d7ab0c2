"""The same client by httpx: trust, repetition, a renewed token, streams, and changes on a condition."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.kubernetes_api.credentials import Access
from f.flexcore.lib.kubernetes_api.http_client import HttpKubernetes
from tests.kubernetes.fake_cluster import FakeCluster, Fault, status

PATH = "/api/v1/namespaces/work/configmaps"
CALL = Call("get", "configmaps", "work", "a")
BODY: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "work"}}


@pytest.fixture
def kubernetes(cluster: FakeCluster) -> Iterator[HttpKubernetes]:
    found = HttpKubernetes(Access(cluster.url, token="sesame-open-1234"))
    yield found
    found.close()


def test_an_object_is_created_read_changed_and_deleted(kubernetes: HttpKubernetes) -> None:
    assert kubernetes.get(f"{PATH}/a", CALL) is None
    made = kubernetes.create(PATH, BODY | {"data": {"k": "1"}}, CALL)
    assert made
    assert kubernetes.create(PATH, BODY, CALL) is None
    changed = kubernetes.patch(f"{PATH}/a", {"data": {"k": "2", "l": "3"}}, CALL)
    assert changed and changed["data"] == {"k": "2", "l": "3"}
    assert [item["metadata"]["name"] for item in kubernetes.list(PATH, {}, CALL)["items"]] == ["a"]
    kubernetes.delete(f"{PATH}/a", made["metadata"]["uid"], CALL)
    assert kubernetes.get(f"{PATH}/a", CALL) is None


def test_a_change_and_a_deletion_of_another_version_are_not_made(kubernetes: HttpKubernetes) -> None:
    made = kubernetes.create(PATH, BODY, CALL)
    assert made
    first = {name: made["metadata"][name] for name in ("uid", "resourceVersion")}
    assert kubernetes.patch(f"{PATH}/a", {"metadata": first, "data": {"k": "1"}}, CALL)
    assert kubernetes.patch(f"{PATH}/a", {"metadata": first, "data": {"k": "2"}}, CALL) is None
    assert kubernetes.delete_version(f"{PATH}/a", first["uid"], first["resourceVersion"], CALL) is False
    now = kubernetes.get(f"{PATH}/a", CALL)
    assert now and now["data"] == {"k": "1"}
    assert kubernetes.delete_version(f"{PATH}/a", first["uid"], now["metadata"]["resourceVersion"], CALL) is True
    assert kubernetes.delete_version(f"{PATH}/a", first["uid"], "1", CALL) is True
    with pytest.raises(errors.NotFound):
        kubernetes.patch(f"{PATH}/a", {"data": {}}, CALL)


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_passing_failure_is_repeated(cluster: FakeCluster, kubernetes: HttpKubernetes, code: int) -> None:
    cluster.api.faults += [Fault(method="GET", path="configmaps", status=code, body=status(code, "Busy", "later"))] * 2
    assert kubernetes.list(PATH, {}, CALL)["items"] == []


def test_a_connection_that_is_cut_is_tried_again_and_a_dead_server_is_told(
    cluster: FakeCluster, kubernetes: HttpKubernetes
) -> None:
    cluster.api.faults.append(Fault(method="GET", path="configmaps", status=0))
    assert kubernetes.list(PATH, {}, CALL)["items"] == []
    dead = HttpKubernetes(Access("http://127.0.0.1:9", token="t"))
    with pytest.raises(errors.Unreachable, match=r"http://127\.0\.0\.1:9 does not answer") as caught:
        dead.get(f"{PATH}/a", CALL, retry_s=0)
    assert caught.value.remedy


def test_a_token_that_was_renewed_is_read_again_after_a_refusal(cluster: FakeCluster, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old-token-1234")
    kubernetes = HttpKubernetes(Access(cluster.url, token_file=str(token)))
    token.write_text("new-token-1234")
    cluster.api.faults.append(
        Fault(method="GET", path="configmaps", status=401, body=status(401, "Unauthorized", "no"))
    )
    assert kubernetes.list(PATH, {}, CALL)["items"] == []
    sent = [request.headers["Authorization"] for request in cluster.asked("GET", "configmaps")]
    assert sent == ["Bearer old-token-1234", "Bearer new-token-1234"]


def test_a_stream_comes_line_by_line(cluster: FakeCluster, kubernetes: HttpKubernetes) -> None:
    cluster.api.logs["p"] = ["größer".encode(), b"zweite"]
    with kubernetes.stream_lines("/api/v1/namespaces/work/pods/p/log", {"follow": True}, CALL, 5) as lines:
        found = [line.split(b" ", 1)[1] for line in lines if line]
    assert found == ["größer".encode(), b"zweite"]


def test_the_official_clients_package_is_not_imported() -> None:
    program = (
        "import sys; from f.flexcore.lib.kubernetes_api.http_client import HttpKubernetes as K;"
        "from f.flexcore.lib.kubernetes_api.credentials import Access; K(Access('http://127.0.0.1:1'));"
        "print('kubernetes' in sys.modules or 'urllib3' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
