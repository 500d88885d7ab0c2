#!/usr/bin/env python3
"""Stands for the wmill CLI where a push must go wrong on cue: what it would push is in wanted.json, what the server
"has" in landed.json. It notes its arguments and the profile it was given. tests/live pushes with the real one."""

import json
import os
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
arguments = sys.argv[1:]
with (here / "calls.jsonl").open("a") as log:
    log.write(json.dumps({"arguments": arguments, "environment": sorted(os.environ)}) + "\n")
if arguments[0] == "lint":
    print("All good" if not (here / "lint_fails").exists() else "f/x/bad.schedule.yaml: must be a cron expression")
    sys.exit((here / "lint_fails").exists())
config = Path(arguments[arguments.index("--config-dir") + 1]) / "windmill/remotes.ndjson"
(here / "profile.json").write_text(json.dumps(json.loads(config.read_text()) | {"mode": oct(config.stat().st_mode)}))
wanted = json.loads((here / "wanted.json").read_text())
landed = json.loads((here / "landed.json").read_text())
behaviour = (here / "behaviour").read_text()
is_dry, keeps = "--dry-run" in arguments, "--keep-deleted" in arguments
assert is_dry or keeps, "it would delete what other people have in the workspace"
left = [item for item in wanted if behaviour == "denormal" or item["path"] not in landed]
if not keeps and (here / "only_there.json").exists():
    left += [{"type": "deleted", "path": path} for path in json.loads((here / "only_there.json").read_text())]
if is_dry:
    print("Computing the files to update")
    print(json.dumps({"success": True, "changes": left, "total": len(left)}, indent=2))
    sys.exit(0)
good = left if behaviour in ("good", "denormal") else left[:1]
(here / "landed.json").write_text(json.dumps([*landed, *(item["path"] for item in good)]))
if behaviour == "crash":
    print("error: connection reset by peer", file=sys.stderr)
    sys.exit(255)
failed = [{"path": item["path"], "error": "Bad request: no such script"} for item in left if item not in good]
print(json.dumps({"success": not failed, "failed": failed, "lock_jobs": {"failed": [], "pending": 0}}, indent=2))
sys.exit(1 if failed else 0)
