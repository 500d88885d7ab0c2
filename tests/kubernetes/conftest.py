"""A worker's identity; the cluster is in tests/conftest.py."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of one step of one flow."""
    names = {"WM_JOB_ID": "job-1", "WM_FLOW_JOB_ID": "flow-1", "WM_FLOW_STEP_ID": "a", "WM_ROOT_JOB_ID": "flow-1"}
    for name, value in {**names, "WM_WORKSPACE": "dev"}.items():
        monkeypatch.setenv(name, value)
