"""Our model server against a bare uvicorn handler with the same model, and its cold start against MLServer's.

    uv run python bench/model_server.py latency [--requests 1500]
    uv run python bench/model_server.py start --mlserver COMMAND [--tries 5]

latency  one row at a time, in turns, over kept connections on loopback: medians of both and of the ratio of pairs
         (bar: p50 at most 1.3 times the bare handler's)
start    from the start of the process to the first answer, in turns (bar: at most 0.5 times MLServer's). COMMAND starts
         MLServer in the model's folder, e.g. "python -m mlserver start ." with its PYTHONPATH

Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from f.flexcore.lib.core import inference  # noqa: E402
from f.flexcore.lib.kubernetes import model_delivery  # noqa: E402
from tests.ray.models import stored_model  # noqa: E402

WARM_UP = 100
START_TIMEOUT_S = 180
# What one would write by hand: the same model, no checks, no protocol beyond the data.
BARE = """
import asyncio, json, sys
from pathlib import Path
import pandas as pd
import uvicorn
sys.path.insert(0, sys.argv[1])
from f.flexcore.lib.serving import model_format

pipeline = model_format.load_pipeline(Path(sys.argv[2]), sys.argv[3])


def predict(body):
    inputs = json.loads(body)["inputs"]
    frame = pd.DataFrame({item["name"]: item["data"] for item in inputs})
    return json.dumps({"outputs": [{"name": "predict", "data": pipeline.predict(frame).tolist()}]}).encode()


async def app(scope, receive, send):
    content = predict((await receive()).get("body") or b"{}") if scope["method"] == "POST" else b"{}"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": content})


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[4]), log_level="warning", lifespan="off", access_log=False)
"""


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(command: list[str], folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1", **environment})


def wait_for_answer(client: httpx.Client, path: str, body: Any, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit("the server ended before it answered")
        try:
            if client.post(path, json=body).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise SystemExit("the server did not answer in time")


def write_server(folder: Path, model: Any, files: Path, port: int) -> list[str]:
    """The command of our server, as a pod has it."""
    server = model_delivery.Server(1)
    for key, text in model_delivery.list_files(model, None, server).items():
        path = folder / model_delivery.program_path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    config = {**server.config(model), "folder": str(files), "host": "127.0.0.1", "port": port, "drain_s": 0}
    (folder / "server.json").write_text(json.dumps(config))
    return [sys.executable, model_delivery.STARTER, "server.json"]


def measure_latency(folder: Path, model: Any, files: Path, requests: int) -> dict[str, Any]:
    path, body = "/v2/models/flowers/infer", inference.build_infer_request(model.example, model.signature)
    ports = {"ours": find_port(), "bare": find_port()}
    (folder / "bare.py").write_text(BARE)
    bare = [sys.executable, "bare.py", str(ROOT), str(files), model.format, str(ports["bare"])]
    processes = {"ours": start(write_server(folder, model, files, ports["ours"]), folder), "bare": start(bare, folder)}
    clients = {name: httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) for name, port in ports.items()}
    taken: dict[str, list[float]] = {"ours": [], "bare": []}
    try:
        for name, client in clients.items():
            wait_for_answer(client, path, body, processes[name])
        for number in range(WARM_UP + requests):
            for name in ("ours", "bare") if number % 2 else ("bare", "ours"):
                started = time.perf_counter()
                clients[name].post(path, json=body).raise_for_status()
                if number >= WARM_UP:
                    taken[name].append(time.perf_counter() - started)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    medians = {f"{name}_p50_ms": round(statistics.median(values) * 1000, 3) for name, values in taken.items()}
    pairs = [ours / other for ours, other in zip(taken["ours"], taken["bare"], strict=True)]
    ratio = statistics.median(taken["ours"]) / statistics.median(taken["bare"])
    return {**medians, "ratio_of_p50": round(ratio, 3), "median_ratio_of_pairs": round(statistics.median(pairs), 3)}


def measure_start(folder: Path, model: Any, files: Path, command: str, tries: int) -> dict[str, Any]:
    path, body = "/v2/models/flowers/infer", inference.build_infer_request(model.example, model.signature)
    taken: dict[str, list[float]] = {"ours": [], "mlserver": []}
    for number in range(tries):
        for name in ("ours", "mlserver") if number % 2 else ("mlserver", "ours"):
            port = find_port()
            own = write_server(folder, model, files, port)
            settings = {
                "MLSERVER_HTTP_PORT": str(port),
                "MLSERVER_GRPC_PORT": str(find_port()),
                "MLSERVER_METRICS_PORT": str(find_port()),
                "MLSERVER_PARALLEL_WORKERS": "0",
                "MLSERVER_METRICS_DIR": str(folder / "metrics"),
            }
            started = time.perf_counter()
            process = start(own, folder) if name == "ours" else start(shlex.split(command), files, **settings)
            try:
                with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                    wait_for_answer(client, path, body, process)
                taken[name].append(time.perf_counter() - started)
            finally:
                process.kill()
                process.wait()
    medians = {f"{name}_s": round(statistics.median(values), 2) for name, values in taken.items()}
    return {**medians, "ratio": round(medians["ours_s"] / medians["mlserver_s"], 3), "tries": tries}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["latency", "start"])
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--mlserver", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        files, pod = root / "model", root / "pod"
        pod.mkdir()
        model = stored_model(files, "flowers", "1", {"storage_uri": f"file://{root}"}, joblib=True)
        if arguments.what == "latency":
            result = measure_latency(pod, model, files, arguments.requests)
        else:
            result = measure_start(pod, model, files, arguments.mlserver, arguments.tries)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
