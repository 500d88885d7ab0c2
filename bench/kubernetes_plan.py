"""The plan of a full deployment (Deployment, Secret, Service, autoscaler, budget, ConfigMap) with the API server 20 ms
away; the bar is 1.5 s.

Between plan and cluster stands a relay that delays every byte by 10 ms in each direction, TLS handshakes included. Each
round opens its connections anew, as a step does. Prints each time, the processor time of it, and the requests.

    KUBECONFIG=… uv run python bench/kubernetes_plan.py [--latency-ms 20] [--rounds 10]
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import statistics
import sys
import threading
import time
import uuid
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from f.flexcore.lib.core import errors, resources  # noqa: E402
from f.flexcore.lib.kubernetes import plan_request  # noqa: E402
from f.flexcore.lib.kubernetes_api import api_errors, client, credentials  # noqa: E402

BAR_S = 1.5
REQUEST = {"name": "bench", "cpu": "100m", "memory": "64Mi", "replicas": 2, "max_replicas": 3}
SETTINGS = {"storage_uri": "s3://store", "storage_access_key": "AKIDEXAMPLE", "storage_secret_key": "sesame-store-9"}
CALL = api_errors.Call("bench", "namespaces")


class Relay:
    """Passes bytes on to a server, each after `delay_s`, in either direction."""

    def __init__(self, address: str, delay_s: float) -> None:
        target = urlsplit(address)
        self.target, self.delay_s = (target.hostname or "", target.port or 443), delay_s
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(asyncio.start_server(self.connect, "127.0.0.1", 0))
        self.port: int = self.server.sockets[0].getsockname()[1]
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self.target)
        await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, chunk = await late.get()
                await asyncio.sleep(max(due - self.loop.time(), 0))
                if not chunk:
                    return writer.close()
                writer.write(chunk)

        delivering = asyncio.create_task(deliver())
        with suppress(OSError):
            while chunk := await reader.read(65536):
                late.put_nowait((self.loop.time() + self.delay_s, chunk))
        late.put_nowait((self.loop.time() + self.delay_s, b""))
        await delivering


class Counter:
    """Counts the requests of this process."""

    def __init__(self) -> None:
        self.requests, send = 0, client.Kubernetes._send

        def count(kubernetes: client.Kubernetes, *args: Any, **options: Any) -> Any:
            self.requests += 1
            return send(kubernetes, *args, **options)

        client.Kubernetes._send = count  # type: ignore[method-assign,assignment]


def plan(resource: dict[str, Any], namespace: str) -> dict[str, Any]:
    with redirect_stdout(io.StringIO()):
        return plan_request.plan_request(resource, "deploy_model", {**REQUEST, "namespace": namespace}, SETTINGS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    resource = {"kubeconfig": Path(os.environ["KUBECONFIG"]).read_text()}
    access = credentials.resolve_access(errors.validate(resources.KubernetesCluster, resource, "cluster"))
    kubernetes, namespace = client.Kubernetes(access), f"flexcore-bench-{uuid.uuid4().hex[:6]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    made = kubernetes.create("/api/v1/namespaces", body, CALL) or {}
    relay, counter = Relay(access.server, options.latency_ms / 2000), Counter()
    config = yaml.safe_load(resource["kubeconfig"])
    for entry in config["clusters"]:
        entry["cluster"] |= {"server": f"https://127.0.0.1:{relay.port}"}
    far = {"kubeconfig": yaml.safe_dump(config)}
    times = []
    try:
        for turn in range(options.rounds + 1):
            before, begun, busy = counter.requests, time.monotonic(), time.process_time()
            result = plan(far, namespace)
            spent, busy = time.monotonic() - begun, time.process_time() - busy
            label = "warm-up" if turn == 0 else str(turn)
            count = len(result["data"]["objects"])
            requests = counter.requests - before
            print(f"{label}: {spent:.2f} s (processor {busy:.2f} s), {requests} requests, {count} objects", flush=True)
            if turn:
                times.append(spent)
    finally:
        kubernetes.delete(f"/api/v1/namespaces/{namespace}", made["metadata"]["uid"], CALL)
    print(f"median {statistics.median(times):.2f} s, largest {max(times):.2f} s, at {options.latency_ms:g} ms")
    return 0 if statistics.median(times) <= BAR_S else 1


if __name__ == "__main__":
    sys.exit(main())
