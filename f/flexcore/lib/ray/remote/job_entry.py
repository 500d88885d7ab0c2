# requirements: flexcore_base
"""What a Ray job of flexcore starts with; shipped as source, runs on Ray's own Python (3.9 or later), needs no package.
One file: whatever the program or the cluster has by the name of a module of ours must not get in its way.

How a program and its step talk to each other:
- `parameters` (a dict) stands ready as a global of the program, and as a JSON file named by FLEXCORE_PARAMETERS;
- what the program leaves in its global `result`, or writes as JSON to the file named by FLEXCORE_RESULT, is its result,
  also when it leaves by exit code 0; results of Ray tasks in it (ObjectRef) are fetched, tables and arrays become
  lists, NaN and infinities null, and what is not data (a model, a process) is a failure that names it;
- an exception, or an exit code other than 0, is its failure; an exception with a dict `flexcore` (type, message,
  subject, remedy, details) comes back as that typed error.

The outcome goes as one whole file into Ray's log folder, from where the dashboard serves it: neither a shared disk nor
a library is needed, and nothing is read out of a log stream.
"""

from __future__ import annotations

import atexit
import dataclasses
import datetime
import decimal
import enum
import fractions
import io
import json
import logging
import math
import operator
import os
import re
import sys
import threading
import time
import traceback
import types
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

REQUEST = "flexcore_request.json"
PROGRAM = "flexcore_program.py"
# Larger results belong into the store; the dashboard reads the file into memory.
MAX_RESULT_BYTES = 16 * 1024 * 1024
# An item of a list takes two bytes or more.
MAX_ITEMS = MAX_RESULT_BYTES // 2
MAX_MESSAGE_CHARACTERS = 500
# The step stops its job at the deadline; the job ends itself only when nobody did.
GRACE_S = 30
# Colors, titles and links in a message; the step's own log cleaner is not at hand here.
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
# The line of a traceback that says what was raised.
EXCEPTION_LINE = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Invalid)\w*: ")
TIMED_OUT = 124
# What has one text that says all of it.
TEXTS = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    fractions.Fraction,
    uuid.UUID,
    PurePath,
    complex,
)
# The methods by which numpy and torch, Arrow, polars and pydantic give their values as Python's own.
CONVERSIONS = ("tolist", "to_pylist", "to_dicts", "model_dump")


def start() -> int:
    use_rays_python()
    request = json.loads(Path(REQUEST).read_text())
    # The request may carry the store's keys, and Ray keeps a package's files for long.
    Path(REQUEST).unlink()
    outcome = Outcome(request["submission_id"], collect_secrets(request))
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
    variables = {"parameters": request["parameters"], "storage": request.get("storage"), "result": None}
    program = types.ModuleType("__main__")
    vars(program).update(variables, __file__=PROGRAM)
    # Registered first, it is called last.
    atexit.register(write_late, program, outcome, written)
    try:
        execute(program)
    except SystemExit as stop:
        code, message = read_exit(stop.code)
        if code:
            if message:
                print(outcome.mask(message), file=sys.stderr)
            outcome.write(error=failure(message or f"The program exited with code {code}"))
            return code
    except BaseException as error:
        failure_fields = describe_error(error)
        if failure_fields["type"] == "ExecutionFailed":
            print(outcome.mask(format_own_traceback(error)), file=sys.stderr, end="")
        outcome.write(error=failure_fields)
        return 1
    wait_for_threads()
    value = vars(program).get("result")
    if value is None and not written.exists() and request.get("kind") == "program":
        outcome.lacks_result = True
    return outcome.write(result=value, written=written)


def read_exit(code: Any) -> tuple[int, str]:
    """(exit code, message) of a SystemExit as the interpreter has it: what is no number is a message."""
    if code is None:
        return 0, ""
    with suppress(TypeError):
        return operator.index(code), ""
    return 1, safe_text(code).strip()


def wait_for_threads() -> None:
    """Waits for the program's threads, as the interpreter does at its end: one of them may set the result."""
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        # Not by join: the threads of an executor end only when they are told to, which this does.
        vars(threading)["_shutdown"]()


def write_late(program: types.ModuleType, outcome: Outcome, written: Path) -> None:
    """Writes the result that the program's own exit handlers left, when there was none before them, or says that there
    is none."""
    if not outcome.lacks_result:
        return
    value = vars(program).get("result")
    if value is not None or written.exists():
        outcome.write(result=value, written=written)
    else:
        print(
            "The program set no global `result` and wrote no file FLEXCORE_RESULT: its result is null", file=sys.stderr
        )


def format_own_traceback(error: BaseException) -> str:
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
        self.submission_id, self.secrets, self.lacks_result = submission_id, secrets, False
        self.path = find_log_folder() / f"flexcore-{submission_id}.json"
        self.started_at = time.time()

    def write(self, result: Any = None, error: dict[str, Any] | None = None, written: Path | None = None) -> int:
        """Returns the exit code. What cannot be a result (no JSON, too large) becomes a failure that says so."""
        if error:
            error = self.shown(error)
        try:
            if result is None and written is not None and written.exists():
                # Before it is read: a file that is far too large must not fill the node's memory first.
                check_size(written.stat().st_size)
                result = read_result(written)
            content = self.document(result, error)
            check_size(len(content))
        except Exception as problem:
            error = describe_error(problem) if is_ray_object(problem) else result_problem(problem)
            error = self.shown(error)
            content = self.document(None, error)
        part = self.path.with_suffix(".part")
        part.write_text(content)
        part.replace(self.path)
        return 1 if error else 0

    def shown(self, error: dict[str, Any]) -> dict[str, Any]:
        """Masked first, then shortened: half a secret is none that anybody knows."""
        message = self.mask(clean_text(str(error["message"])))
        return {**error, "message": message[:MAX_MESSAGE_CHARACTERS] if error["type"] == "ExecutionFailed" else message}

    def mask(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    def document(self, result: Any, error: dict[str, Any] | None) -> str:
        return json.dumps(
            {
                "submission_id": self.submission_id,
                "success": error is None,
                "result": to_json(result),
                "error": to_json(error),
                "started_at": self.started_at,
                "finished_at": time.time(),
                "usage": measure_usage(),
                "pip_wheel": find_pip_wheel(),
            },
            allow_nan=False,
        )


def collect_secrets(request: dict[str, Any]) -> list[str]:
    """The values that no log may show: the program's secret variables, and the store's keys. Shorter ones would blot
    out ordinary text."""
    keys = [value for name, value in (request.get("storage") or {}).items() if name.endswith("_key")]
    values = [str(value) for value in (*(request.get("environment") or {}).values(), *keys)]
    return sorted((value for value in values if len(value) >= 4), key=len, reverse=True)


def check_size(size: int) -> None:
    if size > MAX_RESULT_BYTES:
        sizes = f"{size} bytes; at most {MAX_RESULT_BYTES} can be returned"
        raise ValueError(f"the result has {sizes}: write it to the store and return its URI")


def read_result(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"the file FLEXCORE_RESULT is not JSON: {error}") from None


def to_json(value: Any) -> Any:
    """The value as JSON has it; TypeError that names what is no data. What is not finite, or not there, is null."""
    if isinstance(value, enum.Enum):
        return to_json(value.value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        # Half of a surrogate pair is JSON, but no text.
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return object_to_json(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(item) for item in value]
    return to_json(convert_once(value))


def object_to_json(value: Mapping[Any, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, item in value.items():
        name = key_to_text(key)
        if name in made:
            raise TypeError(f"two keys of it are {name!r} as text")
        made[name] = to_json(item)
    return made


def key_to_text(key: Any) -> str:
    """The key as a name: texts, numbers, dates, and what else has one text."""
    if isinstance(key, float):
        return str(key)
    plain_key = to_json(key)
    if isinstance(plain_key, (list, dict)):
        raise TypeError(f"a key of it is {get_type_name(key)}: keys must be text or numbers")
    return plain_key if isinstance(plain_key, str) else json.dumps(plain_key)


def convert_once(value: Any) -> Any:
    """One step from a value of another kind toward JSON."""
    if is_ray_object(value):
        return fetch_object(value)
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {safe_text(value)}"
    if isinstance(value, decimal.Decimal):
        return str(value) if value.is_finite() else None
    if isinstance(value, TEXTS):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return decode_bytes(bytes(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return convert_library_value(value)


def convert_library_value(value: Any) -> Any:
    """Tables as a list of rows, arrays and whatever else can be gone through as a list."""
    kind = type(value)
    root = kind.__module__.split(".", 1)[0]
    if isinstance(value, type):
        raise TypeError(f"it holds the class {value.__name__}, which is not JSON data")
    if root == "numpy" and getattr(value, "dtype", None) is not None and value.dtype.kind in "mM":
        # Nanoseconds would become numbers.
        return value.astype(f"{value.dtype.kind}8[us]").tolist()
    if root == "pandas" and hasattr(value, "columns"):
        return value.to_dict(orient="records")
    for method in CONVERSIONS:
        if callable(getattr(value, method, None)):
            return getattr(value, method)()
    if isinstance(value, (Collection, Iterator)) and not isinstance(value, io.IOBase):
        items = list(islice(value, MAX_ITEMS + 1))
        check_size(2 * len(items))
        return items
    raise TypeError(
        f"it holds {get_type_name(value)}, which is not JSON data: return what it holds as text, numbers or lists"
    )


def get_type_name(value: Any) -> str:
    kind = type(value)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def decode_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise TypeError(
            "it holds bytes that are not UTF-8 text: write them to the store, or encode them as base64"
        ) from None


def safe_text(value: Any) -> str:
    """The text of a program's own object, which may fail to give one."""
    try:
        return str(value)
    except Exception:
        return ""


def fetch_object(value: Any) -> Any:
    """The value of an ObjectRef; TypeError for what else of Ray is no data, or when the program has left Ray."""
    import ray

    if not isinstance(value, ray.ObjectRef):
        raise TypeError(f"it holds a {get_type_name(value)}, which is not JSON data: return what it holds")
    if not ray.is_initialized():
        raise TypeError(
            "it holds an ObjectRef, but the program has disconnected from Ray: call ray.get before ray.shutdown"
        )
    return ray.get(value)


def is_ray_object(value: Any) -> bool:
    return type(value).__module__.split(".", 1)[0] == "ray"


def failure(message: str) -> dict[str, Any]:
    return {"type": "ExecutionFailed", "message": message}


def result_problem(problem: Exception) -> dict[str, Any]:
    reason = "it holds itself, or is nested too deeply" if isinstance(problem, RecursionError) else problem
    return {"type": "InvalidInput", "message": f"The program's result cannot be returned: {reason}"}


def clean_text(text: str) -> str:
    """Without escape sequences, and of a progress bar its last state."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in ESCAPES.sub("", text).split("\n"))
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", "\n".join(lines))


def describe_error(error: BaseException) -> dict[str, Any]:
    typed = getattr(error, "flexcore", None)
    if isinstance(typed, dict) and typed.get("message"):
        return {"type": "ExecutionFailed", **typed}
    # Of a group (asyncio.TaskGroup raises one) the first says what went wrong.
    group = getattr(error, "exceptions", None)
    if isinstance(group, tuple) and group and isinstance(group[0], BaseException):
        return describe_error(group[0])
    # Ray wraps what was raised in a task; its own text is the whole remote traceback.
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return describe_error(cause)
    lines = [line.strip() for line in clean_text(safe_text(error)).splitlines() if line.strip()]
    if not lines:
        return failure(type(error).__name__)
    # Ray's own errors hold tracebacks, the last of which says what was raised, and then maybe advice; a program's begin
    # with what they have to say.
    of_ray = is_ray_object(error)
    raised = [line for line in lines if EXCEPTION_LINE.match(line)]
    text = (raised or lines)[-1] if of_ray else f"{type(error).__name__}: {lines[0]}"
    return failure(text)


def give_up(outcome: Outcome) -> None:
    outcome.write(error={"type": "DeadlineExceeded", "message": "The job ran past its deadline and ended itself"})
    os._exit(TIMED_OUT)


def find_pip_wheel() -> str:
    """Where a pip can be borrowed, when this Python has none; "" when it has one. Ray installs a job's packages by the
    pip of a copy of its own environment, and environments made by uv have none; virtualenv, which Ray brings, keeps
    one for its own use."""
    found = find_spec("virtualenv")
    if find_spec("pip") is not None or found is None or found.origin is None:
        return ""
    wheels = sorted(Path(found.origin).parent.glob("seed/wheels/embed/pip-*.whl"))
    return str(wheels[-1]) if wheels else ""


def measure_usage() -> dict[str, Any]:
    try:
        import resource
    except ImportError:
        return {}
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    unit = 1 if sys.platform == "darwin" else 1024
    peak = max(measure_peak_bytes() or own.ru_maxrss * unit, children.ru_maxrss * unit)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return {"cpu_seconds": cpu, "peak_memory_bytes": peak}


def measure_peak_bytes() -> int | None:
    """Linux counts in ru_maxrss what the process had that started this one; VmHWM begins with the program."""
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def find_log_folder() -> Path:
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
    python = find_rays_python()
    if python and Path(python).parent.resolve() != Path(sys.executable).parent.resolve():
        os.execv(python, [python, *sys.argv])


def find_rays_python() -> str | None:
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
    # A program may have closed it.
    with suppress(Exception):
        sys.stdout.flush()
    sys.exit(code)
