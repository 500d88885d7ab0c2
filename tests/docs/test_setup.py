"""What a person with Python and make alone can do after `make setup`: no uv on PATH."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import ROOT

LAUNCHER = ROOT / "bin/flexcore"
# All that the launcher asks of the machine.
PROGRAMS = ("sh", "dirname", "readlink")


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has no uv, no node and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in PROGRAMS:
        (folder / program).symlink_to(str(shutil.which(program)))
    assert shutil.which("uv", path=str(folder)) is None
    return {"PATH": str(folder), "HOME": str(tmp_path), "FLEXCORE_HOME": str(tmp_path / "home")}


def test_the_launcher_runs_from_any_folder_without_uv_on_the_path(bare: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run([LAUNCHER, "--version"], cwd=tmp_path, env=bare, capture_output=True, text=True)
    assert re.match(r"flexcore \d+\.\d+", done.stdout), done.stderr


def test_the_launcher_finds_the_projects_own_programs(bare: dict[str, str], tmp_path: Path) -> None:
    link = tmp_path / "flexcore"
    link.symlink_to(LAUNCHER)
    listed = subprocess.run(
        [link, "workflow", "list", "--root", ROOT, "--server", "embedded"], env=bare, capture_output=True, text=True
    )
    assert listed.returncode == 0 and "f/flexcore/hybrid_pipeline" in listed.stdout, listed.stderr


def test_without_an_environment_the_launcher_says_what_to_do(bare: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "checkout/bin").mkdir(parents=True)
    copy = Path(shutil.copy(LAUNCHER, tmp_path / "checkout/bin"))
    done = subprocess.run([copy, "check"], env=bare, capture_output=True, text=True)
    assert done.returncode == 2 and "make setup" in done.stderr and str(tmp_path / "checkout") in done.stderr


def test_make_alone_prints_every_target_that_is_meant_for_people() -> None:
    done = subprocess.run(["make"], cwd=ROOT, env=os.environ | {"MAKEFLAGS": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    phony = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
    listed = re.findall(r"^  make (\w+)", done.stdout, re.MULTILINE)
    assert set(listed) == set(phony) - {"python"}


def test_the_hooks_use_what_make_setup_installs() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = {hook["id"]: hook for hook in local["hooks"]}
    assert set(hooks) == {"ruff-check", "ruff-format", "wmill-lock", "flexcore-check"}
    for hook in hooks.values():
        words = hook["entry"].split()
        path = words[1].removeprefix("PATH=") if words[0] == "env" else ""
        program = shutil.which(words[2], path=path) if path else ROOT / words[0]
        assert hook["language"] == "system" and program and (ROOT / program).exists(), hook
