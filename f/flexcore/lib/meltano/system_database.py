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
from contextlib import closing
from pathlib import Path

from f.flexcore.lib.core import errors
from f.flexcore.lib.meltano import installation

# An empty database is copied under the lock.
LOCK_TIMEOUT_S = 30
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


def has_tables(path: Path) -> bool:
    """False also for what a first run that was killed has left: tables, but no word of their version, and no data."""
    if not path.exists():
        return False
    with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as database:
        try:
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
    done = subprocess.run(
        [str(python), "-I", "-c", MAKE, str(path)],
        env=installation.base_environment(),
        capture_output=True,
        text=True,
        timeout=MAKE_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise errors.ExecutionFailed(
            f"Meltano cannot make a system database: {last[:300]}",
            subject="meltano",
            remedy=f"Remove {python.parents[3]} on the worker: the next run installs Meltano anew.",
            log_tail=done.stderr[-2000:],
        )
