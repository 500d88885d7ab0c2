# requirements: flexcore_base
"""Meltano's system database of a project that names none: made whole before a run needs it.

Meltano makes the tables when a run starts and finds none. Of two first runs at once one then fails, and one that is
killed meanwhile leaves a file that no later run can open. So an empty database is made once with each Meltano, and a
project gets a copy of it.
Source: meltano.core.migration_service, 4.4.1.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from f.flexcore.lib.core import errors
from f.flexcore.lib.meltano import installation

# An empty database is copied under the lock.
LOCK_TIMEOUT_S = 30
# How long a statement waits for another run's.
BUSY_TIMEOUT_S = 5.0
# Meltano's imports and a dozen small migrations.
MAKE_TIMEOUT_S = 120
MAKE = (
    "import sys; from sqlalchemy import create_engine; from meltano.core.migration_service import MigrationService; "
    "MigrationService(create_engine('sqlite:///' + sys.argv[1])).upgrade(silent=True)"
)


def make_database(path: Path) -> None:
    """Makes the database at `path` unless it is there. Raises OSError when its folder cannot be written, Unavailable
    when another run holds its lock, ExecutionFailed when Meltano cannot make one."""
    if has_tables(path):
        return
    template = find_template()
    with installation.hold_lock(path.with_suffix(".lock"), LOCK_TIMEOUT_S):
        if not has_tables(path):
            part = path.with_suffix(".part")
            shutil.copyfile(template, part)
            part.replace(path)


@contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """An SQLite database that exists; changes are committed at the end. It may be in WAL mode, which knows no read-only
    access, so it is opened for writing."""
    database = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        with database:
            yield database
    finally:
        database.close()


def copy_database(source: Path, target: Path) -> None:
    """A consistent copy, also of a database that is in use."""
    target.touch()
    with open_database(source) as old, open_database(target) as new:
        old.backup(new)


def has_tables(path: Path) -> bool:
    """False also for what a first run that was killed has left: tables, but no word of their version, and no data."""
    if not path.exists():
        return False
    try:
        with open_database(path) as database:
            return database.execute("SELECT version_num FROM alembic_version").fetchone() is not None
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return False
        raise


def find_template() -> Path:
    """An empty database with the tables of the installed Meltano, made first if need be (1 s, once per worker). Not in
    the tool's folder, which may come with the worker's image and be read-only."""
    folder = installation.folder("databases")
    template = folder / f"{installation.MELTANO_VERSION}.db"
    if not template.exists():
        python = installation.meltano_python()
        with installation.hold_lock(folder / "lock", MAKE_TIMEOUT_S):
            if not template.exists():
                part = template.with_suffix(".part")
                part.unlink(missing_ok=True)
                _let_meltano_make(part, python)
                part.replace(template)
    return template


def _let_meltano_make(path: Path, python: Path) -> None:
    command = [str(python), "-I", "-c", MAKE, str(path)]
    environment = installation.base_environment()
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=MAKE_TIMEOUT_S, check=False
        )
        code, output = done.returncode, done.stderr
    except subprocess.TimeoutExpired:
        code, output = 124, f"it did not end within {MAKE_TIMEOUT_S} s"
    if code:
        last = (output.strip().splitlines() or ["it printed nothing"])[-1]
        raise errors.ExecutionFailed(
            f"Meltano cannot make a system database: {last[:300]}",
            subject="meltano",
            remedy=f"Remove {python.parents[3]} on the worker: the next run installs Meltano anew.",
            log_tail=output[-2000:],
        )
