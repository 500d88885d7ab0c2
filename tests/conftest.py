"""Shared by all tests: their order, and which of them stay in one process. Where one process runs all, the slow ones
are last, so that a plain mistake shows within seconds."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.shared_heads import end_head_of, share_head

if TYPE_CHECKING:
    from flexcore.ray_head import RayHead
    from tests.kubernetes.fake_cluster import FakeCluster

pytest_plugins = ["tests.faults.matrix"]
# Its assertions are those of two tests: when one fails, it shall say with what.
pytest.register_assert_rewrite("tests.hybrid_cases")
# What pytest-xdist hands out first, the longest of all, so that its processes end together.
LONGEST = ("ray", "beside_ray", "pipelines")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # What the tests of a module share is made once, by the one process that runs them.
        if item.get_closest_marker("xdist_group") is None and has_module_fixture(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0].replace("/", ".")))
    items.sort(key=lambda item: (find_place(item), item.get_closest_marker("slow") is not None))


def has_module_fixture(item: pytest.Item) -> bool:
    found = getattr(item, "_fixtureinfo", None)
    return found is not None and any(known[-1].scope == "module" for known in found.name2fixturedefs.values())


def find_place(item: pytest.Item) -> int:
    """The place of the item's group among the longest; after all of them for another, and where one process runs all.

    `--no-loadscope-reorder` in pyproject.toml keeps the order: pytest-xdist's own is by the number of tests."""
    groups = {mark.args[0] for mark in item.iter_markers("xdist_group")} if "PYTEST_XDIST_WORKER" in os.environ else {}
    return next((place for place, group in enumerate(LONGEST) if group in groups), len(LONGEST))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    end_head_of(item, nextitem)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Tests interrupt what they start; `make test &` and nohup hand down a SIGINT that is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    """One real Ray head for all tests that want one; they belong to the xdist group `ray`, so that it stays one."""
    with share_head("ray", tmp_path_factory.mktemp("ray")) as running:
        yield running


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """A Kubernetes API on loopback."""
    from tests.kubernetes.fake_cluster import FakeCluster

    fake = FakeCluster()
    yield fake
    fake.close()
