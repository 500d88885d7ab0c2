"""The first process of a Ray job, run for real without Ray: its output goes to a file, as Ray's supervisor has it."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.ray.remote import job_entry

NAME = "fc-0123456789abcdef0123-1"


def run(
    folder: Path, program: str, parameters: dict[str, Any] | None = None, **more: Any
) -> tuple[int, dict[str, Any]]:
    """(exit code, outcome)"""
    work, logs = folder / "work", folder / "logs"
    work.mkdir()
    logs.mkdir()
    (work / "flexcore_job.py").write_text(inspect.getsource(job_entry))
    (work / job_entry.PROGRAM).write_text(program)
    request = {"submission_id": NAME, "parameters": parameters or {}, "timeout_s": 60, "deadline": time.time() + 60}
    (work / job_entry.REQUEST).write_text(json.dumps({**request, **more}))
    with (logs / "job-driver.log").open("w") as log:
        done = subprocess.run([sys.executable, "flexcore_job.py"], cwd=work, stdout=log, stderr=log, check=False)
    return done.returncode, json.loads((logs / f"flexcore-{NAME}.json").read_text())


def test_a_program_reads_its_parameters_and_leaves_its_result(tmp_path: Path) -> None:
    code, outcome = run(tmp_path, "result = {'twice': parameters['n'] * 2, 'odd': float('nan'), 's': {1}}", {"n": 4})
    assert code == 0
    assert outcome["success"] is True
    assert outcome["result"] == {"twice": 8, "odd": None, "s": [1]}
    assert outcome["finished_at"] >= outcome["started_at"]
    assert outcome["usage"]["peak_memory_bytes"] > 0


def test_a_program_may_use_files_instead(tmp_path: Path) -> None:
    program = """
import json, os, sys
n = json.load(open(os.environ["FLEXCORE_PARAMETERS"]))["n"]
json.dump(n + 1, open(os.environ["FLEXCORE_RESULT"], "w"))
sys.exit(0)
"""
    assert run(tmp_path, program, {"n": 1})[1]["result"] == 2


@pytest.mark.parametrize(
    "leave",
    [
        "sys.exit(0)",
        "sys.exit(None)",
        "sys.exit()",
        "raise SystemExit",
        "exit()",
        "sys.exit(False)",
        "def main():\n    global result\n    result = {'total': 46 - 1}\n    return 0\nsys.exit(main())",
        "if __name__ == '__main__':\n    sys.exit(0)",
    ],
)
def test_a_program_that_leaves_by_exit_code_0_keeps_its_result(tmp_path: Path, leave: str) -> None:
    code, outcome = run(tmp_path, f"import sys\nresult = {{'total': 45}}\n{leave}", kind="program")
    assert (code, outcome["success"], outcome["result"]) == (0, True, {"total": 45})


@pytest.mark.parametrize(
    ("leave", "expected", "message"),
    [
        ("sys.exit(3)", 3, "The program exited with code 3"),
        ("sys.exit(True)", 1, "The program exited with code 1"),
        ("sys.exit('')", 1, "The program exited with code 1"),
        ("sys.exit('no rows')", 1, "no rows"),
        ("sys.exit({'rows': 0})", 1, "{'rows': 0}"),
        ("import numpy; sys.exit(numpy.int64(3))", 3, "The program exited with code 3"),
        ("import numpy; sys.exit(numpy.array([1, 2]))", 1, "[1 2]"),
    ],
)
def test_any_other_exit_is_a_failure_with_its_code_or_words(
    tmp_path: Path, leave: str, expected: int, message: str
) -> None:
    code, outcome = run(tmp_path, f"import sys\nresult = {{'partial': 1}}\n{leave}")
    assert (code, outcome["success"], outcome["result"]) == (expected, False, None)
    assert outcome["error"]["message"] == message


@pytest.mark.parametrize(
    ("program", "kind", "told"),
    [
        ("def main():\n    result = 1\nmain()", "program", True),
        ("result = None", "program", True),
        ("result = 0", "program", False),
        ("import os\nopen(os.environ['FLEXCORE_RESULT'], 'w').write('null')", "program", False),
        ("pass", "probe", False),
    ],
)
def test_a_program_without_a_result_says_so_in_its_log(tmp_path: Path, program: str, kind: str, told: bool) -> None:
    assert run(tmp_path, program, kind=kind)[0] == 0
    assert ("its result is null" in (tmp_path / "logs/job-driver.log").read_text()) is told


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("result = (n * n for n in range(3))", [0, 1, 4]),
        ("result = {'sizes': range(2), 'keys': {'a': 1}.keys()}", {"sizes": [0, 1], "keys": ["a"]}),
        ("from collections import deque\nresult = deque([1])", [1]),
        ("result = 'caf\u00e9'.encode()", "café"),
        ("result = '\\ud800 x'", "? x"),
        ("from decimal import Decimal\nresult = [Decimal('1.10'), Decimal('NaN'), 1e999]", ["1.10", None, None]),
        ("import numpy as np\nresult = {np.int64(1): np.array([[1, np.inf]])}", {"1": [[1.0, None]]}),
        ("import numpy as np\nresult = np.array(['2024-01-02', 'NaT'], 'M8[ns]')", ["2024-01-02 00:00:00", None]),
        (
            "import pandas as pd\nresult = pd.DataFrame({'a': [1.5, None], 't': pd.to_datetime(['2024-01-02', None])})",
            [{"a": 1.5, "t": "2024-01-02 00:00:00"}, {"a": None, "t": None}],
        ),
        ("import pandas as pd\nresult = [pd.NaT, pd.NA]", [None, None]),
        ("import pyarrow as pa\nresult = pa.table({'a': [1, 2]})", [{"a": 1}, {"a": 2}]),
        ("import dataclasses\nresult = dataclasses.make_dataclass('P', ['x'])({1})", {"x": [1]}),
        ("import enum\nresult = enum.Enum('C', {'RED': 'red'}).RED", "red"),
        (
            "import datetime\nresult = {datetime.date(2024, 1, 2): 1, True: 2, None: 3}",
            {"2024-01-02": 1, "true": 2, "null": 3},
        ),
        ("result = {'error': ValueError('bad batch')}", {"error": "ValueError: bad batch"}),
    ],
)
def test_a_result_of_data_comes_back_as_json_whatever_holds_it(tmp_path: Path, program: str, expected: Any) -> None:
    _, outcome = run(tmp_path, program, kind="program")
    assert outcome["error"] is None
    assert outcome["result"] == expected


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("class Model:\n    pass\nresult = {'model': Model()}", "it holds Model, which is not JSON data"),
        ("from sklearn.linear_model import Ridge\nresult = Ridge()", "Ridge, which is not JSON data"),
        ("result = int", "it holds the class int"),
        ("import sys\nresult = sys.stdin", "TextIOWrapper, which is not JSON data"),
        ("result = b'\\xff\\xfe'", "bytes that are not UTF-8 text"),
        ("result = {('a', 1): 2}", "a key of it is tuple"),
        ("result = {1: 'a', '1': 'b'}", "two keys of it are '1'"),
        ("result = []\nresult.append(result)", "it holds itself"),
        ("import itertools\nresult = itertools.count()", "write it to the store"),
        ("import os\nopen(os.environ['FLEXCORE_RESULT'], 'w')", "the file FLEXCORE_RESULT is not JSON"),
    ],
)
def test_what_is_no_data_is_a_failure_that_names_it_and_not_its_text(
    tmp_path: Path, program: str, message: str
) -> None:
    code, outcome = run(tmp_path, program, kind="program")
    assert (code, outcome["result"], outcome["error"]["type"]) == (1, None, "InvalidInput")
    assert message in outcome["error"]["message"]


@pytest.mark.parametrize(
    "program",
    [
        "import threading, time\ndef work():\n    global result\n    time.sleep(0.3)\n    result = 7\n"
        "threading.Thread(target=work).start()",
        "from concurrent.futures import ThreadPoolExecutor\ndef work():\n    global result\n    result = 7\n"
        "pool = ThreadPoolExecutor()\npool.submit(work)",
        "import atexit\ndef end():\n    global result\n    result = 7\natexit.register(end)",
        "import atexit, os, sys\natexit.register(lambda: open(os.environ['FLEXCORE_RESULT'], 'w').write('7'))\n"
        "sys.exit(0)",
        "import sys\nresult = 7\nsys.stdout.close()",
        "import threading, sys\nthread = threading.Thread(target=lambda: sys.exit(3))\nthread.start()\nresult = 7",
    ],
)
def test_a_result_counts_also_when_a_thread_or_an_exit_handler_sets_it(tmp_path: Path, program: str) -> None:
    code, outcome = run(tmp_path, program, kind="program")
    assert (code, outcome["error"], outcome["result"]) == (0, None, 7)
    assert "result is null" not in (tmp_path / "logs/job-driver.log").read_text()


def test_a_failure_of_a_group_of_tasks_is_told_by_the_first_of_them(tmp_path: Path) -> None:
    program = "raise type('Group', (Exception,), {'exceptions': (ValueError('bad batch 17'),)})('1 sub-exception')"
    assert run(tmp_path, program)[1]["error"]["message"] == "ValueError: bad batch 17"


def test_details_of_a_typed_error_hold_no_nan(tmp_path: Path) -> None:
    typed = "{'type': 'DataError', 'message': 'no fit', 'details': {'score': float('nan')}}"
    _, outcome = run(tmp_path, f"raise type('Wrong', (Exception,), {{'flexcore': {typed}}})")
    assert outcome["error"]["details"] == {"score": None}


def test_what_a_program_defines_is_found_in_main_by_its_threads_pickles_and_at_its_exit(tmp_path: Path) -> None:
    program = """
import atexit, pickle, sys, threading
class Point:
    pass
found = []
thread = threading.Thread(target=lambda: found.append(type(pickle.loads(pickle.dumps(Point()))) is Point))
thread.start()
thread.join()
atexit.register(lambda: print("at exit", sys.modules["__main__"].found))
result = [found, __name__, __file__, sys.argv]
sys.exit(0)
"""
    assert run(tmp_path, program)[1]["result"] == [[True], "__main__", job_entry.PROGRAM, [job_entry.PROGRAM]]
    assert "at exit [True]" in (tmp_path / "logs/job-driver.log").read_text()


def test_a_traceback_begins_with_the_programs_own_line(tmp_path: Path) -> None:
    run(tmp_path, "def check():\n    raise ValueError('bad batch 17')\ncheck()")
    log = (tmp_path / "logs/job-driver.log").read_text()
    assert log.splitlines()[1].strip().startswith(f'File "{job_entry.PROGRAM}", line 3') and "flexcore_job" not in log


@pytest.mark.fault(34, "I2", real=True)
@pytest.mark.parametrize("how", ["file", "global"])
def test_a_result_of_600_mb_is_a_failure_that_says_so_and_a_file_is_not_even_read(tmp_path: Path, how: str) -> None:
    program = {
        "file": "import os; open(os.environ['FLEXCORE_RESULT'], 'w').truncate(600_000_000)",
        "global": "result = 'x' * 20_000_000",
    }[how]
    code, outcome = run(tmp_path, program)
    assert code == 1 and outcome["success"] is False and outcome["result"] is None
    assert "write it to the store" in outcome["error"]["message"]
    if how == "file":
        assert "600000000 bytes" in outcome["error"]["message"]
        assert outcome["usage"]["peak_memory_bytes"] < 200_000_000


def test_an_error_that_holds_a_secret_is_written_without_it(tmp_path: Path) -> None:
    program = "import os; raise ValueError('no entry for ' + os.environ['PASSWORD'] + storage['secret_key'])"
    given = {"environment": {"PASSWORD": "sesame-1"}, "storage": {"uri": "s3://b", "secret_key": "sesame-12"}}
    _, outcome = run(tmp_path, program, **given)
    assert outcome["error"]["message"] == "ValueError: no entry for ******"
    assert "ValueError" in (tmp_path / "logs/job-driver.log").read_text()
    left = [path for path in tmp_path.rglob("*") if path.is_file() and "sesame" in path.read_text(errors="ignore")]
    assert left == []


def test_a_secret_where_a_message_is_cut_is_masked_whole(tmp_path: Path) -> None:
    program = f"import os; raise ValueError('x' * {job_entry.MAX_MESSAGE_CHARACTERS - 20} + os.environ['PASSWORD'])"
    _, outcome = run(tmp_path, program, environment={"PASSWORD": "sesame-open-1"})
    assert "ses" not in outcome["error"]["message"]


def test_keys_of_the_store_do_not_stay_on_the_node(tmp_path: Path) -> None:
    _, outcome = run(tmp_path, "result = storage['secret_key']", storage={"secret_key": "sesame"})
    assert outcome["result"] == "sesame"
    left = [path for path in (tmp_path / "work").iterdir() if "sesame" in path.read_text(errors="ignore")]
    assert left == []


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("{}['key']", "KeyError: 'key'"),
        ("import sys; sys.exit(3)", "exited with code 3"),
        ("raise SystemExit('not today')", "not today"),
        ("result = [object]\nresult.append(result)", "cannot be returned"),
        ("result = 'x' * 20_000_000", "16777216 can be returned"),
        ("raise ValueError('first line\\nsecond line')", "ValueError: first line"),
        ("raise ValueError('\\x1b[31mbad\\x1b[0m batch \\x1b]8;;x\\x0717\\x1b]8;;\\x07')", "ValueError: bad batch 17"),
        ("raise ValueError('\\r10%\\r20%\\rstopped at 20%')", "ValueError: stopped at 20%"),
    ],
)
def test_a_failure_is_told_in_the_programs_own_words(tmp_path: Path, program: str, message: str) -> None:
    code, outcome = run(tmp_path, program)
    assert code != 0
    assert outcome["success"] is False
    assert message in outcome["error"]["message"]
    assert "Traceback" not in outcome["error"]["message"]


def test_an_error_of_rays_own_is_told_by_its_last_line(tmp_path: Path) -> None:
    program = """
Failed = type("RayTaskError", (Exception,), {"__module__": "ray.exceptions"})
raise Failed("\x1b[36mray::work()\x1b[39m (pid=1)\\n  File x\\nKeyError: 'margin'\\nAdvice.\\n")
"""
    assert run(tmp_path, program)[1]["error"]["message"] == "KeyError: 'margin'"


def test_what_a_program_prints_of_a_typed_error_is_no_stack_trace(tmp_path: Path) -> None:
    run(tmp_path, "class Wrong(Exception):\n    flexcore = {'type': 'InvalidInput', 'message': 'no'}\nraise Wrong")
    assert "Traceback" not in (tmp_path / "logs/job-driver.log").read_text()


def test_a_typed_error_comes_through(tmp_path: Path) -> None:
    program = """
class Wrong(Exception):
    flexcore = {"type": "InvalidInput", "message": "no such column", "subject": "target_column"}
raise Wrong
"""
    assert run(tmp_path, program)[1]["error"]["subject"] == "target_column"


def test_a_job_that_starts_after_its_deadline_runs_nothing(tmp_path: Path) -> None:
    late: dict[str, Any] = {"deadline": time.time() - 3600}
    code, outcome = run(tmp_path, "open('ran', 'w')", **late)
    assert (code, outcome["error"]["type"]) == (job_entry.TIMED_OUT, "DeadlineExceeded")
    assert not (tmp_path / "work/ran").exists()


def test_a_job_that_nobody_stops_ends_itself(tmp_path: Path) -> None:
    # The grace is counted from the deadline on, so this one has a second left.
    late: dict[str, Any] = {"deadline": time.time() - job_entry.GRACE_S + 1}
    code, outcome = run(tmp_path, "import time; time.sleep(60)", **late)
    assert (code, outcome["error"]["type"]) == (job_entry.TIMED_OUT, "DeadlineExceeded")
