"""Shared by all tests: the slow ones run last, so that a plain mistake shows within seconds."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.faults.matrix"]
# Its assertions are those of two tests: when one fails, it shall say with what.
pytest.register_assert_rewrite("tests.hybrid_cases")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
