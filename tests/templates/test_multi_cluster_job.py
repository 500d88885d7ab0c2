"""multi_cluster_job against Kubernetes APIs on loopback, on the local engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from f.flexcore.lib.core.contracts import FlowFailure
from flexcore.cli import app
from tests.kubernetes.fake_cluster import FakeCluster
from tests.kubernetes.stories import fails, succeeds
from tests.templates.conftest import ROOT, Run, keep, only_note, sample
from wmlocal.engine import Engine

TEMPLATE = "multi_cluster_job"
PLACE = "u/admin/flexcore_local_"


@pytest.fixture
def clusters(engine: Engine) -> Iterator[dict[str, FakeCluster]]:
    found = {"kubernetes": FakeCluster(), "kubernetes_east": FakeCluster()}
    ready = [{"type": "Ready", "status": "True"}]
    for price, (name, fake) in enumerate(found.items(), 1):
        fake.api.story = succeeds()
        status = {"allocatable": {"cpu": "4", "memory": "8Gi"}, "conditions": ready}
        fake.do(fake.api.keep("v1/nodes", {"metadata": {"name": "n"}, "status": status}))
        keep(engine, name, "c_kubernetes_cluster", fake.resource | {"cpu_hour_usd": 0.01 * price})
    yield found
    for fake in reversed(found.values()):
        fake.close()


def jobs(fake: FakeCluster) -> list[Any]:
    return fake.api.all("batch/v1/jobs")


def test_the_job_really_runs_on_the_cluster_that_suits_it(clusters: dict[str, FakeCluster], run: Run) -> None:
    both = {"clusters": [f"{PLACE}kubernetes", f"{PLACE}kubernetes_east"], "expected_s": 60}
    done = run(TEMPLATE, sample(TEMPLATE) | both)
    assert done.success, done.result
    assert done.result["data"]["cluster"] == f"$res:{PLACE}kubernetes" and done.result["data"]["exit_code"] == 0
    assert [row["rank"] for row in done.result["data"]["candidates"]] == [1, 2]
    assert len(jobs(clusters["kubernetes"])) == 1 and jobs(clusters["kubernetes_east"]) == []
    container = jobs(clusters["kubernetes"])[0]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["requests"] == {"cpu": "500m", "memory": "512Mi"}


def test_a_job_that_no_cluster_can_take_says_why_and_starts_nothing(clusters: dict[str, FakeCluster], run: Run) -> None:
    done = run(TEMPLATE, sample(TEMPLATE) | {"size": "own", "cpu": "64", "memory": "1Gi"})
    failure = FlowFailure.model_validate(done.result)
    assert not done.success and "no node has 64 cores: the largest has 4" in failure.error
    assert failure.category == "no_cluster" and not failure.retryable and jobs(clusters["kubernetes"]) == []


def test_a_container_that_fails_is_not_started_elsewhere(clusters: dict[str, FakeCluster], run: Run) -> None:
    clusters["kubernetes"].api.story = fails(3)
    both = {"clusters": [f"{PLACE}kubernetes", f"{PLACE}kubernetes_east"], "expected_s": 60, "safe_to_repeat": True}
    done = run(TEMPLATE, sample(TEMPLATE) | both)
    assert not done.success and jobs(clusters["kubernetes_east"]) == []


def test_the_form_offers_the_clusters_of_the_settings(offered: Callable[..., list[Any]], engine: Engine) -> None:
    keep(engine, "settings_many", "c_flexcore_settings", {"kubernetes_clusters": ["f/a/east", "f/a/west"]})
    given = offered(TEMPLATE, "clusters", settings="$res:u/admin/flexcore_local_settings_many", filterText="west")
    assert given == [{"label": "f/a/west", "value": "f/a/west"}]
    assert "First choose settings" in only_note(offered(TEMPLATE, "clusters"))


def test_the_command_line_shows_all_clusters_and_our_work_there(
    clusters: dict[str, FakeCluster], engine: Engine, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(TEMPLATE, sample(TEMPLATE)).success
    lost = {"mode": "token", "server": "http://127.0.0.1:1", "token": "t", "cloud": "aws"}
    keep(engine, "kubernetes_lost", "c_kubernetes_cluster", lost)
    names = [f"{PLACE}{name}" for name in ("kubernetes", "kubernetes_lost")]
    stored = engine.variables.resolve({"it": "$res:u/admin/flexcore_local_settings"})["it"]
    keep(engine, "settings_many", "c_flexcore_settings", stored | {"kubernetes_clusters": names})
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("FLEXCORE_TOKEN", engine.token)
    where = (
        "--settings",
        "u/admin/flexcore_local_settings_many",
        "--server",
        engine.url,
        "--workspace",
        engine.workspace,
    )
    shown = CliRunner().invoke(app, ["runtime", "clusters", "--json", *where])
    assert shown.stdout, shown.stderr
    found = json.loads(shown.stdout)
    assert shown.exit_code == 1, "one of them does not answer"
    assert [row["state"] for row in found["clusters"]] == ["ready", "unreachable"]
    assert [(row["kind"], row["state"]) for row in found["work"]] == [("Job", "succeeded")]
    table = CliRunner().invoke(app, ["runtime", "clusters", *where]).stdout
    assert "LAST CONTACT" in table and "unreachable" in table and "DEADLINE THERE" in table
