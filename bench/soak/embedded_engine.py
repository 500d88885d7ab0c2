"""`flexcore serve` on this bundle in a process of its own, which can be killed and comes back at its address."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx

from f.flexcore.lib.meltano.installation import MELTANO_VERSION
from flexcore.ray_head import free_ports
from tests.live.conftest import Windmill
from wmlocal.engine.engine import default_home

ROOT = Path(__file__).resolve().parents[2]
# Installed once for all tests and soaks of this checkout.
MELTANO_HOME = ROOT / ".flexcore/test-home/meltano"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


class EmbeddedEngine:
    """home: of the engine, with installed things shared; temp: where it and its steps put temporary files."""

    def __init__(self, folder: Path, retention_s: float) -> None:
        self.home, self.temp = folder / "home", folder / "temp"
        self.temp.mkdir(parents=True)
        (self.home / "meltano").mkdir(parents=True)
        (self.home / "envs").symlink_to(_made(default_home() / "envs"))
        for name in (f"tool-{MELTANO_VERSION}", "plugins", "databases"):
            (self.home / "meltano" / name).symlink_to(_made(MELTANO_HOME / name))
        self._port = free_ports(1)[0]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("WM_", "FLEXCORE_"))},
            "FLEXCORE_HOME": str(self.home),
            "FLEXCORE_RETENTION_DAYS": str(retention_s / 86400),
            # Steps get it, too: what a step leaves among temporary files is found there.
            "TMPDIR": str(self.temp),
            "WHITELIST_ENVS": "TMPDIR",
        }
        self.lives = 0
        self.start()

    @property
    def windmill(self) -> Windmill:
        return Windmill(f"http://127.0.0.1:{self._port}", (self.home / "token").read_text(), "local")

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        with (self.home / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flexcore", "serve", "--port", str(self._port)],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.lives += 1
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.home / "serve.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the engine did not start: {said}")
            time.sleep(0.1)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        self.kill()

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError, OSError):
            return bool(self.windmill.call("GET", "resources/list", timeout=5) is not None)
        return False


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
