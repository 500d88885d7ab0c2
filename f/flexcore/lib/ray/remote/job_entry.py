# requirements: flexcore_base
"""What a Ray job of flexcore starts with; shipped as source, runs on Ray's own Python (3.9 or later), needs no package.

How a program and its step talk to each other:
- `parameters` (a dict) stands ready as a global of the program, and as a JSON file named by FLEXCORE_PARAMETERS;
- what the program leaves in its global `result`, or writes as JSON to the file named by FLEXCORE_RESULT, is its result,
  also when it leaves by exit code 0; results of Ray tasks in it (ObjectRef) are fetched;
- an exception, or an exit code other than 0, is its failure; an exception with a dict `flexcore` (type, message,
  subject, remedy, details) comes back as that typed error.

The outcome goes as one whole file into Ray's log folder, from where the dashboard serves it: neither a shared disk nor
a library is needed, and nothing is read out of a log stream.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
import traceback
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REQUEST = "flexcore_request.json"
PROGRAM = "flexcore_program.py"
# Larger results belong into the store; the dashboard reads the file into memory.
MOST_RESULT_BYTES = 16 * 1024 * 1024
SHOWN = 500
# The step stops its job at the deadline; the job ends itself only when nobody did.
GRACE_S = 30
# Colors, titles and links in a message; the step's own log cleaner is not at hand here.
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
# The line of a traceback that says what was raised.
RAISED = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Invalid)\w*: ")
TIMED_OUT = 124


def start() -> int:
    use_rays_python()
    request = json.loads(Path(REQUEST).read_text())
    # The request may carry the store's keys, and Ray keeps a package's files for long.
    Path(REQUEST).unlink()
    outcome = Outcome(request["submission_id"], secrets_of(request))
    left = min(request["timeout_s"], request["deadline"] - time.time()) + GRACE_S
    if left <= 0:
        outcome.write(error={"type": "DeadlineExceeded", "message": "The job started after its deadline"})
        return TIMED_OUT
    timer = threading.Timer(left, give_up, [outcome])
    timer.daemon = True
    timer.start()
    return run(request, outcome)


def run(request: dict[str, Any], outcome: Outcome) -> int:
    """Runs the program as __main__ and writes its outcome; returns the exit code."""
    parameters, written = Path("flexcore_parameters.json").resolve(), Path("flexcore_result.json").resolve()
    os.environ |= request.get("environment") or {}
    os.environ |= {"FLEXCORE_PARAMETERS": str(parameters), "FLEXCORE_RESULT": str(written)}
    parameters.write_text(json.dumps(request["parameters"]))
    given = {"parameters": request["parameters"], "storage": request.get("storage"), "result": None}
    program = types.ModuleType("__main__")
    vars(program).update(given, __file__=PROGRAM)
    try:
        execute(program)
    except SystemExit as stop:
        # As the interpreter sees it: None and 0 are a success, and what is no number is a message.
        if stop.code is not None and stop.code != 0:
            code = int(stop.code) if isinstance(stop.code, int) else 1
            said = "" if isinstance(stop.code, int) else str(stop.code).strip()
            outcome.write(error=failed(said or f"The program exited with code {code}"))
            return code
    except BaseException as error:
        told = describe(error)
        if told["type"] == "ExecutionFailed":
            print(outcome.mask(own_traceback(error)), file=sys.stderr, end="")
        outcome.write(error=told)
        return 1
    value = vars(program).get("result")
    if value is None and not written.exists() and request.get("kind") == "program":
        print(
            "The program set no global `result` and wrote no file FLEXCORE_RESULT: its result is null", file=sys.stderr
        )
    return outcome.write(result=value, written=written)


def own_traceback(error: BaseException) -> str:
    """The traceback from the program's own first line on."""
    at = error.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename != PROGRAM:
        at = at.tb_next
    return "".join(traceback.format_exception(type(error), error, at))


def execute(program: types.ModuleType) -> None:
    """Runs the program as __main__, which it stays: what it started may look there, and how it leaves says nothing of
    what it has set."""
    sys.modules["__main__"] = program
    sys.argv = [PROGRAM]
    exec(compile(Path(PROGRAM).read_bytes(), PROGRAM, "exec"), vars(program))


class Outcome:
    """The file in Ray's log folder that says how the job ended; written once, whole. Ray keeps it, so that an error
    must not tell the secrets that it was given."""

    def __init__(self, submission_id: str, secrets: list[str]) -> None:
        self.submission_id, self.secrets = submission_id, secrets
        self.path = log_folder() / f"flexcore-{submission_id}.json"
        self.started_at = time.time()

    def write(self, result: Any = None, error: dict[str, Any] | None = None, written: Path | None = None) -> int:
        """Returns the exit code. What cannot be a result (no JSON, too large) becomes a failure that says so."""
        if error:
            error = self.shown(error)
        try:
            if result is None and written is not None and written.exists():
                # Before it is read: a file that is far too large must not fill the node's memory first.
                check_size(written.stat().st_size)
                result = json.loads(written.read_text())
            content = self.document(result, error)
            check_size(len(content))
        except Exception as problem:
            error = describe(problem) if is_of_ray(problem) else refused(problem)
            error = self.shown(error)
            content = self.document(None, error)
        part = self.path.with_suffix(".part")
        part.write_text(content)
        part.replace(self.path)
        return 1 if error else 0

    def shown(self, error: dict[str, Any]) -> dict[str, Any]:
        """Masked first, then shortened: half a secret is none that anybody knows."""
        message = self.mask(plain_text(str(error["message"])))
        return {**error, "message": message[:SHOWN] if error["type"] == "ExecutionFailed" else message}

    def mask(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    def document(self, result: Any, error: dict[str, Any] | None) -> str:
        return json.dumps(
            {
                "submission_id": self.submission_id,
                "success": error is None,
                "result": json.loads(json.dumps(result, default=plain), parse_constant=lambda _: None),
                "error": error,
                "started_at": self.started_at,
                "finished_at": time.time(),
                "usage": usage(),
                "pip_wheel": pip_wheel(),
            }
        )


def secrets_of(request: dict[str, Any]) -> list[str]:
    """The values that no log may show: the program's secret variables, and the store's keys. Shorter ones would blot
    out ordinary text."""
    keys = [value for name, value in (request.get("storage") or {}).items() if name.endswith("_key")]
    found = [str(value) for value in (*(request.get("environment") or {}).values(), *keys)]
    return sorted((value for value in found if len(value) >= 4), key=len, reverse=True)


def check_size(size: int) -> None:
    if size > MOST_RESULT_BYTES:
        told = f"{size} bytes; at most {MOST_RESULT_BYTES} are handed back"
        raise ValueError(f"the result has {told}: write it to the store and return where it is")


def plain(value: Any) -> Any:
    """numpy's numbers and arrays, dates and sets as JSON, and what Ray's references stand for."""
    if is_of_ray(value):
        return fetched(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)


def fetched(value: Any) -> Any:
    """The value of an ObjectRef; TypeError for what else of Ray is no data, or when the program has left Ray."""
    import ray

    kind = type(value).__name__
    if not isinstance(value, ray.ObjectRef):
        raise TypeError(f"it holds a {type(value).__module__}.{kind}, which is no data: hand back what it holds")
    if not ray.is_initialized():
        raise TypeError("it holds an ObjectRef, and the program has left Ray: call ray.get before ray.shutdown")
    return ray.get(value)


def is_of_ray(value: Any) -> bool:
    return type(value).__module__.split(".", 1)[0] == "ray"


def failed(message: str) -> dict[str, Any]:
    return {"type": "ExecutionFailed", "message": message}


def refused(problem: Exception) -> dict[str, Any]:
    return {"type": "InvalidInput", "message": f"The program's result cannot be handed back: {problem}"}


def plain_text(text: str) -> str:
    """Without escape sequences, and of a progress bar its last state."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in ESCAPES.sub("", text).split("\n"))
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", "\n".join(lines))


def describe(error: BaseException) -> dict[str, Any]:
    typed = getattr(error, "flexcore", None)
    if isinstance(typed, dict):
        return typed
    # Ray wraps what was raised in a task; its own text is the whole remote traceback.
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return describe(cause)
    lines = [line.strip() for line in plain_text(str(error)).splitlines() if line.strip()]
    if not lines:
        return failed(type(error).__name__)
    # Ray's own errors hold tracebacks, the last of which says what was raised, and then maybe advice; a program's begin
    # with what they have to say.
    of_ray = is_of_ray(error)
    raised = [line for line in lines if RAISED.match(line)]
    text = (raised or lines)[-1] if of_ray else f"{type(error).__name__}: {lines[0]}"
    return failed(text)


def give_up(outcome: Outcome) -> None:
    outcome.write(error={"type": "DeadlineExceeded", "message": "The job ran past its deadline and ended itself"})
    os._exit(TIMED_OUT)


def pip_wheel() -> str:
    """Where a pip can be borrowed, when this Python has none; "" when it has one. Ray installs a job's packages by the
    pip of a copy of its own environment, and environments made by uv have none; virtualenv, which Ray brings, keeps
    one for its own use."""
    found = find_spec("virtualenv")
    if find_spec("pip") is not None or found is None or found.origin is None:
        return ""
    wheels = sorted(Path(found.origin).parent.glob("seed/wheels/embed/pip-*.whl"))
    return str(wheels[-1]) if wheels else ""


def usage() -> dict[str, Any]:
    try:
        import resource
    except ImportError:
        return {}
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    unit = 1 if sys.platform == "darwin" else 1024
    peak = max(own_peak_bytes() or own.ru_maxrss * unit, children.ru_maxrss * unit)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return {"cpu_seconds": cpu, "peak_memory_bytes": peak}


def own_peak_bytes() -> int | None:
    """Linux counts in ru_maxrss what the process had that started this one; VmHWM begins with the program."""
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def log_folder() -> Path:
    """Ray's log folder on this node: the job's output goes to a file in it."""
    output = Path("/proc/self/fd/1")
    if output.is_symlink() and output.readlink().is_file():
        return output.readlink().parent
    import ray

    ray.init(logging_level=logging.ERROR)
    node: Any = ray._private.worker._global_node
    return Path(node.get_logs_dir_path())


def use_rays_python() -> None:
    """Starts again with the interpreter that Ray's own workers use, when the `python` of PATH knows no Ray: a head
    that was started from a virtual environment need not have it on its PATH."""
    if find_spec("ray") is not None:
        return
    python = rays_python()
    if python and Path(python).parent.resolve() != Path(sys.executable).parent.resolve():
        os.execv(python, [python, *sys.argv])


def rays_python() -> str | None:
    """The interpreter in the command line of the raylet, an ancestor of this process (Linux; None elsewhere)."""
    pid = os.getppid()
    try:
        while pid > 1:
            process = Path("/proc", str(pid))
            found = re.search(rb"--python_worker_command=([^\s\0]+)", (process / "cmdline").read_bytes())
            if found:
                return found[1].decode()
            pid = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return None


if __name__ == "__main__":
    code = start()
    sys.stdout.flush()
    sys.exit(code)
