"""A worker's home, and a store on an S3 API, for the kills of real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from f.flexcore.lib.meltano.installation import MELTANO_VERSION
from tests.live.works import bucket_settings
from tests.meltano.conftest import SHARED
from wmlocal.engine.engine import default_home

# Before any test changes what it depends on.
ENVIRONMENTS = default_home() / "envs"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of one's own for an engine, with installed environments and plugins shared."""
    base = tmp_path / "home"
    (base / "meltano").mkdir(parents=True)
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    (base / "envs").symlink_to(ENVIRONMENTS)
    for name in (f"tool-{MELTANO_VERSION}", "plugins", "databases"):
        (SHARED / name).mkdir(parents=True, exist_ok=True)
        (base / "meltano" / name).symlink_to(SHARED / name)
    return base


@pytest.fixture(scope="session")
def bucket() -> Iterator[dict[str, str]]:
    with bucket_settings() as settings:
        yield settings
