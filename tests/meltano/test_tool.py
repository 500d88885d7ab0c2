"""Environments of Meltano and its plugins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from f.flexcore.lib.core.errors import ExecutionFailed, Unavailable
from f.flexcore.lib.core.redaction import Redactor
from f.flexcore.lib.meltano import (
    installation as tool,
)
from f.flexcore.lib.meltano.plugin_environments import digest_local_files, is_usable

WORKER = {
    "PATH": "/bin",
    "HOME": "/h",
    "HTTPS_PROXY": "http://proxy",
    "PYTHONPATH": "/worker",
    "PYTHONHOME": "/worker",
    "VIRTUAL_ENV": "/worker",
    "WM_TOKEN": "t",
    "AWS_SECRET_ACCESS_KEY": "s",
    "UV_INDEX_URL": "http://index",
    "UV_PROJECT_ENVIRONMENT": "/worker",
    "PIP_CERT": "/cert",
}


def test_plugins_see_what_a_program_needs_and_nothing_of_the_worker() -> None:
    assert tool.base_environment(WORKER) == {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "HOME": "/h",
        "HTTPS_PROXY": "http://proxy",
    }


def test_an_installation_also_sees_the_machines_package_settings(tmp_path: Path) -> None:
    env = tool.installer_environment({**WORKER, "XDG_CONFIG_HOME": str(tmp_path)})
    assert env["UV_INDEX_URL"] == "http://index" and env["PIP_CERT"] == "/cert"
    assert not {"PYTHONPATH", "WM_TOKEN", "UV_PROJECT_ENVIRONMENT"} & set(env)
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").touch()
    own = tool.installer_environment({**WORKER, "XDG_CONFIG_HOME": str(tmp_path)})
    assert own["UV_CONFIG_FILE"] == str(tmp_path / "uv" / "uv.toml")


def test_a_failed_installation_tells_the_cause_without_secrets() -> None:
    said = "echo 'error: No solution'; echo '  cause: Because tap-x==9 does not exist hunter2-secret'; exit 1"
    with pytest.raises(ExecutionFailed, match=r"tap-x cannot be installed: cause: Because tap-x==9 does not") as caught:
        tool.run_installer(["sh", "-c", said], {"PATH": os.environ["PATH"]}, "tap-x", Redactor(["hunter2-secret"]))
    assert caught.value.category == "install_failed"
    assert "hunter2" not in str(caught.value) + str(caught.value.details)


def test_a_lock_that_another_holds_is_waited_for_and_then_an_error(tmp_path: Path) -> None:
    with tool.hold_lock(tmp_path / "a", 1), pytest.raises(Unavailable, match="Another run holds the lock a"):
        tool.hold_lock(tmp_path / "a", 0.2).__enter__()
    with tool.hold_lock(tmp_path / "a", 0.2):
        pass


def test_old_locks_are_swept_and_young_ones_stay(tmp_path: Path) -> None:
    for name, age in (("old", 1000), ("young", 0)):
        (tmp_path / name).touch()
        stamp = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (stamp, stamp))
    tool.remove_older_files(tmp_path, 500)
    assert [path.name for path in tmp_path.iterdir()] == ["young"]


def test_the_folder_of_a_dead_attempt_goes_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    work, locks = tmp_path / "work", tmp_path / "locks"
    for name in ("fc-dead-1", "fc-alive-2"):
        (work / name / "system").mkdir(parents=True)
    with tool.hold_lock(locks / "fc-alive", 1):
        tool.remove_dead_attempts(work, locks)
    assert [path.name for path in work.iterdir()] == ["fc-alive-2"]


def test_a_local_plugin_is_another_one_when_its_code_changes(tmp_path: Path) -> None:
    (tmp_path / "tap" / "build").mkdir(parents=True)
    (tmp_path / "tap" / "tap.py").write_text("1")
    first = digest_local_files(tmp_path, ["-e", "./tap"])
    (tmp_path / "tap" / "build" / "tap.py").write_text("made by the installation")
    assert digest_local_files(tmp_path, ["-e", "./tap"]) == first != ""
    (tmp_path / "tap" / "tap.py").write_text("2")
    assert digest_local_files(tmp_path, ["-e", "./tap"]) != first
    assert digest_local_files(tmp_path, ["tap-x==1", "--no-binary", "tap-x"]) == ""


def test_an_environment_whose_interpreter_has_gone_is_made_anew(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(tmp_path / "python3.11")
    (tmp_path / tool.COMPLETE).touch()
    assert not is_usable(tmp_path, tmp_path / "venv")
    (tmp_path / "python3.11").touch()
    assert is_usable(tmp_path, tmp_path / "venv")
