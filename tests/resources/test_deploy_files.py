"""What resources/deploy promises: to be read by the programs that it is for, and to say the same everywhere.

Compose and Helm themselves are asked where they are; the schema of compose files and the chart's keys are asked always.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import kubernetes_validate
import pytest
import yaml

from flexcore.configuration.files import Configuration
from flexcore.configuration.models import TAGS, FlexcoreFile, WindmillFile
from flexcore.configuration.plan import DEPLOY as ENVIRONMENT
from flexcore.configuration.plan import plan
from flexcore.panel.guard import Guard

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "resources/deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
VALUES: dict[str, Any] = yaml.safe_load((DEPLOY / "values.yaml").read_text())
GROUPS: dict[str, Any] = VALUES["windmill"]["workerGroups"]
DOCKERFILE = (DEPLOY / "worker.Dockerfile").read_text()
# Every key that the chart's own values.yaml has at these places; what it takes as it is (security contexts, resources,
# environments) is not followed. It was written down from version 4.0.246.
CHART_KEYS = set((Path(__file__).parent / "chart_keys.txt").read_text().split())
PINNED = re.compile(r":\d+\.\d+(\.\d+)?(-py311)?$")
KUBERNETES = "1.34"


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_service_is_pinned_watched_and_not_root(name: str) -> None:
    service = COMPOSE["services"][name]
    assert PINNED.search(service["image"]) and service["healthcheck"]["test"]
    assert service["user"] and not service["user"].startswith(("0", "root"))
    assert not service.get("privileged") and "no-new-privileges:true" in service["security_opt"]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_secret_and_volume_is_declared_and_no_secret_is_in_an_environment(name: str) -> None:
    service = COMPOSE["services"][name]
    assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
    assert {volume.split(":")[0] for volume in service.get("volumes", ())} <= COMPOSE["volumes"].keys()
    for key, value in service.get("environment", {}).items():
        is_reference = key.endswith(("_FILE", "_PATH")) and str(value).startswith("/run/secrets/")
        assert is_reference or not re.search("PASSWORD|SECRET|TOKEN|DATABASE_URL", key), (key, value)
    assert all("file" in secret for secret in COMPOSE["secrets"].values())


def test_the_compose_file_is_one_by_its_published_schema() -> None:
    published = Path(check_jsonschema.__file__).parent / "builtin_schemas/vendor/compose-spec.json"
    jsonschema.Draft7Validator(json.loads(published.read_text())).validate(COMPOSE)


def test_the_compose_file_reads_what_config_apply_writes_and_is_shipped_as_it_writes_it() -> None:
    text = "".join(line for line in (DEPLOY / "compose.yaml").read_text().splitlines() if not line.startswith("#"))
    shipped = (ROOT / ENVIRONMENT).read_text()
    assert set(re.findall(r"\$\{(\w+)", text)) == {line.split("=")[0] for line in shipped.splitlines()}
    usual = Configuration(WindmillFile(), FlexcoreFile(), ("windmill.yaml",))
    assert ENVIRONMENT not in {change.path for change in plan(ROOT, usual).files}


@pytest.fixture
def composed(tmp_path: Path) -> dict[str, Any]:
    """The services as Docker Compose understands them, for three workers of each kind and a tag of no runtime."""
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not here")
    shutil.copy(DEPLOY / "compose.yaml", tmp_path)
    written = (ROOT / ENVIRONMENT).read_text().replace("=2\n", "=3\n").replace("MORE_TAGS=", "MORE_TAGS=gpu")
    (tmp_path / "windmill.env").write_text(written)
    command = ["docker", "compose", "--env-file", "windmill.env", "config", "--format", "json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), "a warning is a mistake of the file"
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


def test_docker_compose_starts_so_many_workers_for_each_tag(composed: dict[str, Any]) -> None:
    workers = {
        service["environment"]["WORKER_GROUP"]: (service["environment"]["WORKER_TAGS"], service["deploy"]["replicas"])
        for service in composed.values()
        if service.get("environment", {}).get("MODE") == "worker"
    }
    assert workers.pop("default")[0].endswith(",gpu")
    assert workers == {"meltano": ("data-processing", 3), "ray": ("ml", 3), "kubernetes": ("flext", 3)}


# The worker image


def test_one_version_of_windmill_and_of_ray_is_meant_everywhere() -> None:
    images = {service["image"] for service in COMPOSE["services"].values()} | set(re.findall(r"^FROM (.*)", DOCKERFILE))
    windmill = {image.rpartition(":")[2] for image in images if "windmill" in image or "flexcore-worker" in image}
    assert windmill == {VALUES["windmill"]["tag"]}
    (ray,) = re.findall(r'"ray==(.*)"', (ROOT / "pyproject.toml").read_text())
    assert f"rayproject/ray:{ray}-py311" in images


def test_the_image_warms_what_windmill_looks_for_by_the_python_of_the_locks() -> None:
    pythons = {re.findall(r"^# py: (.*)", lock.read_text(), re.MULTILINE)[0] for lock in ROOT.glob("locks/*.lock")}
    assert pythons == {"3.11"} and "cache/python_3_11/" in DOCKERFILE
    for source in re.findall(r"^COPY \S+ (\S+) ", DOCKERFILE, re.MULTILINE):
        assert (ROOT / source).is_dir()
        assert f"!{source}\n" in (DEPLOY / "worker.Dockerfile.dockerignore").read_text()


# The panel


async def nothing(*_: object) -> None:
    raise AssertionError("not asked")


def test_both_deployments_publish_the_panel_without_a_token_of_its_own() -> None:
    deployment, service = VALUES["extraDeploy"]
    for item in (deployment, service):
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    composed = COMPOSE["services"]["panel"]
    assert composed["ports"] == ["127.0.0.1:${PANEL_PORT:-8081}:8081"]
    assert service["spec"]["ports"][0]["port"] == container["ports"][0]["containerPort"] == 8081
    assert container["image"].rpartition("/")[2] == composed["image"]
    assert "env" not in container and "environment" not in composed and "secrets" not in composed
    options = list(zip(container["args"][::2], container["args"][1::2], strict=True))
    assert [name for name, _ in options] == ["--server", "--workspace", "--host-name", "--host-name"]
    # As the cluster asks for it, from the same namespace and from another one.
    name = service["metadata"]["name"]
    guard = Guard(nothing, [value for option, value in options if option == "--host-name"])
    assert guard.is_own_name(f"{name}:8081") and guard.is_own_name(f"{name}.windmill:8081")
    assert deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_the_panels_image_installs_what_the_panel_imports_and_no_more() -> None:
    text = (DEPLOY / "panel.Dockerfile").read_text()
    (names,) = re.findall(r"\"\((.*)\)==", text)
    code = "import sys, uvicorn, flexcore.commands.dashboard, flexcore.cli, wmlocal.engine.bundle\n"
    code += "import f.flexcore.lib.core.errors, flexcore.panel.windmill\nprint(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert {name.replace("pyyaml", "yaml") for name in names.split("|")} <= loaded
    assert not loaded & {"ray", "numpy", "pandas", "kubernetes", "wmill", "tree_sitter", "quickjs"}


# The chart


def paths(value: Any, path: tuple[str, ...] = ()) -> set[str]:
    """As CHART_KEYS has them: the name of a worker group is *."""
    name = ".".join(path)
    if not isinstance(value, dict) or not any(key.startswith(f"{name}.") for key in CHART_KEYS if name):
        return {name} if name else set().union(*(paths(item, (key,)) for key, item in value.items()))
    below = {"*" if name == "windmill.workerGroups" else key: item for key, item in value.items()}
    if name == "windmill.workerGroups":
        return set().union(*(paths(item, (*path, "*")) for item in value.values()))
    return set().union(*(paths(item, (*path, key)) for key, item in below.items()))


def test_every_value_is_one_that_the_chart_has() -> None:
    assert paths(VALUES) - CHART_KEYS == set()
    assert "windmill.workerGroups.*.podSecurityContext" in paths(VALUES)


def test_each_tag_has_workers_in_both_deployments() -> None:
    composed = {service.get("environment", {}).get("WORKER_TAGS", "") for service in COMPOSE["services"].values()}
    charted = {
        item["value"]
        for group in GROUPS.values()
        for item in group.get("extraEnv", ())
        if item["name"] == "WORKER_TAGS"
    }
    assert set(TAGS) == {text.partition(":-")[2].rstrip("}") for text in composed if text.startswith("${")}
    assert set(TAGS) == charted


def test_every_worker_of_the_chart_is_unprivileged() -> None:
    for name, group in GROUPS.items():
        assert group["podSecurityContext"]["runAsNonRoot"] and group["privileged"] is False, name


@pytest.fixture(scope="module")
def charted() -> list[dict[str, Any]]:
    """What Helm makes of the values."""
    chart = os.environ.get("FLEXCORE_WINDMILL_CHART")
    if not shutil.which("helm"):
        pytest.skip("helm is not here")
    if not chart:
        pytest.skip("FLEXCORE_WINDMILL_CHART names no chart (helm pull windmill/windmill --version 4.0.246)")
    command = ["helm", "template", "windmill", chart, "--namespace", "w", "--values", str(DEPLOY / "values.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all("windmill.workerGroups is a table" in line for line in done.stderr.splitlines()), done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def test_helm_makes_valid_objects_that_take_every_value(charted: list[dict[str, Any]]) -> None:
    for item in charted:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
    deployments = {item["metadata"]["name"]: item["spec"] for item in charted if item["kind"] == "Deployment"}
    assert deployments.pop("flexcore-panel")
    assert deployments.keys() == {"windmill-app", *(f"windmill-workers-{name}" for name in GROUPS)}
    for name, spec in deployments.items():
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        environment = {item["name"]: item["value"] for item in container["env"]}
        group = GROUPS.get(name.removeprefix("windmill-workers-"), {})
        assert container["image"] == "{image}:{tag}".format(**VALUES["windmill"])
        assert pod["securityContext"] == VALUES["windmill"]["app"]["podSecurityContext"]
        assert container["securityContext"] == VALUES["windmill"]["app"]["containerSecurityContext"]
        assert "DATABASE_URL" not in environment and environment["DATABASE_URL_FILE"]
        assert environment.items() >= {item["name"]: item["value"] for item in group.get("extraEnv", ())}.items()
        assert spec["replicas"] == group.get("replicas", VALUES["windmill"]["appReplicas"])
        assert pod["serviceAccountName"] == group.get("serviceAccountName", "windmill")
        assert container["resources"]["limits"]["memory"]


def test_the_rights_are_valid_objects() -> None:
    for item in yaml.safe_load_all((ROOT / "resources/kubernetes/rbac.yaml").read_text()):
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
