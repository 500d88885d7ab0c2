"""SIGKILL of real processes on the embedded engine: of the engine, of a step, of what the step has started.

Meltano is a real one, Ray a real head, Kubernetes an API on loopback whose Jobs are played; all outlive the engine.
Each step is held at one of four points (tests/live/works.py), then somebody is killed. After that there is one remote
object, the answer is the remote's own, nothing is left that runs, and none of the secrets stands in any file.

By default each kill at each point is done on the runtimes that prove the most for their time; FLEXCORE_ALL_KILLS=1 does
all of them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from f.flexcore.lib.kubernetes.connection import connect
from flexcore.ray_head import RayHead
from tests.kubernetes.fake_cluster import Api, FakeCluster, now
from tests.kubernetes.stories import ended, pod_of, true
from tests.live.conftest import ROOT, Windmill
from tests.live.proxy import Proxy
from tests.live.works import (
    POINTS,
    Json,
    KubernetesWork,
    MeltanoWork,
    RayWork,
    Work,
    check_end,
    environment,
    kill,
    meltano_work,
    processes,
    ray_work,
    reach,
    until,
)
from wmlocal.engine.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
RUNTIMES = ("kubernetes", "ray", "meltano")
RETRY = {"constant": {"attempts": 2, "seconds": 1}}
# Longer than it takes to start an engine again.
RUNS_S = 8.0
Make = Callable[..., Work]


class Serving:
    """`flexcore serve` on this bundle, in a process of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.start()

    def start(self) -> None:
        # Files and not pipes: what it started may live on with its output open.
        with (self.home / "serve.log").open("ab") as log:
            at = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flexcore", "serve", "--port", "0"],
                cwd=ROOT,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"FLEXCORE_HOME": str(self.home)},
            )
        said = until(lambda: self._said(at))
        url = next(word for word in said.split() if word.startswith("http")).rstrip(",")
        self.windmill = Windmill(url, (self.home / "token").read_text(), "local")

    def _said(self, at: int) -> str:
        said = (self.home / "serve.log").read_text()[at:]
        assert self.process.poll() is None, said
        return said if "serving" in said and said.endswith("\n") else ""

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.kill()


@pytest.fixture
def secrets(home: Path) -> dict[str, str]:
    """Secret variables of the engine, path → value. Steps get references to them, and must not tell their values."""
    names = ("token", "password", "plugin", "access", "key")
    made = {f"u/local/{name}": f"planted{uuid.uuid4().hex}" for name in names}
    store = Store(home)
    for path, value in made.items():
        store.set_variable(path, value, True, None)
    store.close()
    return made


@pytest.fixture
def engine(home: Path, secrets: dict[str, str]) -> Iterator[Serving]:
    running = Serving(home)
    yield running
    running.close()


@pytest.fixture
def make(cluster: FakeCluster, head: RayHead, bucket: Json, secrets: dict[str, str], tmp_path: Path) -> Iterator[Make]:
    token, password, plugin, access, key = (f"$var:{path}" for path in secrets)
    made: list[Work] = []

    def work(runtime: str, seconds: float = 1) -> Work:
        if runtime == "kubernetes":
            made.append(kubernetes(cluster, seconds, token, {"PASSWORD": password}))
        elif runtime == "ray":
            made.append(ray_work(head, tmp_path, seconds, token, {"PASSWORD": password}))
        else:
            store = bucket | {"storage_access_key": access, "storage_secret_key": key}
            made.append(meltano_work(store, tmp_path, plugin))
        return made[-1]

    yield work
    for item in made:
        item.close()


def kubernetes(cluster: FakeCluster, seconds: float, token: str, secrets: Json) -> KubernetesWork:
    proxy = Proxy(cluster.url)
    cluster.api.story = played(seconds)
    arguments = {
        "cluster": {"mode": "token", "server": proxy.address, "token": token},
        "namespace": "work",
        "image": "any:1",
        "secrets": secrets,
    }
    client = connect(cluster.resource, "work").kubernetes
    return KubernetesWork(proxy, "f/flexcore/kubernetes/run_job", arguments, kubernetes=client, namespace="work")


def played(seconds: float) -> Any:
    """What a cluster does with a Job: its pod runs, ends with a message of its own, unless it is killed before."""

    async def play(api: Api, resource: str, job: Json) -> None:
        if resource != "batch/v1/jobs" or job.get("status"):
            return
        pod = pod_of(job, {"running": {"startedAt": now()}}, phase="Running")
        pod["metadata"]["labels"] |= job["spec"]["template"]["metadata"]["labels"]
        await api.keep("v1/pods", pod)
        await asyncio.sleep(seconds)
        await end(api, job, pod, 0, str(uuid.uuid4()))

    return play


async def end(api: Api, job: Json, pod: Json, code: int, message: str = "") -> None:
    known = [item for item in api.all("batch/v1/jobs") if item["metadata"]["uid"] == job["metadata"]["uid"]]
    if not known or known[0].get("status"):
        return
    name = pod["spec"]["containers"][0]["name"]
    states = [{"name": name, "image": "i", "state": ended(code, message=message)}]
    phase = "Failed" if code else "Succeeded"
    await api.keep("v1/pods", pod | {"status": {"phase": phase, "containerStatuses": states}})
    condition = true("Failed", "BackoffLimitExceeded") if code else true("Complete")
    await api.keep("batch/v1/jobs", job | {"status": {"conditions": [condition], "completionTime": now()}})


def check_no_secret(home: Path, secrets: dict[str, str], *elsewhere: Path) -> None:
    """No file that the engine, its workers or a head have written holds a secret, but the one that is for them, nor do
    the arguments of any process. Shared environments are links, which are not followed."""
    forms = [form.encode() for value in secrets.values() for form in forms_of(value)]
    files = [path for place in (home, *elsewhere) for path in place.rglob("*") if path.is_file()]
    files += [Path(f"/proc/{process}/cmdline") for process in processes()]
    found = [str(file) for file in files if any(form in content_of(file) for form in forms)]
    assert home / "engine.db" in files
    assert found == [str(home / "secrets.json")]
    assert (home / "secrets.json").stat().st_mode & 0o77 == 0


def forms_of(value: str) -> set[str]:
    return {value, quote(value, safe=""), base64.b64encode(value.encode()).decode()}


def content_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def cases(chosen: Mapping[str, tuple[str, ...]]) -> list[tuple[str, tuple[str, ...]]]:
    """Points and runtimes: what is chosen of each point, or all."""
    return [(point, RUNTIMES if os.environ.get("FLEXCORE_ALL_KILLS") else chosen[point]) for point in POINTS]


OF_ENGINE = {"before": ("kubernetes",), "created": ("ray",), "running": RUNTIMES, "finished": ("meltano",)}
OF_STEP = {"before": ("meltano",), "created": ("kubernetes",), "running": ("ray",), "finished": ("kubernetes",)}


@pytest.mark.fault(1, "I1", "I2", real=True)
@pytest.mark.parametrize(("point", "runtimes"), cases(OF_ENGINE), ids=POINTS)
def test_a_killed_engine_takes_its_runs_up_again_and_their_work_is_not_done_twice(
    engine: Serving,
    make: Make,
    home: Path,
    head: RayHead,
    secrets: dict[str, str],
    point: str,
    runtimes: tuple[str, ...],
) -> None:
    works = [make(runtime, RUNS_S if point == "running" else 1) for runtime in runtimes]
    steps = [reach(engine.windmill, work, point) for work in works]
    engine.kill()
    until(lambda: not any(Path(f"/proc/{step}").exists() for step in steps), 10)
    for work in works:
        if isinstance(work, MeltanoWork):
            until(lambda: not work.left(), 20)  # noqa: B023
            if point == "running":
                work.marker.unlink()
                work.go()
        # What was under way when its sender died may have arrived, or not.
        work.release(arrives=isinstance(work, RayWork))
    check_no_secret(home, secrets)
    engine.start()
    for work in works:
        check_end(engine.windmill, work)
    check_no_secret(home, secrets, Path(str(head._temp)))


@pytest.mark.fault(1, "I1", "I2", real=True)
@pytest.mark.parametrize(("point", "runtimes"), cases(OF_STEP), ids=POINTS)
def test_a_killed_step_is_tried_again_and_its_work_is_not_done_twice(
    engine: Serving, make: Make, home: Path, secrets: dict[str, str], point: str, runtimes: tuple[str, ...]
) -> None:
    works = [make(runtime, RUNS_S if point == "running" else 1) for runtime in runtimes]
    for work in works:
        kill(reach(engine.windmill, work, point, retry=RETRY))
        work.release()
        if isinstance(work, MeltanoWork):
            work.go()
    for work in works:
        check_end(engine.windmill, work)
    check_no_secret(home, secrets)


@pytest.mark.fault(1, "I1", "I2", real=True)
@pytest.mark.parametrize("runtime", RUNTIMES if os.environ.get("FLEXCORE_ALL_KILLS") else ("kubernetes", "meltano"))
def test_what_is_killed_in_the_middle_of_its_work_is_told_and_a_retry_is_the_next_attempt(
    engine: Serving, make: Make, cluster: FakeCluster, runtime: str
) -> None:
    """The pod, the Ray driver, the Meltano process."""
    work = make(runtime, RUNS_S if runtime != "kubernetes" else 3)
    reach(engine.windmill, work, "running", retry=RETRY)
    if isinstance(work, KubernetesWork):
        (job,), (pod,) = cluster.api.all("batch/v1/jobs"), cluster.api.all("v1/pods")
        cluster.do(end(cluster.api, job, pod, 137))
    elif isinstance(work, RayWork):
        kill(*drivers(work))
    elif isinstance(work, MeltanoWork):
        kill(json.loads(work.marker.read_text())["pids"][1])
        work.go()
    success, result = engine.windmill.finished(work.flow)
    assert success, result
    assert result["attempt"] == 2
    until(lambda: not work.left(), 20)
    failed = engine.windmill.call("GET", "jobs/completed/list?success=false")
    (first,) = [job["id"] for job in failed if job.get("parent_job") == work.flow]
    told = engine.windmill.finished(first)[1]["error"]
    assert told["extra"]["category"] in ("killed", "out_of_memory", "meltano_failed"), told
    if isinstance(work, RayWork):
        assert sorted(job["status"] for job in work.jobs()) == ["FAILED", "SUCCEEDED"]
        assert work.answer(result) == work.marker.read_text().split()[-1]
    if isinstance(work, KubernetesWork):
        assert len(work.jobs()) == 2


def drivers(work: RayWork) -> list[int]:
    """The process that runs the program."""
    (job,) = work.jobs()
    mark = job["submission_id"].encode()
    found = [pid for pid in processes() if mark in environment(pid)]
    return [pid for pid in found if b"flexcore_job.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
