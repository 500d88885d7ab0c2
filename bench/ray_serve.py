"""Ray Serve by our steps, on one local head: the hop through weights, requests while versions change, and merges.

    uv run python bench/ray_serve.py hop|switch|merges [--requests 2000] [--tries 200]

hop      the same model directly and through the ingress with weights 50:50, request by request in turns: median and
         95th percentile of both, and the median of the differences (bar: 3 ms)
switch   callers without a pause while a second version comes, weights change, go back, and a version goes (bar: 0 lost)
merges   two processes at once each add an application to a head, TRIES times: by our change under the lease, and by
         reading, merging and putting the set as the REST API has it; how many are missing afterwards (bar: 0)

Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
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
PUT_TRIES = 20
# One process of `merges`: changes the head by our way or by the REST API's. It prints what it has added.
WRITER = """
import os, sys, httpx, ray
from f.flexcore.lib.ray.remote import serve as serving, serve_changes, serve_lease
from bench import ray_serve_app

way, address, name, tries = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
serve_changes.connect([])
with serve_lease.hold(name):
    serving.start_serve({"host": "127.0.0.1", "ports": list(range(8100, 9000))})
for number in range(tries):
    app = f"{name}-{number}"
    if way == "lease":
        with serve_lease.hold(name) as lease:
            before = set(serve_changes.read_applications())
            lease.check()
            serve_changes.run(ray_serve_app.app, app, None)
            assert not before - set(serve_changes.read_applications())
    else:
        url = f"{address}/api/serve/applications/"
        headers = {"Authorization": "Bearer " + os.environ["HEAD_TOKEN"]}
        known = httpx.get(url, timeout=300, headers=headers).json()["applications"].values()
        kept = [item["deployed_app_config"] for item in known if item.get("deployed_app_config")]
        one = {"name": app, "route_prefix": None, "import_path": "bench.ray_serve_app:app"}
        httpx.put(url, json={"applications": [*kept, one]}, timeout=300, headers=headers).raise_for_status()
    print("added", app, flush=True)
"""
# The same model class without an ingress, as a user would deploy it.
DIRECT = """
import json, sys
from ray import cloudpickle, serve
from f.flexcore.lib.ray.remote import inference_app, serve_changes
model = json.loads(sys.argv[1])
serve_changes.connect([])
for module in serve_changes.MODEL_CODE:
    cloudpickle.register_pickle_by_value(module)
options = {"num_cpus": 0.1, "runtime_env": {"working_dir": None}}
app = serve.deployment(inference_app.ModelApp).options(
    name="model", ray_actor_options=options, logging_config={"enable_access_log": False})
serve.run(app.bind(model, {"uri": model["uri"]}), name="direct", route_prefix="/direct")
"""


class Script:
    """A program of this clone as a job of the head."""

    def __init__(self, head: RayHead, folder: Path, code: str, *arguments: str) -> None:
        self.url, self.headers = f"{head.address}/api/jobs/", head.headers
        path = folder / f"{abs(hash((code, arguments)))}.py"
        path.write_text(code)
        body = {
            "entrypoint": shlex.join([sys.executable, str(path), *arguments]),
            "runtime_env": {"env_vars": {"PYTHONPATH": str(ROOT), "HEAD_TOKEN": head.token}},
        }
        answer = httpx.post(self.url, json=body, timeout=60, headers=self.headers).raise_for_status()
        self.name = answer.json()["submission_id"]

    def wait(self) -> list[str]:
        """The lines of its log once it has succeeded."""
        while (details := self.read(""))["status"] in ("PENDING", "RUNNING"):
            time.sleep(2)
        log = str(self.read("/logs")["logs"])
        assert details["status"] == "SUCCEEDED", log[-3000:]
        return log.splitlines()

    def read(self, what: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}{self.name}{what}", timeout=300, headers=self.headers).raise_for_status()
        return dict(answer.json())


def measure_hop(head: RayHead, folder: Path, count: int) -> dict[str, Any]:
    first, second = (stored_model(folder / f"hop{version}", "hop", version) for version in ("1", "2"))
    cluster = head.resource
    deploy_model.main(cluster, first.plain(), cpus=0.1)
    url = str(deploy_model.main(cluster, second.plain(), cpus=0.1, weight=50)["output"]["url"])
    direct = deploy_direct(head, folder, first)
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


def deploy_direct(head: RayHead, folder: Path, model: Any) -> str:
    fields = model.model_dump(mode="json", include={"name", "version", "uri", "files", "signature", "format"})
    Script(head, folder, DIRECT, json.dumps(fields)).wait()
    details = httpx.get(f"{head.address}/api/serve/applications/", timeout=60, headers=head.headers).json()
    return f"http://127.0.0.1:{details['http_options']['port']}/direct"


def measure_switch(head: RayHead, folder: Path) -> dict[str, Any]:
    first, second = (stored_model(folder / f"switch{version}", "switch", version) for version in ("1", "2"))
    cluster = head.resource
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
    changes: list[Any] = [
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


def measure_merges(head: RayHead, folder: Path, tries: int) -> dict[str, Any]:
    report = {}
    # A set that is put is built anew by a task for each application: some tries show what it loses.
    for way, count in (("put", min(tries, PUT_TRIES)), ("lease", tries)):
        started = time.perf_counter()
        writers = [
            Script(head, folder, WRITER, way, head.address, f"{way}-{name}", str(count // 2)) for name in ("a", "b")
        ]
        lines = [line for writer in writers for line in writer.wait()]
        made = {line.split()[1] for line in lines if line.startswith("added ")}
        url = f"{head.address}/api/serve/applications/"
        there = httpx.get(url, timeout=300, headers=head.headers).json()["applications"]
        elapsed = time.perf_counter() - started
        report[way] = {"merges": len(made), "lost": len(made - set(there)), "seconds": round(elapsed, 1)}
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
                "merges": lambda: measure_merges(head, folder, options.tries),
            }
            print(json.dumps({what: measures[what]() for what in options.what}, indent=1))


if __name__ == "__main__":
    main()
