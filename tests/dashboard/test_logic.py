"""What the page of the dashboard reckons, without a browser; and its types."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.dashboard import app_page
from tests.dashboard.chromium import FOLDER

HERE = Path(__file__).parent


def run(*command: str, folder: Path = app_page.ROOT) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("name", ["logic", "store"])
def test_the_logic_of_the_page_holds(tmp_path: Path, name: str) -> None:
    bundled = app_page.bundle(HERE / f"page/{name}.test.ts", tmp_path / "logic.test.mjs", "node")
    node = shutil.which("node")
    assert node
    report = run(node, "--test", "--test-reporter=tap", str(bundled))
    assert "# fail 0" in report and "# skipped 0" in report, report[-2000:]


def test_the_app_has_no_type_error() -> None:
    run(str(FOLDER / "node_modules/.bin/tsc"), "-p", str(HERE / "tsconfig.json"))


def test_windmills_own_command_line_accepts_and_bundles_the_app(tmp_path: Path) -> None:
    app = tmp_path / "f/flexcore/dashboard__raw_app"
    shutil.copytree(app_page.APP, app, ignore=shutil.ignore_patterns("node_modules"))
    (app / "node_modules").symlink_to(app_page.PACKAGES)
    shutil.copy(app_page.ROOT / "wmill.yaml", tmp_path)
    command = [
        str(app_page.ROOT / "node_modules/.bin/wmill"),
        "--config-dir",
        str(tmp_path / "none"),
        "app",
        "lint",
        app.name,
    ]
    report = run(*command, folder=app.parent)
    assert "All checks passed" in report and "Bundle created" in report, report


def test_whoever_clicks_acts_with_own_rights() -> None:
    app = yaml.safe_load((app_page.APP / "raw_app.yaml").read_text(encoding="utf-8"))
    assert app["policy"] == {"execution_mode": "viewer"}
    for file in (app_page.APP / "backend").iterdir():
        runnable = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert runnable == {"type": "script", "path": f"f/flexcore/dashboard/{file.stem}"}
        assert (app_page.ROOT / f"{runnable['path']}.py").is_file()


def test_the_app_puts_no_text_in_as_markup_and_asks_nobody_but_windmill() -> None:
    sources = [file for file in app_page.APP.rglob("*.ts*") if "node_modules" not in file.parts]
    assert len(sources) > 30
    for file in sources:
        text = file.read_text(encoding="utf-8")
        for forbidden in (
            "dangerouslySetInnerHTML",
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "fetch(",
        ):
            assert forbidden not in text, (file.name, forbidden)
