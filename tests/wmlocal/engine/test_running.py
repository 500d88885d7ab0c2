"""What a step finds around itself, and what flows of files do."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.wmlocal.engine.conftest import Writer, call, raw
from wmlocal.engine import CannotStart, Engine, Event


def test_a_flow_of_files_runs_scripts_inline_files_and_subflows(engine: Engine, write: Writer) -> None:
    write.script("f/x/double", "def main(n: int):\n    return 2 * n\n")
    write.file("f/x/outer__flow/add.py", "def main(n):\n    return n + 1\n")
    inline = {
        "id": "a",
        "value": {
            "type": "rawscript",
            "language": "python3",
            "content": "!inline add.py",
            "lock": "",
            "input_transforms": {"n": {"type": "javascript", "expr": "flow_input.n"}},
        },
    }
    write.flow("f/x/inner", [call("d", "script", "f/x/double", n="flow_input.n")], suffix=".flow")
    write.flow("f/x/outer", [inline, call("s", "flow", "f/x/inner", n="results.a")])
    assert engine.run("f/x/outer", {"n": 4}).result == 10
    assert engine.run("f/x/outer__flow/flow.yaml", {"n": 4}).result == 10
    assert engine.run(str(write.root / "f/x/double.py"), {"n": 4}).result == 8


def test_shared_modules_are_real_files_and_found_by_every_spelling(engine: Engine, write: Writer) -> None:
    write.file("f/x/core/lib.py", "def answer():\n    return 42\n")
    write.file("f/x/beside.py", "from .core.lib import answer\n")
    write.script(
        "f/x/s",
        """
        import inspect
        from f.x.core.lib import answer
        from f.x.core import lib
        from . import beside
        from ..x.core import lib as again
        def main():
            return [answer(), inspect.getsource(lib.answer), beside.answer(), again.answer()]
        """,
    )
    assert engine.run("f/x/s").result == [42, "def answer():\n    return 42\n", 42, 42]


def test_nothing_of_the_bundle_but_f_and_u_can_be_imported(engine: Engine, write: Writer) -> None:
    write.file("tests_of_mine.py", "X = 1\n")
    write.script("f/x/s", "from f.x import lib\nimport tests_of_mine\ndef main():\n    return 1\n")
    done = engine.run("f/x/s")
    assert not done.success and "No module named 'tests_of_mine'" in done.result["error"]["message"]


def test_a_step_sees_the_workers_environment_and_no_more(
    engine: Engine, write: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SECRET_OF_MINE", "ALLOWED_ONE", "UV_INDEX_URL"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("WHITELIST_ENVS", "ALLOWED_ONE")
    write.script("f/x/s", "import os\ndef main():\n    return dict(os.environ)\n", envs=["OWN=1=2"])
    seen = engine.run("f/x/s").result
    assert seen["ALLOWED_ONE"] == seen["UV_INDEX_URL"] == "x" and seen["OWN"] == "1=2"
    assert "SECRET_OF_MINE" not in seen and "WHITELIST_ENVS" not in seen
    assert seen["WM_JOB_PATH"] == "f/x/s" and seen["WM_STATE_PATH"] == "f/x/s/user"
    assert seen["WM_FLOW_JOB_ID"] == "" and seen["WM_ROOT_JOB_ID"] == seen["WM_JOB_ID"]
    assert seen["BASE_INTERNAL_URL"].startswith("http://127.0.0.1:")


def test_identity_is_the_nearest_flow_job_and_the_outermost_job(engine: Engine, write: Writer) -> None:
    env = """
        import os
        def main():
            return [os.environ[k] for k in ("WM_FLOW_JOB_ID", "WM_ROOT_FLOW_JOB_ID", "WM_ROOT_JOB_ID", "WM_FLOW_PATH")]
        """
    loop = {
        "type": "forloopflow",
        "iterator": {"type": "static", "value": [1, 2]},
        "parallel": True,
        "modules": [raw("b", env)],
        "skip_failures": False,
    }
    write.flow("f/x/inner", [raw("c", env)])
    write.flow(
        "f/x/y",
        [
            raw("a", env),
            {"id": "l", "value": loop},
            call("s", "flow", "f/x/inner"),
            raw("z", "def main(*, x=0):\n    pass\n"),
            raw("end", "def main(r):\n    return r\n", {"r": "[results.a, results.l, results.s]"}),
        ],
    )
    done = engine.run("f/x/y")
    step, iterations, subflow = done.result
    assert step == [done.id, done.id, done.id, "f/x/y"]
    assert iterations[0][0] != iterations[1][0]
    for at, root, outermost, path in iterations:
        assert at == root and outermost == done.id and path.startswith("f/x/y/forloop-")
    assert subflow[0] == subflow[1] != done.id and subflow[2] == done.id


@pytest.mark.slow
def test_a_lock_gives_an_environment_of_its_own_and_none_infers_one(engine: Engine, write: Writer) -> None:
    code = "import six\ndef main():\n    return six.__version__\n"
    write.script("f/x/locked", code, lock="six==1.16.0\n")
    write.script("f/x/inferred", "# requirements:\n#six==1.17.0\n\n" + code, lock=None)
    write.script("f/x/bare", code)
    assert engine.run("f/x/locked").result == "1.16.0"
    assert engine.run("f/x/inferred").result == "1.17.0"
    assert "No module named 'six'" in engine.run("f/x/bare").result["error"]["message"]


def test_a_lock_that_cannot_be_installed_fails_with_what_uv_says(engine: Engine, write: Writer) -> None:
    write.script("f/x/s", "def main():\n    return 1\n", lock="./no/such/wheel.whl\n")
    error = engine.run("f/x/s").result["error"]
    assert error["name"] == "ExecutionErr" and "uv says" in error["message"]


def test_large_results_and_chatty_steps_pass(engine: Engine, write: Writer) -> None:
    write.script(
        "f/x/s",
        """
        def main():
            for n in range(5000):
                print("line", n)
            return "x" * 50_000_000
        """,
    )
    done = engine.run("f/x/s")
    assert done.success and len(done.result) == 50_000_000
    logs = engine.store.logs(done.id)
    assert "line 0\n" in logs and "line 4999\n" in logs


def test_logs_arrive_while_the_step_runs(engine: Engine, write: Writer) -> None:
    write.script("f/x/s", "import time\ndef main():\n    print('begun')\n    time.sleep(2)\n")
    job = engine.start("f/x/s")
    deadline = time.monotonic() + 1.9
    while "begun" not in engine.store.logs(job.id) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "begun" in engine.store.logs(job.id) and not job.done.is_set()
    assert engine.wait(job).success


def test_labels_of_a_result_are_the_jobs_labels(engine: Engine, write: Writer) -> None:
    write.script("f/x/s", "def main():\n    return {'wm_labels': ['runtime:ray']}\n")
    done = engine.run("f/x/s")
    row = engine.store.job(done.id)
    assert row and row["labels"] == ["runtime:ray"] and row["status"] == "success"


def test_a_job_has_the_labels_of_its_flow_from_its_start_beside_those_of_its_result(
    engine: Engine, write: Writer
) -> None:
    code = "import pathlib, time\ndef main(go):\n    while not pathlib.Path(go).exists():\n        time.sleep(0.05)\n"
    step = raw("a", code + "    return {'wm_labels': ['from:result', 'runtime:ray']}\n", {"go": "flow_input.go"})
    write.flow("f/x/inner", [step], meta={"labels": ["inner"]})
    write.flow("f/x/y", [call("b", "flow", "f/x/inner", go="flow_input.go")], meta={"labels": ["runtime:ray", "mine"]})
    go = engine.home / "go"
    job = engine.start("f/x/y", {"go": str(go)})
    started = engine.store.job(job.id)
    go.touch()
    assert engine.wait(job).success
    ended = engine.store.job(job.id)
    assert started and ended and started["labels"] == ["runtime:ray", "mine"]
    assert ended["labels"] == ["runtime:ray", "mine", "from:result"]
    inner = next(row for row in engine.store.jobs("parent = ?", [job.id]))
    assert inner["labels"] == ["from:result", "runtime:ray"], "a step does not get the labels of the flow that it runs"


def test_what_is_to_be_deleted_is_emptied_when_the_run_has_ended(engine: Engine, write: Writer) -> None:
    step = raw("a", "def main(k):\n    print('seen')\n    return k\n", {"k": "flow_input.k"})
    write.flow("f/x/y", [step | {"delete_after_use": True}, step | {"id": "b", "delete_after_secs": 3600}])
    done = engine.run("f/x/y", {"k": "v"})
    assert done.result == "v"
    kept = {row["step_id"]: (row["args"], row["result"]) for row in engine.store.jobs("parent = ?", [done.id])}
    assert kept == {"a": ({}, {}), "b": ({"k": "v"}, "v")}


def test_a_running_engine_drops_old_runs_with_all_that_is_kept_of_them(
    write: Writer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEXCORE_RETENTION_DAYS", str(1 / 86400))
    write.flow("f/x/y", [raw("a", "def main():\n    print('seen')\n")])
    with Engine(write.root, home) as engine:
        old = engine.run("f/x/y").id
        engine.store.set_state(old, "k", 1)
        engine.store.add_resume(old, 1, old, {}, None, True)
        engine.store.forget_later([old], time.time() + 3600)
        time.sleep(1.1)
        new = engine.run("f/x/y").id
        # A run is over for who waits before the engine has tidied up.
        deadline = time.monotonic() + 10
        while engine.store.job(old) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert {row["root"] for row in engine.store.jobs()} == {new}
    with sqlite3.connect(home / "engine.db") as database:
        for table in ("logs", "states", "resumes", "deletions"):
            kept = database.execute(f"SELECT job FROM {table}").fetchall()  # noqa: S608 (own names)
            assert all(job != old for (job,) in kept), table


HELD = """
import os, threading
from pathlib import Path
from wmlocal.engine.memory import return_freed_memory

def memory():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

kept = []
def work():
    many = [bytes(1000) for _ in range(16_000)]
    # One object at the end: the allocator cannot shrink what lies before it by itself.
    kept.append(many.pop())

for _ in range(4):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
before = memory()
return_freed_memory()
print(before - memory())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="another allocator")
def test_what_runs_have_freed_is_given_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 10


@pytest.mark.parametrize("days", ["0", "-1", "a week", "inf", "nan"])
def test_days_that_runs_are_kept_are_a_number_above_zero(
    write: Writer, home: Path, monkeypatch: pytest.MonkeyPatch, days: str
) -> None:
    monkeypatch.setenv("FLEXCORE_RETENTION_DAYS", days)
    with pytest.raises(CannotStart, match=r"FLEXCORE_RETENTION_DAYS is .*; give days as a number above 0"):
        Engine(write.root, home)


def test_events_tell_each_start_and_end(write: Writer, home: Path) -> None:
    seen: list[Event] = []
    write.flow(
        "f/x/y", [raw("a", "def main():\n    return 1\n"), raw("b", "def main():\n    raise ValueError('no')\n")]
    )
    with Engine(write.root, home, on_event=seen.append) as engine:
        engine.run("f/x/y")
    told = [(e.kind, e.step_id, e.success) for e in seen if e.kind in ("started", "finished")]
    assert told == [
        ("started", None, None),
        ("started", "a", None),
        ("finished", "a", True),
        ("started", "b", None),
        ("finished", "b", False),
        ("finished", None, False),
    ]


def test_secrets_reach_the_step_and_not_the_database(engine: Engine, write: Writer, home: Path) -> None:
    write.item("f/x/pass", "variable", value="hunter2hunter2", is_secret=True, description="")
    write.item("f/x/db", "resource", value={"host": "h", "password": "$var:f/x/pass"}, resource_type="any")
    write.flow(
        "f/x/y",
        [
            raw(
                "a",
                "def main(db, v):\n    print('got', db['password'], v)\n    return [len(v), db['password'] == v]\n",
                {"db": "flow_input.db", "v": "variable('f/x/pass')"},
            ),
            raw("b", "def main(v):\n    raise ValueError(v)\n", {"v": "resource('f/x/db').password"}),
        ],
    )
    done = engine.run("f/x/y", {"db": "$res:f/x/db"})
    assert done.result["error"]["message"] == "hunter2hunter2"
    rows = engine.store.jobs("root = ?", [done.id])
    assert [row["result"] for row in rows if row["step_id"] == "a"] == [[14, True]]
    assert [row["args"]["db"] for row in rows if row["step_id"] == "a"] == ["$res:f/x/db"]
    engine.store._write("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"hunter2" not in (home / "engine.db").read_bytes()


def test_a_local_value_goes_before_the_file(engine: Engine, write: Writer) -> None:
    write.item("f/x/v", "variable", value="file", is_secret=False)
    write.script("f/x/s", "def main(v):\n    return v\n")
    assert engine.run("f/x/s", {"v": "$var:f/x/v"}).result == "file"
    engine.store.set_variable("f/x/v", "local", False, None)
    assert engine.run("f/x/s", {"v": "$var:f/x/v"}).result == "local"


def test_a_secret_set_by_hand_is_kept_beside_the_database(engine: Engine, home: Path) -> None:
    engine.store.set_variable("f/x/v", "topsecret!", True, None)
    assert engine.variables.variable("f/x/v") == "topsecret!"
    stored = sqlite3.connect(home / "engine.db").execute("SELECT value FROM variables").fetchone()
    assert stored == (None,)
    assert (home / "secrets.json").stat().st_mode & 0o077 == 0
    assert json.loads((home / "secrets.json").read_text(encoding="utf-8")) == {"f/x/v": "topsecret!"}


def test_a_pure_step_is_quick(engine: Engine, write: Writer) -> None:
    write.flow("f/x/y", [raw(f"s{n}", "def main():\n    return 1\n") for n in range(5)])
    engine.run("f/x/y")
    begun = time.monotonic()
    engine.run("f/x/y")
    assert (time.monotonic() - begun) / 5 < 0.35
