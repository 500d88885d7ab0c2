"""What was learned from the jobs of a local engine, as the choice of a runtime reads it."""

from __future__ import annotations

from typing import Any

import pytest
import wmill

from f.flexcore.lib.core.workloads import Market, Workload
from f.flexcore.lib.selection.forecast import parse_forecasts
from f.flexcore.lib.selection.selector import select
from f.flexcore.operations import learn
from tests.operations.toy_flows import engine, worker
from tests.pages import read_plain
from wmlocal.engine import Engine

__all__ = ["engine", "worker"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("worker")]
PLACE = "f/flexcore/forecast"


def resource(path: str) -> Any:
    return wmill.Windmill().get_resource(path)  # type: ignore[no-untyped-call]


def test_without_a_run_nothing_is_stored() -> None:
    assert read_plain(learn.main())["model"] is None
    with pytest.raises(Exception, match=PLACE):
        resource(PLACE)


def test_what_was_learned_from_jobs_changes_the_choice(engine: Engine) -> None:
    for second in range(5):
        engine.run("f/x/sale", {"runtime": "ray", "seconds": 10 + second, "success": True})
        engine.run("f/x/sale", {"runtime": "meltano", "seconds": 100 + second, "success": True})
    engine.run("f/x/sale", {"runtime": "ray", "seconds": 1, "success": False})
    dry = read_plain(learn.main(dry_run=True))
    assert [(row["runtime"], row["samples"], row["failures"]) for row in dry["runtimes"]] == [
        ("meltano", 5, 0),
        ("ray", 5, 1),
    ]
    with pytest.raises(Exception, match=PLACE):
        resource(PLACE)
    assert read_plain(learn.main())["number"] == 1
    assert read_plain(learn.main())["number"] == 2
    model, problem = parse_forecasts(resource(PLACE))
    assert model and not problem
    sale = Workload(workflow_type="sales", data_size=1000, rows=100, complexity="simple", runtimes=["meltano", "ray"])
    assert select(sale, None, Market()).runtime == "meltano"
    answer = select(sale, model, Market())
    assert (answer.runtime, answer.mode) == ("ray", "learned")
    ray = answer.candidates[0]
    assert ray.duration_s and 5 < ray.duration_s.p10 < 12 < ray.duration_s.p90 < 25
