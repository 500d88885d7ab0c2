"""Programs on a real Ray head."""

from __future__ import annotations

import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.lib.core.errors import DeadlineExceeded, ExecutionFailed, InvalidInput
from f.flexcore.ray import check_cluster
from f.flexcore.ray.run_job import main
from tests.core.otlp_receiver import Collector
from tests.ray.conftest import bearer

pytestmark = pytest.mark.slow
# A head reports its own resources some seconds after it takes jobs.
REPORTED_S = 60.0
SQUARES = """
import ray
@ray.remote
def square(x):
    return x * x
result = {"total": sum(ray.get([square.remote(n) for n in range(parameters["n"])]))}
print("the key is", parameters["api_key"])
"""


def jobs(cluster: dict[str, Any]) -> dict[str, dict[str, Any]]:
    listed = httpx.get(f"{cluster['address']}/api/jobs/", headers=bearer(cluster)).json()
    return {item["submission_id"]: item for item in listed if item["submission_id"]}


@pytest.mark.fault(33, "I6", real=True)
def test_a_program_with_remote_tasks_gives_its_result_and_no_secret(
    cluster: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    done = main(cluster, SQUARES, {"n": 4, "api_key": "sesame-open-1234"}, num_cpus=1)
    assert done["success"] is True
    assert done["data"]["result"] == {"total": 14}
    assert done["timings"]["running"] > 0
    assert "the key is ***" in done["log_tail"]
    job = jobs(cluster)[done["remote"]["name"]]
    assert job["status"] == "SUCCEEDED"
    assert job["metadata"]["app.kubernetes.io/managed-by"] == "flexcore"
    assert "sesame" not in str(job) + str(done) + capsys.readouterr().out


def test_secrets_are_variables_of_the_program_and_stand_nowhere_else(
    cluster: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    program = "import os; print('it is', os.environ['KEY_OF_DOOR']); result = len(os.environ['KEY_OF_DOOR'])"
    done = main(cluster, program, secrets={"KEY_OF_DOOR": "open-sesame"})
    assert done["data"]["result"] == len("open-sesame") and "it is ***" in done["log_tail"]
    told = httpx.get(f"{cluster['address']}/api/jobs/{done['remote']['name']}", headers=bearer(cluster)).text
    assert "sesame" not in f"{told}{done}{capsys.readouterr().out}"


@pytest.mark.fault(4, "I1", "I2", real=True)
@pytest.mark.fault(21, "I1", real=True)
def test_two_copies_of_a_step_share_one_job(cluster: dict[str, Any], same_step: None) -> None:
    program = "import time, uuid; time.sleep(3); result = str(uuid.uuid4())"
    results: list[str] = []
    copies = [threading.Thread(target=lambda: results.append(main(cluster, program)["data"]["result"])) for _ in "ab"]
    for copy in copies:
        copy.start()
    for copy in copies:
        copy.join(120)
    assert len(results) == 2 and len(set(results)) == 1
    assert main(cluster, program)["data"]["result"] == results[0]


REFERENCES = """
import ray
ray.init()
@ray.remote
def work(n):
    return {"n": n, "inner": ray.put([n])}
@ray.remote
class Actor:
    pass
result = {"one": work.remote(1), "many": [work.remote(n) for n in range(2)]}
if parameters.get("actor"):
    result = [Actor.remote()]
if parameters.get("left"):
    ray.shutdown()
raise SystemExit
"""


def test_references_in_a_result_are_fetched_however_deep_and_what_is_no_data_is_refused_by_name(
    cluster: dict[str, Any],
) -> None:
    fetched = {"one": {"n": 1, "inner": [1]}, "many": [{"n": 0, "inner": [0]}, {"n": 1, "inner": [1]}]}
    assert main(cluster, REFERENCES)["data"]["result"] == fetched
    with pytest.raises(InvalidInput, match=r"it holds a ray\.actor\.ActorHandle, which is not JSON data"):
        main(cluster, REFERENCES, {"actor": True})
    with pytest.raises(InvalidInput, match="it holds an ObjectRef, but the program has disconnected from Ray"):
        main(cluster, REFERENCES, {"left": True})


BARS = """
import sys
for step in range(6000):
    sys.stderr.write(f"\\r\\x1b[32mEpoch\\x1b[0m: {step}/6000")
sys.stderr.write("\\n\\x1b]0;title\\x07saved\\r\\n")
sys.stderr.flush()
sys.stdout.buffer.write(b"caf\\xe9\\n")
sys.stdout.flush()
raise ValueError("bad batch 17")
"""


def test_a_bar_is_one_line_of_the_log_and_no_failures_message(
    cluster: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ExecutionFailed, match=r"^ValueError: bad batch 17") as caught:
        main(cluster, BARS)
    for text in (caught.value.details["log_tail"], capsys.readouterr().out):
        assert [line for line in text.splitlines() if "Epoch" in line] == ["Epoch: 5999/6000"]
        assert "\x1b" not in text and "\r" not in text and "saved\n" in text and "caf\ufffd" in text
        assert "ValueError: bad batch 17" in text


def test_a_program_that_fails_is_told_by_its_last_words(cluster: dict[str, Any]) -> None:
    with pytest.raises(ExecutionFailed, match="ZeroDivisionError: division by zero") as caught:
        main(cluster, "import ray\n@ray.remote\ndef f():\n    return 1 / 0\nray.get(f.remote())")
    assert caught.value.details["diagnosis"]["category"] == "program_failed"
    assert "Traceback" in caught.value.details["log_tail"]
    assert "\x1b" not in caught.value.details["log_tail"]


LOUD = """
for number in range(200_000):
    print(f"{number:>999}")
result = "said"
"""


def test_of_a_log_of_200_mb_the_end_is_told_and_the_rest_is_not_fetched(cluster: dict[str, Any]) -> None:
    tracemalloc.start()
    try:
        done = main(cluster, LOUD)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert done["data"]["result"] == "said"
    assert done["log_tail"].split()[-2:] == ["199998", "199999"]
    assert peak < 64 * 1024 * 1024


@pytest.mark.fault(3, "I2", "I4", real=True)
def test_a_program_past_its_time_is_stopped_and_gone(cluster: dict[str, Any]) -> None:
    with pytest.raises(DeadlineExceeded, match="it was stopped") as caught:
        main(cluster, "import time\nprint('still here', flush=True)\ntime.sleep(600)", timeout_s=8)
    assert caught.value.subject not in jobs(cluster)
    # The time counts from the submission: the first job of a head on a busy machine has taken longer to start.
    if "did not start" not in str(caught.value):
        assert "still here" in caught.value.details["log_tail"]


STARTED_BY = """
import os, pathlib, ray
@ray.remote
def parent():
    return pathlib.Path(f"/proc/{os.getppid()}/cmdline").read_text().split(chr(0))[0]
result = ray.get(parent.remote())
"""


def test_a_worker_of_a_head_below_uv_is_started_by_ray_itself(cluster: dict[str, Any]) -> None:
    assert main(cluster, STARTED_BY)["data"]["result"].endswith("/raylet")


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"program": ""}, "program"),
        ({"program": "def f(:"}, "program"),
        ({"packages": ["--index-url=x"]}, "packages"),
        ({"runtime_env": {"working_dir": "."}}, "runtime_env"),
        ({"num_cpus": -1}, "num_cpus"),
        ({"memory_gib": float("inf")}, "memory_gib"),
        ({"timeout_s": 0}, "timeout_s"),
    ],
)
def test_a_wrong_argument_is_told_before_anything_is_asked(change: dict[str, Any], subject: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        main({"address": "http://127.0.0.1:9"}, **{"program": "pass", **change})
    assert caught.value.subject == subject


def test_the_head_tells_what_it_has(cluster: dict[str, Any]) -> None:
    until = time.monotonic() + REPORTED_S
    while (data := check_cluster.main(cluster)["data"])["cpus_total"] is None and time.monotonic() < until:
        time.sleep(0.5)
    assert data["ray_version"] == "2.60.0"
    assert data["cpus_total"] >= 4
    assert data["nodes"] == 1


def test_a_program_and_its_tasks_join_the_trace_of_the_step(cluster: dict[str, Any], tmp_path: Path) -> None:
    program = """
import os, ray
@ray.remote
def read():
    return os.environ["TRACEPARENT"]
result = [os.environ["TRACEPARENT"], ray.get(read.remote())]
"""
    with Collector() as server:
        settings = {"otlp_endpoint": server.address, "storage_uri": f"file://{tmp_path}"}
        done = main(cluster, program, settings=settings)
        collected = server.collected
    attempt = collected.named("ray job")
    told = f"00-{done['trace']['trace_id']}-{attempt.span_id.hex()}-01"
    assert done["data"]["result"] == [told, told]
    parts = [span.name for span in collected.spans if span.parent_span_id == attempt.span_id]
    assert parts == ["starting", "running", "finishing"]
    job = jobs(cluster)[done["remote"]["name"]]
    assert attempt.start_time_unix_nano // 10**6 == job["start_time"], "Ray's own time"
