"""What the tests of the page answer has the shapes that the steps behind it return: neither can change alone."""

from __future__ import annotations

import json

import pytest

from f.flexcore.lib.dashboard import shapes
from tests.dashboard import workspace as ws


@pytest.mark.parametrize("part", shapes.PARTS)
def test_the_workspace_of_the_tests_answers_in_the_shapes_of_the_steps(part: str) -> None:
    workspace = ws.busy_workspace()
    answer = json.loads(workspace.answer("read_dashboard", {"want": [part], "execution": ws.FAILED}))["result"]
    read = shapes.Dashboard.model_validate(answer, extra="forbid")
    assert getattr(read, part), part
