#!/usr/bin/env python3
"""A Singer tap without dependencies that prints a file word for word.

messages, catalog: files beside this script; discover: exit code of a discovery. It honors no catalog but with
honest: true, which leaves out streams and columns that are not selected.
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else ""


def left_out(entry: dict[str, Any]) -> list[str]:
    marks = {tuple(item["breadcrumb"]): item["metadata"] for item in entry["metadata"]}
    return [path[1] for path, mark in marks.items() if len(path) == 2 and not mark.get("selected")]


def main() -> None:
    config = json.loads(Path(option("--config")).read_text())
    if "--discover" in sys.argv:
        sys.stdout.buffer.write((HERE / config["catalog"]).read_bytes())
        sys.exit(config.get("discover", 0))
    file = option("--catalog") or option("--properties")
    streams = json.loads(Path(file).read_text())["streams"] if file else []
    chosen = {
        item["stream"]: left_out(item)
        for item in streams
        if any(entry["metadata"].get("selected") and not entry["breadcrumb"] for entry in item["metadata"])
    }
    for line in (HERE / config.get("messages", "messages.jsonl")).read_bytes().splitlines(keepends=True):
        if file and config.get("honest") and b'"stream"' in line:
            message = json.loads(line)
            if message["stream"] not in chosen:
                continue
            for column in chosen[message["stream"]]:
                message.get("record", {}).pop(column, None)
            line = json.dumps(message).encode() + b"\n"
        sys.stdout.buffer.write(line)


main()
