"""container_workflow against a Kubernetes API on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import FlowFailure
from tests.kubernetes.fake_cluster import Api, FakeCluster
from tests.kubernetes.stories import ends, fails, job_story, true
from tests.templates.conftest import Run, keep, sample
from wmlocal.engine import Engine

TEMPLATE = "container_workflow"
Object = dict[str, Any]


@pytest.fixture
def cluster(engine: Engine) -> Iterator[FakeCluster]:
    fake = FakeCluster()
    keep(engine, "kubernetes", "c_kubernetes_cluster", fake.resource)
    fake.api.story = says()
    yield fake
    fake.close()


def says(**broken: int) -> Any:
    """Every container hands on {"by": its command}; a command that is named ends with that exit code."""

    async def play(api: Api, resource: str, item: Object) -> None:
        if resource != "batch/v1/jobs":
            return
        (word,) = item["spec"]["template"]["spec"]["containers"][0]["command"]
        if code := broken.get(word):
            await fails(code)(api, resource, item)
            return
        scene = ends(message=json.dumps({"by": word}))
        await job_story(scene, conditions=[true("Complete")])(api, resource, item)

    return play


def node(name: str, *needs: str, **more: Any) -> Object:
    return {"name": name, "image": "i", "command": [name], "needs": list(needs), "output": "json", **more}


def workflow(*nodes: Object, **more: Any) -> Object:
    return {"cluster": "$res:u/admin/flexcore_local_kubernetes", "nodes": list(nodes), **more}


def started(cluster: FakeCluster) -> list[str]:
    """The commands of the containers, in the order of their creation."""
    jobs = cluster.asked("POST", "/jobs")
    return [job.data["spec"]["template"]["spec"]["containers"][0]["command"][0] for job in jobs]


def inputs_of(cluster: FakeCluster, word: str) -> Object:
    (job,) = [item for item in cluster.api.all("batch/v1/jobs") if command_of(item) == word]
    found = [item for item in cluster.api.all("v1/configmaps") if item["metadata"]["name"].startswith(name_of(job))]
    return {name: json.loads(text) for item in found for name, text in item["data"].items()}


def command_of(job: Object) -> str:
    return str(job["spec"]["template"]["spec"]["containers"][0]["command"][0])


def name_of(job: Object) -> str:
    return str(job["metadata"]["name"])


def test_the_sample_input_runs_to_its_end(cluster: FakeCluster, run: Run) -> None:
    cluster.api.story = job_story(ends(message='{"rows": 3}'), conditions=[true("Complete")])
    done = run(TEMPLATE, sample(TEMPLATE))
    assert done.success, done.result
    assert list(done.result["nodes"]) == ["count", "left", "right", "join"]
    assert done.result["nodes"]["count"]["data"]["output"] == {"rows": 3}


def test_containers_run_after_what_they_need_and_are_handed_what_it_made(cluster: FakeCluster, run: Run) -> None:
    done = run(
        TEMPLATE, workflow(node("join", "left", "right"), node("left", "top"), node("right", "top"), node("top"))
    )
    assert done.success, done.result
    order = started(cluster)
    assert order[0] == "top" and set(order[1:3]) == {"left", "right"} and order[3] == "join"
    assert inputs_of(cluster, "join") == {"left.json": {"by": "left"}, "right.json": {"by": "right"}}
    assert inputs_of(cluster, "top") == {}


def test_a_circle_is_refused_with_its_path_before_anything_starts(cluster: FakeCluster, run: Run) -> None:
    done = run(TEMPLATE, workflow(node("free"), node("a", "c"), node("b", "a"), node("c", "b")))
    failure = FlowFailure.model_validate(done.result)
    assert not done.success and failure.failed_step == "plan" and failure.kind == "InvalidInput"
    assert "a → c → b → a is a circle" in failure.error and failure.subject == "nodes.a.needs"
    assert started(cluster) == []


def test_a_failed_container_stops_what_needs_it_and_nothing_else_and_the_next_run_goes_on(
    cluster: FakeCluster, run: Run
) -> None:
    nodes = (node("top"), node("bad", "top"), node("good", "top"), node("after", "bad"), node("end", "good"))
    cluster.api.story = says(bad=3)
    done = run(TEMPLATE, workflow(*nodes))
    failure = FlowFailure.model_validate(done.result)
    assert not done.success and "1 of 5 containers failed: bad: Job fc-" in failure.error
    assert (failure.category, failure.subject) == ("exit_code", "bad") and done.id in failure.remedy
    assert "Not run: after" in failure.error and failure.details["skipped"] == {"after": "it needs bad"}
    assert [item["node"] for item in failure.details["partial_results"]] == ["top", "good", "end"]
    assert sorted(started(cluster)) == ["bad", "end", "good", "top"]

    cluster.api.story = says()
    before = len(started(cluster))
    again = run(TEMPLATE, workflow(*nodes, resume_from=done.id))
    assert again.success, again.result
    assert started(cluster)[before:] == ["bad", "after"]
    assert again.result["reused"] == ["top", "good", "end"] and len(again.result["nodes"]) == 5
    assert inputs_of(cluster, "after") == {"bad.json": {"by": "bad"}}

    told = run("f/flexcore/operations/resume_pipeline", {"execution": done.id, "dry_run": True})
    assert told.success and told.result["path"] == f"f/flexcore/templates/{TEMPLATE}"
    assert told.result["finished"] == ["top", "good", "end"] and told.result["started"] is None


def test_what_was_changed_since_runs_again_with_all_that_needs_it(cluster: FakeCluster, run: Run) -> None:
    nodes = [node("top"), node("side"), node("next", "top"), node("bad", "next", "side")]
    cluster.api.story = says(bad=1)
    failed = run(TEMPLATE, workflow(*nodes))
    cluster.api.story = says()
    before = len(started(cluster))
    nodes[0]["env"] = ["DAY=2"]
    again = run(TEMPLATE, workflow(*nodes, resume_from=failed.id))
    assert again.success, again.result
    assert started(cluster)[before:] == ["top", "next", "bad"] and again.result["reused"] == ["side"]
