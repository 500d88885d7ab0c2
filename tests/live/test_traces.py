"""Traces of real work: a Job on a real cluster, and a flow on a real Windmill.

FLEXCORE_LIVE_OTLP    a collector that takes OTLP over HTTP; without it the tests are one themselves
FLEXCORE_LIVE_JAEGER  Jaeger's query API for what that collector has taken; without it nothing is asked
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.lib.core import resources, trace_context
from f.flexcore.lib.core.errors import ExecutionFailed
from f.flexcore.lib.core.remote_objects import RemoteObject
from f.flexcore.lib.kubernetes.remote_objects import KubernetesObjects
from f.flexcore.lib.operations import trace_delivery
from f.flexcore.lib.operations.reconciler import ReconcilePass, WindmillOwners
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill.client import Client
from tests.core.otlp_receiver import Collected, Collector, attributes
from tests.live.conftest import Windmill
from tests.live.test_kubernetes import Live, jobs, live
from tests.live.works import until

__all__ = ["jobs", "live"]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
COMMAND = ["sh", "-c", "sleep 1; echo parent=$TRACEPARENT"]
PARTS = {"queued", "starting", "running", "finishing"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        yield server


def settings(collector: Collector, folder: Path) -> dict[str, Any]:
    endpoint = os.environ.get("FLEXCORE_LIVE_OTLP") or collector.address
    return {"otlp_endpoint": endpoint, "storage_uri": f"file://{folder}"}


def test_a_job_is_a_span_with_the_clusters_own_times_and_its_program_joins_it(
    jobs: Live, tmp_path: Path, collector: Collector
) -> None:
    given = {"otlp_endpoint": collector.address, "storage_uri": f"file://{tmp_path}"}
    result = jobs.run(*COMMAND, settings=given)
    collected = collector.collected
    attempt = collected.named("kubernetes Job")
    (job,) = [item for item in jobs.jobs() if item["metadata"]["name"] == result["remote"]["name"]]
    assert (
        attempt.start_time_unix_nano // 10**9
        == datetime.fromisoformat(job["metadata"]["creationTimestamp"]).timestamp()
    )
    assert {span.name for span in collected.spans if span.parent_span_id == attempt.span_id} == PARTS
    running = collected.named("running")
    assert 1 <= (running.end_time_unix_nano - running.start_time_unix_nano) / 1e9 <= 5
    told = trace_context.parse_traceparent(result["log_tail"].removeprefix("parent="))
    assert told and (told.trace_id, told.caller) == (attempt.trace_id.hex(), attempt.span_id.hex())
    assert attributes(attempt)["k8s.job.uid"] == job["metadata"]["uid"]


def test_a_job_that_fails_has_its_parts_too(jobs: Live, tmp_path: Path, collector: Collector) -> None:
    given = {"otlp_endpoint": collector.address, "storage_uri": f"file://{tmp_path}"}
    with pytest.raises(ExecutionFailed):
        jobs.run("sh", "-c", "sleep 1; exit 3", settings=given)
    attempt = collector.collected.named("kubernetes Job")
    assert {span.name for span in collector.collected.spans if span.parent_span_id == attempt.span_id} == PARTS
    said = attributes(attempt)
    assert (said["error.type"], said["flexcore.exit_code"]) == ("exit_code", 3) and said["k8s.pod.name"]


def test_a_flow_on_a_real_windmill_is_one_tree(
    windmill: Windmill, jobs: Live, tmp_path: Path, collector: Collector
) -> None:
    given = settings(collector, tmp_path)
    step = {
        "image": jobs.image,
        "command": COMMAND,
        "namespace": jobs.namespace,
        "cluster": jobs.resource,
        "settings": given,
    }
    transforms = {name: {"type": "static", "value": value} for name, value in step.items()}
    call = {"type": "script", "path": "f/flexcore/kubernetes/run_job", "input_transforms": transforms}
    loop = {
        "type": "forloopflow",
        "iterator": {"type": "javascript", "expr": "[1, 2]"},
        "parallel": False,
        "skip_failures": False,
        "modules": [{"id": "each", "value": call}],
    }
    value = {"modules": [{"id": "loop", "value": loop}, {"id": "one", "value": call}]}
    root = str(uuid.uuid4())
    windmill.call("POST", f"jobs/run/preview_flow?job_id={root}", {"value": value, "args": {}})
    success, result = windmill.finished(root)
    assert success, result
    assert result["trace"]["trace_id"] == trace_context.trace_of_job(root) and result["trace"]["is_exported"]
    deliver(windmill, given)
    check_tree(collector.collected if not os.environ.get("FLEXCORE_LIVE_OTLP") else None, root, 3)


class OwnNamespace(KubernetesObjects):
    """Objects of the test's namespace alone: others use the cluster, too."""

    def find(self) -> list[RemoteObject]:
        return [item for item in super().find() if item.namespace == self.namespace]


def test_a_canceled_run_has_its_spans_and_that_of_the_job_that_it_left(
    windmill: Windmill, jobs: Live, tmp_path: Path, collector: Collector
) -> None:
    given = {"otlp_endpoint": collector.address, "storage_uri": f"file://{tmp_path}"}
    step = {"image": jobs.image, "command": ["sleep", "80"], "namespace": jobs.namespace, "cluster": jobs.resource}
    transforms = {name: {"type": "static", "value": value} for name, value in {**step, "settings": given}.items()}
    call = {"type": "script", "path": "f/flexcore/kubernetes/run_job", "input_transforms": transforms}
    root, known = str(uuid.uuid4()), len(jobs.jobs())
    body = {"value": {"modules": [{"id": "one", "value": call}]}, "args": {}}
    windmill.call("POST", f"jobs/run/preview_flow?job_id={root}", body)
    until(lambda: len(jobs.jobs()) > known)
    windmill.call("POST", f"jobs_u/queue/cancel/{root}", {"reason": "enough"})
    assert windmill.finished(root)[0] is False
    client = Client(windmill.token, workspace=windmill.workspace, url=windmill.url)
    one_pass = ReconcilePass(WindmillOwners(client), time.time(), 50)
    until(lambda: one_pass.run([("live", OwnNamespace("live", jobs.resource, jobs.namespace))]) and one_pass.orphans)
    deliver(windmill, given, one_pass.orphans)
    # Others run in this workspace, too, and theirs are delivered as well.
    trace = trace_context.trace_of_job(root)
    own = [span for span in collector.collected.spans if span.trace_id.hex() == trace]
    spans = {span.name: span for span in own}
    assert set(spans) == {"flowpreview", "one", "kubernetes Job"} and len(own) == 3
    told = {name: attributes(span)["flexcore.outcome"] for name, span in spans.items()}
    assert told == {"flowpreview": "canceled", "one": "canceled", "kubernetes Job": "stopped"}
    assert spans["one"].parent_span_id == spans["kubernetes Job"].parent_span_id == spans["flowpreview"].span_id


def deliver(windmill: Windmill, given: dict[str, Any], orphans: Sequence[RemoteObject] = ()) -> None:
    """All that has ended, others' too: a pass takes the oldest, and only so many."""
    chosen = resources.Settings.model_validate(given)
    client, store = Client(windmill.token, workspace=windmill.workspace, url=windmill.url), object_store.Store(chosen)
    while trace_delivery.Delivery(client, chosen, store, env={}, orphans=orphans).run():
        orphans = ()


def check_tree(collected: Collected | None, root: str, attempts: int) -> None:
    """One span without a parent, all others below it, each once; in Jaeger, where there is one."""
    trace = trace_context.trace_of_job(root)
    if collected:
        spans = [span for span in collected.spans if span.trace_id.hex() == trace]
        own = [(span.span_id.hex(), span.parent_span_id.hex(), span.name) for span in spans]
    else:
        time.sleep(1)
        answer = httpx.get(f"{os.environ['FLEXCORE_LIVE_JAEGER']}/api/traces/{trace}").json()["data"][0]["spans"]
        own = [
            (item["spanID"], next((to["spanID"] for to in item["references"]), ""), item["operationName"])
            for item in answer
        ]
        # Kubernetes tells whole seconds: a Job seems to be older than the step that made it, and Jaeger says so.
        warnings = [text for item in answer for text in item["warnings"] or ()]
        assert not [text for text in warnings if "clock skew" not in text]
    ids = [id for id, _, _ in own]
    assert len(ids) == len(set(ids))
    assert [id for id, parent, _ in own if not parent] == [trace_context.span_of_job(root)]
    assert {parent for _, parent, _ in own if parent} <= set(ids)
    assert [name for _, _, name in own].count("kubernetes Job") == attempts
