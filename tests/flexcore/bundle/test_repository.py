"""init, upgrade and remove on a small bundle: what a team has stays, what was written goes, whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.lib.core.errors import Conflict, FlexcoreError, InvalidInput, NotFound
from flexcore.bundle import journal
from flexcore.bundle.installation import read_installed_bundle
from flexcore.bundle.manifest import MANIFEST, digest, read_manifest
from flexcore.bundle.repository import carry_out, plan_init, plan_remove, plan_upgrade
from tests.flexcore.bundle.conftest import ENTRIES, FILES, Bundles, apply, snapshot
from tests.flexcore.configuration.conftest import ROOT

TRAIN, META = "f/flexcore/ray/train.py", "f/flexcore/ray/train.script.yaml"
TEAM = {
    "f/sales/nightly.py": "def main():\n    return 1\n",
    "wmill.yaml": "# ours\nincludes:\n  - f/sales/**\nnonDottedPaths: true\n",
    "wmill-lock.yaml": "version: v2\nlocks:\n  f/sales/nightly: 0a\n",
}


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def test_an_empty_repository_gets_the_bundle_and_loses_it_without_a_trace(repository: Path, bundle: Bundles) -> None:
    apply(repository, plan_init(repository, bundle()))
    assert {path: (repository / path).read_text() for path in FILES} == FILES
    assert yaml.safe_load((repository / "wmill-lock.yaml").read_text())["locks"] == ENTRIES
    assert not plan_init(repository, bundle()).contents and not plan_upgrade(repository, bundle()).contents
    apply(repository, plan_remove(repository))
    assert list(repository.iterdir()) == []


def test_a_teams_repository_is_after_init_and_remove_what_it_was(repository: Path, bundle: Bundles) -> None:
    write(repository, TEAM)
    before = snapshot(repository)
    change = apply(repository, plan_init(repository, bundle()))
    assert "+  - f/flexcore/**" in change.settings_diff and "+dedupeLockfiles: true" in change.settings_diff
    locks = yaml.safe_load((repository / "wmill-lock.yaml").read_text())["locks"]
    assert locks == {**ENTRIES, "f/sales/nightly": "0a"}
    apply(repository, plan_remove(repository))
    assert snapshot(repository) == before


def test_an_upgrade_replaces_adds_and_removes_what_the_team_has_not_changed(repository: Path, bundle: Bundles) -> None:
    apply(repository, plan_init(repository, bundle()))
    (repository / TRAIN).write_bytes((repository / TRAIN).read_bytes().replace(b"\n", b"\r\n"))
    new = bundle("1.1.0", files={TRAIN: "def main():\n    return 2\n", META: None, "f/flexcore/new.py": "n = 1\n"})
    change = apply(repository, plan_upgrade(repository, new))
    assert change.spared == () and change.deleted == [META]
    assert (repository / TRAIN).read_text() == "def main():\n    return 2\n"
    assert (repository / "f/flexcore/new.py").is_file() and not (repository / META).exists()
    manifest = read_manifest(repository)
    assert manifest and manifest.version == "1.1.0" and META not in manifest.files
    assert not plan_upgrade(repository, new).contents


def test_an_upgrade_names_and_spares_what_the_team_has_changed(repository: Path, bundle: Bundles) -> None:
    apply(repository, plan_init(repository, bundle()))
    write(repository, {TRAIN: "mine\n", META: "mine\n", "locks/flexcore_base.requirements.in.lock": "mine\n"})
    (repository / "c_ray_cluster.resource-type.yaml").unlink()
    write(repository, {"f/flexcore/new.py": "mine\n"})
    before = snapshot(repository)
    new = bundle("1.1.0", files={TRAIN: "new\n", META: None, "f/flexcore/new.py": "new\n"})
    change = apply(repository, plan_upgrade(repository, new))
    assert {item.path: (item.reason.split(",")[0], item.has_new_version) for item in change.spared} == {
        TRAIN: ("changed here", True),
        META: ("changed here", False),
        "locks/flexcore_base.requirements.in.lock": ("changed here", False),
        "c_ray_cluster.resource-type.yaml": ("deleted here", False),
        "f/flexcore/new.py": ("stood here before the bundle had it", True),
    }
    after = snapshot(repository)
    assert {path: after[path] for path in before if path != MANIFEST} == {
        path: text for path, text in before.items() if path != MANIFEST
    }
    again = plan_upgrade(repository, new)
    assert not again.contents and TRAIN in {item.path for item in again.spared}
    apply(repository, plan_remove(repository))
    left = {path for path in snapshot(repository) if path.startswith(("f/", "locks/", "c_", "dependencies/"))}
    assert left == {TRAIN, META, "locks/flexcore_base.requirements.in.lock", "f/flexcore/new.py"}


def test_a_bundle_copied_by_hand_is_taken_over_when_it_is_the_same(repository: Path, bundle: Bundles) -> None:
    write(repository, FILES)
    change = apply(repository, plan_init(repository, bundle()))
    assert not set(change.contents) & set(FILES)
    manifest = read_manifest(repository)
    assert manifest and manifest.files.keys() == FILES.keys()


def by_hand(root: Path, bundle: Bundles) -> None:
    write(root, {TRAIN: "another version\n"})


def in_another_version(root: Path, bundle: Bundles) -> None:
    apply(root, plan_init(root, bundle("0.9.0", files={TRAIN: "old\n"})))


def linked(root: Path, bundle: Bundles) -> None:
    (root / "f").mkdir()
    (root / "elsewhere").mkdir()
    (root / "f/flexcore").symlink_to(root / "elsewhere")


def taken_by_a_folder(root: Path, bundle: Bundles) -> None:
    (root / TRAIN).mkdir(parents=True)


def under_a_file(root: Path, bundle: Bundles) -> None:
    write(root, {"f": "no folder\n"})


def excluded(root: Path, bundle: Bundles) -> None:
    write(root, {"wmill.yaml": "excludes: [f/flexcore/**]\n"})


def with_old_locks(root: Path, bundle: Bundles) -> None:
    write(root, {"wmill-lock.yaml": "locks: {}\n"})


def without_text(root: Path, bundle: Bundles) -> None:
    (root / "wmill.yaml").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (by_hand, f"by hand or in another version.*{TRAIN} differ from 1.0.0.*Move them"),
        (in_another_version, "in version 0.9.0; this flexcore has 1.0.0.*flexcore upgrade"),
        (linked, "f/flexcore is a symbolic link"),
        (taken_by_a_folder, "by hand or in another version"),
        (under_a_file, "f is a file, and the bundle needs a folder there"),
        (excluded, "excludes or extraIncludes"),
        (with_old_locks, "not a lock file of version v2"),
        (without_text, "wmill.yaml is not UTF-8"),
    ],
)
def test_init_where_something_stands_in_the_way_says_so_and_writes_nothing(
    repository: Path, bundle: Bundles, prepare: Callable[[Path, Bundles], None], words: str
) -> None:
    prepare(repository, bundle)
    before = snapshot(repository)
    with pytest.raises(FlexcoreError, match=f"(?s){words}"):
        plan_init(repository, bundle())
    assert snapshot(repository) == before


def test_an_upgrade_over_a_newer_version_is_refused(repository: Path, bundle: Bundles) -> None:
    apply(repository, plan_init(repository, bundle("1.10.0")))
    with pytest.raises(InvalidInput, match=r"1\.10\.0, newer than this flexcore \(1\.9\.0\)"):
        plan_upgrade(repository, bundle("1.9.0"))


def test_commands_without_an_init_or_in_the_bundles_own_repository_are_refused(
    repository: Path, bundle: Bundles
) -> None:
    for plan in (plan_remove, lambda root: plan_upgrade(root, bundle())):
        with pytest.raises(NotFound, match="Run `flexcore init`"):
            plan(repository)
    (repository.parent / "installed").mkdir()
    with pytest.raises(InvalidInput, match="the bundle's own repository"):
        plan_init(repository.parent / "installed", bundle())


@pytest.mark.parametrize(
    "text",
    [
        "<<<<<<< HEAD\nversion: 1\n=======\n",
        "version: 1.0.0\nformat: 1\n",
        "- a\n",
        "version: 1.0.0\nformat: 9\nfiles: {}\n",
        "version: 1.0.0\nformat: 1\nfiles: {../x: a}\nsettings: {created: '', changes: []}\n",
    ],
)
def test_a_damaged_manifest_is_refused(repository: Path, text: str) -> None:
    write(repository, {MANIFEST: text})
    with pytest.raises(InvalidInput, match=MANIFEST):
        plan_remove(repository)


# Killed in the middle


def kill_at(count: int, action: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Runs the action in a process that kills itself before its `count`th change of the disk; whether it was killed."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)
    left = [count]

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    for name in ("replace", "unlink", "mkdir", "rmdir"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    monkeypatch.setattr(journal, "_write_durably", counted(journal._write_durably))
    try:
        action()
    finally:
        os._exit(0)


@pytest.mark.parametrize("command", ["init", "upgrade", "remove"])
def test_a_command_killed_at_any_moment_goes_on_or_has_done_nothing(
    tmp_path: Path, bundle: Bundles, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    new = bundle("1.1.0", files={TRAIN: "new\n", META: None, "f/flexcore/new.py": "n\n"})
    plans = {
        "init": lambda root: plan_init(root, bundle()),
        "upgrade": lambda root: plan_upgrade(root, new),
        "remove": plan_remove,
    }
    ends: set[str] = set()
    for count in range(200):
        root = tmp_path / f"{command}{count}"
        root.mkdir()
        write(root, TEAM)
        if command != "init":
            apply(root, plan_init(root, bundle()))
            write(root, {"f/flexcore/folder.meta.yaml": "mine\n"})
        before, change = snapshot(root), plans[command](root)
        expected = before | {path: text for path, text in change.contents.items() if text is not None}
        expected = {path: text for path, text in expected.items() if path not in change.deleted}
        killed = kill_at(count, lambda root=root, change=change: carry_out(root, change), monkeypatch)  # type: ignore[misc]
        kill_at(3, lambda root=root: journal.resume(root), monkeypatch)  # type: ignore[misc]
        resumed = journal.resume(root)
        after = snapshot(root)
        if resumed or not killed:
            assert after == expected
        assert after in (before, expected), f"killed before change {count}"
        assert not (root / ".flexcore").exists()
        ends.add("before" if after == before else "after")
        if not killed:
            break
    else:
        raise AssertionError("it never ended")
    assert ends == {"before", "after"}


def test_what_is_edited_between_a_kill_and_the_resume_stays(
    repository: Path, bundle: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(repository, plan_init(repository, bundle()))
    new = bundle("1.1.0", files={TRAIN: "new\n", META: "new\n"})
    change = plan_upgrade(repository, new)
    moments = iter(range(100))
    while not journal.is_half_done(repository):
        kill_at(next(moments), lambda: carry_out(repository, change), monkeypatch)
    write(repository, {META: "edited\n"})
    resumed = journal.resume(repository)
    assert resumed and resumed.edited == (META,) and (repository / META).read_text() == "edited\n"
    assert (repository / TRAIN).read_text() == "new\n"
    assert [item.path for item in plan_upgrade(repository, new).spared] == [META]


def test_two_commands_do_not_change_one_repository_at_once(repository: Path) -> None:
    with (
        journal.lock_repository(repository),
        pytest.raises(Conflict, match="Another flexcore command"),
        journal.lock_repository(repository),
    ):
        pass


@pytest.mark.slow
def test_the_command_itself_killed_while_it_writes_is_ended_by_the_next_one(tmp_path: Path) -> None:
    root = tmp_path / "team"
    root.mkdir()
    command = [sys.executable, "-m", "flexcore", "init", "--yes", "--root", str(root)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, env=env, cwd=tmp_path, stderr=subprocess.PIPE)
    while first.poll() is None and not (root / ".flexcore/change").is_dir():
        pass
    first.kill()
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    done = subprocess.run(command, env=env, cwd=tmp_path, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(root)
    assert manifest and all(digest((root / path).read_bytes()) == value for path, value in manifest.files.items())
    assert not (root / ".flexcore").exists()


def test_what_python_and_the_cli_leave_in_a_folder_is_no_part_of_the_bundle_and_goes_with_it(
    repository: Path, bundle: Bundles
) -> None:
    apply(repository, plan_init(repository, bundle()))
    left = {"f/flexcore/ray/__pycache__/train.pyc": "x", "f/flexcore/ray/node_modules/react/index.js": "x"}
    write(repository, left)
    assert {*read_installed_bundle(repository).files} == {*FILES}
    apply(repository, plan_remove(repository))
    assert list(repository.iterdir()) == []
