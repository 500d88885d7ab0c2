from __future__ import annotations

import re
import uuid
from dataclasses import replace

import pytest

from f.flexcore.lib.core.identity import ExecutionKey, execution_key, label_value
from f.flexcore.lib.core.trace_context import span_of

IN_FLOW = {
    "WM_JOB_ID": "j1",
    "WM_FLOW_JOB_ID": "f1",
    "WM_FLOW_STEP_ID": "run",
    "WM_ROOT_JOB_ID": "r1",
    "WM_WORKSPACE": "dev",
}


def test_a_retry_with_a_new_job_id_keeps_the_key() -> None:
    assert execution_key(IN_FLOW) == execution_key(IN_FLOW | {"WM_JOB_ID": "j2"})


def test_what_a_worker_does_not_say_is_empty_and_a_retry_of_a_root_is_its_own() -> None:
    key = execution_key({"WM_JOB_ID": "j1", "WM_FLOW_JOB_ID": "f1"})
    assert (key.owner_job, key.root_job, key.step, key.workspace) == ("f1", "f1", "", "")
    assert re.fullmatch(r"fc-[0-9a-f]{20}", key.value)
    assert key.uuid(1) == str(uuid.uuid5(uuid.NAMESPACE_OID, key.name(1))) and key.name(2) == f"{key.value}-2"


def test_a_program_joins_the_trace_below_the_span_of_its_own_attempt() -> None:
    key = execution_key(IN_FLOW)
    assert key.trace_environment(1) == {}
    traced = replace(key, trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    first, second = (traced.trace_environment(attempt)["TRACEPARENT"] for attempt in (1, 2))
    assert first == f"00-0af7651916cd43dd8448eb211c80319c-{span_of(key.name(1))}-01"
    assert first != second


@pytest.mark.parametrize("changed", [{"WM_FLOW_JOB_ID": "f2"}, {"WM_FLOW_STEP_ID": "other"}])
def test_another_flow_job_or_step_has_another_key(changed: dict[str, str]) -> None:
    assert execution_key(IN_FLOW).value != execution_key(IN_FLOW | changed).value


def test_iterations_of_a_loop_over_one_plain_step_are_told_apart_by_their_job_path() -> None:
    iterations = [IN_FLOW | {"WM_JOB_PATH": f"f/a/flow/loop-{number}"} for number in (0, 1)]
    assert execution_key(iterations[0]).value != execution_key(iterations[1]).value


def test_a_lone_script_is_known_by_its_own_job() -> None:
    alone = {"WM_JOB_ID": "j1", "WM_FLOW_JOB_ID": "", "WM_FLOW_STEP_ID": ""}
    assert execution_key(alone).value == execution_key(alone).value
    assert execution_key(alone).value != execution_key(alone | {"WM_JOB_ID": "j2"}).value
    assert execution_key(alone).owner_job == "j1"


def test_outside_a_worker_every_call_is_its_own_execution() -> None:
    assert execution_key({}).value != execution_key({}).value


def test_names_are_dns_labels_and_uuids_differ_by_attempt() -> None:
    key = execution_key(IN_FLOW)
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])", key.name(99))
    assert uuid.UUID(key.uuid(1)) != uuid.UUID(key.uuid(2))


def test_labels_name_the_owner_and_fit_kubernetes_syntax() -> None:
    labels = execution_key(IN_FLOW | {"WM_FLOW_STEP_ID": "a b/ä" * 40}).labels(2)
    assert labels["flexcore/owner-job"] == "f1"
    assert labels["flexcore/root-job"] == "r1"
    assert labels["flexcore/attempt"] == "2"
    assert all(re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value) for value in labels.values())


def test_a_key_is_the_same_in_every_version_and_says_all_about_its_owner() -> None:
    """What runs already was named by the version before."""
    key = execution_key(IN_FLOW | {"WM_FLOW_PATH": "f/sales/daily", "WM_JOB_PATH": "f/sales/daily/loop-3"})
    assert key == ExecutionKey("fc-1c7352430827c667808b", "f1", "r1", "run", "dev", "f/sales/daily", "sales")
    assert key.labels(1) == {
        "app.kubernetes.io/managed-by": "flexcore",
        "flexcore/key": key.value,
        "flexcore/attempt": "1",
        "flexcore/owner-job": "f1",
        "flexcore/root-job": "r1",
        "flexcore/step": "run",
        "flexcore/workspace": "dev",
        "flexcore/workflow": "f.sales.daily",
        "flexcore/run": "r1",
        "flexcore/team": "sales",
    }


@pytest.mark.parametrize(
    ("env", "workflow", "team"),
    [
        ({"WM_JOB_PATH": "u/ann/copy"}, "u/ann/copy", "ann"),
        ({"WM_JOB_PATH": "f/ops/nightly/loop-2"}, "f/ops/nightly", "ops"),
        ({"WM_JOB_PATH": "f/ops/nightly", "WM_FLOW_PATH": "f/a/b"}, "f/a/b", "a"),
        ({"WM_JOB_PATH": "f/ops/nightly", "FLEXCORE_TEAM": "data"}, "f/ops/nightly", "data"),
        ({"WM_JOB_PATH": "hub/ops/nightly"}, "hub/ops/nightly", ""),
        ({}, "", ""),
    ],
)
def test_the_workflow_and_its_team_are_by_its_path_unless_the_worker_names_a_team(
    env: dict[str, str], workflow: str, team: str
) -> None:
    key = execution_key({"WM_JOB_ID": "j1"} | env)
    assert (key.workflow, key.team) == (workflow, team)
    assert (key.root_job, key.step, key.workspace) == ("j1", "", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", ""), ("--a--", "a"), ("x" * 80, "x" * 63), ("a@b", "a_b"), ("X.Y_z-", "X.Y_z"), ("_._A", "A")],
)
def test_label_values_are_cut_to_what_kubernetes_takes(text: str, expected: str) -> None:
    assert label_value(text) == expected
