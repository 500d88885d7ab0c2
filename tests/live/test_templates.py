"""The templates on a real Windmill: their sample inputs, what their forms offer, who is told of a failure, and waiting
without a worker.

FLEXCORE_LIVE_IMAGE   an image with a shell, which the cluster can pull
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flexcore.ray_head import RayHead
from tests.live.conftest import ROOT, Windmill
from tests.live.works import until
from tests.operations.notification_servers import Webhook, serving
from tests.templates.conftest import sample, schema_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
FOLDER, RECONCILE = "f/flexcore/templates", "f/flexcore/operations/reconcile"
RESUME, HYBRID = "f/flexcore/operations/resume_pipeline", "f/flexcore/hybrid_pipeline"
IMAGE = os.environ.get("FLEXCORE_LIVE_IMAGE", "")
MODEL = "live-delay"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def named(pushed: Windmill, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Resources of the workspace, by the name that the sample inputs give them, as references."""
    folder, suffix = tmp_path_factory.mktemp("templates"), uuid.uuid4().hex[:8]
    with RayHead(folder / "ray") as head:
        values = {
            "project": ("c_meltano_project", {"path": str(ROOT / "resources/meltano_sample")}),
            "settings": ("c_flexcore_settings", {"storage_uri": f"file://{folder}/store"}),
            "ray": ("c_ray_cluster", head.resource),
        }
        if os.environ.get("KUBECONFIG") and IMAGE:
            kubeconfig = Path(os.environ["KUBECONFIG"]).read_text()
            values["kubernetes"] = ("c_kubernetes_cluster", {"mode": "kubeconfig", "kubeconfig": kubeconfig})
        paths = {name: f"u/admin/live_{name}_{suffix}" for name in values}
        for name, (kind, value) in values.items():
            pushed.call("POST", "resources/create", {"path": paths[name], "value": value, "resource_type": kind})
        yield {name: f"$res:{path}" for name, path in paths.items()}
        for path in paths.values():
            pushed.call("DELETE", f"resources/delete/{path}")


def asked(template: str, named: dict[str, str], **more: Any) -> Json:
    """A template's sample input, its resources bound to what runs here."""
    text = json.dumps(sample(template))
    for name, reference in named.items():
        text = text.replace(f"$res:u/admin/flexcore_local_{name}", reference)
    return dict(json.loads(text)) | more


def offered(windmill: Windmill, template: str, field: str, **fields: Any) -> list[Json]:
    """What a select of the form offers, asked as the form asks."""
    schema = schema_of(template)
    entry = schema["properties"][field]["format"].split("-", 1)[1]
    helper = {"source": "deployed", "path": f"{FOLDER}/{template}", "runnable_kind": "flow"}
    given = fields | {"filterText": "", "_ENTRYPOINT_OVERRIDE": entry}
    body = {"entrypoint_function": entry, "args": given, "runnable_ref": helper}
    success, result = windmill.finished(windmill.call("POST", "jobs/run/dynamic_select", body))
    assert success, result
    return list(result)


def run(windmill: Windmill, template: str, arguments: Json) -> Json:
    success, result = windmill.run_flow(f"{FOLDER}/{template}", arguments)
    assert success, result
    return dict(result)


def needs_cluster(named: dict[str, str]) -> None:
    if "kubernetes" not in named:
        pytest.skip("no real cluster: KUBECONFIG or FLEXCORE_LIVE_IMAGE not set")


@pytest.fixture(scope="module")
def extracted(pushed: Windmill, named: dict[str, str]) -> Json:
    return run(pushed, "singer_extraction", asked("singer_extraction", named))


@pytest.fixture(scope="module")
def trained(pushed: Windmill, named: dict[str, str], extracted: Json) -> Json:
    return run(pushed, "ml_training", asked("ml_training", named, model_name=MODEL))


def test_an_extraction_is_trained_on_and_predicted_from_by_the_names_that_the_forms_offer(
    pushed: Windmill, named: dict[str, str], extracted: Json, trained: Json
) -> None:
    assert extracted["output"]["rows"] == 1000
    assert trained["output"]["metrics"]["rmse"] < trained["output"]["metrics"]["baseline_rmse"]
    store = named["settings"]
    assert "flights" in [item["value"] for item in offered(pushed, "ml_training", "data", settings=store)]
    models = [item["value"] for item in offered(pushed, "batch_inference", "model", settings=store)]
    assert models[0] == MODEL
    columns = offered(pushed, "ml_training", "target_column", settings=store, data="flights", stream=None)
    assert "arr_delay" in [item["value"] for item in columns]
    predicted = run(pushed, "batch_inference", asked("batch_inference", named, model=MODEL))
    assert predicted["output"]["rows"] == 1000


def test_models_are_transformed_and_each_is_told(pushed: Windmill, named: dict[str, str]) -> None:
    done = run(pushed, "dbt_transformation", asked("dbt_transformation", named))
    assert {item["name"] for item in done["data"]["nodes"] if item["kind"] == "model"} == {"delays", "fleet"}


def test_a_form_lists_the_project_and_says_what_is_wrong_with_it(pushed: Windmill, named: dict[str, str]) -> None:
    taps = offered(pushed, "singer_extraction", "tap", project=named["project"])
    assert {"label": "tap-flights", "value": "flights"} in taps
    (first,) = offered(pushed, "singer_extraction", "tap")
    assert first["disabled"] and first["label"] == "First choose a project"
    (wrong,) = offered(pushed, "singer_extraction", "tap", project={"path": "/nowhere/at/all"})
    assert wrong["disabled"] and "/nowhere/at/all" in wrong["label"]


def test_a_container_that_is_deferred_holds_no_worker_and_goes_on_by_reconcile(
    pushed: Windmill, named: dict[str, str]
) -> None:
    needs_cluster(named)
    listed = offered(pushed, "container_job", "namespace", cluster=named["kubernetes"])
    assert {"label": "default", "value": "default"} in listed
    work = {"image": IMAGE, "command": ["sh", "-c", "sleep 8; echo It runs."], "wait": "defer"}
    check_it_is_deferred(
        pushed, "container_job", asked("container_job", named, **work), kubernetes_clusters=[named["kubernetes"][5:]]
    )


def test_a_training_that_is_deferred_holds_no_worker_and_goes_on_by_reconcile(
    pushed: Windmill, named: dict[str, str], extracted: Json
) -> None:
    work = asked("ml_training", named, wait="defer", model_name="deferred")
    done = check_it_is_deferred(pushed, "ml_training", work, ray_clusters=[named["ray"][5:]])
    assert done["data"]["registered"]["name"] == "deferred"


def check_it_is_deferred(windmill: Windmill, template: str, arguments: Json, **clusters: list[str]) -> Json:
    flow = str(windmill.call("POST", f"jobs/run/f/{FOLDER}/{template}", arguments))
    until(lambda: suspended(windmill, flow))
    queue = windmill.call("GET", "jobs/queue/list?per_page=1000")
    steps = [job["id"] for job in queue if job.get("running") and job["job_kind"] == "script"]
    assert flow not in [windmill.call("GET", f"jobs_u/get_root_job_id/{job}") for job in steps]
    until(lambda: ended_after_a_pass(windmill, flow, clusters))
    success, result = windmill.finished(flow)
    assert success, result
    return dict(result)


def suspended(windmill: Windmill, flow: str) -> bool:
    waiting = [job["id"] for job in windmill.call("GET", "jobs/queue/list?per_page=1000") if job.get("suspend")]
    return flow in [windmill.call("GET", f"jobs_u/get_root_job_id/{job}") for job in waiting]


def ended_after_a_pass(windmill: Windmill, flow: str, clusters: Json) -> bool:
    success, result = windmill.finished(windmill.call("POST", f"jobs/run/p/{RECONCILE}", {"settings": clusters}))
    assert success, result
    time.sleep(1)
    return bool(windmill.call("GET", f"jobs_u/completed/get_result_maybe/{flow}?get_started=false")["completed"])


def runs_of(windmill: Windmill, flow: str, path: str) -> int:
    jobs = windmill.call("GET", f"jobs/list?script_path_exact={path}&per_page=100")
    return sum(windmill.call("GET", f"jobs_u/get_root_job_id/{job['id']}") == flow for job in jobs)


@pytest.fixture
def failed(pushed: Windmill, named: dict[str, str]) -> Callable[..., tuple[str, Json, list[str]]]:
    """Runs a template that fails: its id, its result, and the messages that were sent."""

    def start(template: str, **wrong: Any) -> tuple[str, Json, list[str]]:
        with serving(Webhook()) as hook:
            notify = {"channel": "webhook", "webhook_url": hook.url}
            arguments = asked(template, named, notify=notify, **wrong)
            flow = str(pushed.call("POST", f"jobs/run/f/{FOLDER}/{template}", arguments))
            success, result = pushed.finished(flow)
        assert not success
        return flow, result, [call["text"] for call in hook.calls]

    return start


def test_a_users_error_is_told_once_with_a_link_and_not_tried_again(
    pushed: Windmill, failed: Callable[..., tuple[str, Json, list[str]]]
) -> None:
    flow, result, (text,) = failed("singer_extraction", tap="flight")
    assert "Did you mean tap-flights?" in text and f"/run/{flow}?" in text
    assert result["notified"] is True
    assert runs_of(pushed, flow, "f/flexcore/meltano/validate") == 1


def test_a_service_that_is_away_is_asked_three_times_and_told_once(
    pushed: Windmill, failed: Callable[..., tuple[str, Json, list[str]]], trained: Json
) -> None:
    started = time.monotonic()
    flow, result, (text,) = failed("batch_inference", model=MODEL, cluster={"address": "http://127.0.0.1:9"})
    assert result["retryable"] is True and f"/run/{flow}?" in text
    assert runs_of(pushed, flow, "f/flexcore/ray/predict") == 3
    # 3 and 9 seconds, each up to a fifth shorter.
    assert time.monotonic() - started > 9


def test_nobody_is_told_of_a_success(pushed: Windmill, named: dict[str, str]) -> None:
    with serving(Webhook()) as hook:
        notify = {"channel": "webhook", "webhook_url": hook.url}
        run(pushed, "singer_extraction", asked("singer_extraction", named, notify=notify))
    assert hook.calls == []


def wait_for_step(windmill: Windmill, flow: str, step: str) -> None:
    """Returns once the step runs."""
    while True:
        modules = windmill.call("GET", f"jobs_u/get/{flow}")["flow_status"]["modules"]
        if any(module["id"] == step and module.get("type") != "WaitingForPriorSteps" for module in modules):
            return
        time.sleep(0.2)


def test_a_failed_pipeline_is_resumed_without_running_what_was_finished(
    pushed: Windmill, named: dict[str, str]
) -> None:
    # The cluster answers the first step, and is gone when the training asks for it.
    path = f"u/admin/live_broken_{uuid.uuid4().hex[:8]}"
    answers = pushed.call("GET", f"resources/get_value/{named['ray'][5:]}")
    body = {"path": path, "value": answers, "resource_type": "c_ray_cluster"}
    pushed.call("POST", "resources/create", body)
    try:
        request = {
            "extraction": {"project": named["project"], "taps": ["tap-flights"], "full_refresh": True},
            "ml": {"cluster": f"$res:{path}", "target_column": "arr_delay", "features": ["dep_delay", "distance"]},
            "deployment": {"target": "ray"},
            "settings": named["settings"],
        }
        flow = str(pushed.call("POST", f"jobs/run/f/{HYBRID}", request))
        wait_for_step(pushed, flow, "extraction")
        pushed.call("POST", f"resources/update/{path}", {"value": {"address": "http://127.0.0.1:9"}})
        success, result = pushed.finished(flow)
        assert not success and result["failed_stage"] == "ml", result
        pushed.call("POST", f"resources/update/{path}", {"value": answers})
        success, resumed = pushed.finished(pushed.call("POST", f"jobs/run/p/{RESUME}", {"execution": flow}))
        assert success and resumed["finished"] == ["extraction"], resumed
        success, result = pushed.finished(resumed["started"])
        assert success, result
        assert [stage["reused"] for stage in result["stages"]] == [True, False, False]
        assert runs_of(pushed, resumed["started"], "f/flexcore/meltano/run") == 0
    finally:
        pushed.call("DELETE", f"resources/delete/{path}")
