"""The runs of a bundle: starts, waits for, cancels and recovers them, on a store below the engine's home.

`Engine` (engine.py) is this with a REST API on its socket, which api.py builds on what is here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import shutil
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from wmlocal.engine import memory
from wmlocal.engine.bundle import Bundle, Flow, Script
from wmlocal.engine.environments import Environments
from wmlocal.engine.errors import BadArguments, CannotStart, UnknownPath, WindmillError
from wmlocal.engine.flow import FlowRun
from wmlocal.engine.jobs import Cancel, Ended, Job
from wmlocal.engine.recovery import DIED, death_result
from wmlocal.engine.runtime import EventSink, Runtime
from wmlocal.engine.store import LIVE, Row, Store, write_private
from wmlocal.engine.unsupported import check_flow, check_script
from wmlocal.engine.variables import MASK, Variables
from wmlocal.engine.watchdog import Watchdog
from wmlocal.engine.worker import Surroundings, Task

# Steps that may run at the same time: enough for steps that only wait, bounded for those that compute.
DEFAULT_PROCESSES = max(8, 2 * (os.cpu_count() or 1))
# Finished runs are kept this many days, unless FLEXCORE_RETENTION_DAYS says otherwise.
DEFAULT_RETENTION_DAYS = 30.0
# An engine that runs for long drops old runs as well, at most this often.
MAX_PRUNE_INTERVAL_S = 3600.0
# What a token is good for: the API, as the job that it is of.
JOB_TOKEN = "job"
# In the lock of an engine whose runs are not lost with it.
TAKEN_UP_LATER = "its runs are taken up again"
TOKEN_BYTES = 32
USER, EMAIL = "local", "local@flexcore.local"
RECOVERY_HINT = "`flexcore recover` takes the run up again where it was"


@dataclass(frozen=True, slots=True)
class JobResult:
    id: str
    success: bool
    result: Any

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "success": self.success, "result": self.result}


def default_home() -> Path:
    return Path(os.environ.get("FLEXCORE_HOME") or Path.home() / ".flexcore").absolute()


class Runs:
    """`on_event` gets an `Event` for each start, end, suspension, retry and piece of log, from any thread.

    take_up: runs of this bundle whose engine died go on here at once, and those of this engine in the next such one.
    Other engines mark them as failed, unless they are to be taken up.
    on_problem: gets a sentence for each file of the bundle that cannot be read and is passed over.
    """

    def __init__(
        self,
        root: Path | str,
        home: Path | str | None = None,
        *,
        on_event: EventSink | None = None,
        workspace: str | None = None,
        processes: int | None = None,
        port: int = 0,
        take_up: bool = False,
        on_problem: Callable[[str], None] | None = None,
    ) -> None:
        memory.share_one_arena()
        self._retention_s = _read_retention() * 24 * 3600
        self.bundle = Bundle(Path(root), on_problem)
        self.home = Path(home) if home else default_home()
        self.workspace = workspace or os.environ.get("FLEXCORE_WORKSPACE") or "local"
        self.store = Store(self.home)
        self.id = secrets.token_hex(8)
        self.token = _read_token(self.home)
        self._lock_file = _engine_lock(self.home, self.id, take_up)
        self._socket = _listen(port)
        self._watchdog = Watchdog()
        self._threads: set[threading.Thread] = set()
        self._closing = False
        self._next_prune = 0.0
        self.variables = Variables(self.bundle, self.store, self.workspace)
        self.variables.secrets.add(self.token)
        count = processes or int(os.environ.get("FLEXCORE_WORKERS") or DEFAULT_PROCESSES)
        self.runtime = Runtime(self.id, self.store, self.bundle, self.variables, self._surroundings(), count, on_event)
        self.store.add_engine(self.id, self.url, str(self.bundle.root))
        self._settle_orphans(take_up)
        self.start_listening()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    # Running

    def run(self, path: str, args: dict[str, Any] | None = None) -> JobResult:
        """Runs a script or a flow to its end. Raises CannotStart if there is a reason not to begin."""
        return self.wait(self.start(path, args))

    def start(self, path: str, args: dict[str, Any] | None = None) -> Job:
        path = self.bundle.path_of(path)
        target: Script | Flow | None = self.bundle.flow(path) or self.bundle.script(path)
        if target is None:
            raise UnknownPath(
                f"no script or flow {path} in {self.bundle.root}; `ls {self.bundle.root}/f` shows what is there"
            )
        if isinstance(target, Flow):
            return self.start_flow(target, args)
        return self.start_script(target, args)

    def start_flow(
        self,
        flow: Flow,
        args: dict[str, Any] | None = None,
        *,
        preview: bool = False,
        preprocess: bool = False,
        id: str = "",
    ) -> Job:
        """A preview is a flow that is in no file: `Flow(path or "", value, {})`. preprocess: the flow's preprocessor,
        if it has one, makes the arguments of `args`. Raises Rejected when a job has that id."""
        check_flow(self.bundle, flow)
        kind = "flowpreview" if preview else "flow"
        job = Job(kind, flow.path, _arguments(args), id=id, labels=flow.labels)
        return self._begin(job, flow.value if preprocess else flow.without_preprocessor)

    def start_script(
        self,
        script: Script,
        args: dict[str, Any] | None = None,
        *,
        preview: bool = False,
        preprocess: bool = False,
        id: str = "",
    ) -> Job:
        """preprocess: the script's own `preprocessor` makes the arguments of `args`."""
        check_script(script)
        kind = "preview" if preview else "script"
        job = Job(kind, script.path or None, _arguments(args), id=id, labels=script.labels)
        job.timeout = script.timeout
        return self._begin(job, None, script, preprocess)

    def recover(self, job: str) -> Job:
        """Takes a run up again whose engine died. Raises UnknownPath for any other."""
        row = self.store.job(job)
        if row is not None and row["status"] in LIVE and not self.find_engine(row["engine"]):
            self._end_left(job, "failure", death_result("the engine ended before this job"))
            row = self.store.job(job)
        if row is None or row["parent"] or not _has_died(row):
            raise UnknownPath(f"{job} is not a run whose engine died; only such a run can be taken up again")
        begin = self._way_to_take_up(row)
        for other in self.store.jobs("root = ?", [job], limit=1_000_000, columns=["id", "result"]):
            if _has_died(other):
                self.store.update_job(other["id"], status="queued", result=None, finished=None, engine=self.id)
        return begin()

    def _way_to_take_up(self, row: Row) -> Callable[[], Job]:
        """Raises CannotStart when the run's definition or arguments are not known any more."""
        path, why = row["path"] or "", ""
        flow = Flow(path, row["definition"], {}) if row["definition"] else None
        script = self.bundle.script(path) if row["kind"] == "script" else None
        if MASK in json.dumps([row["args"], row["definition"]]):
            why = "its arguments held a secret, which is not kept"
        elif flow is None and script is None:
            why = "what it ran is not there any more"
        elif script is not None and "def preprocessor(" in script.content:
            why = "it answered a request over HTTP, whose caller is gone"
        if why:
            raise UnknownPath(f"the run {row['id']} cannot be taken up again: {why}; start a new one")

        def begin() -> Job:
            self.runtime.recovered.load(row["id"])
            job = Job(row["kind"], row["path"], row["args"], id=row["id"])
            if script is not None:
                job.timeout = script.timeout
            return self._begin(job, flow.value if flow else None, script)

        return begin

    def _begin(
        self, job: Job, value: dict[str, Any] | None, script: Script | None = None, preprocess: bool = False
    ) -> Job:
        self.runtime.add(job, value)
        thread = threading.Thread(target=self._execute, args=(job, value, script, preprocess), daemon=True)
        self._threads.add(thread)
        thread.start()
        return job

    def _execute(self, job: Job, value: dict[str, Any] | None, script: Script | None, preprocess: bool) -> None:
        try:
            job.ended = self._to_its_end(job, value, script, preprocess)
        except Exception as error:  # a fault of the engine itself must not leave the job running for ever
            reason = WindmillError(f"the engine failed: {type(error).__name__}: {error}", "InternalErr")
            self.runtime.add_log(job, traceback.format_exc())
            job.ended = self.runtime.fail_unstarted(job, reason.as_result())
        finally:
            job.done.set()
            shutil.rmtree(self.home / "shared" / job.id, ignore_errors=True)
            self._prune_when_due()
            # The last thing: until then `close` waits for it.
            self._threads.discard(threading.current_thread())

    def _prune_when_due(self) -> None:
        """Drops runs that are kept no longer. At the end of a run: an engine without runs has nothing more to drop."""
        if time.time() < self._next_prune:
            return
        self._next_prune = time.time() + min(MAX_PRUNE_INTERVAL_S, self._retention_s / 10)
        self.store.prune(time.time() - self._retention_s)
        memory.return_freed_memory()

    def _to_its_end(self, job: Job, value: dict[str, Any] | None, script: Script | None, preprocess: bool) -> Ended:
        if value is not None:
            self.runtime.start(job)
            return FlowRun(self.runtime, job, value).run()
        assert script is not None
        task = Task(job, script.content, script.lock, script.envs, script.hash, preprocess)
        return self.runtime.run_leaf(job, task)

    def wait(self, job: Job) -> JobResult:
        """A short wait in a loop, since a signal handler of Python only runs between two of them."""
        while not job.done.wait(1):
            pass
        assert job.ended is not None
        return JobResult(job.id, job.ended.counts_as_success, job.ended.result)

    def cancel(self, job: str, reason: str = "no reason given", by: str = USER) -> bool:
        """Cancels the job and all below it; False if it is not live in this engine."""
        live = self.runtime.live.get(job)
        if live:
            # Written down first: a run that is taken up again stays cancelled.
            self.store.update_job(job, canceled_by=by, canceled_reason=reason)
            live.cancel.request(by, reason)
        return live is not None

    def cancel_left(self, root: str, reason: str, by: str = USER) -> None:
        """Ends a run whose engine is dead, with all below it."""
        cancel = Cancel()
        cancel.request(by, reason)
        self._end_left(root, "canceled", {"error": cancel.as_error()}, canceled_by=by, canceled_reason=reason)

    def _end_left(self, root: str, status: str, result: dict[str, Any], **more: str) -> None:
        for row in self.store.jobs("root = ?", [root], limit=1_000_000, columns=["id", "status"]):
            if row["status"] in LIVE:
                self._remove_folder(row["id"])
                ended = {"status": status, "finished": time.time(), "result": result, "engine": self.id}
                self.store.update_job(row["id"], **ended, **more)

    def _remove_folder(self, job: str) -> None:
        """What a step of a dead engine has left."""
        shutil.rmtree(self.home / "jobs" / job, ignore_errors=True)

    def find_engine(self, id: str) -> Row | None:
        """A live engine of this home; None when it has ended."""
        return next((engine for engine in list_engines(self.store) if engine["id"] == id), None)

    def cancel_all(self, reason: str) -> None:
        for job in list(self.runtime.live.values()):
            if job.parent is None:
                self.cancel(job.id, reason)

    # Closing

    def start_listening(self) -> None:
        """Called once all is open; nothing listens on the socket here."""

    def stop_listening(self) -> None:
        """Called before the store is closed."""

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self.cancel_all("the engine stops")
        for thread in list(self._threads):
            thread.join()
        self.stop_listening()
        self._socket.close()
        self._watchdog.close()
        self.store.remove_engine(self.id)
        self.store.close()
        self._lock_file.close()
        with contextlib.suppress(OSError):
            Path(self._lock_file.name).unlink()

    def token_for(self, job: Job) -> str:
        """A token of its own for each job, which the API can check without a list."""
        return f"{job.id}.{self.sign(JOB_TOKEN, job.id)}"

    def sign(self, purpose: str, text: str = "") -> str:
        return sign(self.token, purpose, text)

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            home=self.home,
            root=self.bundle.root,
            workspace=self.workspace,
            user=USER,
            email=EMAIL,
            environments=Environments(self.home, self._watchdog),
            watchdog=self._watchdog,
            base_url=lambda: self.url,
            token_for=self.token_for,
            resolve=self.variables.resolve,
            mask=self.variables.secrets.mask,
            add_log=lambda job, text: self.runtime.add_log(job, text),
            read_logs=lambda job: self.store.logs(job.id),
            module_source=self._module_source,
        )

    def _module_source(self, module: str) -> str | None:
        return self.bundle.source(module.replace(".", "/"))

    def _settle_orphans(self, take_up: bool) -> None:
        """Jobs of an engine that died without a word are taken up again, or told so."""
        for engine in self.store.engines():
            lock = _lock_path(self.home, engine["id"])
            ours = take_up and engine["root"] == str(self.bundle.root)
            if not _is_free(lock) or (not ours and _is_taken_up_later(lock)):
                continue
            lock.unlink(missing_ok=True)
            left = self.store.move_jobs(engine["id"], self.id)
            self.store.remove_engine(engine["id"])
            for job in left:
                self._remove_folder(job["id"])
            next_actions = {job["root"]: RECOVERY_HINT for job in left}
            for root in [job["id"] for job in left if ours and job["parent"] is None]:
                try:
                    self._way_to_take_up(self.store.job(root) or {})()
                    del next_actions[root]
                except CannotStart as error:
                    next_actions[root] = str(error)
            for job in left:
                if job["root"] in next_actions:
                    message = f"the engine (process {engine['pid']}) ended before this job; {next_actions[job['root']]}"
                    self.store.fail_live(job["id"], json.dumps(death_result(message)))
        self.store.forget_due()
        self._prune_when_due()


def list_engines(store: Store) -> list[Row]:
    """Those that live; the port of a dead one may be anyone's by now."""
    return [engine for engine in store.engines() if not _is_free(_lock_path(store.home, engine["id"]))]


def sign(token: str, purpose: str, text: str = "") -> str:
    """A signature that only the engines of this token's folder can make. One for a purpose is good for no other."""
    return hmac.new(token.encode(), f"{purpose}\n{text}".encode(), hashlib.sha256).hexdigest()


def _has_died(row: Row) -> bool:
    error = row["result"].get("error") if isinstance(row["result"], dict) else None
    return isinstance(error, dict) and error.get("name") == DIED


def _read_retention() -> float:
    """In days. Raises BadArguments for what is no number above zero."""
    given = os.environ.get("FLEXCORE_RETENTION_DAYS") or str(DEFAULT_RETENTION_DAYS)
    try:
        days = float(given)
    except ValueError:
        days = 0.0
    if not 0 < days < float("inf"):
        raise BadArguments(f"FLEXCORE_RETENTION_DAYS is {given!r}; give days as a number above 0, such as 30")
    return days


def _arguments(args: Any) -> dict[str, Any]:
    if args is None:
        return {}
    if not isinstance(args, dict):
        raise BadArguments(
            f"arguments must be a JSON object, not {type(args).__name__}; write them as '{{\"name\": 1}}'"
        )
    return args


def _read_token(home: Path) -> str:
    """The token of the engines of this folder, made whole or not at all: with an empty one, anyone could enter."""
    file = home / "token"
    with _hold_folder(home):
        if not _is_token(file):
            write_private(file, secrets.token_urlsafe(TOKEN_BYTES))
    return file.read_text(encoding="utf-8")


@contextlib.contextmanager
def _hold_folder(folder: Path) -> Iterator[None]:
    """Of several processes, one at a time."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_token(file: Path) -> bool:
    """Whether there is a whole one: a full disk has left an empty file."""
    return file.is_file() and len(file.read_text(encoding="utf-8")) >= TOKEN_BYTES


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise BadArguments(f"port {port} cannot be used ({error.strerror}); choose another with --port") from error
    listener.listen(128)
    return listener


def check_port(port: int) -> None:
    """Raises BadArguments when the port cannot be used now."""
    _listen(port).close()


def _lock_path(home: Path, engine: str) -> Path:
    return home / "engines" / f"{engine}.lock"


def _engine_lock(home: Path, engine: str, take_up: bool) -> IO[str]:
    """Held for as long as the process lives, however it ends."""
    file = _lock_path(home, engine)
    file.parent.mkdir(exist_ok=True)
    handle = file.open("w")
    fcntl.flock(handle, fcntl.LOCK_EX)
    if take_up:
        handle.write(TAKEN_UP_LATER)
        handle.flush()
    return handle


def _is_free(lock: Path) -> bool:
    """Whether the engine of this lock is dead."""
    try:
        with lock.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _is_taken_up_later(lock: Path) -> bool:
    """Whether a dead engine's runs go on once its bundle is served again."""
    with contextlib.suppress(FileNotFoundError):
        return lock.read_text(encoding="utf-8") == TAKEN_UP_LATER
    return False
