"""What a workspace holds below f/flexcore/ and the bundle no longer has, and how it is removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from flexcore.bundle.stale import Stale, find_stale, remove
from flexcore.client.windmill import Windmill

FILES = {
    "wmill.yaml": "includes: [f/flexcore/**]\nincludeSchedules: true\nincludeTriggers: true\n",
    "f/flexcore/meltano/run.py": "def main():\n    return 1\n",
    "f/flexcore/lib/core/errors.py": "X = 1\n",
    "f/flexcore/data_pipeline__flow/flow.yaml": "summary: x\nvalue: {modules: []}\n",
    "f/flexcore/operations/learn.schedule.yaml": "script_path: f/flexcore/operations/learn\n",
    "f/flexcore/api/start.http_trigger.yaml": "script_path: f/flexcore/api/start\n",
    "c_flexcore_settings.resource-type.yaml": "schema: {}\n",
}
HELD = {
    "scripts/list": ["f/flexcore/meltano/run", "f/flexcore/core/errors", "f/flexcore/lib/core/errors", "f/shop/errors"],
    "flows/list": ["f/flexcore/data_pipeline", "f/flexcore/old_pipeline", "u/ann/flexcore"],
    "schedules/list": ["f/flexcore/operations/learn", "f/flexcore/operations/tidy"],
    "http_triggers/list": ["f/flexcore/api/start", "f/flexcore/api/stop"],
    "apps/list": ["f/flexcore/desk", "f/flexcorelike/desk"],
    "resources/type/listnames": ["c_flexcore_settings", "c_flexcore_markets", "c_ray_cluster", "postgresql"],
}
STALE = [
    Stale("schedule", "f/flexcore/operations/tidy"),
    Stale("http_trigger", "f/flexcore/api/stop"),
    Stale("flow", "f/flexcore/old_pipeline"),
    Stale("app", "f/flexcore/desk"),
    Stale("script", "f/flexcore/core/errors"),
    Stale("resource-type", "c_flexcore_markets"),
]


class Server:
    """Answers the lists, without the kinds of triggers that an open build lacks, and notes what it was asked to do."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refuses = ""

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = unquote(request.url.path).removeprefix("/api/w/dev/")
        if request.method == "GET" and path in HELD:
            names = HELD[path]
            if path == "scripts/list":
                assert request.url.params["include_without_main"] == "true"
            return httpx.Response(200, json=names if "names" in path else [{"path": name} for name in names])
        if request.method == "GET":
            return httpx.Response(404, text="Not found")
        if self.refuses and self.refuses in path:
            return httpx.Response(403, text="You are not an admin")
        self.asked.append(f"{request.method} {path} {request.content.decode()}".strip())
        return httpx.Response(200, text="done")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> Windmill:
    return Windmill("http://windmill", "dev", "token", transport=httpx.MockTransport(server.answer))


def test_each_kind_is_found_below_the_folder_of_the_bundle_alone(client: Windmill, root: Path) -> None:
    assert find_stale(client, root) == STALE


def test_an_app_whose_own_file_a_plain_push_leaves_out_is_not_stale(client: Windmill, root: Path) -> None:
    for name in ("raw_app.yaml", "index.tsx"):
        (root / "f/flexcore/desk__raw_app").mkdir(exist_ok=True)
        (root / "f/flexcore/desk__raw_app" / name).write_text("summary: x\n")
    (root / "wmill.yaml").write_text(f"{FILES['wmill.yaml']}excludes: [f/flexcore/desk__raw_app/raw_app.yaml]\n")
    assert find_stale(client, root) == [item for item in STALE if item.kind != "app"]
    (root / "wmill.yaml").write_text(f"{FILES['wmill.yaml']}excludes: [f/flexcore/desk__raw_app/**]\n")
    assert Stale("app", "f/flexcore/desk") in find_stale(client, root)


def test_what_starts_others_is_removed_first_and_scripts_are_archived(client: Windmill, server: Server) -> None:
    assert remove(client, STALE, print) == {}
    assert server.asked == [
        "DELETE schedules/delete/f/flexcore/operations/tidy",
        "DELETE http_triggers/delete/f/flexcore/api/stop",
        "DELETE flows/delete/f/flexcore/old_pipeline",
        "DELETE apps/delete/f/flexcore/desk",
        "POST scripts/archive/p/f/flexcore/core/errors",
        "DELETE resources/type/delete/c_flexcore_markets",
    ]


def test_one_that_the_server_refuses_to_remove_stops_no_other(client: Windmill, server: Server) -> None:
    server.refuses = "resources/type"
    failed = remove(client, STALE, print)
    assert [*failed] == [STALE[-1]] and "not an admin" in failed[STALE[-1]]
    assert len(server.asked) == len(STALE) - 1


def edit(root: Path, before: str, after: str) -> None:
    file = root / "wmill.yaml"
    file.write_text(file.read_text().replace(before, after))


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (lambda root: edit(root, "includeSchedules: true", "includeSchedules: false"), "schedule"),
        (lambda root: edit(root, "includes: [f/flexcore/**]", "includes: [f/shop/**]"), "all"),
        (lambda root: edit(root, "includeTriggers", "excludes: [f/flexcore/**]\nincludeTriggers"), "all"),
    ],
)
def test_what_is_not_pushed_from_here_is_not_taken_for_stale(
    client: Windmill, root: Path, change: Callable[[Path], Any], kinds: str
) -> None:
    change(root)
    assert find_stale(client, root) == [item for item in STALE if kinds != "all" and item.kind != kinds]


def test_a_bundle_without_files_in_the_folder_leaves_it_to_the_one_that_has_them(
    client: Windmill, tmp_path: Path
) -> None:
    (tmp_path / "f/shop").mkdir(parents=True)
    (tmp_path / "f/shop/add.py").write_text("def main():\n    return 1\n")
    assert find_stale(client, tmp_path) == []
