"""Projects from folders, repositories and texts."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.lib.core.errors import FlexcoreError, Forbidden, InvalidInput, NotFound
from f.flexcore.lib.core.resources import MeltanoProject
from f.flexcore.lib.meltano.sources import ASKPASS, Source, explain_git_error, open_project

ENV = {"WM_WORKSPACE": "dev"}


def source(**fields: Any) -> Source:
    return open_project(MeltanoProject(**fields), ENV)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "repository"
    (place / "etl").mkdir(parents=True)
    git(place, "init", "--quiet", "--initial-branch", "main")
    for version in ("first", "second"):
        (place / "etl" / "meltano.yml").write_text(f"project_id: {version}\n")
        git(place, "add", ".")
        git(place, "commit", "--quiet", "--message", version)
        git(place, "tag", version)
    return place


def test_a_folder_is_used_where_it_is(folder: Path) -> None:
    assert source(path=str(folder)).root == folder
    assert source(path=str(folder.parent), subdirectory="project").root == folder


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("ref", ["", "main", "first"])
def test_a_repository_is_checked_out_at_its_ref(repository: Path, ref: str) -> None:
    found = source(git_url=f"file://{repository}", git_ref=ref, subdirectory="etl")
    expected = "first" if ref == "first" else "second"
    assert (found.root / "meltano.yml").read_text() == f"project_id: {expected}\n"
    assert found.commit == git(repository, "rev-parse", expected)


def test_a_commit_that_was_fetched_needs_no_repository_any_more(repository: Path, home: Path) -> None:
    commit = git(repository, "rev-parse", "main")
    first = source(git_url=f"file://{repository}", git_ref=commit)
    repository.rename(repository.with_name("gone"))
    assert source(git_url=f"file://{repository}", git_ref=commit) == first


def test_a_branch_that_moved_gives_the_new_commit_and_the_same_identity(repository: Path, home: Path) -> None:
    before = source(git_url=f"file://{repository}", git_ref="main")
    (repository / "new").write_text("x")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "third")
    after = source(git_url=f"file://{repository}", git_ref="main")
    assert (after.root / "new").exists() and not (before.root / "new").exists()
    assert before.commit != after.commit and before.identity == after.identity


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"git_ref": "nope"}, NotFound, r"has no ref 'nope'"),
        ({"git_ref": "--upload-pack=x"}, InvalidInput, r"git_ref: .--upload-pack=x. is an option and no ref"),
        ({"git_url": "file:///nowhere/at/all"}, NotFound, r"There is no repository at file:///nowhere"),
        ({"git_url": "https://user:hunter2@example.org/x"}, InvalidInput, r"git_url holds credentials"),
        ({"git_url": "ext::sh -c id"}, InvalidInput, r"must begin with https:// or file://"),
        ({"subdirectory": "../.."}, InvalidInput, r"subdirectory leads out"),
        ({"subdirectory": "nope"}, NotFound, r"There is no folder .*nope"),
    ],
)
def test_a_wrong_repository_is_a_typed_error(
    repository: Path, fields: dict[str, str], error: type[FlexcoreError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        source(**{"git_url": f"file://{repository}", **fields})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("fatal: Authentication failed for 'https://x/'", Forbidden),
        ("fatal: could not read Username for 'https://x': terminal prompts disabled", Forbidden),
        ("remote: Repository not found.\nfatal: repository 'https://x/' not found", NotFound),
        ("fatal: unable to access 'https://x/': Could not resolve host: x", FlexcoreError),
    ],
)
def test_gits_complaints_become_typed_errors_without_the_token(output: str, error: type[FlexcoreError]) -> None:
    found = explain_git_error(MeltanoProject(git_url="https://x", git_token="hunter2-token"), output)
    assert isinstance(found, error)


def test_the_token_reaches_git_by_its_askpass_program_alone(tmp_path: Path) -> None:
    askpass = tmp_path / "askpass"
    askpass.write_text(ASKPASS)
    askpass.chmod(0o700)
    assert "hunter2" not in ASKPASS
    for prompt, answer in (("Username for 'https://x': ", "x-access-token"), ("Password for 'https://x': ", "hunter2")):
        env = {"FLEXCORE_GIT_TOKEN": "hunter2"}
        assert (
            subprocess.run([askpass, prompt], env=env, check=True, capture_output=True, text=True).stdout
            == answer + "\n"
        )


@pytest.mark.usefixtures("home")
def test_a_text_becomes_a_project_with_an_environment() -> None:
    found = source(meltano_yml="plugins: {}")
    document = yaml.safe_load((found.root / "meltano.yml").read_text())
    assert document == {"plugins": {}, "environments": [{"name": "flexcore"}], "default_environment": "flexcore"}
    own = source(meltano_yml="environments: [{name: mine}]")
    assert (own.root / "meltano.yml").read_text() == "environments: [{name: mine}]"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("# why\nmode: on\nday: 2026-01-02\n", "# why\nmode: on\nday: 2026-01-02\n"),
        ("number: 7\nenvironments:\n", "number: 7\n"),
        ("{number: 7}", "number: 7\n"),
        ("number: 7\ndefault_environment: flexcore", "number: 7\n"),
    ],
)
def test_the_environment_is_added_and_the_text_stays_as_it_was(text: str, kept: str) -> None:
    written = (source(meltano_yml=text).root / "meltano.yml").read_text()
    assert written.startswith(kept) and written.count("environments:") == 1
    assert yaml.safe_load(written)["environments"] == [{"name": "flexcore"}]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("text", "message"), [("a: [", r"cannot be parsed \(line"), ("- a", "not a YAML mapping")])
def test_a_text_that_is_not_a_project_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        source(meltano_yml=text)


@pytest.mark.usefixtures("home")
def test_an_edited_text_keeps_its_identity_by_its_project_id() -> None:
    first, second = (source(meltano_yml=f"project_id: shop\nversion: {n}") for n in (1, 2))
    assert first.identity == second.identity and first.root != second.root
    assert source(meltano_yml="a: 1").identity != source(meltano_yml="a: 2").identity


def test_another_workspace_has_another_identity(folder: Path) -> None:
    project = MeltanoProject(path=str(folder))
    assert (
        open_project(project, {"WM_WORKSPACE": "a"}).identity != open_project(project, {"WM_WORKSPACE": "b"}).identity
    )


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"There is no folder .*nowhere"):
        source(path=str(tmp_path / "nowhere"))
