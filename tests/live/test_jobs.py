"""What Windmill itself keeps of a step's arguments: a rotated token and a job that waits are found by it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from f.flexcore.lib.ray import token_source
from f.flexcore.lib.windmill.client import Client
from tests.live.conftest import Windmill


@pytest.fixture
def cluster(windmill: Windmill) -> Iterator[str]:
    """The path of a c_ray_cluster whose token is a secret variable."""
    path = f"u/admin/live_{uuid.uuid4().hex[:8]}"
    variable = {"path": path, "value": "first-sesame", "is_secret": True, "description": "of tests/live"}
    windmill.call("POST", "variables/create", variable)
    value = {"address": "http://127.0.0.1:1", "token": f"$var:{path}"}
    windmill.call("POST", "resources/create", {"path": path, "value": value, "resource_type": "c_ray_cluster"})
    yield path
    windmill.call("DELETE", f"resources/delete/{path}")
    windmill.call("DELETE", f"variables/delete/{path}")


@pytest.mark.fault(8, "I2", real=True)
def test_the_arguments_of_a_step_are_resolved_anew_and_so_is_a_token_that_was_rotated(
    windmill: Windmill, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {
        "language": "bash",
        "content": "echo done",
        "args": {"cluster": f"$res:{cluster}", "deep": {"key": f"$var:{cluster}"}, "n": 1},
    }
    job = windmill.call("POST", "jobs/run/preview", body)
    assert windmill.finished(job)[0]
    for name, value in (
        ("WM_JOB_ID", job),
        ("WM_TOKEN", windmill.token),
        ("WM_WORKSPACE", windmill.workspace),
        ("BASE_INTERNAL_URL", windmill.url),
    ):
        monkeypatch.setenv(name, value)
    known = Client().arguments(job)
    assert known["cluster"] == {"address": "http://127.0.0.1:1", "token": "first-sesame"}
    assert (known["deep"], known["n"]) == ({"key": "first-sesame"}, 1)
    assert token_source.read_token() == "first-sesame"
    windmill.call("POST", f"variables/update/{cluster}", {"value": "second-sesame"})
    assert token_source.read_token() == "second-sesame"
