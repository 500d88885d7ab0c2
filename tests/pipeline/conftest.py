"""A Ray head for the pipelines that run as flows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flexcore.ray_head import RayHead
from tests.shared_heads import share_head


@pytest.fixture(scope="session")
def pipelines_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    """One for both pipelines, beside that of tests/conftest.py: they belong to the xdist group `pipelines`, since runs
    of one Meltano project side by side have failed for one another."""
    with share_head("pipelines", tmp_path_factory.mktemp("ray")) as running:
        yield running
