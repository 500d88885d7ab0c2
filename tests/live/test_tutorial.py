"""The tutorial's commands, as they stand on its page, one after the other, on a copy of the checkout.

It starts a Ray head and a PostgreSQL: FLEXCORE_LIVE_UP=1. Only the ports of the page are changed to free ones, and
`make setup`, which has been done.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import ROOT, blocks
from tests.pipeline.postgres_server import PostgresServer

pytestmark = pytest.mark.skipif(not os.environ.get("FLEXCORE_LIVE_UP"), reason="FLEXCORE_LIVE_UP is not set")
TUTORIAL = ROOT / "docs/tutorial.md"
MAX_S = 15 * 60
COPIED = ("f", "u", "locks", "dependencies", "resources")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    for folder in COPIED:
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    for file in (ROOT / "wmill.yaml", ROOT / "wmill-lock.yaml", *ROOT.glob("*.resource-type.yaml")):
        shutil.copy(file, root)
    return root


def test_the_tutorial_leads_from_start_to_a_schedule_within_its_15_minutes(checkout: Path, tmp_path: Path) -> None:
    cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "home").mkdir()
    env = os.environ | {
        "HOME": str(tmp_path / "home"),
        "PATH": f"{ROOT / 'bin'}:{os.environ['PATH']}",
        "UV_CACHE_DIR": cache,
        "WMILL_CONFIG_DIR": str(tmp_path / "config"),
    }
    env.pop("FLEXCORE_HOME", None)
    began = time.monotonic()
    with PostgresServer() as database:
        database.execute("CREATE TABLE orders (id int primary key, price float)", "INSERT INTO orders VALUES (1, 2.5)")
        port = str(8800 + os.getpid() % 1000)
        texts = {"make setup\n": "", "flexcore up\n": f"flexcore up --port {port}\n", ":8080/": f":{port}/"}
        texts["port: 5432"] = f"port: {database.port}"
        script = "".join(block.text for block in blocks(TUTORIAL) if block.language == "sh")
        for before, after in texts.items():
            assert script.count(before) == 1, before
            script = script.replace(before, after)
        done = subprocess.run(
            ["bash", "-euxc", script], cwd=checkout, env=env, capture_output=True, text=True, timeout=MAX_S, check=False
        )
        subprocess.run(["flexcore", "down"], env=env, check=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert time.monotonic() - began < MAX_S
    assert "dashboard" in done.stdout and "to stop" in done.stdout
    schedule = yaml.safe_load((checkout / "f/sales/nightly.schedule.yaml").read_text())
    assert schedule["enabled"] and schedule["args"]["cluster"] == "$res:u/admin/local_ray"
    assert list((tmp_path / "home/.flexcore/store").rglob("*.parquet"))
    print(f"{time.monotonic() - began:.0f} s")
