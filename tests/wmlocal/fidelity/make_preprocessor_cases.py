"""Asks a real Windmill what flows with a preprocessor return, and writes cases/preprocessors.json.

    python -m tests.wmlocal.fidelity.make_preprocessor_cases     needs FLEXCORE_LIVE_WINDMILL_URL, _TOKEN and _WORKSPACE

A preview runs no preprocessor, so each flow is deployed, started by its path with the body {"b": 1}, and deleted again.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from typing import Any

from tests.wmlocal.fidelity import case_files
from tests.wmlocal.fidelity.make_cases import Server, Value, js, normal, static, step

BODY = {"b": 1}
SEE = step("a", inputs={"x": js("flow_input")})
FAILS = "def preprocessor(event: dict):\n    raise ValueError('bad event')\n"
EVENT = (
    "def preprocessor(event: dict):\n"
    "    return {'kind': event['kind'], 'body': event['body'], 'names': sorted(event),\n"
    "            'query': event['query'], 'raw': event['raw_string'],\n"
    "            'type': 'content-type' in event['headers']}\n"
)
UNTIL = (
    "import os\ndef preprocessor(event: dict):\n    p = '/tmp/fid_' + os.environ['WM_FLOW_JOB_ID']\n"
    "    n = len(open(p).read()) if os.path.exists(p) else 0\n    open(p, 'a').write('x')\n"
    "    if n < 1:\n        raise ValueError(f'try {n}')\n    return {'n': n, 'step': os.environ['WM_FLOW_STEP_ID']}\n"
)
HANDLE = step(
    "failure",
    "def main(error, x=None):\n    error.pop('stack', None)\n    return {'was': error, 'inputs': x}\n",
    {"error": js("error"), "x": js("Object.keys(flow_input)")},
)


def made_by(code: str, **module: Any) -> Value:
    return {"modules": [SEE], "preprocessor_module": step("preprocessor", code, **module)}


def returns(expression: str, **module: Any) -> Value:
    return made_by(f"def preprocessor(event):\n    return {expression}\n", **module)


FLOWS: dict[str, Value] = {
    "event": made_by(EVENT),
    "none": returns("None"),
    "number": returns("5"),
    "list": returns("[1, 2]"),
    "other_arguments": made_by(
        "def preprocessor(event, other=3, missing=None):\n    return {'other': other, 'missing': missing}\n"
    ),
    "transforms": made_by("def preprocessor(event, k=None):\n    return {'k': k}\n", inputs={"k": static(9)}),
    "fails": made_by(FAILS),
    "handled": made_by(FAILS) | {"failure_module": HANDLE},
    "handled_badly": made_by(FAILS) | {"failure_module": step("failure", "def main():\n    raise KeyError('k')\n")},
    "recovered": made_by(FAILS) | {"failure_module": step("failure", "def main():\n    return {'recover': True}\n")},
    "retried": made_by(UNTIL, retry={"constant": {"attempts": 2, "seconds": 0}}),
    "retried_in_vain": made_by(FAILS, retry={"constant": {"attempts": 1, "seconds": 0}}) | {"failure_module": HANDLE},
    "no_function": made_by("def main(event):\n    return {}\n"),
    "no_steps": returns("{'k': 1}") | {"modules": []},
    "results": returns("{'k': 1}")
    | {
        "modules": [
            step(
                "a",
                "def main(x=None, y=None):\n    return [x, y]\n",
                {"x": js("results.preprocessor"), "y": js("previous_result")},
            )
        ]
    },
    "stop": returns("{'k': 1}", stop_after_if={"expr": "true", "skip_if_stopped": False}),
    "skipped": returns("{'k': 1}") | {"skip_expr": "flow_input.k === 1"},
    "mock": made_by(FAILS, mock={"enabled": True, "return_value": {"m": 2}}),
    "goes_on": made_by(FAILS, continue_on_error=True),
    "too_slow": made_by("import time\ndef preprocessor(event):\n    time.sleep(9)\n", timeout=static(2))
    | {"failure_module": HANDLE},
    "labels": returns("{'wm_labels': ['x'], 'k': 1}"),
}
QUERIES = {"event": ("", "?skip_preprocessor=true", "?a=1")}


def main() -> None:
    server, answers = Server(), {}
    for name, value in FLOWS.items():
        path = f"u/admin/fidpre_{name}"
        flow = {"path": path, "summary": "", "description": "", "value": value, "schema": {}}
        server.call("/flows/create", flow)
        for query in QUERIES.get(name, ("",)):
            answers[f"{name}{query}"] = {"value": value, "query": query, "expected": asked(server, path, query)}
            print(name, query, file=sys.stderr)
        delete(server, f"/flows/delete/{path}")
    case_files.write(case_files.PREPROCESSORS, answers)


def asked(server: Server, path: str, query: str) -> Value:
    job = server.call(f"/jobs/run/f/{path}{query}", BODY).strip('"')
    while not (done := json.loads(server.call(f"/jobs_u/completed/get_result_maybe/{job}")))["completed"]:
        time.sleep(0.2)
    whole = json.loads(server.call(f"/jobs_u/completed/get/{job}"))
    state = (whole["flow_status"].get("preprocessor_module") or {}).get("type")
    return {
        "success": done["success"],
        "result": normal(done["result"]),
        "skipped": whole["is_skipped"],
        "preprocessor": state,
        "arguments": sorted(whole["args"] or {}),
    }


def delete(server: Server, path: str) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    urllib.request.urlopen(urllib.request.Request(server.base + path, headers=headers, method="DELETE"), timeout=60)


if __name__ == "__main__":
    main()
