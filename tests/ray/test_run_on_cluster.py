"""The flow that gets a cluster, runs a program on it, and releases it, on the local engine against a Ray dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import errors
from f.flexcore.lib.core.contracts import FlowFailure
from f.flexcore.lib.ray import released_result
from f.flexcore.ray import describe_cluster
from tests.ray.fake_dashboard import FakeDashboard
from wmlocal.engine import Engine
from wmlocal.engine.engine import default_home

ROOT = Path(__file__).parent.parent.parent
FLOW = "f/flexcore/ray/run_on_cluster"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    home = tmp_path_factory.mktemp("engine")
    (default_home() / "envs").mkdir(parents=True, exist_ok=True)
    (home / "envs").symlink_to(default_home() / "envs")
    with Engine(ROOT, home) as running:
        yield running


@pytest.fixture
def dashboard() -> Iterator[FakeDashboard]:
    with FakeDashboard() as fake:
        yield fake


@pytest.fixture
def form(dashboard: FakeDashboard, tmp_path: Path) -> Json:
    settings = {"storage_uri": f"file://{tmp_path}/store"}
    return {"cluster": {"address": dashboard.address}, "program": "result = 6 * 7", "settings": settings}


def leases(form: Json) -> list[Any]:
    return list(describe_cluster.main(form["cluster"], form["settings"])["data"]["leases"])


def test_a_program_runs_under_a_lease_which_is_released_with_its_result(
    engine: Engine, dashboard: FakeDashboard, form: Json
) -> None:
    seen: list[int] = []

    def end(job: str) -> None:
        seen.append(len(leases(form)))
        dashboard.finish(job, 42)

    dashboard.after_submit = end
    done = engine.run(FLOW, form)
    assert done.success, done.result
    assert done.result["data"]["result"] == 42
    assert seen == [1], "the job ran under the lease"
    assert leases(form) == []


def test_a_program_that_fails_fails_the_flow_with_its_own_error_once_the_lease_is_released(
    engine: Engine, dashboard: FakeDashboard, form: Json
) -> None:
    error = {"type": "DataError", "message": "no rows of May", "remedy": "Extract May first."}
    dashboard.after_submit = lambda job: dashboard.finish(job, error=error)
    done = engine.run(FLOW, form)
    assert not done.success
    failure = FlowFailure.model_validate(done.result)
    assert (failure.kind, failure.remedy) == ("DataError", "Extract May first.")
    assert "no rows of May" in failure.error
    assert leases(form) == []


def test_a_release_that_fails_costs_no_result_and_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    lost = {"error": {"name": "Unreachable", "message": "the API server is away"}}
    assert released_result.hand_on({"success": True, "data": {"result": 1}}, lost)["data"] == {"result": 1}
    assert "was not released, reconcile does it: the API server is away" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"name": "Unreachable", "message": "away", "extra": {"retryable": True}}, errors.Unreachable),
        ({"name": "InternalErr", "message": "the worker died"}, errors.ExecutionFailed),
        ({}, errors.ExecutionFailed),
    ],
)
def test_an_error_of_windmill_is_raised_as_what_it_was(error: Json, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        released_result.hand_on({"error": error}, None)
    assert str(caught.value) == error.get("message", "The job failed and did not say why")
