"""`flexcore config apply`: files and server become what the configuration says, once; no secret is in any file."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from f.flexcore.lib.core.errors import Forbidden
from flexcore.cli import app
from flexcore.client.windmill import Windmill
from flexcore.configuration.files import read_configuration
from flexcore.configuration.plan import DEPLOY, cron, plan, with_tag, with_times
from flexcore.configuration.server_plan import make, server_changes
from tests.flexcore.configuration.conftest import PLANTED, ROOT
from wmlocal.engine import Engine

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
        "storage_uri, storage_access_key, storage_secret_key, ray_clusters[f/flexcore/ray_cluster], "
        "kubernetes_clusters[f/flexcore/kubernetes_cluster], runtimes.meltano.enabled, runtimes.meltano.priority, "
        "runtimes.ray.enabled, runtimes.ray.priority",
    ]
    again = command("apply", "--yes", "--json")
    assert json.loads(again.stdout) == {"files": [], "server": [], "deleted": [], "applied": True}
    for file in root.rglob("*.yaml"):
        assert not any(secret in file.read_text() for secret in PLANTED), file
    with Engine(root, home) as engine:
        settings = engine.variables.resource("f/flexcore/settings")
    assert settings == {
        "storage_uri": "s3://lake/flexcore",
        "storage_access_key": "key-planted",
        "storage_secret_key": "s3-planted",
        "ray_clusters": ["f/flexcore/ray_cluster"],
        "kubernetes_clusters": ["f/flexcore/kubernetes_cluster"],
        "runtimes": {"meltano": {"enabled": True, "priority": 1}, "ray": {"enabled": True, "priority": 2}},
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
    assert "f/flexcore/lib/ray/dashboard.script.yaml" not in tags, "shared code is not a step"
    for change in changes:
        (root / change.path).write_text(change.after or "")
    (root / "windmill.yaml").write_text("workers:\n  tags: []\n")
    undone = {change.path: change.after for change in plan(root, read_configuration(root)).files}
    assert undone["f/flexcore/ray/train.script.yaml"] == (ROOT / "f/flexcore/ray/train.script.yaml").read_text()


def test_a_disabled_runtime_is_never_chosen_and_asked_by_no_schedule_and_what_it_left_is_still_reconciled(
    configure: Callable[..., Path],
) -> None:
    root = configure(flexcore="runtimes:\n  ray: {enabled: false, health_check_interval: 1m}\n")
    planned = plan(root, read_configuration(root))
    assert planned.settings["runtimes.ray.enabled"] is False
    assert "ray_clusters[f/flexcore/ray_cluster]" in planned.settings
    assert "f/flexcore/operations/check_runtimes.schedule.yaml" not in {change.path for change in planned.files}


def test_schedules_follow_the_intervals(configure: Callable[..., Path]) -> None:
    root = configure()
    wanted = {change.path: yaml.safe_load(change.after or "") for change in plan(root, read_configuration(root)).files}
    health = wanted["f/flexcore/operations/check_runtimes.schedule.yaml"]
    assert (health["schedule"], health["enabled"], health["is_flow"]) == ("0 */5 * * * *", True, False)
    assert wanted["f/flexcore/operations/reconcile.schedule.yaml"]["enabled"] is True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (15, "*/15 * * * * *"),
        (60, "0 */1 * * * *"),
        (300, "0 */5 * * * *"),
        (7200, "0 0 */2 * * *"),
        (86400, "0 0 0 * * *"),
    ],
)
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
        "WINDMILL_HOST=0.0.0.0",
        "WINDMILL_PORT=8000",
        "WINDMILL_BASE_URL=http://localhost:8000",
        "PANEL_PORT=8081",
        "PANEL_WORKSPACE=main",
        "WINDMILL_WORKERS=3",
        "WINDMILL_MORE_TAGS=",
        "WINDMILL_TAG_MELTANO=data-processing",
        "WINDMILL_WORKERS_MELTANO=3",
        "WINDMILL_TAG_RAY=ml",
        "WINDMILL_WORKERS_RAY=3",
        "WINDMILL_TAG_KUBERNETES=flext",
        "WINDMILL_WORKERS_KUBERNETES=3",
    ]


def test_every_tag_of_the_configuration_has_workers_in_the_compose_file_and_every_step_a_worker(
    configure: Callable[..., Path],
) -> None:
    root = configure(windmill="workers: {count: 4, tags: [etl, gpu, ml]}\nruntimes:\n  meltano: {path: /p, tag: etl}\n")
    (root / "resources/deploy").mkdir(parents=True)
    (root / DEPLOY).write_text("")
    wanted = {change.path: change.after for change in plan(root, read_configuration(root)).files}
    values = dict(line.split("=") for line in (wanted[DEPLOY] or "").splitlines())
    assert (values["WINDMILL_TAG_MELTANO"], values["WINDMILL_WORKERS_MELTANO"]) == ("etl", "4")
    assert (values["WINDMILL_TAG_RAY"], values["WINDMILL_WORKERS_RAY"]) == ("ml", "4")
    assert values["WINDMILL_WORKERS_KUBERNETES"] == "0", "nobody sends it anything: its steps have no tag"
    assert values["WINDMILL_MORE_TAGS"] == "gpu"
    assert "f/flexcore/kubernetes/run_job.script.yaml" not in wanted


class FakeServer:
    """The few paths of a server's settings; refuses changes to all but a superadmin."""

    def __init__(self, superadmin: bool = True) -> None:
        self.state: dict[str, Any] = {"settings/global/custom_tags": ["gpu"]}
        self.items: dict[str, dict[str, dict[str, Any]]] = {"variables": {}, "resources": {}, "schedules": {}}
        self.superadmin = superadmin

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/").removeprefix("w/prod/")
        kind, _, rest = path.partition("/")
        body = json.loads(request.content) if request.content else {}
        if kind in self.items:
            return self._item(self.items[kind], rest, body)
        if request.method == "GET":
            return httpx.Response(200, json=self.state.get(path.replace("configs/get/", "configs/update/")))
        if not self.superadmin:
            return httpx.Response(403, text="Permission denied: require superadmin")
        self.state[path] = body.get("value", body)
        return httpx.Response(200, text="ok")

    def _item(self, items: dict[str, dict[str, Any]], rest: str, body: Any) -> httpx.Response:
        verb, _, path = rest.partition("/")
        if verb == "list":
            return httpx.Response(200, json=[item | {"value": None} for item in items.values()])
        if verb in ("create", "update"):
            path = path or body["path"]
            items[path] = body | {"path": path}
        elif path not in items:
            return httpx.Response(404, text="Not found")
        elif verb == "delete":
            del items[path]
        else:
            return httpx.Response(200, json=items[path]["value"] if verb == "get_value" else items[path])
        return httpx.Response(200, text="ok")

    def client(self) -> Windmill:
        return Windmill("https://w.example.com", "prod", "t", transport=httpx.MockTransport(self))

    def apply(self, root: Path) -> list[str]:
        """What is done now. A second time there is nothing to do."""
        configuration = read_configuration(root)
        done: list[str] = []
        again: list[str] = []
        for said in (done, again):
            planned = plan(root, configuration)
            make(self.client(), server_changes(self.client(), configuration, planned, embedded=False), said.append)
        assert again == []
        return [line.removeprefix("done: ") for line in done]


def test_a_server_is_told_tags_secrets_and_retention_once_and_keeps_what_others_set(
    configure: Callable[..., Path],
) -> None:
    root, server = configure(), FakeServer()
    (root / "windmill.yaml").write_text((root / "windmill.yaml").read_text() + "  retention_days: 14\n")
    assert server.apply(root)[4:] == [
        "custom tags of the instance: add flext, data-processing, ml",
        "worker group default: listen to flext, data-processing, ml",
        "keep finished jobs for 14 days",
    ]
    assert server.state["settings/global/custom_tags"] == ["gpu", "flext", "data-processing", "ml"]
    assert {"flow", "dependency", "ml"} <= set(server.state["configs/update/worker__default"]["worker_tags"])


def test_traces_are_switched_on_and_off_with_their_keys_and_their_headers_are_a_secret(
    configure: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, server = configure(), FakeServer()
    monkeypatch.setenv("OTLP_HEADERS", "Authorization=Bearer%20planted")
    file, path = root / "windmill.yaml", "f/flexcore/settings"
    before = file.read_text()
    file.write_text(before + "  otlp_endpoint: http://collector:4318\n  otlp_headers: ${OTLP_HEADERS}\n")
    assert "create secret variable f/flexcore/settings_otlp_headers" in server.apply(root)
    value = server.items["resources"][path]["value"]
    assert (value["otlp_endpoint"], value["otlp_headers"]) == ("http://collector:4318", f"$var:{path}_otlp_headers")
    assert server.items["variables"][f"{path}_otlp_headers"]["value"] == "Authorization=Bearer%20planted"
    file.write_text(before)
    server.apply(root)
    assert not {"otlp_endpoint", "otlp_headers"} & server.items["resources"][path]["value"].keys()
    assert f"{path}_otlp_headers" not in server.items["variables"]


def test_what_an_earlier_apply_made_goes_with_its_section_and_what_is_of_others_stays(
    configure: Callable[..., Path],
) -> None:
    root, server = configure(), FakeServer()
    server.state |= {
        "settings/global/custom_tags": ["gpu", "ml"],
        "settings/global/retention_period_secs": 86400,
        "configs/update/worker__default": {"worker_tags": ["python3", "flext"]},
    }
    theirs = {"namespace": "team", "ray_clusters": ["f/x/ray"], "runtimes": {"ray": {"startup_s": 5}}}
    server.items["resources"]["f/flexcore/settings"] = {"value": theirs}
    server.items["variables"]["f/flexcore/mine"] = {"path": "f/flexcore/mine", "value": "x", "description": "Mine"}
    state, variables = deepcopy((server.state, server.items["variables"]))
    (root / "windmill.yaml").write_text((root / "windmill.yaml").read_text() + "  retention_days: 14\n")
    server.apply(root)
    assert server.items["resources"]["f/flexcore/settings"]["value"]["runtimes"] == {
        "ray": {"startup_s": 5, "enabled": True, "priority": 2},
        "meltano": {"enabled": True, "priority": 1},
    }
    for path, text in (("ray_cluster", "Ray, from windmill.yaml."), ("kubernetes_cluster", "Ours, by hand")):
        item = {"path": f"f/flexcore/{path}", "value": {}, "description": text}
        server.items["resources"][f"f/flexcore/{path}"] = item
    done = server.apply(configure(windmill="workers: {tags: []}\n", flexcore="engine: embedded\n"))
    assert done[1:] == [
        "delete resource f/flexcore/ray_cluster",
        "delete secret variable f/flexcore/meltano_project_env_tap_postgres_password",
        "delete secret variable f/flexcore/settings_storage_access_key",
        "delete secret variable f/flexcore/settings_storage_secret_key",
        "custom tags of the instance: remove flext, data-processing",
        "worker group default: no longer listen to data-processing, ml",
        "keep finished jobs as long as before",
    ]
    assert server.items["resources"].pop("f/flexcore/kubernetes_cluster")["description"] == "Ours, by hand"
    assert server.items["resources"]["f/flexcore/settings"]["value"] == theirs
    assert (server.state, server.items["variables"]) == (state, variables)


def test_settings_that_only_the_configuration_made_go_with_it(configure: Callable[..., Path]) -> None:
    root, server = configure(), FakeServer()
    server.apply(root)
    done = server.apply(configure(windmill="{}\n", flexcore="{}\n"))
    assert "delete resource f/flexcore/settings" in done and not server.items["resources"]


def test_a_tag_that_workers_listen_to_already_is_not_given_to_another_group(configure: Callable[..., Path]) -> None:
    server = FakeServer()
    server.state["workers/exists_workers_with_tags"] = {"flext": True, "data-processing": True, "ml": False}
    assert server.apply(configure())[-1] == "worker group default: listen to ml"


def test_who_is_no_superadmin_is_told_what_to_do(configure: Callable[..., Path]) -> None:
    with pytest.raises(Forbidden, match="token of a superadmin"):
        FakeServer(superadmin=False).apply(configure())


def test_a_file_that_an_earlier_apply_made_goes_with_its_section_and_one_of_somebody_else_stays(
    configure: Callable[..., Path], command: Callable[..., Any]
) -> None:
    root = configure()
    assert command("apply", "--yes").exit_code == 0
    ray, kubernetes = (root / f"f/flexcore/{name}_cluster.resource.yaml" for name in ("ray", "kubernetes"))
    kubernetes.write_text(kubernetes.read_text().replace("Kubernetes, from windmill.yaml.", "Ours, by hand"))
    configure(windmill="{}\n", flexcore="engine: embedded\n")
    shown = json.loads(command("apply", "--dry-run", "--json").stdout)
    assert shown["deleted"] == [
        f"f/flexcore/{name}.yaml"
        for name in ("meltano_project.resource", "operations/check_runtimes.schedule", "ray_cluster.resource")
    ]
    assert ray.exists()
    assert "+++ /dev/null" in command("apply", "--yes").stdout
    assert kubernetes.exists() and not ray.exists()
    assert json.loads(command("apply", "--yes", "--json").stdout)["files"] == []


def test_a_disabled_template_has_its_schedule_switched_off(configure: Callable[..., Path]) -> None:
    root = configure()
    schedule = root / "f/flexcore/templates/nightly.schedule.yaml"
    schedule.write_text(
        "args: {}\nenabled: true\nis_flow: true\nschedule: 0 0 3 * * *\nscript_path: f/flexcore/hybrid_pipeline\n"
    )
    template = "templates:\n  nightly: {file: f/flexcore/hybrid_pipeline__flow, runtime: ray, enabled: false}\n"
    planned = plan(configure(flexcore=template), read_configuration(root)).files
    changed = next(item for item in planned if item.path == schedule.relative_to(root).as_posix())
    assert changed.after == schedule.read_text().replace("enabled: true", "enabled: false")
