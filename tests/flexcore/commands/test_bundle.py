"""`flexcore init`, `upgrade` and `remove` as a team types them, with the bundle of this version."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from flexcore import INSTALLED_ROOT
from flexcore.bundle import journal
from flexcore.bundle.installation import read_installed_bundle
from flexcore.bundle.manifest import MANIFEST
from flexcore.commands import bundle
from flexcore.commands.bundle import find_repository
from tests.flexcore.bundle.conftest import snapshot
from tests.wmlocal.engine.conftest import Command

CHANGED = ("f/flexcore/ray/train.py", "c_ray_cluster.resource-type.yaml", "f/flexcore/data_pipeline__flow/flow.yaml")


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flexcore: Command) -> Path:
    """An empty repository, and the current folder."""
    root = tmp_path / "team"
    (root / ".git").mkdir(parents=True)
    monkeypatch.chdir(root)
    return root


@pytest.mark.slow
def test_from_an_empty_repository_to_a_first_workflow_test_are_three_commands(flexcore: Command, team: Path) -> None:
    assert flexcore("init", "--yes").returncode == 0
    assert flexcore("workflow", "create", "f/sales/nightly", "--template", "singer_extraction").returncode == 0
    args = '{"project": {"path": "/projects/sales"}, "tap": "oracle", "target": "postgres"}'
    done = flexcore("workflow", "test", "f/sales/nightly", "-p", args, "--check", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["success"] is True
    assert (team / "f/sales/nightly__flow/flow.yaml").is_file()
    installed = read_installed_bundle().files
    assert {path: (team / path).read_bytes() for path in installed} == installed
    assert flexcore("check").returncode == 0


def test_init_shows_what_it_would_do_and_changes_nothing_where_nobody_can_answer(flexcore: Command, team: Path) -> None:
    (team / "wmill.yaml").write_text("includes:\n  - f/sales/**\n")
    done = flexcore("init")
    assert done.returncode == 2 and "--yes" in done.stderr and "6 resource types" in done.stderr
    assert "+  - f/flexcore/**" in done.stdout and "+nonDottedPaths: true" in done.stdout
    assert list(snapshot(team)) == ["wmill.yaml"]


def test_an_upgrade_names_the_three_files_that_the_team_has_changed_and_where_their_new_version_is(
    flexcore: Command, team: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert flexcore("init", "--yes").returncode == 0
    assert flexcore("upgrade", "--check").returncode == 0
    for path in CHANGED:
        (team / path).write_text("mine\n")
    # As if the version that is here had been another: what it wrote is not what the bundle has now.
    manifest = (team / MANIFEST).read_text()
    older = "\n".join(
        line[:-4] + "0000" if any(line.startswith(f"  {path}:") for path in CHANGED) else line
        for line in manifest.splitlines()
    )
    (team / MANIFEST).write_text(older.replace("version: 0.1.0", "version: 0.0.9") + "\n")
    assert flexcore("upgrade", "--check").returncode == 1
    done = flexcore("upgrade", "--yes")
    assert done.returncode == 0, done.stderr
    for path in CHANGED:
        assert f"spare  {path}: changed here; see the new version with `diff -u {path} {INSTALLED_ROOT / path}`" in (
            done.stdout
        )
        assert (team / path).read_text() == "mine\n"
    assert flexcore("upgrade", "--check").returncode == 0
    shown = json.loads(flexcore("remove", "--yes", "--json").stdout)
    assert {item["path"] for item in shown["spared"]} == set(CHANGED)
    assert set(snapshot(team)) == {*CHANGED, "wmill.yaml", "wmill-lock.yaml"}


def test_a_change_that_was_cut_short_is_said_by_check_and_ended_by_the_next_command(
    flexcore: Command, team: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> tuple[str, ...]:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(journal, "_apply", stop)
        assert flexcore("init", "--yes").returncode == 130
    assert not (team / "f").exists()
    done = flexcore("upgrade", "--check")
    assert done.returncode == 1 and "cut short" in done.stderr and not (team / "f").exists()
    done = flexcore("init", "--yes")
    assert done.returncode == 0 and "A `flexcore init` was cut short here: it is ended now." in done.stderr
    assert flexcore("upgrade", "--check").returncode == 0


def test_a_file_that_is_edited_while_the_question_stands_there_is_not_overwritten(
    flexcore: Command, team: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(question: str, yes: bool) -> None:
        (team / "wmill.yaml").write_text("defaultTs: deno\n")

    monkeypatch.setattr(bundle, "confirm", edit)
    done = flexcore("init")
    assert done.returncode == 2 and "Files were changed meanwhile" in done.stderr
    assert snapshot(team) == {"wmill.yaml": b"defaultTs: deno\n"}


def test_a_repository_without_git_is_told(flexcore: Command, team: Path) -> None:
    (team / ".git").rmdir()
    done = flexcore("init", "--yes")
    assert done.returncode == 0 and "not a git repository" in done.stderr


def test_files_that_git_would_not_commit_are_told(flexcore: Command, team: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=team, check=True)
    (team / ".gitignore").write_text("*.lock\n")
    assert "git ignores 6 of these files, such as locks/flexcore_api" in flexcore("init").stderr


@pytest.mark.parametrize("arguments", [["upgrade"], ["upgrade", "--check"], ["remove"]])
def test_without_an_init_there_is_nothing_to_upgrade_or_remove(
    flexcore: Command, team: Path, arguments: list[str]
) -> None:
    done = flexcore(*arguments)
    assert done.returncode == 2 and "Run `flexcore init` there" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_repository_that_may_not_be_written_is_told(flexcore: Command, team: Path) -> None:
    team.chmod(0o555)
    done = flexcore("init", "--yes")
    team.chmod(0o755)
    assert done.returncode == 2 and "Permission denied" in done.stderr and list(snapshot(team)) == []


def test_the_repository_is_the_nearest_one_up_to_the_git_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "outer/inner"
    (inner / "below").mkdir(parents=True)
    (outer / "wmill.yaml").write_text("")
    monkeypatch.chdir(inner / "below")
    assert find_repository(Path()) == outer
    (inner / ".git").mkdir()
    assert find_repository(Path()) == inner / "below"
    (inner / MANIFEST).write_text("")
    assert find_repository(Path()) == inner
    assert find_repository(Path("..")) == inner
