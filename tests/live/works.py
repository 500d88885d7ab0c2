"""Work for the fault tests: one step on each runtime, reached through a proxy, and what can be counted of it outside.

point       the step is held …
before      when its request to create the remote object has not arrived
created     when the object is there and the step has not heard so
running     while the work runs
finished    when the work has ended and the step does not know, or has not said
"""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from f.flexcore.lib.core.identity import execution_key
from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.kubernetes_api.client import Kubernetes
from f.flexcore.lib.kubernetes_api.credentials import Access
from flexcore.ray_head import RayHead
from tests.live.conftest import Windmill
from tests.live.proxy import PATIENCE_S, Gate, Proxy

Json = dict[str, Any]
POINTS = ("before", "created", "running", "finished")
STEP = "work"
ROOT = Path(__file__).parent.parent.parent


@contextmanager
def bucket_settings() -> Iterator[dict[str, str]]:
    """Settings of a store on an S3 API of this process."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    # All of moto's servers in one process have the same buckets.
    bucket = f"flexcore-{uuid.uuid4().hex[:8]}"
    s3fs.S3FileSystem(key="live", secret="live-live", endpoint_url=url).mkdir(bucket)
    yield {"storage_uri": f"s3://{bucket}/store", "storage_endpoint_url": url}
    server.stop()


def until(true: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """What `true` returns, once it is something."""
    end = time.monotonic() + patience_s
    while not (found := true()):
        assert time.monotonic() < end, f"not within {patience_s} s"
        time.sleep(0.2)
    return found


@dataclass
class Work:
    """A step for one flow. path, arguments: what the flow's only module runs."""

    proxy: Proxy
    path: str = ""
    arguments: Json = field(default_factory=dict)
    flow: str = field(default_factory=lambda: str(uuid.uuid4()))
    gate: Gate | None = None
    creation: tuple[str, str] = ("", "")

    def arm(self, point: str) -> None:
        """Before the flow starts: what is to be held."""
        if point in ("before", "created"):
            self.gate = self.proxy.hold(*self.creation, answer=point == "created")

    def reach(self, point: str) -> None:
        """Returns when the step is held at the point."""
        if self.gate:
            self.gate.wait()
            return
        until(self.is_running)
        if point == "finished":
            self.proxy.pause()
            until(self.has_finished)

    def release(self, arrives: bool = True) -> None:
        """Lets go what was held; a request that was held arrives or does not."""
        if self.gate:
            self.gate.open() if arrives else self.gate.drop()
        self.proxy.resume()

    def is_running(self) -> bool:
        raise NotImplementedError

    def has_finished(self) -> bool:
        raise NotImplementedError

    def made(self) -> int:
        """How many remote objects were ever made for the flow."""
        raise NotImplementedError

    def left(self) -> list[str]:
        """What of them is neither finished nor gone."""
        raise NotImplementedError

    def answer(self, result: Json) -> Any:
        """What the step says of the work."""
        raise NotImplementedError

    def truth(self) -> Any:
        """The same, as the runtime says it."""
        raise NotImplementedError

    def close(self) -> None:
        self.proxy.close()


@dataclass
class KubernetesWork(Work):
    kubernetes: Kubernetes | None = None
    namespace: str = ""
    creation: tuple[str, str] = ("POST", r"/jobs$")

    def jobs(self) -> list[Json]:
        return self._list("/apis/batch/v1", "jobs")

    def pods(self) -> list[Json]:
        return self._list("/api/v1", "pods")

    def is_running(self) -> bool:
        return any((pod.get("status") or {}).get("phase") == "Running" for pod in self.pods())

    def has_finished(self) -> bool:
        return bool(self.jobs()) and all((job.get("status") or {}).get("completionTime") for job in self.jobs())

    def made(self) -> int:
        return max(len(self.jobs()), len(self.pods()))

    def left(self) -> list[str]:
        jobs = [job for job in self.jobs() if not (job.get("status") or {}).get("conditions")]
        pods = [pod for pod in self.pods() if pod["status"].get("phase") not in ("Succeeded", "Failed")]
        return [item["metadata"]["name"] for item in (*jobs, *pods)]

    def answer(self, result: Json) -> Any:
        return result["data"]["message"].strip()

    def truth(self) -> Any:
        (pod,) = self.pods()
        return pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"].strip()

    def close(self) -> None:
        super().close()
        assert self.kubernetes
        for job in self.jobs():
            name, uid = job["metadata"]["name"], job["metadata"]["uid"]
            path = f"/apis/batch/v1/namespaces/{self.namespace}/jobs/{name}"
            self.kubernetes.delete(path, uid, Call("delete", "jobs", self.namespace, name))

    def _list(self, prefix: str, plural: str) -> list[Json]:
        assert self.kubernetes
        path, query = (
            f"{prefix}/namespaces/{self.namespace}/{plural}",
            {"labelSelector": f"flexcore/owner-job={self.flow}"},
        )
        return list(self.kubernetes.list(path, query, Call("list", plural, self.namespace))["items"])


@dataclass
class RayWork(Work):
    head: str = ""
    head_token: str = ""
    marker: Path = Path()
    creation: tuple[str, str] = ("POST", r"/api/jobs/$")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.head_token}"}

    def jobs(self) -> list[Json]:
        listed = httpx.get(f"{self.head}/api/jobs/", headers=self.headers, timeout=60).raise_for_status().json()
        return [job for job in listed if (job.get("metadata") or {}).get("flexcore/owner-job") == self.flow]

    def is_running(self) -> bool:
        return self.marker.exists()

    def has_finished(self) -> bool:
        return bool(self.jobs()) and all(job["status"] == "SUCCEEDED" for job in self.jobs())

    def made(self) -> int:
        return max(len(self.jobs()), len(self._starts()))

    def left(self) -> list[str]:
        return [job["submission_id"] for job in self.jobs() if job["status"] in ("PENDING", "RUNNING")]

    def answer(self, result: Json) -> Any:
        return str(result["data"]["result"])

    def truth(self) -> Any:
        (only,) = self._starts()
        return only

    def close(self) -> None:
        super().close()
        for job in self.jobs():
            httpx.post(f"{self.head}/api/jobs/{job['submission_id']}/stop", headers=self.headers, timeout=60)

    def _starts(self) -> list[str]:
        return self.marker.read_text().split() if self.marker.exists() else []


@dataclass
class MeltanoWork(Work):
    """The run's objects are its attempts in the store, an S3 that is reached through the proxy, and its processes."""

    marker: Path = Path()
    rows: int = 0
    creation: tuple[str, str] = ("PUT", r"/attempt\.json$")

    def arm(self, point: str) -> None:
        super().arm(point)
        if point == "finished":
            self.gate = self.proxy.hold("PUT", r"/outcome\.json$", answer=True)
        if point != "running":
            self.go()

    def go(self) -> None:
        """Lets the tap emit its rows."""
        Path(f"{self.marker}.go").touch()

    def is_running(self) -> bool:
        return self.marker.exists()

    def has_finished(self) -> bool:
        return self.proxy.count("PUT", r"/outcome\.json$") > 0

    def made(self) -> int:
        return self.proxy.count("PUT", r"/outcome\.json$")

    def left(self) -> list[str]:
        """Processes of the run."""
        key = execution_key({"WM_FLOW_JOB_ID": self.flow, "WM_FLOW_STEP_ID": STEP, "WM_JOB_ID": "any"})
        marks = [f"/{key.name(attempt)}/".encode() for attempt in range(1, 5)]
        return [str(pid) for pid in processes() if any(mark in environment(pid) for mark in marks)]

    def answer(self, result: Json) -> Any:
        return result["output"]["streams"][0]["rows"], result["data"]["state_advanced"]

    def truth(self) -> Any:
        return self.rows, True


# --- a step as the only module of a flow, on a server


def start(windmill: Windmill, work: Work, **module: Any) -> None:
    """Starts a flow whose only module is the step; module: more of it (retry, timeout)."""
    inputs = {name: {"type": "static", "value": value} for name, value in work.arguments.items()}
    step = {"type": "script", "path": work.path, "input_transforms": inputs}
    value = {"modules": [{"id": STEP, "value": step, **module}]}
    windmill.call("POST", f"jobs/run/preview_flow?job_id={work.flow}", {"value": value, "args": {}})


def reach(windmill: Windmill, work: Work, point: str, **module: Any) -> int:
    """Starts the flow and waits until its step is held; the step's process."""
    work.arm(point)
    start(windmill, work, **module)
    (process,) = until(lambda: step_processes(work.flow))
    work.reach(point)
    return int(process)


def kill(*processes: int) -> None:
    """Returns when they are gone: a command that starts what does not run would still see them."""
    for process in processes:
        os.kill(process, signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes))


def check_end(windmill: Windmill, work: Work) -> Json:
    success, result = windmill.finished(work.flow)
    assert success, result
    assert work.made() == 1
    assert work.answer(result) == work.truth()
    until(lambda: not work.left(), 20)
    return dict(result)


# --- processes of this machine


def processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def step_processes(flow: str) -> list[int]:
    """The processes that a worker has started for steps of this flow, one each, and of those that are left alone."""
    mark = f"WM_FLOW_JOB_ID={flow}".encode()
    of_flow = {pid for pid in processes() if mark in environment(pid).split(b"\0")}
    return sorted(pid for pid in of_flow if parent(pid) not in of_flow)


# --- making them


def authority(access: Access) -> ssl.SSLContext:
    """The credentials of a kubeconfig, for the proxy."""
    context = ssl.create_default_context(cadata=access.ca)
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "both.pem").write_text(f"{access.client_certificate}\n{access.client_key}\n")
        context.load_cert_chain(folder / "both.pem")
    finally:
        shutil.rmtree(folder)
    return context


PROGRAM = """
import os, time, uuid
said = str(uuid.uuid4())
with open(parameters["marker"], "a") as marker:
    marker.write(said + "\\n")
print("the program runs", flush=True)
time.sleep(parameters["seconds"])
result = said
"""


def kubernetes_work(
    kubernetes: Kubernetes, namespace: str, image: str, seconds: float, token: str, secrets: Json
) -> KubernetesWork:
    """token, and the values of secrets, may be references to variables."""
    proxy = Proxy(kubernetes.access.server, authority(kubernetes.access))
    script = (
        f"cat /proc/sys/kernel/random/uuid > /dev/termination-log; echo the pod runs with $PASSWORD; sleep {seconds}"
    )
    arguments = {
        "cluster": {"mode": "token", "server": proxy.address, "token": token},
        "namespace": namespace,
        "image": image,
        "command": ["sh", "-c", script],
        "cpu": "1m",
        "memory": "8Mi",
        "secrets": secrets,
    }
    path = "f/flexcore/kubernetes/run_job"
    return KubernetesWork(proxy, path, arguments, kubernetes=kubernetes, namespace=namespace)


def ray_work(head: RayHead, folder: Path, seconds: float, token: str, secrets: Json) -> RayWork:
    """token: of a proxy in front, beside the head's own; it, and the values of secrets, may refer to variables."""
    proxy, marker = Proxy(head.address), folder / f"ray-{uuid.uuid4().hex}"
    parameters = {"marker": str(marker), "seconds": seconds}
    cluster = {"address": proxy.address, "token": head.token, "headers": {"X-Token": token}}
    arguments = {"cluster": cluster, "program": PROGRAM, "parameters": parameters, "secrets": secrets}
    settings = {"storage_uri": f"file://{folder}/store"}
    return RayWork(
        proxy,
        "f/flexcore/ray/run_job",
        arguments | {"settings": settings},
        head=head.address,
        head_token=head.token,
        marker=marker,
    )


def meltano_work(store: Json, folder: Path, secret: str, rows: int = 1000) -> MeltanoWork:
    """store: settings of an S3 store, whose endpoint the proxy stands before."""
    from tests.meltano import conftest as toys

    proxy, place = Proxy(store["storage_endpoint_url"]), folder / f"project-{uuid.uuid4().hex}"
    place.mkdir()
    (place / "meltano.yml").write_text(toys.PROJECT)
    shutil.copy(ROOT / "tests/meltano/toy_tap.py", place)
    marker = place / "marker"
    config = [f"tap-toy.rows={rows}", "tap-toy.mode=wait", f"tap-toy.marker={marker}"]
    arguments = {
        "project": {"path": str(place), "env": {"TAP_TOY_SECRET": secret}},
        "taps": ["tap-toy"],
        "config": config,
        "settings": store | {"storage_endpoint_url": proxy.address},
    }
    return MeltanoWork(proxy, "f/flexcore/meltano/run", arguments, marker=marker, rows=rows)
