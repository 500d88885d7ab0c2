"""What the page of the dashboard reckons, without a browser; and its types."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.dashboard import app_page
from tests.dashboard.chromium import FOLDER

HERE = Path(__file__).parent


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=app_page.ROOT, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_the_logic_of_the_page_holds(tmp_path: Path) -> None:
    bundled = app_page.bundle(HERE / "page/logic.test.ts", tmp_path / "logic.test.mjs", "node")
    node = shutil.which("node")
    assert node
    report = run(node, "--test", "--test-reporter=tap", str(bundled))
    assert "# fail 0" in report and "# skipped 0" in report, report[-2000:]


def test_the_app_has_no_type_error() -> None:
    run(str(FOLDER / "node_modules/.bin/tsc"), "-p", str(HERE / "tsconfig.json"))
