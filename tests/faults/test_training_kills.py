"""SIGKILL of the workers of a real training, and of its head, at five points; at most one interval is done again.

point           the training is held, and then killed, …
before_first    with its first checkpoint made and not stored
during          in the middle of storing a checkpoint: one of its files is there, and half of that
between         between two checkpoints
before_publish  with all rounds done and stored, before its model is
published       with its model stored, before anybody has heard so

By default the head is killed at two of them; FLEXCORE_ALL_KILLS=1 does all five, and takes away a node as announced.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import errors, module_source, resources
from f.flexcore.lib.ray import dashboard
from f.flexcore.lib.serving.model_format import load_pipeline
from f.flexcore.lib.storage.object_store import local_path
from f.flexcore.ray.train import main
from flexcore import ray_head
from flexcore.ray_head import RayHead
from tests.ray.conftest import data_manifest
from tests.ray.data import COLUMNS, houses

pytestmark = pytest.mark.slow
Json = dict[str, Any]
TRAIN = "f.flexcore.lib.ray.remote.train"
ALL_KILLS = bool(os.environ.get("FLEXCORE_ALL_KILLS"))
# More than the head has.
NODE_CPUS = 6
# A local head lets a node join with JOINS alone. Ray then takes loopback for an address of the network, where the head
# does not listen.
JOIN = (
    "from ray._private import services; services.resolve_ip_for_localhost = lambda host: host; "
    "from ray.scripts.scripts import main; main()"
)
JOINS = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
POINTS = ("before_first", "during", "between", "before_publish", "published")
EVERY, TOTAL = 20, 80
ASKED: Json = {
    "parameters": {"n_estimators": TOTAL},
    "recovery": {"checkpoint_every": EVERY, "max_failures": len(POINTS)},
}
PATIENCE_S, MAX_STARTS = 400.0, 5
# Appended to what is shipped: where it holds while a file of the point's name is there, and the rounds that it does.
HOLDS = """

import os
import time as _time
from pathlib import Path
import ray.train.v2._internal.execution.storage as _storage

_HOLDS = Path({folder!r})


def _hold(point):
    if (_HOLDS / point).exists():
        (_HOLDS / f"{{point}}.reached").write_text(str(os.getpid()))
        while (_HOLDS / point).exists():
            _time.sleep(0.05)


_report, _publish, _after = trainer.report_checkpoint, publication.publish_model, boosting.Rounds.after_round
_copy = _storage._pyarrow_fs_copy_files


def _report_checkpoint(measures, folder, step):
    if step == {every}:
        _hold("before_first")
    _report(measures, folder, step)


def _publish_model(*given):
    _hold("before_publish")
    _publish(*given)
    _hold("published")


def _half_copy(source, destination, **given):
    if f"/{{2 * {every}:08d}}-" in destination and (_HOLDS / "during").exists():
        Path(destination, "model.ubj").write_bytes(b"half")
        _hold("during")
    return _copy(source, destination, **given)


def _after_round(self, step, model, score, higher):
    with (_HOLDS / "rounds").open("a") as log:
        log.write(f"{{os.getpid()}} {{step}}\\n")
    if step == 3 * {every} + {every} // 2:
        _hold("between")
    if (_HOLDS / "slow").exists():
        _time.sleep(0.2)
    return _after(self, step, model, score, higher)


trainer.report_checkpoint, publication.publish_model = _report_checkpoint, _publish_model
_storage._pyarrow_fs_copy_files = _half_copy
boosting.Rounds.after_round = _after_round
"""


class Held:
    """A training that is held at the points in `armed`."""

    def __init__(self, folder: Path, cluster: Json, armed: tuple[str, ...], source: Json, more: Json) -> None:
        self.folder, self.cluster, self.source, self.asked = folder, cluster, source, ASKED | more
        self.result: Json | None = None
        self.error: BaseException | None = None
        for point in armed:
            (folder / point).touch()
        self.call()

    def call(self) -> None:
        """The step, as a Windmill job of its own."""
        os.environ["WM_JOB_ID"] = str(uuid.uuid4())
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.result = main(self.cluster, self.source, "price", **self.asked)
        except BaseException as error:
            self.error = error

    def reach(self, point: str) -> int:
        """The process that is held there."""
        path = self.folder / f"{point}.reached"
        self.wait(lambda: path.exists() and path.read_text() != "")
        return int(path.read_text())

    def is_over(self) -> bool:
        """Whether the step has ended. One that gave up is called again, as by a retry: because the head stayed away for
        long, or because it has lost the job so often that it is no longer followed by itself."""
        if self.thread.is_alive():
            return False
        category = self.error.category if isinstance(self.error, errors.FlexcoreError) else ""
        if not (isinstance(self.error, errors.TransientError) or category == "job_lost"):
            return True
        self.error = None
        self.call()
        return False

    def release(self, point: str) -> None:
        (self.folder / point).unlink()

    def wait(self, happened: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE_S
        while not happened():
            assert not self.is_over(), self.error
            assert time.monotonic() < until, f"not within {PATIENCE_S} s"
            time.sleep(0.05)

    def end(self) -> Json:
        until = time.monotonic() + PATIENCE_S
        while not self.is_over():
            assert time.monotonic() < until, f"not within {PATIENCE_S} s"
            time.sleep(0.05)
        if self.error:
            raise self.error
        assert self.result is not None
        return self.result

    def losses(self) -> list[int]:
        """The rounds that each process did again, of those that the one before it had done."""
        runs: dict[str, list[int]] = {}
        for line in (self.folder / "rounds").read_text().splitlines():
            process, step = line.split()
            runs.setdefault(process, []).append(int(step))
        each = list(runs.values())
        return [before[-1] - after[0] + 1 for before, after in pairwise(each)]


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_step: None) -> Callable[..., Held]:
    monkeypatch.setenv("WM_JOB_ID", "")
    monkeypatch.setenv("FLEXCORE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "holds"
    folder.mkdir()
    find, added = module_source.find_source, HOLDS.format(folder=str(folder), every=EVERY)
    monkeypatch.setattr(module_source, "find_source", lambda name: find(name) + (added if name == TRAIN else ""))
    source = data_manifest(tmp_path / "home/store/extraction", houses(), COLUMNS)
    return lambda cluster, *armed, **more: Held(folder, cluster, armed, source, more)


@pytest.fixture
def same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WM_FLOW_JOB_ID", "018f0000-0000-7000-8000-000000000002")
    monkeypatch.setenv("WM_FLOW_STEP_ID", "ml")


def check_result(result: Json, tmp_path: Path) -> None:
    """One model, whole, of all rounds."""
    (published,) = (tmp_path / "home/store").glob("fc-*/*/trained.json")
    folder = Path(local_path(result["output"]["uri"]))
    assert published.parent == folder.parent
    model = load_pipeline(folder, result["output"]["format"]).named_steps["model"]
    assert model.booster.num_boosted_rounds() == TOTAL
    assert result["metrics"]["rmse"] < result["metrics"]["baseline_rmse"] / 2


@pytest.mark.xdist_group("ray")
@pytest.mark.fault(18, "I1", real=True)
def test_workers_killed_at_every_point_of_a_training_cost_at_most_one_interval_each(
    hold: Callable[..., Held], head: RayHead, tmp_path: Path
) -> None:
    training = hold(head.resource, *POINTS)
    for point in POINTS:
        os.kill(training.reach(point), signal.SIGKILL)
        training.release(point)
    result = training.end()
    losses = training.losses()
    print(f"Rounds done again after each kill of a worker: {losses} (a checkpoint every {EVERY})")
    assert max(losses) <= EVERY
    assert result["data"]["recovery"]["worker_failures"] >= len(POINTS) - 1
    assert (result["attempt"], result["data"]["recovery"]["preemptions"]) == (1, 0)
    check_result(result, tmp_path)


@pytest.mark.xdist_group("beside_ray")
@pytest.mark.fault(23, "I1", "I2", real=True)
def test_a_head_killed_at_points_of_a_training_costs_at_most_one_interval_each(
    hold: Callable[..., Held], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = POINTS if ALL_KILLS else ("during", "published")
    running = start_head(tmp_path / "head")
    try:
        training = hold(running.resource, *points)
        for number, point in enumerate(points):
            training.reach(point)
            kill_head(running)
            training.release(point)
            running = restart(running, tmp_path / f"head{number}", monkeypatch)
        result = training.end()
    finally:
        running.stop()
    losses = training.losses()
    print(f"Rounds done again after each kill of the head: {losses} (a checkpoint every {EVERY})")
    assert max(losses) <= EVERY
    assert result["attempt"] == len(points) + 1
    check_result(result, tmp_path)


@pytest.mark.xdist_group("beside_ray")
@pytest.mark.skipif(not ALL_KILLS, reason="three nodes on one machine; FLEXCORE_ALL_KILLS=1 runs it")
@pytest.mark.fault(18, "I1", real=True)
def test_a_node_that_is_taken_away_as_told_costs_no_failure_and_little_of_the_training(
    hold: Callable[..., Held], tmp_path: Path
) -> None:
    running = start_head(tmp_path / "head")
    try:
        address = find_address(running)
        # One after the other: two that start at once on one address take each other's ports.
        first = join(address, running)
        wait_for_nodes(running, 2)
        second = join(address, running)
        wait_for_nodes(running, 3)
        training = hold(running.resource, "slow", cpus_per_worker=NODE_CPUS)
        training.wait(lambda: (training.folder / "rounds").exists())
        process = int((training.folder / "rounds").read_text().split()[0])
        taken = first if is_below(process, first.pid) else second
        node = drain(address, running, taken)
        # A checkpoint out of its turn, because of what was told.
        stored = tmp_path / "home/store"
        training.wait(lambda: any(int(item.name[:8]) % EVERY for item in stored.glob("fc-*/1/ray_train/train/0*-*")))
        kill_all(taken.pid)
        training.release("slow")
        result = training.end()
    finally:
        running.stop()
    told, losses = result["data"]["recovery"], training.losses()
    print(f"The node {node} was taken away: {told}, rounds done again: {losses}")
    assert (told["preemptions"], told["worker_failures"], result["attempt"]) == (1, 0, 1)
    assert max(losses) <= EVERY
    check_result(result, tmp_path)


def kill_all(pid: int) -> None:
    """The process and all below it: a node's raylet and workers lead process groups of their own."""
    for item in list_tree(pid):
        with suppress(ProcessLookupError):
            os.kill(item, signal.SIGKILL)


def list_tree(pid: int) -> list[int]:
    return [pid, *(item for child in children(pid) for item in list_tree(child))]


def find_address(running: RayHead) -> str:
    """Where further nodes join. A head on loopback does not print it; its own node was started with it."""
    assert running._temp is not None
    commands = [command(pid) for pid in ray_head._find_marked(running._temp)]
    (address,) = {found for line in commands for found in re.findall(rb"--gcs-address=([\d.:]+)", line)}
    return str(address.decode())


def join(address: str, running: RayHead) -> subprocess.Popen[bytes]:
    """A further node of the head's cluster, the only kind on which the workers find room."""
    ray = [sys.executable, "-c", JOIN, "start", "--block"]
    with running.log.open("ab") as log:
        return subprocess.Popen(
            [*ray, f"--address={address}", f"--num-cpus={NODE_CPUS}", "--node-ip-address=127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=ray_head.head_environment(token_file(running)) | JOINS | {ray_head.MARK: str(running._temp)},
            start_new_session=True,
            preexec_fn=ray_head.die_with_parent(os.getpid()),
        )


def wait_for_nodes(running: RayHead, count: int) -> None:
    """Returns once so many have registered: a training for which there is no room is refused at once."""
    until = time.monotonic() + PATIENCE_S
    with dashboard.RayApi(errors.validate(resources.RayCluster, running.resource, "cluster")) as api:
        while len(api.nodes()) < count:
            assert time.monotonic() < until, f"not within {PATIENCE_S} s"
            time.sleep(0.5)


def drain(address: str, running: RayHead, taken: subprocess.Popen[bytes]) -> str:
    """Says that the node is about to be taken away; its id."""
    (raylet,) = [pid for pid in children(taken.pid) if b"raylet/raylet" in command(pid)]
    (node,) = re.findall(rb"--node_id=([0-9a-f]+)", command(raylet))
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "drain-node", "--address", address]
    subprocess.run(
        [*ray, "--node-id", node.decode(), *reason, "--deadline-remaining-seconds", "60"],
        env=ray_head.head_environment(token_file(running)),
        check=True,
    )
    return str(node.decode())


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def children(pid: int) -> list[int]:
    return [int(item) for item in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_below(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return pid == ancestor


def kill_head(running: RayHead) -> None:
    """All that runs on the head's machine dies at once."""
    assert running._temp is not None
    for pid in list(ray_head._find_marked(running._temp)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    running.stop()


def restart(dead: RayHead, folder: Path, monkeypatch: pytest.MonkeyPatch) -> RayHead:
    """A new head at the address of the dead one."""
    port, find = int(dead.address.rsplit(":", 1)[1]), ray_head.free_ports
    with monkeypatch.context() as patch:
        patch.setattr(ray_head, "free_ports", lambda count: [port, *find(count - 1)])
        return start_head(folder, dead.token)


def token_file(running: RayHead) -> Path:
    return running.folder.resolve() / ray_head.TOKEN_FILE


def start_head(folder: Path, token: str | None = None) -> RayHead:
    """A head that runs. On a busy machine a node may miss the 30 s that Ray gives it to register."""
    for number in range(MAX_STARTS - 1):
        with suppress(ray_head.RayHeadError):
            return RayHead(folder / str(number), token=token).start()
    return RayHead(folder / "last", token=token).start()
