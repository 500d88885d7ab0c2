"""Shared by all tests: the slow ones run last, so that a plain mistake shows within seconds."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flexcore.ray_head import RayHead
    from tests.kubernetes.fake_cluster import FakeCluster

pytest_plugins = ["tests.faults.matrix"]
# Its assertions are those of two tests: when one fails, it shall say with what.
pytest.register_assert_rewrite("tests.hybrid_cases")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Tests interrupt what they start; `make test &` and nohup hand down a SIGINT that is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    """One real Ray head for all tests that want one; they belong to the xdist group `ray`, so that it stays one."""
    from flexcore.ray_head import RayHead

    with RayHead(tmp_path_factory.mktemp("ray")) as running:
        yield running


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """A Kubernetes API on loopback."""
    from tests.kubernetes.fake_cluster import FakeCluster

    fake = FakeCluster()
    yield fake
    fake.close()
