"""Labels, a limit of jobs and wrong packages on a real head."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.lib.core.errors import ExecutionFailed, InvalidInput
from f.flexcore.ray.run_job import main
from tests.ray.conftest import bearer

pytestmark = pytest.mark.slow


def test_a_program_runs_on_a_node_with_its_labels_and_is_refused_where_none_has_them(cluster: dict[str, Any]) -> None:
    assert main(cluster, "result = 1", label_selector={"zone": "!b"})["data"]["result"] == 1
    with pytest.raises(InvalidInput, match="no node has the label zone: b") as caught:
        main(cluster, "result = 1", label_selector={"zone": "b"})
    assert caught.value.subject == "label_selector"


@pytest.mark.fault(10, "I1", real=True)
def test_three_steps_for_one_slot_run_one_after_the_other(cluster: dict[str, Any], tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    program = f"import time; f = open({str(marks)!r}, 'a'); f.write('+'); f.flush(); time.sleep(0.5); f.write('-')"
    failed: list[Exception] = []

    def run() -> None:
        try:
            main(cluster | {"max_jobs": 1}, program)
        except Exception as error:
            failed.append(error)

    steps = [threading.Thread(target=run) for _ in range(3)]
    for step in steps:
        step.start()
    for step in steps:
        step.join(200)
    assert failed == []
    assert marks.read_text() == "+-+-+-"


def test_a_package_that_does_not_exist_is_named(cluster: dict[str, Any]) -> None:
    with pytest.raises(ExecutionFailed, match="no-such-package-of-flexcore") as caught:
        main(cluster, "result = 1", packages=["no-such-package-of-flexcore==1"])
    assert caught.value.category in ("package_not_found", "index_unreachable")
    jobs = httpx.get(f"{cluster['address']}/api/jobs/", headers=bearer(cluster)).json()
    assert not any(job["status"] in ("PENDING", "RUNNING") for job in jobs)
