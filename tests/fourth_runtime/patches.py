"""The two places that a new runtime is added to: the registry, and the branches of data_pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ENTRY = """        operation.Runtime(
            name="command",
            summary="commands on the worker itself",
            worker_tag="default",
            operations={"run": "f.flexcore.lib.command.run_command:RUN"},
            pipeline_operations=("run",),
            health="f.flexcore.lib.command.upkeep:health",
            objects="f.flexcore.lib.command.upkeep:CommandObjects",
            needs_service=False,
        ),
"""


def add_entry(registry: Path) -> None:
    text = registry.read_text()
    mark = "        operation.Runtime(\n"
    assert mark in text
    registry.write_text(text.replace(mark, ENTRY + mark, 1))


def add_branch(flow: Path) -> None:
    document: dict[str, Any] = yaml.safe_load(flow.read_text())
    (attempts,) = [item for item in document["value"]["modules"] if item["id"] == "attempts"]
    (attempt,) = [item for item in attempts["value"]["modules"] if item["id"] == "attempt"]
    transforms = {
        "command": {"type": "javascript", "expr": "flow_input.command.command"},
        "settings": {"type": "javascript", "expr": "flow_input.settings"},
    }
    step = {"type": "script", "path": "f/flexcore/command/run", "input_transforms": transforms}
    branch = {
        "expr": "flow_input.iter.value == 'command'",
        "modules": [{"id": "command", "continue_on_error": True, "value": step}],
        "parallel": False,
        "skip_failure": False,
    }
    attempt["value"]["branches"].append(branch)
    document["schema"]["properties"]["command"] = {"type": "object", "description": "A command."}
    flow.write_text(yaml.safe_dump(document, sort_keys=False))
