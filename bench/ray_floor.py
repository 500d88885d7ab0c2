"""`ray/run_job` of a program that does nothing against the least that Ray's REST API itself takes, on one warm head.

    uv run python bench/ray_floor.py [--rounds 15] [--dashboard URL --token-file FILE]

Both in turns. Ours is a fresh process of the step: interpreter, imports, submission, end, result. The floor is a
client in one long-lived process with one connection: it submits `python -c pass` without files and asks for the job's
status every 20 ms until it has succeeded. Packages keep their bytecode, as they do where they are installed and as the
head's own do here, whatever PYTHONDONTWRITEBYTECODE of this shell says.
Prints JSON: median seconds of both, the parts of ours, and the ratio of the medians (bar: 1.25). Exit code 1 above the
bar.
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
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from flexcore.ray_head import RayHead

ROOT = Path(__file__).parent.parent
STEP = "import json, sys; from f.flexcore.ray.run_job import main; main(**json.load(sys.stdin))"
ASK_INTERVAL_S = 0.02
BAR = 1.25
Json = dict[str, Any]


def run_step(cluster: Json, home: Path) -> float:
    env = {**os.environ, "FLEXCORE_HOME": str(home), "WM_JOB_ID": str(uuid.uuid4()), "PYTHONPATH": str(ROOT)}
    env |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(home / "pycache")}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-u", "-c", STEP],
        input=json.dumps({"cluster": cluster, "program": "pass"}),
        text=True,
        env=env,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0
    return time.perf_counter() - began


def run_floor(client: httpx.Client) -> float:
    began = time.perf_counter()
    body = {"entrypoint": f"{sys.executable} -c pass"}
    name = client.post("/api/jobs/", json=body).raise_for_status().json()["submission_id"]
    while (status := client.get(f"/api/jobs/{name}").json()["status"]) in ("PENDING", "RUNNING"):
        time.sleep(ASK_INTERVAL_S)
    assert status == "SUCCEEDED"
    return time.perf_counter() - began


@contextmanager
def open_head(folder: Path, given: str, token_file: str) -> Iterator[Json]:
    if given:
        yield {"address": given, "token": Path(token_file).read_text().strip() if token_file else ""}
        return
    with RayHead(folder / "ray") as head:
        yield head.resource


def measure(rounds: int, given: str, token_file: str) -> Json:
    ours, floor = [], []
    with tempfile.TemporaryDirectory() as name, open_head(Path(name), given, token_file) as cluster:
        headers = {"Authorization": f"Bearer {cluster['token']}"}
        with httpx.Client(base_url=cluster["address"], headers=headers, timeout=60) as client:
            for warm_up in (True, True, *[False] * rounds):
                pair = run_step(cluster, Path(name)), run_floor(client)
                if not warm_up:
                    ours.append(pair[0])
                    floor.append(pair[1])
    a, b = statistics.median(ours), statistics.median(floor)
    ratios = sorted(x / y for x, y in zip(ours, floor, strict=True))
    return {
        "rounds": rounds,
        "run_job_s": round(a, 3),
        "floor_s": round(b, 3),
        "ratio": round(a / b, 3),
        "paired_ratio_p50": round(statistics.median(ratios), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dashboard", default="", help="Address of a head that runs already.")
    parser.add_argument("--token-file", default="", help="File with its token.")
    options = parser.parse_args()
    figures = measure(options.rounds, options.dashboard, options.token_file)
    print(json.dumps(figures))
    return int(figures["ratio"] > BAR)


if __name__ == "__main__":
    sys.exit(main())
