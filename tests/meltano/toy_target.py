#!/usr/bin/env python3
"""A Singer target without dependencies: appends rows to `file`, as a database would keep them.

mode: ok | crash (after the first row) | hang (reads nothing). A STATE is confirmed once the rows before it are written.
"""

import json
import sys
import time
from pathlib import Path

config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
if config.get("mode") == "hang":
    time.sleep(600)
with Path(config["file"]).open("a") as file:
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "RECORD":
            file.write(json.dumps(message["record"]) + "\n")
            if config.get("mode") == "crash":
                sys.exit("ValueError: no space left in table orders")
        if message["type"] == "STATE":
            file.flush()
            print(json.dumps(message["value"]), flush=True)
