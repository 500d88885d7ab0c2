"""`flexcore doctor`: what is missing on this machine, on a server and at the runtimes, each with its remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from flexcore.client.target import Target
from flexcore.client.windmill import Windmill
from flexcore.commands import doctor
from tests.wmlocal.engine.conftest import Command, Writer

TYPES = ("c_ray_cluster", "c_flexcore_settings")
SET = "wmill==1.0\n"
HEALTH = {"runtime": "ray", "place": "f/x/ray", "state": "ready", "version": "2.60.0", "detail": ""}


class FakeWindmill:
    """A server that lacks nothing, but for what a test changes."""

    def __init__(self) -> None:
        self.version = "CE v1.743.0"
        self.types: list[str] = [*TYPES, "postgresql"]
        self.sets: dict[str, str] = {"base": SET}
        self.served = {tag: True for tag in (*doctor.WINDMILL_TAGS, "ml")}
        self.broken = ""

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if self.broken and self.broken in path:
            return httpx.Response(403, text="not for you")
        if path == "/api/version":
            return httpx.Response(200, text=self.version)
        if path == "/api/w/prod/resources/type/listnames":
            return httpx.Response(200, json=self.types)
        if path == "/api/w/prod/workspace_dependencies/get_latest/python3":
            content = self.sets.get(request.url.params["name"])
            return httpx.Response(404) if content is None else httpx.Response(200, json={"content": content})
        if path == "/api/workers/exists_workers_with_tags":
            tags = request.url.params["tags"].split(",")
            return httpx.Response(200, json={tag: self.served.get(tag, False) for tag in tags})
        raise AssertionError(path)


@pytest.fixture
def windmill() -> FakeWindmill:
    return FakeWindmill()


@pytest.fixture
def root(write: Writer) -> Path:
    """A bundle with two resource types, a requirement set, and a step for workers with the tag ml."""
    for name in TYPES:
        write.file(f"{name}.resource-type.yaml", "schema: {}\n")
    write.file("dependencies/base.requirements.in", SET)
    write.script("f/x/trains", "def main():\n    pass\n", tag="ml")
    return write.root


def look(windmill: FakeWindmill, root: Path) -> dict[str, doctor.Finding]:
    target = Target("https://w.example.com", "prod", "t")
    with Windmill(target.url, target.workspace, "t", transport=httpx.MockTransport(windmill.answer)) as client:
        return {item.check: item for item in doctor.check_workspace(client, target, root)}


def test_a_workspace_that_lacks_nothing_is_ok_in_every_line(windmill: FakeWindmill, root: Path) -> None:
    found = look(windmill, root)
    assert {item.state for item in found.values()} == {doctor.OK}
    assert list(found) == ["server", "resource types", "requirement sets", "tags"]
    assert found["resource types"].detail == "2 of 2" and "v1.743.0" in found["server"].detail


@pytest.mark.parametrize(
    ("change", "check", "detail", "remedy"),
    [
        ({"version": "CE v1.700.0"}, "server", "v1.700.0", "v1.743 or later"),
        ({"types": ["c_ray_cluster"]}, "resource types", "c_flexcore_settings", "workflow deploy"),
        ({"sets": {}}, "requirement sets", "base (missing)", "workflow deploy"),
        ({"sets": {"base": "wmill==2.0\n"}}, "requirement sets", "base (differs)", "workflow deploy"),
        ({"served": {"flow": True, "python3": True, "dependency": True}}, "tags", "listens to ml", "WORKER_TAGS"),
        ({"served": {"flow": True, "ml": True}}, "tags", "python3, dependency", "WORKER_TAGS"),
        ({"broken": "resources/type"}, "resource types", "not for you", "has this right"),
        ({"broken": "exists_workers"}, "tags", "cannot be asked", "has this right"),
    ],
)
def test_what_is_missing_is_one_line_with_its_remedy(
    windmill: FakeWindmill, root: Path, change: dict[str, Any], check: str, detail: str, remedy: str
) -> None:
    for name, value in change.items():
        setattr(windmill, name, value)
    found = look(windmill, root)
    assert {item.check for item in found.values() if item.state == doctor.MISSING} == {check}
    assert detail in found[check].detail and remedy in found[check].remedy


def test_a_version_that_cannot_be_read_is_a_note(windmill: FakeWindmill, root: Path) -> None:
    windmill.version = "dev build"
    assert look(windmill, root)["server"].state == doctor.NOTE


def test_another_python_is_missing() -> None:
    assert doctor._check_python((3, 11)).state == doctor.OK
    finding = doctor._check_python((3, 12))
    assert finding.state == doctor.MISSING and "3.12" in finding.detail and "make setup" in finding.remedy


def test_a_full_disk_and_a_missing_uv_have_their_remedies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLEXCORE_HOME", str(tmp_path))
    monkeypatch.setattr("f.flexcore.lib.meltano.installation.MIN_FREE_BYTES", 2**60)
    disk = next(item for item in doctor.check_machine(tmp_path) if item.check == "disk")
    assert disk.state == doctor.MISSING and "FLEXCORE_HOME" in disk.remedy and str(tmp_path) in disk.detail
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    found = {item.check: item for item in doctor.check_machine(tmp_path)}
    assert found["uv"].state == doctor.MISSING and "pip install uv" in found["uv"].remedy
    assert found["wmill"].state == doctor.NOTE and "make setup" in found["wmill"].remedy


def test_a_home_that_cannot_be_written_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("FLEXCORE_HOME", str(tmp_path / "home"))
    disk = next(item for item in doctor.check_machine(tmp_path) if item.check == "disk")
    assert disk.state == doctor.MISSING and "can be written" in disk.remedy


# The command


def publish_health(write: Writer, row: dict[str, Any]) -> None:
    """A step that answers this in the place of operations/check_runtimes."""
    answer = {"render_all": [{"table-row-object": [row]}]}
    write.script("f/flexcore/operations/check_runtimes", f"def main(settings=None):\n    return {answer!r}\n")


def test_the_table_names_this_machine_the_engine_and_the_runtimes(flexcore: Command, write: Writer) -> None:
    publish_health(write, HEALTH)
    done = flexcore("doctor", "--server", "embedded", "--json")
    found = {item["check"]: item for item in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert found["ray"]["state"] == "ok" and found["ray"]["detail"] == "f/x/ray ready 2.60.0"
    assert found["python"]["state"] == found["disk"]["state"] == "ok"
    assert "embedded" in found["server"]["detail"]
    assert found["clusters"]["state"] == "note" and "config apply" in found["clusters"]["remedy"]


def test_a_served_engine_lacks_nothing_of_a_server(flexcore: Command, server: str, write: Writer) -> None:
    publish_health(write, HEALTH)
    done = flexcore("doctor", "--server", server, "--json")
    found = {item["check"]: item for item in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert "a local engine" in found["server"]["detail"] and "tags" not in found


def test_a_runtime_that_is_down_ends_with_exit_code_1(flexcore: Command, write: Writer) -> None:
    publish_health(write, HEALTH | {"state": "down", "version": None, "detail": "It does not answer. Start it."})
    done = flexcore("doctor", "--server", "embedded")
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ray ")]
    assert "missing" in line and "Start it." in line


def test_a_bundle_without_the_health_check_says_what_to_push(flexcore: Command) -> None:
    done = flexcore("doctor", "--server", "embedded", "--json")
    (line,) = [item for item in json.loads(done.stdout) if item["check"] == "runtimes"]
    assert done.returncode == 1 and line["state"] == "missing" and line["remedy"]


@pytest.mark.parametrize(
    ("server", "words"), [("http://127.0.0.1:9", "does not answer"), ("nowhere", "no wmill profile nowhere")]
)
def test_a_server_that_cannot_be_reached_is_a_line_and_no_traceback(
    flexcore: Command, server: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEXCORE_TOKEN", "planted")
    done = flexcore("doctor", "--server", server, "--workspace", "w", "--json")
    (line,) = [item for item in json.loads(done.stdout) if item["check"] == "server"]
    assert done.returncode == 1 and words in line["detail"] and line["remedy"]
    assert "planted" not in done.stdout + done.stderr
