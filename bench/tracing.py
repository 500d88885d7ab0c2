"""What tracing adds to a step: the same step with and without a collector in its settings, in turns.

    uv run python bench/tracing.py [--rounds 25]

Prints JSON. A step is a process of its own, as on a worker: it imports what every step with an operation imports, has
one attempt with four parts, and exports six spans to a collector on this machine. `added_s` is the median of the
differences between neighbors (bar: 0.04 s), in seconds of the clock and of the processor; `off_modules` is what a step
without a collector imports of tracing (bar: 0); `sdk_added_cpu_s` is what OpenTelemetry's SDK with its OTLP exporter
would add in its place, by its import and the export of as many spans.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
STEP = """
import contextlib, datetime, sys
from f.flexcore.lib.core import attempts, contracts, driver, identity, operation, redaction, resources
from f.flexcore.lib.storage import attempt_records, object_store

BEGAN = datetime.datetime.now(datetime.UTC)

class Adapter:
    def __init__(self, invocation):
        self.key, self.redactor = invocation.key, redaction.Redactor(["s3cr3t-s3cr3t"])
        self.records = attempt_records.StoreRecords(object_store.Store(invocation.settings), invocation.key)
    def find(self, number):
        return None
    def create(self, number, earlier):
        return contracts.Remote(kind="thing", name=self.key.name(number))
    def observe(self, number, remote):
        timings = contracts.Timings(queued=1, starting=1, running=1, finishing=1, began_at=BEGAN)
        return driver.Verdict(contracts.StepResult(success=True, runtime="memory", execution_key=self.key.value,
            attempt=number, timings=timings, remote=remote))
    def finish(self, result):
        return result

RUN = operation.Operation("memory", "run", resources.Form, resources.Resource, operation.check_nothing, None,
    lambda item: driver.drive(lambda each: contextlib.nullcontext(Adapter(each)), item))
result = RUN.run({"settings": {"storage_uri": sys.argv[1], **({"otlp_endpoint": sys.argv[2]} if sys.argv[2] else {})}})
assert not sys.argv[2] or result["trace"]["is_exported"], result
print(sum("trace" in name or "otlp" in name for name in sys.modules if name.startswith("f.")))
"""
SDK = """
import sys
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=sys.argv[2] + "/v1/traces")))
tracer = provider.get_tracer("flexcore")
for number in range(6):
    tracer.start_span("part", start_time=1).end(2)
provider.shutdown()
"""


class Taker(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def serve(told: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    told.send(server.server_port)
    server.serve_forever()


def run(code: str, folder: str, endpoint: str) -> tuple[float, float, str]:
    """(seconds of the clock, of the processor, what it printed last)."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "WM_JOB_ID": "01998f1c-7a00-7000-a323-456789abcde1"}
    used, began = cpu_seconds(), time.perf_counter()
    store = f"file://{tempfile.mkdtemp(dir=folder)}"
    command = [sys.executable, "-c", code, store, endpoint]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, cpu_seconds() - used, done.stdout.strip().rpartition("\n")[2]


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(rounds: int, endpoint: str, folder: str) -> dict[str, Any]:
    for args in ((STEP, ""), (STEP, endpoint), (SDK, endpoint), ("pass", endpoint)):
        run(args[0], folder, args[1])
    off: list[Any] = []
    on: list[Any] = []
    sdk: list[Any] = []
    bare: list[Any] = []
    for _ in range(rounds):
        off.append(run(STEP, folder, ""))
        on.append(run(STEP, folder, endpoint))
        sdk.append(run(SDK, folder, endpoint))
        bare.append(run("pass", folder, endpoint))
    clock = [one[0] - other[0] for one, other in zip(on, off, strict=True)]
    cpu = [one[1] - other[1] for one, other in zip(on, off, strict=True)]
    by_sdk = [one[1] - other[1] for one, other in zip(sdk, bare, strict=True)]
    return {
        "rounds": rounds,
        "step_s": round(statistics.median(item[0] for item in off), 4),
        "added_s": round(statistics.median(clock), 4),
        "added_cpu_s": round(statistics.median(cpu), 4),
        # On a busy machine this says more: the fastest of each.
        "added_s_of_fastest": round(min(item[0] for item in on) - min(item[0] for item in off), 4),
        "added_s_quartiles": [round(value, 4) for value in statistics.quantiles(clock, n=4)],
        "off_modules": int(off[0][2]),
        "sdk_added_cpu_s": round(statistics.median(by_sdk), 4),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    ours, theirs = get_context("spawn").Pipe()
    server = get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(rounds, f"http://127.0.0.1:{ours.recv()}", folder), indent=2))
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
