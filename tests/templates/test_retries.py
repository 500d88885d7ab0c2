"""What is tried again, in the flows that do the work: what may succeed later, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.templates.conftest import ROOT
from wmlocal.engine import Engine, Flow

FLOWS = ("meltano", "ray", "kubernetes")
POLICY = {
    # 3 and 9 seconds: a service that restarts, a lock that is released. More would keep a data pipeline from going on
    # with the next runtime.
    "exponential": {"attempts": 2, "multiplier": 1, "random_factor": 20, "seconds": 3},
    "retry_if": {"expr": "result?.error?.extra?.retryable === true"},
}


def scripts(modules: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for module in modules:
        value = module["value"]
        if value["type"] == "script":
            yield module
        for inner in (value.get("default"), *(branch["modules"] for branch in value.get("branches", ()))):
            yield from scripts(inner or [])


@pytest.mark.parametrize("runtime", FLOWS)
def test_every_step_of_a_runtime_has_the_policy(runtime: str) -> None:
    flow = yaml.safe_load((ROOT / f"f/flexcore/{runtime}/execute__flow/flow.yaml").read_text())
    assert all(module.get("retry") == POLICY for module in scripts(flow["value"]["modules"]))


@pytest.mark.parametrize(
    ("raised", "runs"),
    [("InvalidInput('x')", 1), ("ExecutionFailed('x')", 1), ("Unavailable('x')", 2), ("ZeroDivisionError()", 1)],
)
def test_what_may_succeed_later_is_tried_again_and_nothing_else(engine: Engine, raised: str, runs: int) -> None:
    code = f"from f.flexcore.lib.core.errors import *\ndef main():\n    raise {raised}\n"
    lock = (ROOT / "locks/flexcore_base.requirements.in.lock").read_text()
    step = {"type": "rawscript", "language": "python3", "content": code, "lock": lock, "input_transforms": {}}
    at_once = {"constant": {"attempts": 1, "seconds": 0}, "retry_if": POLICY["retry_if"]}
    flow = {"modules": [{"id": "a", "retry": at_once, "value": step}]}
    done = engine.wait(engine.start_flow(Flow("", flow, {}), {}, preview=True))
    assert not done.success
    jobs = engine.store.jobs("root = ?", [done.id], 50, 0, False, ("step_id",))
    assert [job["step_id"] for job in jobs].count("a") == runs
