"""Workers, steps and servers that are killed, stopped and restarted under running flows, on real ones.

After each: one remote object for the step, the runtime's own answer as its result, nothing left that runs.

KUBECONFIG               a cluster; jobs run in its namespace `default`
FLEXCORE_LIVE_IMAGE      an image with a shell, which the cluster can pull
FLEXCORE_LIVE_COMMANDS   JSON, name → command line as a list, run as this user. Windmill's workers must be processes of
                         this machine, two or more, and may be killed by this user:
    start_windmill        starts what of server, workers and database does not run, and returns
    stop_kubernetes       stops the API server;   start_kubernetes starts it again
    stop_database         stops Windmill's PostgreSQL; start_windmill starts it again
    dump                  prints Windmill's database as text (pg_dump), for the search for secrets
FLEXCORE_LIVE_LOGS       a folder with the logs of Windmill's processes
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from f.flexcore.lib.kubernetes.connection import connect
from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.kubernetes_api.client import Kubernetes
from flexcore.ray_head import RayHead
from tests.live.conftest import Windmill, push
from tests.live.works import (
    POINTS,
    Json,
    MeltanoWork,
    RayWork,
    Work,
    bucket_settings,
    check_end,
    kill,
    kubernetes_work,
    meltano_work,
    parent,
    ray_work,
    reach,
    start,
    step_processes,
    until,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
RUNTIMES = ("kubernetes", "ray", "meltano")
NAMESPACE = "default"
RECONCILE = "f/flexcore/operations/reconcile"
SETTINGS = "f/flexcore/settings"
# A job whose worker is dead is found after 60 s.
RERUN_S = 65
# Flows in flight at once.
DEFERRED = 60
# From the cancel of a flow until nothing of it runs, with the schedule on.
CANCEL_BAR_S = 20.0
Make = Callable[..., Work]


class Commands:
    """What the environment says about the servers of this machine."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = json.loads(os.environ.get("FLEXCORE_LIVE_COMMANDS") or "{}")

    def run(self, name: str) -> bytes:
        if name not in self.known:
            pytest.skip(f"FLEXCORE_LIVE_COMMANDS names no {name}")
        done = subprocess.run(self.known[name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
        return done.stdout


@pytest.fixture(scope="module")
def commands() -> Commands:
    found = Commands()
    if not found.known:
        pytest.skip("no servers that may be stopped: FLEXCORE_LIVE_COMMANDS not set")
    return found


@pytest.fixture(scope="module")
def image() -> str:
    if not (os.environ.get("KUBECONFIG") and os.environ.get("FLEXCORE_LIVE_IMAGE")):
        pytest.skip("no real cluster: KUBECONFIG or FLEXCORE_LIVE_IMAGE not set")
    return os.environ["FLEXCORE_LIVE_IMAGE"]


@pytest.fixture(scope="module")
def kubeconfig(image: str) -> Json:
    return {"mode": "kubeconfig", "kubeconfig": Path(os.environ["KUBECONFIG"]).read_text()}


@pytest.fixture(scope="module")
def kubernetes(kubeconfig: Json) -> Kubernetes:
    return connect(kubeconfig, NAMESPACE).kubernetes


@pytest.fixture(scope="module")
def pushed(windmill: Windmill, commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Windmill:
    push(windmill, tmp_path_factory.mktemp("wmill"))
    return windmill


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    with RayHead(tmp_path_factory.mktemp("ray")) as running:
        yield running


@pytest.fixture(scope="module")
def bucket() -> Iterator[Json]:
    with bucket_settings() as settings:
        yield settings


@pytest.fixture(scope="module")
def secrets(pushed: Windmill) -> Iterator[dict[str, str]]:
    """Secret variables of the workspace, path → value. Steps get references to them, and must not tell their values."""
    names = ("token", "password", "plugin", "access", "key")
    made = {f"u/admin/live_{uuid.uuid4().hex[:8]}_{name}": f"planted{uuid.uuid4().hex}" for name in names}
    for path, value in made.items():
        body = {"path": path, "value": value, "is_secret": True, "description": "of tests/live"}
        pushed.call("POST", "variables/create", body)
    yield made
    for path in made:
        pushed.call("DELETE", f"variables/delete/{path}")


@pytest.fixture
def make(request: pytest.FixtureRequest, secrets: dict[str, str], tmp_path: Path) -> Iterator[Make]:
    """Work on a runtime, which is started with the first work on it; what is left of it is taken away at the end."""
    token, password, plugin, access, key = (f"$var:{path}" for path in secrets)
    made: list[Work] = []

    def work(runtime: str, seconds: float = 4) -> Work:
        get = request.getfixturevalue
        if runtime == "kubernetes":
            place = (get("kubernetes"), NAMESPACE, get("image"))
            made.append(kubernetes_work(*place, seconds, token, {"PASSWORD": password}))
        elif runtime == "ray":
            made.append(ray_work(get("head"), tmp_path, seconds, token, {"PASSWORD": password}))
        else:
            store = get("bucket") | {"storage_access_key": access, "storage_secret_key": key}
            made.append(meltano_work(store, tmp_path, plugin))
        return made[-1]

    yield work
    for item in made:
        item.close()


# --- workers and steps that die


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_step_whose_worker_died_is_run_again_and_its_work_is_not(
    pushed: Windmill, commands: Commands, make: Make, runtime: str, point: str
) -> None:
    """Two workers at once: one dies alone, and its step lives on beside the repeat; one dies with its step."""
    seconds = RERUN_S + 20 if point == "running" else 4
    alone, whole = make(runtime, seconds), make(runtime, seconds)
    steps = [reach(pushed, work, point) for work in (alone, whole)]
    workers = [parent(step) for step in steps]
    assert len(set(workers)) == 2
    kill(*workers, steps[1])
    alone.release()
    whole.release(arrives=False)
    commands.run("start_windmill")
    if isinstance(whole, MeltanoWork) and isinstance(alone, MeltanoWork) and point == "running":
        until(lambda: not whole.left(), 20)
        whole.marker.unlink()
        whole.go()
        until(lambda: len(step_processes(alone.flow)) == 2)
        alone.go()
    for work in (alone, whole):
        check_end(pushed, work)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_step_that_died_is_tried_again_by_its_flow_and_its_work_is_not(
    pushed: Windmill, make: Make, runtime: str, point: str
) -> None:
    work = make(runtime)
    step = reach(pushed, work, point, retry={"constant": {"attempts": 2, "seconds": 1}})
    kill(step)
    work.release()
    if isinstance(work, MeltanoWork):
        work.go()
    check_end(pushed, work)


def test_a_step_that_is_timed_out_and_tried_again_finds_its_work(pushed: Windmill, make: Make) -> None:
    for runtime in ("kubernetes", "ray"):
        work = make(runtime, 25)
        start(pushed, work, timeout=10, retry={"constant": {"attempts": 4, "seconds": 1}})
        result = check_end(pushed, work)
        assert result["attempt"] == 1


# --- flows that are cancelled


@pytest.fixture(scope="module")
def schedule(pushed: Windmill, head: RayHead, kubeconfig: Json) -> Iterator[None]:
    """The shipped schedule, switched on, with this cluster and this head in its settings."""
    ours = f"u/admin/live_{uuid.uuid4().hex[:8]}"
    resources = [
        (f"{ours}_k8s", "c_kubernetes_cluster", kubeconfig),
        (f"{ours}_ray", "c_ray_cluster", head.resource),
        (SETTINGS, "c_flexcore_settings", {"kubernetes_clusters": [f"{ours}_k8s"], "ray_clusters": [f"{ours}_ray"]}),
    ]
    for path, kind, value in resources:
        pushed.call("POST", "resources/create", {"path": path, "value": value, "resource_type": kind})
    pushed.call("POST", f"schedules/setenabled/{RECONCILE}", {"enabled": True})
    yield
    pushed.call("POST", f"schedules/setenabled/{RECONCILE}", {"enabled": False})
    for path, _, _ in resources:
        pushed.call("DELETE", f"resources/delete/{path}")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_a_cancelled_flow_left_is_gone_within_seconds(
    pushed: Windmill, make: Make, schedule: None, runtime: str
) -> None:
    """At each point, and some more while the work runs, so that the cancels fall anywhere between two passes."""
    took: list[float] = []
    for point in (*POINTS, *["running"] * 8):
        work = make(runtime, 4 if point == "finished" else 600)
        reach(pushed, work, point)
        begun = time.monotonic()
        pushed.call("POST", f"jobs_u/queue/cancel/{work.flow}", {"reason": "test"})
        work.release()
        if point == "before" and runtime != "meltano":
            until(work.made)
        until(lambda: not work.left())  # noqa: B023
        took.append(round(time.monotonic() - begun, 1))
        assert pushed.finished(work.flow)[0] is False
    p95 = statistics.quantiles(took, n=20, method="inclusive")[-1]
    print(f"{runtime}, cancelled to gone: p50 {statistics.median(took):.1f} s, p95 {p95:.1f} s of {sorted(took)}")
    assert p95 <= CANCEL_BAR_S


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_flow_whose_step_timed_out_leaves_nothing_that_runs(
    pushed: Windmill, make: Make, schedule: None, runtime: str
) -> None:
    work = make(runtime, 600)
    start(pushed, work, timeout=8)
    assert pushed.finished(work.flow)[0] is False
    until(lambda: not work.left())


# --- servers that go away


def test_a_restart_of_the_api_server_is_waited_out(pushed: Windmill, commands: Commands, make: Make) -> None:
    works = [make("kubernetes", 20), make("kubernetes", 45)]
    for work in works:
        reach(pushed, work, "running")
    commands.run("stop_kubernetes")
    time.sleep(30)
    commands.run("start_kubernetes")
    for work in works:
        check_end(pushed, work)


def test_a_restart_of_windmills_database_is_waited_out(pushed: Windmill, commands: Commands, make: Make) -> None:
    works: list[Work] = [make("kubernetes", 40), make("ray", 15)]
    for work in works:
        reach(pushed, work, "running")
    commands.run("stop_database")
    time.sleep(20)
    commands.run("start_windmill")
    for work in works:
        check_end(pushed, work)


def test_work_that_a_ray_head_has_lost_is_no_success_and_is_done_anew_when_asked(
    pushed: Windmill, make: Make, head: RayHead, tmp_path: Path
) -> None:
    retried, plain = make("ray", 20), make("ray", 20)
    with RayHead(tmp_path / "first", token=head.token) as first:
        for work, module in ((plain, {}), (retried, {"retry": {"constant": {"attempts": 2, "seconds": 1}}})):
            assert isinstance(work, RayWork)
            work.proxy.upstream = work.head = first.address
            reach(pushed, work, "running", **module)
    with RayHead(tmp_path / "second", token=head.token) as second:
        for work in (plain, retried):
            assert isinstance(work, RayWork)
            work.proxy.upstream = work.head = second.address
        success, result = pushed.finished(plain.flow)
        assert not success
        assert result["error"]["extra"]["category"] == "job_lost"
        assert plain.left() == []
        success, result = pushed.finished(retried.flow)
        assert success, result
        assert isinstance(retried, RayWork)
        assert retried.answer(result) == retried.marker.read_text().split()[-1]
        assert len(retried.jobs()) == 1
        assert isinstance(plain, RayWork)
        # Both heads are gone when this test is tidied up.
        plain.head = retried.head = head.address


def test_a_full_disk_fails_the_run_and_leaves_nothing(pushed: Windmill, make: Make, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("this user may mount nothing")
    try:
        work = make("meltano")
        assert isinstance(work, MeltanoWork)
        work.arguments |= {"settings": {"storage_uri": f"file://{small}"}}
        work.arguments["config"][0] = "tap-toy.rows=200000"
        work.go()
        start(pushed, work)
        success, result = pushed.finished(work.flow)
        assert not success
        assert "space" in json.dumps(result).lower(), result
        assert work.left() == []
        assert not list(small.rglob("*.jsonl"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


# --- what a user sees meanwhile


@pytest.mark.parametrize(("runtime", "line"), [("kubernetes", "the pod runs"), ("ray", "the program runs")])
def test_a_line_of_the_remote_log_is_seen_while_the_work_runs(
    pushed: Windmill, make: Make, runtime: str, line: str
) -> None:
    work = make(runtime, 20)
    reach(pushed, work, "running")
    begun = time.monotonic()
    until(lambda: line in logs_of(pushed, work.flow), 15)
    print(f"{runtime}: in the log after {time.monotonic() - begun:.1f} s")
    assert work.left(), "the work has ended meanwhile"
    check_end(pushed, work)


def logs_of(windmill: Windmill, flow: str) -> str:
    jobs = windmill.call("GET", f"jobs/list?parent_job={flow}&include_args=false&per_page=20")
    return "".join(
        windmill.call("GET", f"jobs_u/getupdate/{job['id']}?running={str(job['type'] == 'QueuedJob').lower()}").get(
            "new_logs"
        )
        or ""
        for job in jobs
    )


def test_deferred_jobs_hold_no_worker_and_all_go_on(
    pushed: Windmill, kubernetes: Kubernetes, image: str, schedule: None
) -> None:
    cluster = pushed.call("GET", f"resources/get_value/{SETTINGS}")["kubernetes_clusters"][0]
    work = {"operation": "job", "image": image, "command": ["sleep", "300"], "cpu": "1m", "memory": "16Mi"}
    request = {"cluster": f"$res:{cluster}", **work, "wait": "defer", "ttl_s": 600}
    begun = time.monotonic()
    flows = [str(pushed.call("POST", "jobs/run/f/f/flexcore/kubernetes/execute", request)) for _ in range(DEFERRED)]
    try:
        until(lambda: suspended(pushed) >= DEFERRED, 400)
        print(f"{DEFERRED} flows suspended after {time.monotonic() - begun:.0f} s")
        assert steps_running(pushed) == 0
        results = [pushed.finished(flow) for flow in flows]
        print(f"all ended after {time.monotonic() - begun:.0f} s")
        assert all(success for success, _ in results), [result for success, result in results if not success]
        assert len({result["remote"]["uid"] for _, result in results}) == DEFERRED
        mine = deferred_jobs(kubernetes, flows)
        assert len(mine) == DEFERRED
        assert all(job["status"].get("completionTime") for job in mine)
    finally:
        for flow in flows:
            pushed.call("POST", f"jobs_u/queue/cancel/{flow}", {"reason": "test"})
        for job in deferred_jobs(kubernetes, flows):
            path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job['metadata']['name']}"
            kubernetes.delete(path, job["metadata"]["uid"], Call("delete", "jobs"))


def deferred_jobs(kubernetes: Kubernetes, flows: list[str]) -> list[Json]:
    query = {"labelSelector": "flexcore/deferred=true"}
    listed = kubernetes.list(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", query, Call("list", "jobs"))["items"]
    return [job for job in listed if job["metadata"]["labels"]["flexcore/root-job"] in flows]


def suspended(windmill: Windmill) -> int:
    return sum(bool(job.get("suspend")) for job in windmill.call("GET", "jobs/queue/list?per_page=1000"))


def steps_running(windmill: Windmill) -> int:
    queue = windmill.call("GET", "jobs/queue/list?per_page=1000&running=true")
    return sum(job.get("script_path") == "f/flexcore/kubernetes/run_job" for job in queue)


# --- what must be found nowhere


def test_a_failing_program_does_not_tell_its_secrets(pushed: Windmill, make: Make) -> None:
    work = make("ray")
    work.arguments |= {"program": "import os; raise ValueError('no entry for ' + os.environ['PASSWORD'])"}
    start(pushed, work)
    success, result = pushed.finished(work.flow)
    assert not success
    assert "no entry for ***" in json.dumps(result)


def test_the_planted_secrets_are_found_nowhere(
    pushed: Windmill, commands: Commands, kubernetes: Kubernetes, head: RayHead, secrets: dict[str, str]
) -> None:
    """Run last: everything above has had them as arguments."""
    places = {"database": commands.run("dump")}
    for folder in filter(None, (os.environ.get("FLEXCORE_LIVE_LOGS"), str(head._temp))):
        places |= {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
    for path in ("/apis/batch/v1/jobs", "/api/v1/pods", "/api/v1/events", "/api/v1/secrets", "/api/v1/configmaps"):
        places[path] = json.dumps(kubernetes.list(path, {}, Call("list", path))).encode()
    listed = [
        f"{name}: {path}"
        for path, value in secrets.items()
        for name, content in places.items()
        if value.encode() in content
    ]
    assert len(places["database"]) > 100_000
    assert listed == []
