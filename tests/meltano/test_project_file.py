"""Names that a project's files declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from f.flexcore.lib.core.errors import InvalidInput, NotFound
from f.flexcore.lib.meltano.project_file import ProjectFile, read_project

BASE = """
environments: [{name: dev}, {name: prod, state_id_suffix: eu}]
default_environment: dev
plugins:
  extractors:
  - {name: tap-a, namespace: tap_a, pip_url: tap-a==1, settings: [{name: url}], config: {url: x, auth: {user: u}}}
  - {name: tap-b, inherit_from: tap-a, config: {url: y}}
  - {name: tap-c, inherit_from: tap-a, pip_url: tap-a==2}
  mappers:
  - {name: map-a, namespace: map_a, mappings: [{name: hide}, {name: hash}]}
"""


def write(root: Path, text: str = BASE, name: str = "meltano.yml") -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    return root


def test_a_short_name_means_the_tap_or_target_of_that_name(tmp_path: Path) -> None:
    project = read_project(write(tmp_path))
    assert project.find_name("extractors", "b") == "tap-b"
    with pytest.raises(NotFound, match="Did you mean tap-b"):
        project.find_name("extractors", "tap-bb")


def test_included_files_are_part_of_the_project(tmp_path: Path) -> None:
    write(tmp_path, f"include_paths: ['parts/*.yml']\n{BASE}")
    write(tmp_path, "plugins: {extractors: [{name: tap-d, namespace: tap_d}]}", "parts/more.yml")
    project = read_project(tmp_path)
    assert project.names("extractors") == ["tap-a", "tap-b", "tap-c", "tap-d"]
    assert [path.name for path in project.files] == ["meltano.yml", "more.yml"]


def test_an_unknown_tap_gets_the_nearest_name_and_all_declared_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no tap named 'tap-aa'. Did you mean tap-a\? Declared: tap-a, tap-b, tap-c"):
        read_project(write(tmp_path)).find_name("extractors", "tap-aa")


def test_an_unknown_mapping_gets_those_that_are_declared(tmp_path: Path) -> None:
    project = read_project(write(tmp_path))
    project.check_mapping("hash")
    with pytest.raises(NotFound, match=r"no mapping named 'hid'. Declared: hide, hash"):
        project.check_mapping("hid")
    with pytest.raises(NotFound, match=r"It declares no mapping at all"):
        ProjectFile(tmp_path, {}).check_mapping("hid")


def test_an_unknown_environment_gets_the_nearest_name_and_all_declared_ones(tmp_path: Path) -> None:
    project = read_project(write(tmp_path))
    project.check_environment("prod")
    with pytest.raises(NotFound, match=r"no environment named 'prd'. Did you mean prod\? Declared: dev, prod"):
        project.check_environment("prd")


def test_names_are_read_whatever_the_values_are(tmp_path: Path) -> None:
    """Tags and odd dates are for Meltano to judge; `on` is a name there, since it reads YAML 1.2."""
    write(tmp_path, "x: !secret abc\ny: 2024-02-31\nplugins: {extractors: [{name: on}, {name: 7, z: [!f {a: 1}]}]}")
    assert read_project(tmp_path).names("extractors") == ["on", "7"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plugins: [", r"meltano.yml \(line \d\) cannot be parsed"),
        ("- a list", r"not a Meltano project file"),
    ],
)
def test_a_project_that_cannot_be_read_says_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_project(write(tmp_path, text))


def test_a_folder_without_meltano_yml_is_not_a_project(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no meltano.yml in .*Check path and subdirectory"):
        read_project(tmp_path)
