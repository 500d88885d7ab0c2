"""One pass of operations/reconcile over 500 objects, half of them on a Ray dashboard, half in a Kubernetes API, both on
loopback as in tests/operations: once when all owners live, once when all have ended and the pass stops 50.

    uv run python bench/reconcile.py [--objects 500]

Prints JSON: seconds of the whole process, as a worker runs it, its CPU seconds (they do not wait for a busy machine),
and requests to each server. Exit code 1 above 3 s.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from f.flexcore.operations import reconcile
from tests.kubernetes.fake_cluster import FakeCluster
from tests.operations.fake_windmill import FakeWindmill
from tests.operations.test_reconcile import kubernetes_job, ray_job
from tests.ray.fake_dashboard import FakeDashboard

ROOT = Path(__file__).parent.parent
STEP = """
import json, sys
from f.flexcore.operations.reconcile import main
print(json.dumps(main(**json.load(sys.stdin))))
"""
BAR_S = 3.0
MOST = 50


def run_pass(objects: int, alive: bool) -> dict[str, Any]:
    cluster = FakeCluster()
    try:
        with FakeWindmill() as windmill, FakeDashboard() as dashboard, tempfile.TemporaryDirectory() as home:
            windmill.runs("pass-1", script_path=reconcile.PATH, started_at="2026-01-01T00:00:10Z")
            for number in range(objects // 2):
                for owner in (f"r-{number}", f"k-{number}"):
                    windmill.runs(owner) if alive else windmill.completed.add(owner)
                ray_job(dashboard, f"r{number}", f"r-{number}")
                kubernetes_job(cluster, f"k{number}", f"k-{number}")
            resources = {"f/x/ray": {"address": dashboard.address}, "f/x/k8s": cluster.resource}
            mocked = Path(home) / "mocked.json"
            mocked.write_text(json.dumps({"resources": resources, "variables": {}}))
            worker = {
                "BASE_INTERNAL_URL": windmill.address,
                "WM_TOKEN": "token",
                "WM_WORKSPACE": "test",
                "WM_JOB_ID": "pass-1",
                "WM_MOCKED_API_FILE": str(mocked),
                "PYTHONPATH": str(ROOT),
            }
            settings = {"ray_clusters": ["f/x/ray"], "kubernetes_clusters": ["f/x/k8s"]}
            before, begun = children_cpu(), time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", STEP],
                input=json.dumps({"settings": settings, "most": MOST}),
                text=True,
                env={**os.environ, **worker},
                check=True,
                capture_output=True,
            )
            seconds = time.monotonic() - begun
            lines = json.loads(done.stdout.splitlines()[-1])["table-row-object"]
            assert len(lines) == objects
            acted = sum(line["action"] == "stop" for line in lines)
            assert acted == (0 if alive else MOST)
            return {
                "seconds": round(seconds, 2),
                "cpu_seconds": round(children_cpu() - before, 2),
                "stopped": acted,
                "windmill_requests": len(windmill.requests),
                "ray_requests": len(dashboard.requests),
                "kubernetes_requests": len(cluster.asked("GET", "")) + len(cluster.asked("DELETE", "")),
            }
    finally:
        cluster.close()


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=500)
    objects = parser.parse_args().objects
    found = {"owners live": run_pass(objects, True), "owners ended": run_pass(objects, False)}
    print(json.dumps({"objects": objects, **found}, indent=2))
    return int(max(item["seconds"] for item in found.values()) > BAR_S)


if __name__ == "__main__":
    sys.exit(main())
