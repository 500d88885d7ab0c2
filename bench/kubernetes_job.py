"""A 5 s Job: the whole step kubernetes/run_job in a process of its own, against kubectl create and kubectl wait.

In turns, in one run, on the cluster of KUBECONFIG; prints each time and the ratio of the medians (the bar is 1.05).

    KUBECONFIG=… uv run python bench/kubernetes_job.py IMAGE [--rounds 5] [--seconds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).parent.parent
STEP = "import json, sys; from f.flexcore.kubernetes.run_job import main; main(**json.load(sys.stdin))"
BAR = 1.05


def kubectl(*arguments: str) -> str:
    done = subprocess.run(["kubectl", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def with_kubectl(namespace: str, image: str, seconds: int) -> float:
    name = f"bench-{uuid.uuid4().hex[:8]}"
    begun = time.monotonic()
    kubectl("-n", namespace, "create", "job", name, f"--image={image}", "--", "sleep", str(seconds))
    kubectl("-n", namespace, "wait", "--for=condition=complete", f"job/{name}", "--timeout=120s")
    return time.monotonic() - begun


def with_step(namespace: str, image: str, seconds: int, kubeconfig: str, compiled: str) -> float:
    """compiled: a folder for compiled Python, as a worker keeps it."""
    arguments = {
        "cluster": {"kubeconfig": kubeconfig},
        "namespace": namespace,
        "image": image,
        "command": ["sleep", str(seconds)],
    }
    env = {**os.environ, "WM_JOB_ID": str(uuid.uuid4()), "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": compiled}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    begun = time.monotonic()
    subprocess.run(
        [sys.executable, "-u", "-c", STEP],
        input=json.dumps(arguments),
        env=env,
        text=True,
        check=True,
        capture_output=True,
    )
    return time.monotonic() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    kubeconfig = kubectl("config", "view", "--raw", "--flatten", "--minify")
    namespace = f"flexcore-bench-{uuid.uuid4().hex[:6]}"
    kubectl("create", "namespace", namespace)
    plain, step = [], []
    compiled = tempfile.mkdtemp()
    try:
        # The first of each warms caches (image, page cache, compiled Python) and does not count.
        for turn in range(options.rounds + 1):
            times = (
                with_kubectl(namespace, options.image, options.seconds),
                with_step(namespace, options.image, options.seconds, kubeconfig, compiled),
            )
            print(f"{'warm-up' if turn == 0 else turn}: kubectl {times[0]:.2f} s, step {times[1]:.2f} s", flush=True)
            if turn:
                plain.append(times[0])
                step.append(times[1])
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")
        shutil.rmtree(compiled, ignore_errors=True)
    ratio = statistics.median(step) / statistics.median(plain)
    print(f"median: kubectl {statistics.median(plain):.2f} s, step {statistics.median(step):.2f} s, ratio {ratio:.3f}")
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
