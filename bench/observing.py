"""How soon a step has returned after its remote work has ended, what it asked to start it, and how much memory it took.

The steps kubernetes/run_job and ray/run_job, each a process of its own, on the cluster of KUBECONFIG and on a local
head. The moment of the end is the server's own news: what a watch of the Job (Kubernetes), or asking about the job 20
times a second (Ray), sees beside the step. Requests are counted by a proxy.

    KUBECONFIG=… uv run python bench/observing.py IMAGE [--rounds 20]

Prints JSON: seconds from that news to the end of the step's process, requests until the remote object and its secrets
were there, those of a repeat that finds it finished, and the highest resident memory. Exit code 1 above a bar (1 s, 3,
100 MB).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from f.flexcore.lib.kubernetes.connection import connect
from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.kubernetes_api.client import Kubernetes
from flexcore.ray_head import RayHead
from tests.live.works import Work, kubernetes_work, ray_work, until

ROOT = Path(__file__).parent.parent
STEP = "import json, sys; from {} import main; main(**json.load(sys.stdin))"
BARS = {"delay_p95_s": 1.0, "calls_create": 3, "calls_attach": 3, "peak_memory_mb": 100}
Json = dict[str, Any]


def step(work: Work, home: Path) -> tuple[float, float]:
    """(when the step's process had ended, its peak memory in MB)"""
    env = {"FLEXCORE_HOME": str(home), "WM_FLOW_JOB_ID": work.flow, "WM_FLOW_STEP_ID": "work", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-u", "-c", STEP.format(work.path.replace("/", "."))]
    child = subprocess.Popen(
        command,
        env={**os.environ, **env, "WM_JOB_ID": str(uuid.uuid4())},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdin
    json.dump(work.arguments, child.stdin)
    child.stdin.close()
    _, status, usage = os.wait4(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return time.time(), usage.ru_maxrss / 1024


def calls(work: Work, since: int, last: Callable[[str, str], bool]) -> int:
    """Requests up to the one that settles that the object is there."""
    asked = work.proxy.asked[since:]
    return next(number for number, item in enumerate(asked, 1) if last(item.method, item.path))


def kubernetes_news(kubernetes: Kubernetes, namespace: str, work: Work) -> float:
    query: dict[str, str | int] = {
        "labelSelector": f"flexcore/owner-job={work.flow}",
        "watch": 1,
        "timeoutSeconds": 120,
    }
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    while True:
        # A watch may end by itself; the next one begins with what there is.
        with kubernetes.stream_lines(path, query, Call("watch", "jobs", namespace), 120) as lines:
            for line in lines:
                conditions = (json.loads(line)["object"].get("status") or {}).get("conditions") or ()
                if any(item["type"] == "Complete" and item["status"] == "True" for item in conditions):
                    return time.time()


def ray_news(head: RayHead, work: Work) -> float:
    def ended() -> bool:
        jobs = client.get(f"{head.address}/api/jobs/").json()
        return any(job["status"] == "SUCCEEDED" and job["metadata"]["flexcore/owner-job"] == work.flow for job in jobs)

    with httpx.Client(timeout=30, headers=head.headers) as client:
        while not ended():
            time.sleep(0.05)
    return time.time()


def once(work: Work, home: Path, news: Callable[[], float], last: Callable[[str, str], bool]) -> Json:
    seen: list[float] = []
    watcher = threading.Thread(target=lambda: seen.append(news()), daemon=True)
    watcher.start()
    ended, memory = step(work, home)
    watcher.join(30)
    asked = len(work.proxy.asked)
    created = calls(work, 0, last)
    step(work, home)
    return {
        "delay": ended - seen[0],
        "created": created,
        "attached": len(work.proxy.asked) - asked,
        "memory": memory,
    }


def figures(rounds: list[Json]) -> Json:
    delays = sorted(item["delay"] for item in rounds)
    return {
        "rounds": len(rounds),
        "delay_p50_s": round(statistics.median(delays), 2),
        "delay_p95_s": round(statistics.quantiles(delays, n=20)[-1], 2),
        "calls_create": max(item["created"] for item in rounds),
        "calls_attach": max(item["attached"] for item in rounds),
        "peak_memory_mb": round(max(item["memory"] for item in rounds), 1),
    }


def on_kubernetes(image: str, rounds: int, home: Path) -> Json:
    kubernetes = connect({"kubeconfig": Path(os.environ["KUBECONFIG"]).read_text()}, "default").kubernetes

    def run() -> Json:
        work = kubernetes_work(kubernetes, "default", image, 2, "none", {"PASSWORD": "none-at-all"})
        try:
            return once(
                work,
                home,
                lambda: kubernetes_news(kubernetes, "default", work),
                lambda method, path: method == "POST" and path.partition("?")[0].endswith("/secrets"),
            )
        finally:
            work.close()

    run()
    return figures([run() for _ in range(rounds)])


def on_ray(rounds: int, home: Path) -> Json:
    with RayHead(home / "ray") as head:

        def run() -> Json:
            work = ray_work(head, home, 2, "none", {"PASSWORD": "none-at-all"})
            try:
                return once(
                    work,
                    home,
                    lambda: ray_news(head, work),
                    lambda method, path: (method, path) == ("POST", "/api/jobs/"),
                )
            finally:
                until(lambda: not work.left())
                work.close()

        run()
        return figures([run() for _ in range(rounds)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "kubernetes": on_kubernetes(options.image, options.rounds, Path(folder)),
            "ray": on_ray(options.rounds, Path(folder)),
        }
    print(json.dumps(found, indent=2))
    return int(any(numbers[name] > bar for numbers in found.values() for name, bar in BARS.items()))


if __name__ == "__main__":
    sys.exit(main())
