#!/usr/bin/env python3
"""A Singer tap without dependencies that behaves as its settings say.

rows: how many rows each stream has, ids from 1; streams: their names; a row is emitted when its id is above the
bookmark. mode: ok | crash (after half the rows) | malformed, long, nan, huge (an odd last row) |
hang (and ignores SIGTERM) | orphan (hangs, with a child in a session
of its own) | wait (until there is a file `<marker>.go`) | killed. marker: a file that gets this process's environment
and the pids of all it started. secret: printed to the log.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": ["null", "string"]},
        "price": {"type": ["number", "null"]},
    },
}


# Lines that a target may choke on: no JSON, longer than Meltano's buffer, no number of JSON, no number of a machine.
ODD: dict[str, Any] = {
    "malformed": lambda record: sys.stdout.write('{"type": "RECORD", "stream": "orders", "record": {"id": \n'),
    "long": lambda record: record.update(name="x" * 12_000_000),
    "nan": lambda record: record.update(price=float("nan")),
    "huge": lambda record: record.update(price=10**400),
}


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else ""


def read(path: str) -> dict[str, Any]:
    return dict(json.loads(Path(path).read_text())) if path else {}


def out(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def selected(catalog: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for stream in catalog.get("streams", []):
        metadata = {tuple(item["breadcrumb"]): item["metadata"] for item in stream["metadata"]}
        if metadata.get((), {}).get("selected"):
            columns = [
                key for key in SCHEMA["properties"] if metadata.get(("properties", key), {}).get("selected", True)
            ]
            yield stream["stream"], columns


def discover(config: dict[str, Any]) -> None:
    entries = [
        {"breadcrumb": ["properties", key] if key else [], "metadata": {"inclusion": "available"}}
        for key in ("", *SCHEMA["properties"])
    ]
    streams = [
        {"tap_stream_id": name, "stream": name, "schema": SCHEMA, "metadata": entries}
        for name in config.get("streams", ["orders"])
    ]
    json.dump({"streams": streams}, sys.stdout)


def mark(config: dict[str, Any], started: Sequence[int] = ()) -> None:
    if config.get("marker"):
        part = Path(config["marker"] + ".part")
        part.write_text(json.dumps({"env": dict(os.environ), "pids": [os.getpid(), os.getppid(), *started]}))
        part.rename(config["marker"])


def sync(config: dict[str, Any], state: dict[str, Any]) -> None:
    mode, rows = config.get("mode", "ok"), int(config.get("rows", 3))
    for stream, columns in selected(read(option("--catalog"))):
        out({"type": "SCHEMA", "stream": stream, "schema": SCHEMA, "key_properties": ["id"]})
        first = state.setdefault("bookmarks", {}).get(stream, 0) + 1
        for number in range(first, rows + 1):
            if mode == "crash" and number > rows // 2:
                raise ConnectionError("server closed the connection, password=" + config.get("secret", "none"))
            record = {"id": number, "name": f"row {number}", "price": number / 2}
            if number == rows and mode in ODD:
                ODD[mode](record)
            out({"type": "RECORD", "stream": stream, "record": {key: record[key] for key in columns}})
        count = max(rows - first + 1, 0)
        # Two intervals of a metric, as a long sync has them.
        for part in (count // 2, count - count // 2):
            log(
                "METRIC: "
                + json.dumps({"type": "counter", "metric": "record_count", "value": part, "tags": {"stream": stream}})
            )
        state["bookmarks"][stream] = max(rows, first - 1)
    out({"type": "STATE", "value": state})
    sys.stdout.flush()


def misbehave(config: dict[str, Any]) -> None:
    mode = config.get("mode")
    started: list[int] = []
    if mode == "orphan":
        started = [subprocess.Popen(["sleep", "600"], start_new_session=True).pid]
    mark(config, started)
    if mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while mode in ("hang", "orphan") or (mode == "wait" and not Path(config["marker"] + ".go").exists()):
        time.sleep(0.2)


def main() -> None:
    config = read(option("--config"))
    if "--discover" in sys.argv:
        discover(config)
        return
    if config.get("secret"):
        log("connecting with " + config["secret"])
    misbehave(config)
    sync(config, read(option("--state")))


main()
