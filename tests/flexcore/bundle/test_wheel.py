"""The wheel in an empty environment, outside the checkout: it finds the bundle that it carries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from flexcore.bundle.installation import read_installed_bundle
from tests.flexcore.configuration.conftest import ROOT

pytestmark = pytest.mark.slow
BUNDLE = "flexcore/_bundle/"
UV = shutil.which("uv") or "uv"


def uv(*arguments: str, cwd: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run([UV, *arguments], cwd=cwd, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What the tests' own environment has on its path is what a stranger's lacks."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "FLEXCORE_HOME": str(cwd / "home")}
    return subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--quiet", "--out-dir", str(folder), str(ROOT), cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def flexcore(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command, installed with its own requirements alone."""
    folder = tmp_path_factory.mktemp("environment")
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    (folder / "pins.txt").write_text("\n".join(pins))
    python = f"{folder}/venv/bin/python"
    uv("venv", "--quiet", "--python", sys.executable, f"{folder}/venv", cwd=folder)
    requirements = ["--constraint", str(folder / "pins.txt"), str(wheel)]
    uv("pip", "install", "--quiet", "--python", python, *requirements, cwd=folder)
    return f"{folder}/venv/bin/flexcore"


def test_the_wheel_carries_the_built_page_and_no_package_of_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        carried = {name for name in archive.namelist() if name.startswith("flexcore/panel/static/")}
        assert not [name for name in archive.namelist() if "node_modules" in name]
    built = {f"flexcore/panel/static/{file.name}" for file in (ROOT / "flexcore/panel/static").iterdir()}
    assert carried == built and "flexcore/panel/static/index.html" in carried


def test_the_wheel_carries_every_file_of_the_bundle_and_nothing_of_this_machine(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        carried = {name.removeprefix(BUNDLE): archive.read(name) for name in archive.namelist() if BUNDLE in name}
    installed = read_installed_bundle(ROOT).files
    assert {path: carried[path] for path in installed} == installed
    others = carried.keys() - installed.keys()
    assert {"wmill.yaml", "wmill-lock.yaml", "resources/meltano_sample/meltano.yml"} <= others
    assert all(name.startswith(("resources/meltano_sample/", "resources/samples/", "wmill")) for name in others)


def test_check_and_init_work_outside_the_checkout(flexcore: str, tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    done = run(flexcore, "init", "--yes", "--root", "team", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    installed = read_installed_bundle(ROOT).files
    assert {path: (tmp_path / "team" / path).read_bytes() for path in installed} == installed
    done = run(flexcore, "check", "--root", "team", cwd=tmp_path)
    assert done.returncode == 0 and "Found 0 errors" in done.stdout, done.stdout
    (tmp_path / "team/f/flexcore/data_pipeline__flow/flow.yaml").write_text("summary: no steps\n")
    assert run(flexcore, "check", "--root", "team", cwd=tmp_path).returncode == 1


def test_a_run_without_a_bundle_of_ones_own_takes_the_carried_one(flexcore: str, tmp_path: Path) -> None:
    done = run(flexcore, "workflow", "list", "--server", "embedded", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "f/flexcore/hybrid_pipeline" in done.stdout and BUNDLE.rstrip("/") in done.stderr
