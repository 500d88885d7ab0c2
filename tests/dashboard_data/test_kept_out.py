"""The jobs of the dashboard are in no count, history, metric, list or index of ours."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from f.flexcore.lib.api import metrics
from f.flexcore.lib.core import resources
from f.flexcore.lib.dashboard import index_update, run_index, shapes
from f.flexcore.lib.operations import history
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import client, execution_models, executions
from flexcore.client import executions as listed_runs
from flexcore.client.windmill import Windmill
from tests.dashboard_data.conftest import ROOT, call, run_flow
from wmlocal.engine import Engine

STEPS = sorted((ROOT / "f/flexcore/dashboard").glob("*.py"))


def count_everything(engine: Engine, store: Path) -> dict[str, Any]:
    windmill, now = client.Client(), datetime.now(UTC)
    index = run_index.RunIndex(object_store.Store(resources.Settings(storage_uri=f"file://{store}")), "local")
    index_update.update_index(windmill, index, history.run_from_job, now)
    snapshot = metrics.read_snapshot(windmill, now)
    with Windmill(engine.url, engine.workspace, engine.token) as command_line:
        runs = [item["id"] for item in listed_runs.latest(command_line, 1000, None)]
    found, _ = executions.list_executions(windmill, execution_models.ListQuery(limit=100))
    return {
        "metrics": sorted(item.id for item in snapshot.ended) + sorted(item.id for item in snapshot.live),
        "unread": snapshot.unread,
        "history": len(history.read_runs(windmill, "toy")),
        "pipelines": len(history.read_pipeline_runs(windmill)),
        "of its path": len(history.read_runs(windmill, "f/flexcore/dashboard/read_dashboard")),
        "api": sorted(str(job["id"]) for job in found),
        "command line": sorted(runs),
        "index": sorted(index.read(index.days())),
    }


def test_reads_and_actions_of_the_dashboard_change_no_count(engine: Engine, as_caller: None, tmp_path: Path) -> None:
    run = run_flow(engine, "toy", note="n").id
    before = count_everything(engine, tmp_path)
    assert run in before["metrics"] and run in before["api"] and run in before["command line"]
    assert call(engine, "read_dashboard", want=["executions"]).success
    assert call(engine, "read_logs", execution=run).success
    assert call(engine, "read_executions", older=f"{2**53:017d}_{run}").success
    assert not call(engine, "read_logs", execution="zonk").success
    assert count_everything(engine, tmp_path) == before


def test_every_job_of_the_dashboard_carries_its_label(engine: Engine) -> None:
    for step in STEPS:
        meta = yaml.safe_load(step.with_suffix(".script.yaml").read_text())
        assert meta["labels"] == [shapes.LABEL], step.name
        assert '{"wm_labels": [' in step.read_text() or '"wm_labels": [shapes.LABEL]' in step.read_text(), step.name
    done = call(engine, "read_dashboard", want=[])
    row = engine.store.job(done.id)
    assert row and row["labels"] == [shapes.LABEL]


def test_every_runnable_of_the_page_is_a_step_that_looks_with_the_callers_rights() -> None:
    backend = ROOT / "f/flexcore/dashboard__raw_app/backend"
    runnables = {file.stem: yaml.safe_load(file.read_text()) for file in backend.glob("*.yaml")}
    assert set(runnables) == {step.stem for step in STEPS} - {"maintain"}
    for name, runnable in runnables.items():
        assert runnable == {"type": "script", "path": f"f/flexcore/dashboard/{name}"}
