"""`flexcore workflow schedule` and `unschedule`: a workflow's schedule as a file of the bundle."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.flexcore.commands.conftest import SCHEMA
from tests.wmlocal.engine.conftest import Command, Writer

SHIPPED = """\
args:
  rows: 2
cron_version: v2
description: 'Quoted: as it was'
enabled: false
is_flow: true
no_flow_overlap: true
schedule: 0 0 2 * * *
script_path: f/x/counting
summary: ''
timezone: UTC
ws_error_handler_muted: false
"""


def read(write: Writer, file: str = "f/x/counting.schedule.yaml") -> Any:
    return yaml.safe_load((write.root / file).read_text())


def test_a_new_schedule_lies_beside_its_workflow_with_the_forms_defaults(flexcore: Command, write: Writer) -> None:
    done = flexcore("workflow", "schedule", "counting", "--cron", "0 0 3 * * *", "--json")
    shown = {
        "workflow": "f/x/counting",
        "file": "f/x/counting.schedule.yaml",
        "enabled": True,
        "schedule": "0 0 3 * * *",
        "timezone": "UTC",
    }
    assert done.returncode == 0 and json.loads(done.stdout) == [shown] and "workflow deploy" in done.stderr
    made = read(write)
    assert made["args"] == {"rows": SCHEMA["properties"]["rows"]["default"]}  # type: ignore[index]
    assert (made["is_flow"], made["no_flow_overlap"], made["script_path"]) == (True, True, "f/x/counting")


def test_a_shipped_schedule_is_switched_on_and_off_and_keeps_every_other_line(flexcore: Command, write: Writer) -> None:
    file = write.file("f/x/nightly.schedule.yaml", SHIPPED)
    assert flexcore("workflow", "schedule", "f/x/counting", "--cron", "*/15 * * * * *").returncode == 0
    assert file.read_text() == SHIPPED.replace("false\nis_flow", "true\nis_flow").replace(
        "0 0 2 * * *", "'*/15 * * * * *'"
    )
    assert "off" in flexcore("workflow", "unschedule", "counting").stdout
    assert read(write, "f/x/nightly.schedule.yaml")["enabled"] is False
    flexcore("workflow", "schedule", "counting", "--timezone", "Europe/Berlin", "-p", '{"rows": 9}')
    changed = read(write, "f/x/nightly.schedule.yaml")
    assert (changed["args"], changed["timezone"], changed["enabled"]) == ({"rows": 9}, "Europe/Berlin", True)
    assert flexcore("check").returncode in (0, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["counting"], "has no schedule yet"),
        (["countign", "--cron", "0 0 3 * * *"], "did you mean counting?"),
        (["counting", "--cron", "0 3 * * *"], "wants the seconds first: write '0 0 3 * * *'"),
        (["counting", "--cron", "0 0 3 * * *", "--timezone", "Europe/Berln"], "did you mean Europe/Berlin?"),
        (["counting", "--cron", "0 0 3 * * *", "-p", '{"rows": 0}'], "rows: must be at least 1"),
        (["waits", "--cron", "0 0 3 * * *"], "flexcore.yaml says so at templates.slow"),
    ],
)
def test_what_cannot_be_scheduled_leaves_nothing_behind(
    flexcore: Command, write: Writer, arguments: list[str], words: str
) -> None:
    write.file("flexcore.yaml", "templates:\n  slow: {file: f/x/waits__flow, runtime: ray, enabled: false}\n")
    done = flexcore("workflow", "schedule", *arguments)
    assert done.returncode == 2 and words in done.stderr
    assert not list(write.root.rglob("*.schedule.yaml"))


def test_what_has_no_schedule_or_several_is_told(flexcore: Command, write: Writer) -> None:
    assert "has no schedule" in flexcore("workflow", "unschedule", "counting").stderr
    for name in ("day", "night"):
        write.file(f"f/x/{name}.schedule.yaml", SHIPPED)
    done = flexcore("workflow", "schedule", "counting")
    assert done.returncode == 2 and "f/x/day.schedule.yaml, f/x/night.schedule.yaml" in done.stderr
    assert len(json.loads(flexcore("workflow", "unschedule", "counting", "--json").stdout)) == 2
