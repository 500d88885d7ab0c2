"""Ray Serve by our steps, on one local head: the hop through weights, requests while versions change, and merges.

    uv run python bench/ray_serve.py hop|switch|merges [--requests 2000] [--tries 200]

hop      the same model directly and through the ingress with weights 50:50, request by request in turns: median and 95th
         percentile of both, and the median of the differences (bar: 3 ms)
switch   callers without a pause while a second version comes, weights change, go back, and a version goes (bar: 0 lost)
merges   two processes at once each add an application to a head, TRIES times: by our change under the lease, and by
         reading, merging and putting the set as the REST API has it; how many are missing afterwards (bar: 0)

Prints JSON.
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
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from f.flexcore.lib.core import inference  # noqa: E402
from f.flexcore.ray import deploy_model, set_traffic, undeploy_model  # noqa: E402
from flexcore.ray_head import RayHead  # noqa: E402
from tests.ray.models import stored_model  # noqa: E402

WARM_UP = 200
CALLERS = 4
# One process of `merges`: joins the head, then changes it by our way or by the REST API's.
WRITER = """
import json, sys, time, httpx, ray
from ray import serve
from f.flexcore.lib.ray.remote import serve_changes, serve_lease

way, address, name, tries = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
serve_changes.connect([])
sys.stdin.readline()

def config(name):
    scaling = {"min_replicas": 0, "initial_replicas": 0, "max_replicas": 1}
    return {"name": name, "route_prefix": None, "import_path": "bench.ray_serve_app:app",
            "deployments": [{"name": "Nothing", "autoscaling_config": scaling}]}

from bench.ray_serve_app import Nothing
for number in range(tries):
    app = f"{name}-{number}"
    if way == "lease":
        with serve_lease.hold(name) as lease:
            before = set(serve_changes.read_applications())
            lease.check()
            serve_changes.run(Nothing.bind(), app, None)
            missing = before - set(serve_changes.read_applications())
        assert not missing, missing
    else:
        url = f"{address}/api/serve/applications/"
        known = httpx.get(url, timeout=60).json()["applications"].values()
        kept = [item["deployed_app_config"] for item in known if item.get("deployed_app_config")]
        httpx.put(url, json={"applications": [*kept, config(app)]}, timeout=60).raise_for_status()
    print(app, flush=True)
"""


def measure_hop(head: RayHead, folder: Path, count: int) -> dict[str, Any]:
    first, second = (stored_model(folder / f"hop{version}", "hop", version) for version in ("1", "2"))
    cluster = {"address": head.address}
    deploy_model.main(cluster, first.plain(), cpus=0.1)
    url = str(deploy_model.main(cluster, second.plain(), cpus=0.1, weight=50)["output"]["url"])
    direct = deploy_direct(head, first)
    request = json.dumps(inference.build_smoke_request(first))
    times: dict[str, list[float]] = {"direct": [], "weights": []}
    with httpx.Client(timeout=60) as client:
        for number in range(count + WARM_UP):
            for name, base in (("direct", direct), ("weights", url)):
                started = time.perf_counter()
                answer = client.post(inference.infer_url(base, "hop"), content=request)
                elapsed = 1000 * (time.perf_counter() - started)
                assert answer.status_code == 200, answer.text
                if number >= WARM_UP:
                    times[name].append(elapsed)
    hops = [through - alone for alone, through in zip(times["direct"], times["weights"], strict=True)]
    undeploy_model.main(cluster, "hop")
    summary = {f"{name}_p50_ms": round(statistics.median(values), 2) for name, values in times.items()}
    summary |= {f"{name}_p95_ms": round(statistics.quantiles(values, n=20)[18], 2) for name, values in times.items()}
    added = summary["weights_p50_ms"] - summary["direct_p50_ms"]
    return {**summary, "added_p50_ms": round(added, 2), "p50_of_differences_ms": round(statistics.median(hops), 2)}


def deploy_direct(head: RayHead, model: Any) -> str:
    """The same model class without an ingress, by the job of a user's own."""
    code = """
import sys, json
from ray import cloudpickle, serve
from f.flexcore.lib.ray.remote import inference_app, serve_changes, shared_storage
model = json.loads(sys.argv[1]); port = int(sys.argv[2])
serve_changes.connect([])
for module in (inference_app, shared_storage):
    cloudpickle.register_pickle_by_value(module)
options = {"num_cpus": 0.1, "runtime_env": {"working_dir": None}}
app = serve.deployment(inference_app.ModelApp).options(
    name="model", ray_actor_options=options, logging_config={"enable_access_log": False})
serve.run(app.bind(model, {"uri": model["uri"]}), name="direct", route_prefix="/direct")
print(json.dumps({"ok": True}))
"""
    fields = model.model_dump(mode="json", include={"name", "version", "uri", "files", "signature", "format"})
    environment = os.environ | {"RAY_ADDRESS": gcs_address(head), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, json.dumps(fields), "0"]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    details = httpx.get(f"{head.address}/api/serve/applications/").json()
    return f"http://127.0.0.1:{details['http_options']['port']}/direct"


def gcs_address(head: RayHead) -> str:
    """What a driver on this machine joins the head by."""
    nodes = httpx.get(f"{head.address}/nodes?view=summary", timeout=60).json()
    raylet = nodes["data"]["summary"][0]["raylet"]
    port = next(word for word in head.log.read_text().split() if word.startswith("--address='"))
    assert raylet
    return port.split("'")[1]


def measure_switch(head: RayHead, folder: Path) -> dict[str, Any]:
    first, second = (stored_model(folder / f"switch{version}", "switch", version) for version in ("1", "2"))
    cluster = {"address": head.address}
    url = str(deploy_model.main(cluster, first.plain(), cpus=0.1)["output"]["url"])
    request = json.dumps(inference.build_smoke_request(first))
    ended, answers, lost = threading.Event(), Counter[str](), list[str]()

    def call() -> None:
        with httpx.Client(timeout=60) as client:
            while not ended.is_set():
                try:
                    answer = client.post(inference.infer_url(url, "switch"), content=request)
                    answers[answer.headers.get("x-flexcore-model-version", "none")] += 1
                    if answer.status_code != 200:
                        lost.append(f"HTTP {answer.status_code}: {answer.text[:200]}")
                except httpx.HTTPError as error:
                    lost.append(repr(error))

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    changes = [
        lambda: deploy_model.main(cluster, second.plain(), cpus=0.1, weight=10),
        lambda: set_traffic.main(cluster, "switch", {"1": 50, "2": 50}),
        lambda: set_traffic.main(cluster, "switch", rollback=True),
        lambda: set_traffic.main(cluster, "switch", {"2": 100}),
        lambda: undeploy_model.main(cluster, "switch", "1"),
        lambda: deploy_model.main(cluster, first.plain(), cpus=0.1),
    ]
    seconds = []
    try:
        for change in changes:
            started = time.perf_counter()
            change()
            seconds.append(round(time.perf_counter() - started, 1))
    finally:
        ended.set()
        for caller in callers:
            caller.join(120)
    undeploy_model.main(cluster, "switch")
    return {"requests": sum(answers.values()), "by_version": dict(answers), "lost": len(lost), "changes_s": seconds}


def measure_merges(head: RayHead, tries: int) -> dict[str, Any]:
    report = {}
    for way in ("lease", "put"):
        environment = os.environ | {"RAY_ADDRESS": gcs_address(head), "PYTHONPATH": str(ROOT)}
        started = time.perf_counter()
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, way, head.address, f"{way}-{name}", str(tries // 2)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in ("a", "b")
        ]
        for writer in writers:
            assert writer.stdin
            writer.stdin.write("\n")
            writer.stdin.flush()
        made = [line.strip() for writer in writers for line in writer.communicate()[0].splitlines()]
        made = [name for name in made if name.startswith(f"{way}-")]
        assert all(writer.returncode == 0 for writer in writers)
        time.sleep(2)
        there = httpx.get(f"{head.address}/api/serve/applications/", timeout=60).json()["applications"]
        elapsed = time.perf_counter() - started
        report[way] = {"merges": len(made), "lost": len(set(made) - set(there)), "seconds": round(elapsed, 1)}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["hop", "switch", "merges"], nargs="+")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--tries", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FLEXCORE_HOME"] = str(folder / "home")
        with RayHead(folder / "head") as head:
            measures = {
                "hop": lambda: measure_hop(head, folder, options.requests),
                "switch": lambda: measure_switch(head, folder),
                "merges": lambda: measure_merges(head, options.tries),
            }
            print(json.dumps({what: measures[what]() for what in options.what}, indent=1))


if __name__ == "__main__":
    main()
