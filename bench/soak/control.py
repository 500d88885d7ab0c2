"""A Ray head that runs nothing of flexcore: plain jobs by Ray's own API, as many as the soak's head gets.

What a head keeps with each job is Ray's. It is told apart from what flexcore makes a head keep by this one, which lives
on the same machine in the same hour, with the same settings of Ray, and is asked the same things as often: for
the list of its jobs, for what Serve serves, and for the log of each job.
"""

from __future__ import annotations

import hashlib
import io
import os
import uuid
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from flexcore.ray_head import RayHead, RayHeadError

# On a busy machine a node may miss the 15 s that Ray gives its agents to start: then it is started again.
MAX_STARTS = 15
# More at once would make it another load than the soak's.
MAX_UNDER_WAY = 2
# About what a job of flexcore ships.
PACKAGE_BYTES = 40_000
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
REQUEST_TIMEOUT_S = 30.0
Json = dict[str, Any]


def start_head(folder: Path, token: str | None = None) -> RayHead:
    """A head that has started. Raises RayHeadError when it does not after MAX_STARTS tries."""
    for number in range(MAX_STARTS - 1):
        with suppress(RayHeadError):
            return RayHead(folder / str(number), token=token).start()
    return RayHead(folder / str(MAX_STARTS - 1), token=token).start()


def keeper_pid(head: RayHead) -> int | None:
    """The process that keeps the head's daemons; None while it is away, as another thread may see it."""
    process = head._process
    return process.pid if process is not None and process.poll() is None else None


class ControlHead:
    """head: has started; started: jobs that it was given so far."""

    def __init__(self, head: RayHead) -> None:
        self.head = head
        self.started = 0
        self._under_way: set[str] = set()

    @property
    def pid(self) -> int | None:
        return keeper_pid(self.head)

    def keep_pace(self, jobs: int) -> None:
        """Gives it the jobs that it lacks to have had as many, a few at a time, and reads the log of each that has
        ended, as everybody does who runs one. Raises httpx.HTTPError."""
        with httpx.Client(base_url=self.head.address, headers=self.head.headers, timeout=REQUEST_TIMEOUT_S) as client:
            for name in list(self._under_way):
                job = client.get(f"/api/jobs/{name}").raise_for_status().json()
                if job["status"] in ENDED:
                    log = {"node_id": job["driver_node_id"], "filename": f"job-driver-{name}.log", "lines": -1}
                    client.get("/api/v0/logs/file", params=log)
                    self._under_way.discard(name)
            while self.started < jobs and len(self._under_way) < MAX_UNDER_WAY:
                self._submit(client)

    def look_after(self) -> None:
        """Asks what reconcile asks the other head at each pass, and Ray's own page all the time: its jobs and what
        Serve serves. Raises httpx.HTTPError."""
        with httpx.Client(base_url=self.head.address, headers=self.head.headers, timeout=REQUEST_TIMEOUT_S) as client:
            client.get("/api/jobs/").raise_for_status()
            client.get("/api/serve/applications/").raise_for_status()

    def close(self) -> None:
        self.head.stop()

    def _submit(self, client: httpx.Client) -> None:
        name, content = pack_program()
        client.put(f"/api/packages/gcs/{name}", content=content).raise_for_status()
        # A name of its own for each try: one whose answer was lost may have arrived.
        job = f"control-{uuid.uuid4()}"
        body: Json = {
            "entrypoint": "python3 program.py",
            "submission_id": job,
            "runtime_env": {"working_dir": f"gcs://{name}"},
        }
        client.post("/api/jobs/", json=body).raise_for_status()
        self._under_way.add(job)
        self.started += 1


def pack_program() -> tuple[str, bytes]:
    """(name, zip) of a program that does nothing, no two alike, as `ray job submit --working-dir` ships it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("program.py", "pass\n")
        archive.writestr("data", os.urandom(PACKAGE_BYTES))
    content = buffer.getvalue()
    return f"_ray_pkg_{hashlib.sha1(content, usedforsecurity=False).hexdigest()}.zip", content
