from __future__ import annotations

import pytest

from f.flexcore.lib.core.contracts import Remote
from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.core.operation import deferral_labels, is_deferred, read_key_and_call, report_submission

SUBMIT = {"WM_FLOW_JOB_ID": "branch", "WM_FLOW_STEP_ID": "submit_job", "WM_JOB_ID": "job-1", "WM_WORKSPACE": "w"}
COLLECT = {**SUBMIT, "WM_FLOW_STEP_ID": "collect_job", "WM_JOB_ID": "job-2"}


def test_the_collecting_step_is_the_same_execution_as_the_submitting_one() -> None:
    key, call = read_key_and_call(SUBMIT, None)
    said = report_submission("ray", key, call, 1, Remote(kind="ray_job", name=key.name(1)))
    again, same_call = read_key_and_call(COLLECT, said["data"]["deferred"])
    assert (again.value, same_call) == (key.value, "job-1")
    assert read_key_and_call(COLLECT, None)[0].value != key.value


def test_what_has_submitted_says_to_a_person_what_the_flow_waits_for() -> None:
    key, call = read_key_and_call(SUBMIT, None)
    remote = Remote(kind="ray_job", name=key.name(1), url="http://head:8265/#/jobs/1")
    said = report_submission("ray", key, call, 1, remote)["description"]["markdown"]
    assert f"The ray job [`{key.name(1)}`](http://head:8265/#/jobs/1) works on ray" in said
    assert "nothing to approve" in said
    plain = report_submission("ray", key, call, 2, Remote(kind="ray_job", name=key.name(2)))
    assert f"The ray job `{key.name(2)}` works on ray" in plain["description"]["markdown"]
    assert (plain["success"], plain["runtime"], plain["execution_key"]) == (True, "ray", key.value)
    assert (plain["attempt"], plain["remote"]["name"]) == (2, key.name(2))


@pytest.mark.parametrize("deferred", [{"execution_key": "else"}, {"call": "x"}, "fc-1", {"execution_key": "fc-/../x"}])
def test_what_no_step_has_said_is_refused(deferred: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_key_and_call(COLLECT, deferred)
    assert caught.value.subject.startswith("deferred")


@pytest.mark.parametrize(
    ("wait", "deferred", "expected"),
    [("block", None, False), (None, None, False), ("", None, False), ("defer", None, True), ("defer", {"a": 1}, False)],
)
def test_a_step_that_collects_waits_for_the_end(wait: str | None, deferred: object, expected: bool) -> None:
    assert is_deferred(wait, deferred) is expected


def test_another_word_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        is_deferred("auto", None)
    assert str(caught.value) == "wait: 'auto' is neither block nor defer. Use one of them."
    assert (caught.value.subject, caught.value.remedy) == ("wait", "Use one of them.")


def test_only_what_is_deferred_is_labeled_as_such() -> None:
    assert (deferral_labels(True), deferral_labels(False)) == ({"flexcore/deferred": "true"}, {})
