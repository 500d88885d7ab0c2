"""What a workload is, from parts and forms; and every number's source."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import DataManifest
from f.flexcore.lib.core.errors import InvalidInput, validate
from f.flexcore.lib.core.forms import DataSource, DeclaredWork
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.core.workloads import WorkHints
from f.flexcore.lib.pipeline.candidates import validate_candidates
from f.flexcore.lib.selection.analysis import (
    Measure,
    Part,
    build_workload,
    compute_seconds_left,
    estimate_complexity,
    estimate_resources,
    list_manifest_parts,
    measure_data,
    merge_hints,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FILES = Part(place="a", bytes=100, rows=10, bytes_source="measured", rows_source="estimated", detail="rows by a sample")
TABLE = Part(place="b", bytes=50, rows=5, bytes_source="measured", rows_source="measured")
UNKNOWN = Part(place="tap-x", detail="where it reads from is not known")


def found(measures: list[Measure]) -> dict[str, tuple[Any, str]]:
    return {item.what: (item.value, item.source) for item in measures}


def hints(**given: Any) -> WorkHints:
    """What the requests of these runtimes say together."""
    services = {"meltano": {"project": {"path": "/x"}}, "ray": {"cluster": {"address": "http://127.0.0.1:1"}}}
    sections = {name: services.get(name, {"image": "busybox"}) | form for name, form in given.items()}
    works = validate_candidates(sections, Settings()).values()
    return merge_hints([work.runtime.derive_hints(work.plain()) for work in works])


@pytest.mark.parametrize(
    ("declared", "parts", "size", "rows"),
    [
        ({}, [TABLE], (50, "measured"), (5, "measured")),
        ({}, [FILES, TABLE], (150, "measured"), (15, "estimated")),
        ({"size": "1.5KiB"}, [FILES], (1536, "declared"), (10, "estimated")),
        ({"size": 7, "rows": 3}, [], (7, "declared"), (3, "declared")),
        ({}, [FILES, UNKNOWN], (None, "not measured"), (None, "not measured")),
        ({}, [], (None, "not measured"), (None, "not measured")),
    ],
)
def test_a_sum_is_as_sure_as_its_least_sure_part_and_unknown_with_an_unknown_one(
    declared: dict[str, Any], parts: list[Part], size: Any, rows: Any
) -> None:
    measures = measure_data(validate(DataSource, declared, "data"), parts)
    assert found(measures) == {"data_size": size, "rows": rows}


def test_an_unknown_sum_says_which_part_is_unknown_and_why_and_what_the_others_have() -> None:
    detail = measure_data(DataSource(), [FILES, UNKNOWN])[0].detail
    assert detail == "tap-x: where it reads from is not known; the other 1 parts have 100"


def test_a_declared_size_wins_and_the_measured_one_stands_beside_it() -> None:
    size = measure_data(DataSource(size=7), [FILES], ["note"])[0]
    assert (size.value, size.source, size.detail) == (7, "declared", "note; at the source 100")


def test_the_numbers_of_a_manifest_are_declared() -> None:
    manifest = DataManifest.model_validate(
        {
            "uri": "file:///x",
            "format": "jsonl",
            "streams": [{"name": "a", "bytes": 10, "rows": 2}, {"name": "b", "bytes": 1}],
        }
    )
    measures = found(measure_data(DataSource(), list_manifest_parts(manifest)))
    assert measures == {"data_size": (11, "declared"), "rows": (None, "not measured")}


@pytest.mark.parametrize(
    ("work", "complexity"),
    [
        (hints(meltano={"taps": ["tap-a"]}), "simple"),
        (hints(meltano={"taps": ["tap-a", "tap-b"]}), "complex"),
        (hints(ray={"program": "x"}), "complex"),
        (hints(kubernetes={"image": "busybox"}), "complex"),
        (hints(meltano={"taps": ["tap-a"]}, ray={"program": "x"}), "simple"),
        (hints(meltano={"taps": ["tap-a"]}, ray={"operation": "train", "target_column": "y"}), "ml"),
        (hints(ray={"program": "x", "num_gpus": 1}), "ml"),
        (hints(kubernetes={"image": "x", "gpus": 2}), "ml"),
    ],
)
def test_complexity_is_estimated_from_the_parts_of_the_request(work: WorkHints, complexity: str) -> None:
    measure = estimate_complexity(work, DeclaredWork())
    assert (measure.value, measure.source) == (complexity, "estimated")
    assert estimate_complexity(work, DeclaredWork(complexity="ml")).source == "declared"


@pytest.mark.parametrize(
    ("candidates", "merged"),
    [
        ([], WorkHints()),
        ([WorkHints(), WorkHints(cpu=0)], WorkHints(cpu=0)),
        (
            [WorkHints(complexity="complex", complexity_reason="a"), WorkHints(complexity="complex")],
            WorkHints(complexity="complex", complexity_reason="a"),
        ),
        (
            [WorkHints(complexity="simple"), WorkHints(gpu=1)],
            WorkHints(complexity="ml", complexity_reason="it asks for GPUs", gpu=1),
        ),
        (
            [WorkHints(scaling="medium", scaling_reason="2"), WorkHints(scaling="high", scaling_reason="9")],
            WorkHints(scaling="high", scaling_reason="9"),
        ),
        (
            [WorkHints(memory_bytes=1, parallelizable=True), WorkHints(memory_bytes=2, containerized=True)],
            WorkHints(memory_bytes=2, parallelizable=True, containerized=True),
        ),
    ],
)
def test_hints_of_several_candidates_say_together_what_the_work_needs(
    candidates: list[WorkHints], merged: WorkHints
) -> None:
    assert merge_hints(candidates) == merged


def test_work_that_no_request_describes_is_complex() -> None:
    measure = estimate_complexity(WorkHints(), DeclaredWork())
    assert (measure.value, measure.source, measure.detail) == ("complex", "estimated", "no request says it")


def test_resources_are_the_most_that_a_request_asks_for() -> None:
    train = {"operation": "train", "target_column": "y", "num_workers": 8, "cpus_per_worker": 2, "use_gpu": True}
    work = hints(ray=train, kubernetes={"image": "x", "cpu": "500m", "memory": "4Gi"})
    assert found(estimate_resources(work, DeclaredWork())) == {
        "cpu": (16, "estimated"),
        "memory": (4 * 2**30, "estimated"),
        "gpu": (8, "estimated"),
        "scaling": ("high", "estimated"),
        "parallelizable": (True, "estimated"),
        "containerized": (True, "estimated"),
    }


def test_what_no_request_says_is_not_measured_and_what_is_declared_wins() -> None:
    work = hints(meltano={"taps": ["tap-a"]})
    measures = found(estimate_resources(work, validate(DeclaredWork, {"cpu": 0, "memory": "2GB"}, "workload")))
    assert measures["cpu"] == (0, "declared")
    assert measures["memory"] == (2 * 10**9, "declared")
    assert measures["gpu"] == measures["scaling"] == (None, "not measured")


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ((None, ""), None),
        ((90.0, ""), 90.0),
        ((None, "2026-01-01T00:10:00+00:00"), 600.0),
        ((None, "2026-01-01T00:10:00"), 600.0),
        ((None, "2026-01-01T02:00:00+01:00"), 3600.0),
    ],
)
def test_a_deadline_is_seconds_from_now(given: tuple[float | None, str], left: float | None) -> None:
    assert compute_seconds_left(*given, NOW) == left


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0.0, ""), "is not after now"),
        ((-1.0, ""), "is not after now"),
        ((float("nan"), ""), "is not after now"),
        ((None, "2025-12-31T23:59:59+00:00"), "has passed"),
        ((None, "tomorrow"), "is not a time"),
        ((5.0, "2026-02-01T00:00:00+00:00"), "both given"),
    ],
)
def test_a_bad_deadline_is_refused(given: tuple[float | None, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        compute_seconds_left(*given, NOW)
    assert caught.value.subject == "deadline"


def test_the_measures_become_the_workload_of_the_selection() -> None:
    work = hints(meltano={"taps": ["tap-a"]}, ray={"program": "x", "num_cpus": 2})
    declared = DeclaredWork()
    measures = [
        *measure_data(DataSource(), [FILES]),
        estimate_complexity(work, declared),
        *estimate_resources(work, declared),
    ]
    workload = build_workload(
        measures,
        workflow_type="sales",
        runtimes=["meltano", "ray"],
        step_type=None,
        deadline_s=60,
        objective="cost",
        pin=None,
    )
    assert (workload.data_size, workload.rows, workload.complexity) == (100, 10, "simple")
    assert (workload.resources.cpu, workload.resources.scaling) == (2, "low")
    assert (workload.runtimes, workload.deadline_s) == (["meltano", "ray"], 60)


@pytest.mark.parametrize("form", [{"operation": "train"}, {"operation": "program", "program": " "}, {"num_cpus": -1}])
def test_a_ray_form_says_what_to_do(form: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        hints(ray=form)
