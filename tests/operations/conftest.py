"""A Windmill, a Ray dashboard and a Kubernetes API on real local ports, and a worker that knows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.fake_cluster import FakeCluster
from tests.operations.fake_windmill import FakeWindmill
from tests.ray.fake_dashboard import FakeDashboard


@pytest.fixture
def windmill() -> Iterator[FakeWindmill]:
    with FakeWindmill() as running:
        yield running


@pytest.fixture
def dashboard() -> Iterator[FakeDashboard]:
    with FakeDashboard() as running:
        yield running


@pytest.fixture
def worker(
    windmill: FakeWindmill,
    dashboard: FakeDashboard,
    cluster: FakeCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The environment of a job on a worker; the resources f/x/ray and f/x/k8s name the two clusters."""
    windmill.resources = {"f/x/ray": {"address": dashboard.address}, "f/x/k8s": cluster.resource}
    env = {"BASE_INTERNAL_URL": windmill.address, "WM_TOKEN": "token", "WM_WORKSPACE": "test", "WM_JOB_ID": "pass-1"}
    env |= {"FLEXCORE_HOME": str(tmp_path / "home")}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
