"""Which trace an execution is: told by its settings and by what its steps have left in their results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from f.flexcore.lib.core.monitoring import Execution, Links
from f.flexcore.lib.views.operation_pages import render_execution_page
from f.flexcore.lib.windmill.trace_links import TraceLink, TraceLinks, read_trace_links
from tests.operations.fake_windmill import FakeWindmill

ROOT = "01998f1c-7a00-7000-8123-456789abcdef"
OWN = ROOT.replace("-", "")
JOINED = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331", "caller": "c7ad6b7169203331"}
PAGE = "https://jaeger.example.com/trace/{trace_id}"


@pytest.fixture
def windmill() -> Iterator[FakeWindmill]:
    with FakeWindmill() as running:
        yield running


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"otlp_endpoint": "http://c:4318", "trace_url": PAGE}, TraceLinks(1.0, PAGE)),
        ({"otlp_endpoint": "http://c:4318", "trace_sample_ratio": 0}, TraceLinks(0.0, "")),
        ({"otlp_endpoint": "http://c:4318", "trace_url": "javascript:alert(1)//{trace_id}"}, TraceLinks(1.0, "")),
        ({"otlp_endpoint": "", "trace_url": PAGE}, None),
        ("garbage", None),
    ],
)
def test_a_workspace_traces_when_its_settings_name_a_collector(
    windmill: FakeWindmill, settings: Any, expected: TraceLinks | None
) -> None:
    windmill.resources = {"f/flexcore/settings": settings}
    assert read_trace_links(windmill.client()) == expected


@pytest.mark.parametrize("status", [403, 404, 500])
def test_settings_that_cannot_be_read_are_none(windmill: FakeWindmill, status: int) -> None:
    windmill.broken = status
    assert read_trace_links(windmill.client()) is None


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([], OWN),
        ([None, "text", {"trace": "garbage"}, {"trace": {"trace_id": "<b>"}}], OWN),
        ([{"answer": 42}, {"trace": JOINED}], JOINED["trace_id"]),
        ([{"error": {"extra": {"details": {"trace": JOINED}}}}], JOINED["trace_id"]),
    ],
)
def test_a_joined_trace_is_known_by_the_results_of_the_steps(results: list[Any], expected: str) -> None:
    assert TraceLinks(1.0, PAGE).find(ROOT, results) == TraceLink(expected, PAGE.replace("{trace_id}", expected))


def test_a_trace_that_is_not_kept_is_no_link() -> None:
    assert TraceLinks(0.0, PAGE).find(ROOT) is None
    assert TraceLinks(0.0, PAGE).find(ROOT, [{"trace": JOINED}]), "its caller has decided"
    assert TraceLinks(1.0, PAGE).find(ROOT, [{"trace": JOINED | {"is_sampled": False}}]) is None


def test_the_page_of_an_execution_links_to_its_trace() -> None:
    record = Execution(id=ROOT, path="f/x", status="success", runtime=None, links=Links(run="http://w/1", logs=""))
    assert "Trace" not in render_execution_page(record.plain())
    page = render_execution_page(record.with_trace(OWN, PAGE.replace("{trace_id}", OWN)).plain())
    assert f'href="https://jaeger.example.com/trace/{OWN}"' in page
    assert (
        "<a"
        not in render_execution_page(record.with_trace(OWN, "").plain()).partition("Trace")[2].partition("<table")[0]
    )
