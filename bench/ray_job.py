"""`ray/run_job` of a program that does nothing against `ray job submit` of the same, on one local head, in turns.

    uv run python bench/ray_job.py [--rounds 5]

Prints JSON: median seconds of both and the ratio of the medians (bar: 0.45).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flexcore.ray_head import RayHead
from wmlocal.engine import Engine

ROOT = Path(__file__).parent.parent
SUBMIT = "from ray.scripts.scripts import main; main()"


def step(engine: Engine, head: RayHead) -> float:
    started = time.perf_counter()
    done = engine.run("f/flexcore/ray/run_job", {"cluster": head.resource, "program": "pass"})
    assert done.success, done.result
    return time.perf_counter() - started


def submit(head: RayHead) -> float:
    command = [sys.executable, "-c", SUBMIT, "job", "submit", "--address", head.address, "--", "python", "-c", "pass"]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": head.token}
    started = time.perf_counter()
    output = subprocess.DEVNULL
    subprocess.run(command, check=True, stdout=output, stderr=output, env={**os.environ, **token})
    return time.perf_counter() - started


def measure(rounds: int) -> dict[str, float]:
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder, RayHead(Path(folder)) as head, Engine(ROOT) as engine:
        step(engine, head), submit(head)
        for _ in range(rounds):
            ours.append(step(engine, head))
            theirs.append(submit(head))
    a, b = statistics.median(ours), statistics.median(theirs)
    return {"run_job_s": round(a, 2), "ray_job_submit_s": round(b, 2), "ratio": round(a / b, 3)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    print(json.dumps(measure(parser.parse_args().rounds)))
