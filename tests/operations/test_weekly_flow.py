"""The weekly report as a flow on the embedded engine: from its jobs to a page and a message."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.operations.notification_servers import Webhook, serving
from wmlocal.engine import Engine

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
ROOT = Path(__file__).parent.parent.parent
WEEKLY, EXTRACTION = "f/flexcore/operations/weekly_report", "f/flexcore/templates/singer_extraction"


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(ROOT) as running:
        yield running


def test_a_week_is_reported_from_the_engines_jobs_and_sent_once(engine: Engine, tmp_path: Path) -> None:
    failed = engine.run(EXTRACTION, {"tap": "no-such-tap", "project": {"path": str(tmp_path)}})
    assert not failed.success and "failed" in failed.result["html"] and failed.result["remedy"]
    year, number, _ = datetime.now(UTC).isocalendar()
    so_far = engine.run(WEEKLY, {"week": f"{year}-W{number:02d}"})
    assert so_far.success, so_far.result
    report = so_far.result
    group = next(item for item in report["groups"] if item["workflow"] == "templates/singer_extraction")
    assert group["rate"]["runs"] >= 1 and report["delivery"] == "not over"
    assert all(cause["reason"] and cause["example"] for cause in report["failures"])
    assert report["orphans"] is None or report["orphans"] >= 0
    with serving(Webhook()) as hook:
        asked = {
            "notify": {"channel": "webhook", "webhook_url": hook.url},
            "settings": {"storage_uri": f"file://{tmp_path}/store"},
        }
        assert [engine.run(WEEKLY, asked).result["delivery"] for _ in range(2)] == ["sent", "sent before"]
        assert len(hook.calls) == 1 and hook.calls[0]["text"].startswith("*Week ")


def test_a_report_that_cannot_be_made_is_told_to_its_channel(engine: Engine, tmp_path: Path) -> None:
    with serving(Webhook()) as hook:
        notify = {"channel": "webhook", "webhook_url": hook.url}
        failed = engine.run(
            WEEKLY, {"week": "last", "notify": notify, "settings": {"storage_uri": f"file://{tmp_path}/store"}}
        )
    assert failed.result["notified"] is True
    assert "weekly_report failed at summarize" in hook.calls[0]["text"]


def test_a_week_that_is_none_fails_with_what_to_write(engine: Engine) -> None:
    failed = engine.run(WEEKLY, {"week": "last"})
    assert not failed.success
    assert "week: 'last' is not a week. Write it as 2026-W48" in failed.result["error"]
    assert failed.result["failed_step"] == "summarize" and "Write it as 2026-W48" in failed.result["html"]
