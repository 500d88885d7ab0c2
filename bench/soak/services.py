"""Ray, Kubernetes and the store of a soak, each behind a proxy: it can be away for a while, and the head that takes the
place of a killed one answers at the same address."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx

from bench.soak.control import keeper_pid, start_head
from flexcore.ray_head import free_ports
from tests.kubernetes.fake_cluster import Api, FakeCluster
from tests.kubernetes.stories import ended, pod_of, true
from tests.live.proxy import Proxy

START_TIMEOUT_S = 60.0
# Of the requests that a proxy notes, for tests, the soak needs none.
MAX_NOTED_REQUESTS = 1000
NAMESPACE = "work"
Json = dict[str, Any]


class Service:
    """Something behind a proxy that can be away: unreachable, or answering 503 to everything."""

    def __init__(self, name: str, upstream: str, broken: str) -> None:
        self.name, self.upstream, self.broken = name, upstream, broken
        self.proxy = Proxy(upstream)

    @property
    def address(self) -> str:
        return self.proxy.address

    def move(self, upstream: str) -> None:
        self.upstream = self.proxy.upstream = upstream

    def fail(self, is_cut: bool) -> None:
        """is_cut: connections break; else every request is answered by 503."""
        self.proxy.upstream = "http://127.0.0.1:1" if is_cut else self.broken

    def mend(self) -> None:
        self.proxy.upstream = self.upstream
        del self.proxy.asked[:-MAX_NOTED_REQUESTS]


class Head:
    """A Ray head that can be killed; the next one answers at the same address to the same token."""

    def __init__(self, folder: Path, broken: str) -> None:
        self._folder, self.token = folder, secrets.token_hex(16)
        self.lives = 0
        self._start()
        self.service = Service("ray", self.head.address, broken)

    @property
    def resource(self) -> Json:
        return {"address": self.service.address, "token": self.token}

    @property
    def pid(self) -> int | None:
        return keeper_pid(self.head)

    def _start(self) -> None:
        self.head = start_head(self._folder / f"head-{self.lives}", self.token)
        self.lives += 1

    def kill(self) -> None:
        """SIGKILL of all that runs of it; then another one is started."""
        process = self.head._process
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self.head.stop()
        self._start()
        self.service.move(self.head.address)

    def close(self) -> None:
        self.service.proxy.close()
        self.head.stop()


class Cluster:
    """A Kubernetes API whose Jobs are played: their pods run for as long as their argument says, or fail."""

    def __init__(self, broken: str) -> None:
        self.fake = FakeCluster()
        self.fake.api.story = play
        self.service = Service("kubernetes", self.fake.url, broken)

    @property
    def resource(self) -> Json:
        return {"mode": "token", "server": self.service.address, "token": "sesame-open-1234", "namespace": NAMESPACE}

    def jobs(self) -> list[Json]:
        found: list[Json] = self.fake.api.all("batch/v1/jobs")
        return found

    def pods(self) -> list[Json]:
        found: list[Json] = self.fake.api.all("v1/pods")
        return found

    def collect_garbage(self) -> None:
        """What the controller of finished Jobs does: those whose time to live is over are deleted with their pods."""
        for job in self.jobs():
            done, ttl = (job.get("status") or {}).get("completionTime"), job["spec"].get("ttlSecondsAfterFinished")
            if done and ttl is not None and datetime.fromisoformat(done).timestamp() + ttl < time.time():
                self.fake.do(self._drop(job))

    async def _drop(self, job: Json) -> None:
        api, uid = self.fake.api, job["metadata"]["uid"]
        for plural in ("v1/pods", "v1/secrets", "v1/configmaps"):
            for item in api.all(plural):
                if any(owner["uid"] == uid for owner in item["metadata"].get("ownerReferences", ())):
                    await api.drop(plural, item["metadata"]["namespace"], item["metadata"]["name"])
        with suppress(KeyError):
            await api.drop("batch/v1/jobs", job["metadata"]["namespace"], job["metadata"]["name"])
        # kmock notes every request for tests.
        del api._requests[:]

    def close(self) -> None:
        self.service.proxy.close()
        self.fake.close()


async def play(api: Api, resource: str, job: Json) -> None:
    """The container's arguments are [seconds, exit code]."""
    if resource != "batch/v1/jobs" or job.get("status"):
        return
    seconds, code = job["spec"]["template"]["spec"]["containers"][0]["args"][-2:]
    pod = pod_of(job, {"running": {"startedAt": _now()}}, phase="Running")
    pod["metadata"]["labels"] |= job["spec"]["template"]["metadata"]["labels"]
    await api.keep("v1/pods", pod)
    await asyncio.sleep(float(seconds))
    known = [item for item in api.all("batch/v1/jobs") if item["metadata"]["uid"] == job["metadata"]["uid"]]
    if not known or known[0].get("status"):
        return
    name = pod["spec"]["containers"][0]["name"]
    states = [{"name": name, "image": "i", "state": ended(int(code), message=str(uuid.uuid4()))}]
    phase = "Failed" if int(code) else "Succeeded"
    await api.keep("v1/pods", pod | {"status": {"phase": phase, "containerStatuses": states}})
    condition = true("Failed", "BackoffLimitExceeded") if int(code) else true("Complete")
    status = {"conditions": [condition], "completionTime": _now()}
    await api.keep("batch/v1/jobs", known[0] | {"status": status})


class Bucket:
    """A store on an S3 API in a process of its own."""

    PROGRAM = """
import sys, time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1]), verbose=False)
server.start()
sys.stdin.read()
"""

    def __init__(self, broken: str) -> None:
        import s3fs

        url = f"http://127.0.0.1:{free_ports(1)[0]}"
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, url.rpartition(":")[2]],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with suppress(httpx.HTTPError):
                httpx.get(url)
                break
            if time.monotonic() > deadline:
                raise RuntimeError("the store did not start")
            time.sleep(0.1)
        s3fs.S3FileSystem(key="soak", secret="soak-soak", endpoint_url=url).mkdir("soak")
        self.service = Service("store", url, broken)

    @property
    def settings(self) -> Json:
        keys = {"storage_access_key": "soak", "storage_secret_key": "soak-soak"}
        return {"storage_uri": "s3://soak/store", "storage_endpoint_url": self.service.address, **keys}

    def close(self) -> None:
        self.service.proxy.close()
        self._process.kill()
        self._process.wait()


class Unavailable(BaseHTTPRequestHandler):
    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = answer

    def log_message(self, *_: object) -> None:
        return None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
