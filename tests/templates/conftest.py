"""The local engine with the resources that the sample inputs name, and forms that are filled in as a browser does."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from wmlocal.engine import Engine
from wmlocal.engine.engine import JobResult, default_home

ROOT = Path(__file__).parent.parent.parent
FOLDER = "f/flexcore/templates"
Json = dict[str, Any]
Run = Callable[[str, Json], JobResult]


def schema_of(template: str) -> Json:
    return dict(yaml.safe_load((ROOT / f"{FOLDER}/{template}__flow/flow.yaml").read_text())["schema"])


def sample(template: str) -> Json:
    return dict(json.loads((ROOT / f"resources/samples/{template}.json").read_text()))


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A home of its own, so that a test leaves nothing behind; environments and plugins are those of all runs."""
    home, store = tmp_path_factory.mktemp("engine"), tmp_path_factory.mktemp("store")
    (default_home() / "envs").mkdir(parents=True, exist_ok=True)
    (home / "envs").symlink_to(default_home() / "envs")
    with Engine(ROOT, home) as running:
        keep(running, "project", "c_meltano_project", {"path": str(ROOT / "resources/meltano_sample")})
        keep(running, "settings", "c_flexcore_settings", {"storage_uri": f"file://{store}"})
        yield running


def only_note(choices: list[Json]) -> str:
    """What a select says that has nothing to choose."""
    (item,) = choices
    assert item["disabled"] and item["value"] is None
    return f"{item['label']}: {item['subtitle']}"


def keep(engine: Engine, name: str, kind: str, value: Json) -> None:
    """The resource that a sample input names, bound to what runs here."""
    engine.store.set_resource(f"u/admin/flexcore_local_{name}", value, kind, "")


@pytest.fixture(scope="session")
def run(engine: Engine) -> Run:
    """A template by its name, or what else there is by its path."""
    return lambda name, args: engine.run(name if name.startswith("f/") else f"{FOLDER}/{name}", args)


@pytest.fixture
def offered(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Json]]:
    """What a dynamic select of a template's form offers, with the other fields filled in."""
    for name, value in {
        "BASE_INTERNAL_URL": engine.url,
        "WM_TOKEN": engine.token,
        "WM_WORKSPACE": engine.workspace,
    }.items():
        monkeypatch.setenv(name, value)

    def choices(template: str, field: str, **fields: Any) -> list[Json]:
        schema, functions = schema_of(template), dict[str, Any]()
        exec(compile(schema["x-windmill-dyn-select-code"], template, "exec"), functions)
        entry = functions[schema["properties"][field]["format"].split("-", 1)[1]]
        given = engine.variables.resolve(fields)
        # As a worker does: what is not filled in is None, or the parameter's default.
        wanted = inspect.signature(entry).parameters.values()
        blank = {item.name: None for item in wanted if item.default is item.empty}
        return list(entry(**blank | {item.name: given[item.name] for item in wanted if item.name in given}))

    return choices
