#!/usr/bin/env python3
"""A Singer mapper without dependencies: leaves the names out of the rows that pass.

mode: ok | crash (at the first row) | killed (then, by SIGKILL) | hang (then, and ignores SIGTERM). marker: a file that
gets its process id.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
if config.get("marker"):
    Path(config["marker"]).write_text(str(os.getpid()))
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "RECORD":
        message["record"]["name"] = "hidden"
        if config.get("mode") == "crash":
            sys.exit("ValueError: no such column as email")
        if config.get("mode") == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if config.get("mode") == "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
    print(json.dumps(message), flush=True)
