"""A project read from its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from f.flexcore.core.errors import InvalidInput, NotFound
from f.flexcore.meltano.project_file import read_project

BASE = """
environments: [{name: dev}, {name: prod, state_id_suffix: eu}]
default_environment: dev
plugins:
  extractors:
  - {name: tap-a, namespace: tap_a, pip_url: tap-a==1, settings: [{name: url}], config: {url: x, auth: {user: u}}}
  - {name: tap-b, inherit_from: tap-a, config: {url: y}}
  - {name: tap-c, inherit_from: tap-a, pip_url: tap-a==2}
"""


def write(root: Path, text: str = BASE, name: str = "meltano.yml") -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    return root


def test_an_heir_has_its_parents_definition_and_its_own_config(tmp_path: Path) -> None:
    plugin = read_project(write(tmp_path), "").plugin("extractors", "tap-b")
    assert (plugin.pip_url, plugin.namespace, plugin.executable) == ("tap-a==1", "tap_a", "tap-a")
    assert plugin.config == {"url": "y", "auth": {"user": "u"}, "auth.user": "u"}
    assert [item["name"] for item in plugin.settings] == ["url"]


def test_a_short_name_means_the_tap_or_target_of_that_name(tmp_path: Path) -> None:
    project = read_project(write(tmp_path), "")
    assert project.plugin("extractors", "b").name == "tap-b"
    with pytest.raises(NotFound, match="Did you mean tap-b"):
        project.plugin("extractors", "tap-bb")


def test_heirs_share_an_environment_unless_they_install_something_else(tmp_path: Path) -> None:
    project = read_project(write(tmp_path), "")
    assert [project.plugin("extractors", name).folder for name in ("tap-a", "tap-b", "tap-c")] == [
        "tap-a",
        "tap-a",
        "tap-c",
    ]


def test_a_lock_file_defines_what_the_project_does_not(tmp_path: Path) -> None:
    write(tmp_path, "environments: [{name: dev}]\nplugins: {loaders: [{name: target-x, variant: acme}]}")
    lock = {"name": "target-x", "pip_url": "acme-x", "executable": "target-acme", "settings": [{"name": "path"}]}
    write(tmp_path, json.dumps(lock), "plugins/loaders/target-x--acme.lock")
    plugin = read_project(tmp_path, "").plugin("loaders", "target-x")
    assert (plugin.pip_url, plugin.executable, plugin.namespace) == ("acme-x", "target-acme", "target_x")


def test_a_plugin_without_any_definition_is_refused_with_what_to_do(tmp_path: Path) -> None:
    write(tmp_path, "environments: [{name: dev}]\nplugins: {loaders: [{name: target-x}]}")
    with pytest.raises(InvalidInput, match=r"no definition of target-x.*meltano lock --plugin-type loader target-x"):
        read_project(tmp_path, "").plugin("loaders", "target-x")


def test_included_files_are_part_of_the_project(tmp_path: Path) -> None:
    write(tmp_path, f"include_paths: ['parts/*.yml']\n{BASE}")
    write(tmp_path, "plugins: {extractors: [{name: tap-d, namespace: tap_d}]}", "parts/more.yml")
    project = read_project(tmp_path, "")
    assert project.plugin("extractors", "tap-d").executable == "tap-d"
    assert project.plugin("extractors", "tap-a").pip_url == "tap-a==1"


def test_an_unknown_tap_gets_the_nearest_name_and_all_declared_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no tap named 'tap-aa'. Did you mean tap-a\? Declared: tap-a, tap-b, tap-c"):
        read_project(write(tmp_path), "").plugin("extractors", "tap-aa")


def test_the_environment_is_the_wanted_one_else_the_default_else_the_only_one(tmp_path: Path) -> None:
    assert read_project(write(tmp_path), "").environment == "dev"
    assert read_project(tmp_path, "prod").state_id_suffix == "eu"
    assert read_project(write(tmp_path, "environments: [{name: only}]"), "").environment == "only"


@pytest.mark.parametrize(
    ("text", "wanted", "message"),
    [
        (BASE, "prd", r"no environment named 'prd'. Did you mean prod\? Declared: dev, prod"),
        ("plugins: {}", "", r"No Meltano environment is chosen.*Declare one"),
        ("environments: [{name: a}, {name: b}]", "", r"Name one. Declared: a, b"),
        ("plugins: [", "", r"meltano.yml \(line \d\) cannot be parsed"),
        ("- a list", "", r"not a Meltano project file"),
    ],
)
def test_a_project_that_cannot_be_used_says_why(tmp_path: Path, text: str, wanted: str, message: str) -> None:
    with pytest.raises((NotFound, InvalidInput), match=message):
        read_project(write(tmp_path, text), wanted)


def test_a_folder_without_meltano_yml_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no meltano.yml in .*Check path and subdirectory"):
        read_project(tmp_path, "")


def test_a_circle_of_heirs_is_refused(tmp_path: Path) -> None:
    write(
        tmp_path,
        "environments: [{name: dev}]\nplugins: {extractors: [{name: a, inherit_from: b}, {name: b, inherit_from: a}]}",
    )
    with pytest.raises(InvalidInput, match="inherits from itself"):
        read_project(tmp_path, "").plugin("extractors", "a")
