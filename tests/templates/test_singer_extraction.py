"""singer_extraction with the real Meltano and the plugins of the sample project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import DataManifest, FlowFailure
from tests.operations.notification_servers import Webhook, serving
from tests.templates.conftest import Run, only_note, sample
from wmlocal.engine import Engine

TEMPLATE = "singer_extraction"
Json = dict[str, Any]


@pytest.mark.slow
def test_the_sample_input_hands_on_the_sample_data(run: Run) -> None:
    done = run(TEMPLATE, sample(TEMPLATE))
    assert done.success, done.result
    manifest = DataManifest.model_validate(done.result["output"])
    assert [(item.name, item.rows) for item in manifest.streams] == [("flights", 1000)]
    assert done.result["data"]["taps"] == ["tap-flights"]


def test_a_wrong_tap_is_told_at_once_and_once(engine: Engine, run: Run) -> None:
    with serving(Webhook()) as hook:
        notify = {"channel": "webhook", "webhook_url": hook.url}
        done = run(TEMPLATE, {**sample(TEMPLATE), "tap": "flight", "notify": notify})
    assert not done.success
    failure = FlowFailure.model_validate(done.result)
    assert (failure.failed_step, failure.category) == ("check", "not_found")
    assert "Did you mean tap-flights?" in failure.error and failure.notified
    (call,) = hook.calls
    assert "f/flexcore/templates/singer_extraction failed at check" in call["text"]
    assert f"/run/{done.id}?" in call["text"]
    # A user's error is not tried again.
    jobs = engine.store.jobs("root = ?", [done.id], 50, 0, False, ("path",))
    assert [job["path"] for job in jobs].count("f/flexcore/meltano/validate") == 1


def test_the_form_lists_the_plugins_of_the_project(offered: Callable[..., list[Json]]) -> None:
    project = "$res:u/admin/flexcore_local_project"
    taps = offered(TEMPLATE, "tap", project=project)
    assert {"label": "tap-flights", "value": "flights"} in taps and len(taps) == 4
    assert [item["value"] for item in offered(TEMPLATE, "tap", project=project, filterText="PLAN")] == ["planes"]
    assert offered(TEMPLATE, "target", project=project) == [{"label": "target-jsonl", "value": "jsonl"}]


def test_the_form_says_what_to_do_before_a_project_is_chosen(offered: Callable[..., list[Json]]) -> None:
    assert "create a c_meltano_project resource" in only_note(offered(TEMPLATE, "tap", project=None))


def test_the_form_says_what_is_wrong_with_the_chosen_project(offered: Callable[..., list[Json]]) -> None:
    said = only_note(offered(TEMPLATE, "tap", project={"path": "/nowhere/at/all"}))
    assert "/nowhere/at/all" in said
