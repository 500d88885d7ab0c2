"""`flexcore config apply`: files and server become what the configuration says, once; no secret is in any file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from f.flexcore.core.errors import Forbidden
from flexcore.cli import app
from flexcore.client.windmill import Windmill
from flexcore.configuration.files import read_configuration
from flexcore.configuration.plan import DEPLOY, Plan, cron, plan, with_tag, with_times
from flexcore.configuration.server_plan import server_changes
from flexcore.engine import Engine
from tests.config.conftest import PLANTED, ROOT

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def command(bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(bundle)
    monkeypatch.setenv("FLEXCORE_HOME", str(home))
    return lambda *arguments: CliRunner().invoke(app, ["config", *arguments])


def test_a_dry_run_shows_the_difference_and_changes_nothing(
    configure: Callable[..., Path], command: Callable[..., Any]
) -> None:
    root = configure()
    done = command("apply", "--dry-run")
    assert done.exit_code == 0 and "+tag: ml" in done.stdout and "create secret variable" in done.stdout
    assert not any(secret in done.output for secret in PLANTED)
    assert not (root / "f/flexcore/ray_cluster.resource.yaml").exists()


def test_apply_writes_once_and_then_finds_nothing_to_do(
    configure: Callable[..., Path], command: Callable[..., Any], home: Path
) -> None:
    root = configure()
    done = command("apply", "--yes", "--json")
    shown = json.loads(done.stdout)
    assert done.exit_code == 0 and shown["applied"]
    assert shown["server"] == [
        "create secret variable f/flexcore/meltano_project_env_tap_postgres_password",
        "create secret variable f/flexcore/settings_storage_access_key",
        "create secret variable f/flexcore/settings_storage_secret_key",
        "create resource f/flexcore/settings: "
        "storage_uri, storage_access_key, storage_secret_key, ray_clusters, kubernetes_clusters",
    ]
    again = command("apply", "--yes", "--json")
    assert json.loads(again.stdout) == {"files": [], "server": [], "applied": True}
    for file in root.rglob("*.yaml"):
        assert not any(secret in file.read_text() for secret in PLANTED), file
    with Engine(root, home) as engine:
        settings = engine.items.resource("f/flexcore/settings")
    assert settings == {
        "storage_uri": "s3://lake/flexcore",
        "storage_access_key": "key-planted",
        "storage_secret_key": "s3-planted",
        "ray_clusters": ["f/flexcore/ray_cluster"],
        "kubernetes_clusters": ["f/flexcore/kubernetes_cluster"],
    }


def test_every_step_gets_the_tag_of_its_runtime_and_loses_it_again(configure: Callable[..., Path]) -> None:
    root = configure()
    changes = plan(root, read_configuration(root)).files
    tags = {
        change.path: yaml.safe_load(change.after or "").get("tag")
        for change in changes
        if change.path.endswith(".script.yaml")
    }
    assert tags["f/flexcore/meltano/run.script.yaml"] == "data-processing"
    assert tags["f/flexcore/ray/train.script.yaml"] == "ml"
    assert tags["f/flexcore/kubernetes/run_job.script.yaml"] == "flext"
    assert "f/flexcore/ray/api.script.yaml" not in tags, "shared code is no step"
    for change in changes:
        (root / change.path).write_text(change.after or "")
    (root / "windmill.yaml").write_text("workers:\n  tags: []\n")
    undone = {change.path: change.after for change in plan(root, read_configuration(root)).files}
    assert undone["f/flexcore/ray/train.script.yaml"] == (ROOT / "f/flexcore/ray/train.script.yaml").read_text()


def test_a_disabled_runtime_is_in_no_settings_and_asked_by_no_schedule(configure: Callable[..., Path]) -> None:
    root = configure(flexcore="runtimes:\n  ray: {enabled: false, health_check_interval: 1m}\n")
    planned = plan(root, read_configuration(root))
    assert planned.settings and "ray_clusters" not in planned.settings
    assert "f/flexcore/operations/check_runtimes.schedule.yaml" not in {change.path for change in planned.files}


def test_schedules_follow_the_intervals(configure: Callable[..., Path]) -> None:
    root = configure()
    wanted = {change.path: yaml.safe_load(change.after or "") for change in plan(root, read_configuration(root)).files}
    health = wanted["f/flexcore/operations/check_runtimes.schedule.yaml"]
    assert (health["schedule"], health["enabled"], health["is_flow"]) == ("0 */5 * * * *", True, False)
    assert wanted["f/flexcore/operations/reconcile.schedule.yaml"]["enabled"] is True


@pytest.mark.parametrize(
    ("seconds", "text"), [(15, "*/15 * * * * *"), (60, "0 */1 * * * *"), (300, "0 */5 * * * *"),
     (7200, "0 0 */2 * * *"),
     (86400, "0 0 0 * * *")]
)  # fmt: skip
def test_an_interval_as_a_schedule_has_six_fields(seconds: int, text: str) -> None:
    assert cron(seconds) == text


def test_a_schedule_is_changed_in_its_times_alone() -> None:
    text = (ROOT / "f/flexcore/operations/reconcile.schedule.yaml").read_text()
    changed = with_times(text, 60)
    assert yaml.safe_load(changed) == yaml.safe_load(text) | {"enabled": True, "schedule": "0 */1 * * * *"}
    assert with_times(with_times(text, 15), None) == text


def test_a_tag_goes_where_the_server_sorts_it() -> None:
    assert with_tag("summary: a\ntimeout: 5\n", "ml") == "summary: a\ntag: ml\ntimeout: 5\n"
    assert with_tag("summary: a\ntag: old\n", "ml") == "summary: a\ntag: ml\n"
    assert with_tag("summary: a\ntag: old\n", "") == "summary: a\n"


def test_the_compose_file_is_told_where_the_server_listens_and_no_secret(configure: Callable[..., Path]) -> None:
    root = configure()
    (root / "resources/deploy").mkdir(parents=True)
    (root / DEPLOY).write_text("WINDMILL_PORT=1\n")
    wanted = {change.path: change.after for change in plan(root, read_configuration(root)).files}
    assert (wanted[DEPLOY] or "").splitlines() == [
        "WINDMILL_HOST=0.0.0.0", "WINDMILL_PORT=8000", "WINDMILL_BASE_URL=http://localhost:8000", "WINDMILL_WORKERS=3",
        "WINDMILL_MORE_TAGS=",
        "WINDMILL_TAG_MELTANO=data-processing", "WINDMILL_WORKERS_MELTANO=3",
        "WINDMILL_TAG_RAY=ml", "WINDMILL_WORKERS_RAY=3",
        "WINDMILL_TAG_KUBERNETES=flext", "WINDMILL_WORKERS_KUBERNETES=3",
    ]  # fmt: skip


def test_every_tag_of_the_configuration_has_workers_in_the_compose_file_and_every_step_a_worker(
    configure: Callable[..., Path],
) -> None:
    root = configure(windmill="workers: {count: 4, tags: [etl, gpu, ml]}\nruntimes:\n  meltano: {path: /p, tag: etl}\n")
    (root / "resources/deploy").mkdir(parents=True)
    (root / DEPLOY).write_text("")
    wanted = {change.path: change.after for change in plan(root, read_configuration(root)).files}
    values = dict(line.split("=") for line in wanted[DEPLOY].splitlines())
    assert (values["WINDMILL_TAG_MELTANO"], values["WINDMILL_WORKERS_MELTANO"]) == ("etl", "4")
    assert (values["WINDMILL_TAG_RAY"], values["WINDMILL_WORKERS_RAY"]) == ("ml", "4")
    assert values["WINDMILL_WORKERS_KUBERNETES"] == "0", "nobody sends it anything: its steps have no tag"
    assert values["WINDMILL_MORE_TAGS"] == "gpu"
    assert "f/flexcore/kubernetes/run_job.script.yaml" not in wanted


class FakeServer:
    """The few paths of a server's settings; refuses changes to all but a superadmin."""

    def __init__(self, superadmin: bool = True) -> None:
        self.state: dict[str, Any] = {"/api/settings/global/custom_tags": ["gpu"]}
        self.superadmin, self.changed = superadmin, 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "GET":
            key = path.replace("/get_value/", "/update/").replace("/configs/get/", "/configs/update/")
            if ("/variables/" in path or "/resources/" in path) and key not in self.state:
                return httpx.Response(404, text="Not found")
            return httpx.Response(200, json=self.state.get(key))
        body = json.loads(request.content)
        if "/variables/" in path:
            target = body.get("path") or path.split("/update/")[1]
            self.state[f"/api/w/prod/variables/update/{target}"] = body["value"]
        elif "/resources/" in path:
            self.state[f"/api/w/prod/resources/get/{body['path']}"] = body
        elif not self.superadmin:
            return httpx.Response(403, text="Permission denied: require superadmin")
        else:
            self.state[path] = body.get("value", body)
        self.changed += 1
        return httpx.Response(200, text="ok")

    def client(self) -> Windmill:
        return Windmill("https://w.example.com", "prod", "t", transport=httpx.MockTransport(self))


def test_a_server_is_told_tags_secrets_and_retention_once_and_keeps_what_others_set(
    configure: Callable[..., Path],
) -> None:
    root = configure()
    (root / "windmill.yaml").write_text((root / "windmill.yaml").read_text() + "  retention_days: 14\n")
    configuration, server = read_configuration(root), FakeServer()
    planned = plan(root, configuration)
    changes = server_changes(server.client(), configuration, planned, embedded=False)
    assert [change.what for change in changes][4:] == [
        "custom tags of the instance: add flext, data-processing, ml",
        "worker group default: listen to flext, data-processing, ml",
        "keep finished jobs for 14 days",
    ]
    for change in changes:
        change.make()
    assert server.state["/api/settings/global/custom_tags"] == ["gpu", "flext", "data-processing", "ml"]
    assert {"flow", "dependency", "ml"} <= set(server.state["/api/configs/update/worker__default"]["worker_tags"])
    assert server.changed == 7
    assert server_changes(server.client(), configuration, planned, embedded=False) == []


def test_a_tag_that_workers_listen_to_already_is_not_given_to_another_group(configure: Callable[..., Path]) -> None:
    configuration, server = read_configuration(configure()), FakeServer()
    server.state["/api/workers/exists_workers_with_tags"] = {"flext": True, "data-processing": True, "ml": False}
    changes = server_changes(server.client(), configuration, Plan([], {}, None), embedded=False)
    assert [change.what for change in changes][1:] == ["worker group default: listen to ml"]


def test_who_is_no_superadmin_is_told_what_to_do(configure: Callable[..., Path]) -> None:
    configuration, server = read_configuration(configure()), FakeServer(superadmin=False)
    with pytest.raises(Forbidden, match="token of a superadmin"):
        for change in server_changes(server.client(), configuration, Plan([]), embedded=False):
            change.make()
