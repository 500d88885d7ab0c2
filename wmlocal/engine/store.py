"""What the engine remembers: jobs, logs, resume messages, local resources and variables, in one SQLite file.

Several engines may share the file. Write-ahead logging without a sync for each commit keeps a write at some tens of
microseconds; a power cut may lose the last moments of a history, never its consistency. Values of secret variables are
not in the database: they live in secrets.json beside it, readable by the owner only.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from wmlocal.engine.errors import Rejected

SCHEMA = """
CREATE TABLE IF NOT EXISTS engines (id TEXT PRIMARY KEY, pid INTEGER, url TEXT, root TEXT, started REAL);
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, path TEXT, parent TEXT, root TEXT NOT NULL, innermost TEXT, step_id TEXT,
  status TEXT NOT NULL, args TEXT, result TEXT, created REAL NOT NULL, scheduled REAL, started REAL, finished REAL,
  labels TEXT, engine TEXT, flow_status TEXT, leaf_jobs TEXT, canceled_by TEXT, canceled_reason TEXT, progress INTEGER,
  definition TEXT);
CREATE INDEX IF NOT EXISTS jobs_parent ON jobs (parent);
CREATE INDEX IF NOT EXISTS jobs_root ON jobs (root);
CREATE INDEX IF NOT EXISTS jobs_created ON jobs (created);
CREATE INDEX IF NOT EXISTS jobs_status ON jobs (status);
CREATE TABLE IF NOT EXISTS logs (seq INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS logs_job ON logs (job);
CREATE TABLE IF NOT EXISTS resumes (
  job TEXT NOT NULL, resume_id INTEGER NOT NULL, flow TEXT NOT NULL, value TEXT, approver TEXT, approved INTEGER,
  created REAL, PRIMARY KEY (job, resume_id));
CREATE TABLE IF NOT EXISTS resources (path TEXT PRIMARY KEY, value TEXT, resource_type TEXT, description TEXT);
CREATE TABLE IF NOT EXISTS variables (path TEXT PRIMARY KEY, value TEXT, is_secret INTEGER, description TEXT);
CREATE TABLE IF NOT EXISTS deletions (job TEXT PRIMARY KEY, due REAL);
CREATE TABLE IF NOT EXISTS states (job TEXT, key TEXT, value TEXT, PRIMARY KEY (job, key));
"""
# About what the write-ahead log comes to by itself (1,000 pages); after a large write its file is cut to this again.
MAX_KEPT_LOG_BYTES = 4 << 20
LIVE = ("queued", "running", "suspended")
# Who a job is and how far it has come, without what it was given and what came of it.
STATUS_COLUMNS = (
    "id",
    "kind",
    "path",
    "parent",
    "root",
    "step_id",
    "status",
    "created",
    "scheduled",
    "started",
    "canceled_by",
    "canceled_reason",
)
JOB_COLUMNS = (
    "id",
    "kind",
    "path",
    "parent",
    "root",
    "innermost",
    "step_id",
    "status",
    "args",
    "result",
    "created",
    "scheduled",
    "started",
    "finished",
    "labels",
    "engine",
    "flow_status",
    "leaf_jobs",
    "canceled_by",
    "canceled_reason",
    "progress",
    "definition",
)
JSON_COLUMNS = ("args", "result", "labels", "flow_status", "leaf_jobs", "definition")

Row = dict[str, Any]


def make_private(folder: Path) -> None:
    """Makes the folder for this user alone. One that was there, made with its parents' mode, is closed to others unless
    it is theirs, or all users' like /tmp."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    if found.st_mode & 0o77 and found.st_uid == os.getuid() and not found.st_mode & stat.S_ISVTX:
        folder.chmod(0o700)


def write_private(file: Path, text: str) -> None:
    """Writes the file for this user alone, whole or not at all."""
    draft = file.with_name(f"{file.name}.new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)


class Store:
    def __init__(self, home: Path) -> None:
        make_private(home)
        self.home = home
        self._lock = threading.RLock()
        file = home / "engine.db"
        file.touch(mode=0o600)
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=30)
        self._db.row_factory = sqlite3.Row
        # Of a new file only: what pruned runs have taken can be given back. Before the mode, which writes the file.
        self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA journal_size_limit = {MAX_KEPT_LOG_BYTES}")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _write(self, statement: str, values: Iterable[Any] = ()) -> int:
        with self._lock:
            return self._db.execute(statement, tuple(values)).rowcount

    def _read(self, statement: str, values: Iterable[Any] = ()) -> list[Row]:
        with self._lock:
            return [dict(row) for row in self._db.execute(statement, tuple(values)).fetchall()]

    # Jobs

    def add_job(self, **columns: Any) -> None:
        """Raises Rejected when there is a job of that id."""
        columns.setdefault("created", time.time())
        values = [_encode(name, value) for name, value in columns.items()]
        marks = ", ".join("?" * len(values))
        try:
            self._write(f"INSERT INTO jobs ({', '.join(columns)}) VALUES ({marks})", values)  # noqa: S608 (own names)
        except sqlite3.IntegrityError:
            raise Rejected(f"Bad request: Job with id {columns['id']} already exists", 400) from None

    def update_job(self, job: str, **columns: Any) -> None:
        sets = ", ".join(f"{name} = ?" for name in columns)
        self._write(
            f"UPDATE jobs SET {sets} WHERE id = ?",  # noqa: S608 (own names)
            [*(_encode(name, value) for name, value in columns.items()), job],
        )

    def finish_job(self, job: str, status: str, result_text: str, labels: list[str] | None = None) -> None:
        """labels: of the result, beside those that the job began with."""
        text = json.dumps(list(dict.fromkeys([*self._labels_of(job), *labels]))) if labels else None
        self._write(
            "UPDATE jobs SET status = ?, result = ?, finished = ?, labels = COALESCE(?, labels) WHERE id = ?",
            [status, result_text, time.time(), text, job],
        )

    def _labels_of(self, job: str) -> list[str]:
        rows = self._read("SELECT labels FROM jobs WHERE id = ?", [job])
        return next((_decode(row)["labels"] for row in rows), None) or []

    def fail_live(self, job: str, result_text: str) -> None:
        """Ends the job as failed unless it has ended."""
        marks = ", ".join("?" * len(LIVE))
        which = f"id = ? AND status IN ({marks})"
        self._write(
            f"UPDATE jobs SET status = 'failure', result = ?, finished = ? WHERE {which}",  # noqa: S608 (own names)
            [result_text, time.time(), job, *LIVE],
        )

    def move_jobs(self, dead: str, engine: str) -> list[Row]:
        """What a dead engine has left is now this one's: of two engines that start at once, one gets it."""
        marks = ", ".join("?" * len(LIVE))
        return self._read(
            f"UPDATE jobs SET engine = ? WHERE engine = ? AND status IN ({marks})"  # noqa: S608 (own names)
            " RETURNING id, parent, root",
            [engine, dead, *LIVE],
        )

    def job(self, job: str) -> Row | None:
        rows = self._read("SELECT * FROM jobs WHERE id = ?", [job])
        return _decode(rows[0]) if rows else None

    def job_status(self, job: str) -> Row | None:
        """Like `job`, without the large columns: args, result, definition."""
        names = ", ".join(name for name in JOB_COLUMNS if name not in ("args", "result", "definition"))
        rows = self._read(f"SELECT {names} FROM jobs WHERE id = ?", [job])  # noqa: S608 (own names)
        return _decode(rows[0]) if rows else None

    def result_text(self, job: str) -> str | None:
        rows = self._read("SELECT result FROM jobs WHERE id = ?", [job])
        return rows[0]["result"] if rows else None

    def jobs(
        self,
        where: str = "1",
        values: Iterable[Any] = (),
        limit: int = 100,
        offset: int = 0,
        ascending: bool = False,
        columns: Iterable[str] = JOB_COLUMNS,
        by: Literal["created", "finished"] = "created",
    ) -> list[Row]:
        order = "ASC" if ascending else "DESC"
        rows = self._read(
            f"SELECT {', '.join(columns)} FROM jobs WHERE {where}"  # noqa: S608 (callers pass fixed text)
            f" ORDER BY {by} {order}, rowid {order} LIMIT ? OFFSET ?",
            [*values, limit, offset],
        )
        return [_decode(row) for row in rows]

    def descendants(self, job: str) -> list[str]:
        rows = self._read(
            "WITH RECURSIVE tree(id) AS"
            " (SELECT ? UNION ALL SELECT jobs.id FROM jobs JOIN tree ON jobs.parent = tree.id)"
            " SELECT id FROM tree",
            [job],
        )
        return [row["id"] for row in rows]

    def forget(self, jobs: list[str]) -> None:
        """Empties arguments, results and logs, as `delete_after_use` asks."""
        for job in jobs:
            self._write("UPDATE jobs SET args = '{}', result = '{}' WHERE id = ?", [job])
            self._write("UPDATE logs SET text = '##DELETED##' WHERE job = ?", [job])

    def forget_later(self, jobs: list[str], due: float) -> None:
        for job in jobs:
            self._write("INSERT OR REPLACE INTO deletions VALUES (?, ?)", [job, due])

    def forget_due(self) -> None:
        """Keeps the promise of `delete_after_secs`, also for runs of an engine that has ended since."""
        due = [row["job"] for row in self._read("SELECT job FROM deletions WHERE due <= ?", [time.time()])]
        self.forget(due)
        for job in due:
            self._write("DELETE FROM deletions WHERE job = ?", [job])

    def prune(self, before: float) -> None:
        """Drops finished runs that are older, and all that is kept of them; whole trees: no run loses a step.

        The file gives back what they have taken."""
        old = "SELECT id FROM jobs WHERE root IN (SELECT id FROM jobs WHERE parent IS NULL AND finished < ?)"
        with self._lock:
            for table in ("logs", "resumes", "states", "deletions"):
                self._write(f"DELETE FROM {table} WHERE job IN ({old})", [before])  # noqa: S608 (own text)
            self._write(f"DELETE FROM jobs WHERE id IN ({old})", [before])  # noqa: S608 (own text)
            # As a script: `execute` takes one step of it, which is one page.
            self._db.executescript("PRAGMA incremental_vacuum")

    # Logs

    def add_log(self, job: str, text: str) -> None:
        self._write("INSERT INTO logs (job, text) VALUES (?, ?)", [job, text])

    def logs(self, job: str) -> str:
        return "".join(row["text"] for row in self._read("SELECT text FROM logs WHERE job = ? ORDER BY seq", [job]))

    def logs_after(self, jobs: list[str], seq: int) -> list[Row]:
        marks = ", ".join("?" * len(jobs))
        return self._read(
            f"SELECT seq, job, text FROM logs WHERE seq > ? AND job IN ({marks}) ORDER BY seq",  # noqa: S608
            [seq, *jobs],
        )

    # Engines

    def add_engine(self, engine: str, url: str, root: str) -> None:
        self._write("INSERT INTO engines VALUES (?, ?, ?, ?, ?)", [engine, os.getpid(), url, root, time.time()])

    def remove_engine(self, engine: str) -> None:
        self._write("DELETE FROM engines WHERE id = ?", [engine])

    def engines(self) -> list[Row]:
        return self._read("SELECT * FROM engines ORDER BY started")

    # Suspended flows

    def add_resume(self, job: str, resume_id: int, flow: str, value: Any, approver: str | None, approved: bool) -> bool:
        """False if that very message is already there."""
        return (
            self._write(
                "INSERT OR IGNORE INTO resumes VALUES (?, ?, ?, ?, ?, ?, ?)",
                [job, resume_id, flow, json.dumps(value), approver, int(approved), time.time()],
            )
            == 1
        )

    def resumes(self, job: str, flow: str) -> list[Row]:
        rows = self._read("SELECT * FROM resumes WHERE job IN (?, ?) ORDER BY created, rowid", [job, flow])
        return [{**row, "value": json.loads(row["value"]), "approved": bool(row["approved"])} for row in rows]

    # Resources and variables set by hand or by a step

    def resource(self, path: str) -> Row | None:
        rows = self._read("SELECT * FROM resources WHERE path = ?", [path])
        return {**rows[0], "value": json.loads(rows[0]["value"])} if rows else None

    def resources(self) -> list[Row]:
        rows = self._read("SELECT * FROM resources ORDER BY path")
        return [{**row, "value": json.loads(row["value"])} for row in rows]

    def add_resource(self, path: str, value: Any, resource_type: str | None, description: str | None) -> bool:
        """False if there is one: of two that add it at once, one has."""
        return (
            self._write(
                "INSERT OR IGNORE INTO resources VALUES (?, ?, ?, ?)",
                [path, json.dumps(value), resource_type, description],
            )
            == 1
        )

    def set_resource(self, path: str, value: Any, resource_type: str | None, description: str | None) -> None:
        self._write(
            "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?)",
            [path, json.dumps(value), resource_type, description],
        )

    def delete_resource(self, path: str) -> bool:
        return self._write("DELETE FROM resources WHERE path = ?", [path]) > 0

    def variable(self, path: str) -> Row | None:
        rows = self._read("SELECT * FROM variables WHERE path = ?", [path])
        return self._with_secret(rows[0]) if rows else None

    def variables(self) -> list[Row]:
        return [self._with_secret(row) for row in self._read("SELECT * FROM variables ORDER BY path")]

    def set_variable(self, path: str, value: str, is_secret: bool, description: str | None) -> None:
        with self._lock:
            secrets = self._secrets()
            secrets.pop(path, None)
            if is_secret:
                secrets[path] = value
            self._keep_secrets(secrets)
            self._write(
                "INSERT OR REPLACE INTO variables VALUES (?, ?, ?, ?)",
                [path, None if is_secret else value, int(is_secret), description],
            )

    def delete_variable(self, path: str) -> bool:
        with self._lock:
            secrets = self._secrets()
            if secrets.pop(path, None) is not None:
                self._keep_secrets(secrets)
            return self._write("DELETE FROM variables WHERE path = ?", [path]) > 0

    def _with_secret(self, row: Row) -> Row:
        secret = bool(row["is_secret"])
        return {**row, "is_secret": secret, "value": self._secrets().get(row["path"], "") if secret else row["value"]}

    def _secrets(self) -> dict[str, str]:
        file = self.home / "secrets.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def _keep_secrets(self, secrets: dict[str, str]) -> None:
        file = self.home / "secrets.json"
        if secrets or file.exists():
            write_private(file, json.dumps(secrets))

    # Flow user states

    def state(self, job: str, key: str) -> Any:
        rows = self._read("SELECT value FROM states WHERE job = ? AND key = ?", [job, key])
        return json.loads(rows[0]["value"]) if rows else None

    def set_state(self, job: str, key: str, value: Any) -> None:
        self._write("INSERT OR REPLACE INTO states VALUES (?, ?, ?)", [job, key, json.dumps(value)])


def _encode(column: str, value: Any) -> Any:
    return json.dumps(value) if column in JSON_COLUMNS and value is not None else value


def _decode(row: Row) -> Row:
    return {
        name: json.loads(value) if name in JSON_COLUMNS and value is not None else value for name, value in row.items()
    }
