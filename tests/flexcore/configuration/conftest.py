"""A copy of our own bundle with both configuration files, which each test writes as it needs them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flexcore.commands.conftest import wmill  # noqa: F401
from tests.wmlocal.engine.conftest import environments, home  # noqa: F401

ROOT = Path(__file__).parents[3]
WINDMILL = """\
server:
  host: 0.0.0.0
  port: 8000
  database_url: ${DATABASE_URL}
workers:
  count: 3
  tags: [flext, data-processing, ml]
runtimes:
  meltano:
    path: /projects/sales
    env:
      TAP_POSTGRES_PASSWORD: ${PG_PASSWORD}
  ray:
    address: http://ray-head:8265
    token: ${RAY_TOKEN:-}
  kubernetes:
    mode: in_cluster
    namespace: models
storage:
  uri: s3://lake/flexcore
  access_key: ${S3_KEY}
  secret_key: ${S3_SECRET}
observability:
  reconcile_interval: 15s
"""
FLEXCORE = """\
engine: embedded
worker_group: default
runtimes:
  meltano: {enabled: true, priority: 1}
  ray: {enabled: true, priority: 2, health_check_interval: 5m}
templates:
  pipeline: {file: f/flexcore/hybrid_pipeline__flow, runtime: ray}
"""
ENVIRONMENT = {
    "DATABASE_URL": "postgres://db/windmill",
    "PG_PASSWORD": "pg-planted",
    "S3_KEY": "key-planted",
    "S3_SECRET": "s3-planted",
}
PLANTED = ("pg-planted", "key-planted", "s3-planted")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return ENVIRONMENT


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    root = tmp_path / "bundle"
    shutil.copytree(ROOT / "f", root / "f", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("locks", "dependencies"):
        shutil.copytree(ROOT / folder, root / folder)
    for name in ("wmill.yaml", "wmill-lock.yaml"):
        shutil.copy(ROOT / name, root)
    return root


@pytest.fixture
def configure(bundle: Path) -> Callable[..., Path]:
    def write(windmill: str = WINDMILL, flexcore: str = FLEXCORE) -> Path:
        (bundle / "windmill.yaml").write_text(windmill)
        (bundle / "flexcore.yaml").write_text(flexcore)
        return bundle

    return write
