"""The page of a run and the weekly report on a real Windmill, with a mail server and a webhook on this machine."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import result_page
from tests.live.conftest import ROOT, Windmill
from tests.operations.notification_servers import MailServer, Webhook, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
WEEKLY, EXTRACTION = "f/flexcore/operations/weekly_report", "f/flexcore/templates/singer_extraction"
COLUMNS = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,"
    "dest,air_time,distance,hour,minute,time_hour"
)
ROW = "2013,1,1,517,515,2,830,819,11,UA,{number},N1,EWR,IAH,227,1400,5,15,2013-01-01 05:00:00"
ROWS = 20


def extraction(folder: Path, **more: Any) -> dict[str, Any]:
    rows = "\n".join([COLUMNS, *(ROW.format(number=number) for number in range(ROWS))])
    (folder / "flights.csv").write_text(f"{rows}\n")
    env = {"FLEXCORE_SAMPLE_FLIGHTS": str(folder / "flights.csv")}
    project = {"path": str(ROOT / "resources/meltano_sample"), "env": env}
    settings = {"storage_uri": f"file://{folder}/store"}
    return {"tap": "flights", "load": "all", "target": "jsonl", "project": project, "settings": settings, **more}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


def test_a_flow_ends_with_a_page_beside_its_plain_result(pushed: Windmill, folder: Path) -> None:
    success, result = pushed.run_flow(EXTRACTION, extraction(folder))
    assert success, result
    assert result["wm_renderer"] == "html" and "extraction on meltano" in result["html"] and "<svg" in result["html"]
    plain = result_page.drop_page(result)
    assert plain["success"] is True and plain["output"]["rows"] == ROWS and "html" not in plain


def test_a_failed_flow_ends_with_a_page_that_begins_with_the_remedy(pushed: Windmill, folder: Path) -> None:
    success, result = pushed.run_flow(EXTRACTION, extraction(folder, tap="flihgts"))
    assert not success and result["success"] is False
    assert result["wm_renderer"] == "html" and result["html"].index("Next") < result["html"].index("Category")
    assert result["remedy"] and result["remedy"].split("'")[0] in result["html"]


def test_the_week_is_sent_once_by_mail_and_once_by_webhook(pushed: Windmill, folder: Path) -> None:
    settings = {"storage_uri": f"file://{folder}/store"}
    with serving(MailServer()) as post_office, serving(Webhook()) as hook:
        mailbox = {"channel": "email", "smtp_host": "127.0.0.1", "smtp_port": post_office.port, "smtp_security": "none"}
        mailbox |= {"sender": "flexcore@example.com", "recipients": ["a@example.com"]}
        channels = [mailbox, mailbox, {"channel": "webhook", "webhook_url": hook.url}]
        results = [pushed.run_flow(WEEKLY, {"notify": channel, "settings": settings}) for channel in channels]
        assert [result["delivery"] for _, result in results] == ["sent", "sent before", "sent"]
        assert len(post_office.letters) == len(hook.calls) == 1
        letter = email.message_from_string(post_office.letters[0], policy=email.policy.default)
    week = results[0][1]["week"]
    assert str(letter["Subject"]).startswith(f"[flexcore] Week {week} in {pushed.workspace}")
    page = letter.get_body(("html",))
    assert page and "<table" in page.get_content()


def test_the_week_so_far_counts_the_runs_of_this_module(pushed: Windmill, folder: Path) -> None:
    year, number, _ = datetime.now(UTC).isocalendar()
    success, report = pushed.run_flow(WEEKLY, {"week": f"{year}-W{number:02d}"})
    assert success and report["delivery"] == "not over"
    workflows = {group["workflow"]: group["rate"] for group in report["groups"]}
    assert "templates/singer_extraction" in workflows and not any(name.startswith("operations/") for name in workflows)
    assert report["rate"]["low"] <= report["rate"]["rate"] <= report["rate"]["high"]
    assert report["failures"] and all(cause["reason"] for cause in report["failures"])
