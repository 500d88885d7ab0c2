"""kubernetes/check_clusters: every cluster and our work there, those that are silent too. Two APIs on loopback."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.kubernetes.cluster_status import check_clusters, sum_nodes
from f.flexcore.lib.kubernetes.placement import Node
from f.flexcore.lib.kubernetes.placement_moves import DEADLINE_MARGIN_S
from f.flexcore.lib.views.cluster_pages import render_clusters_page
from tests.kubernetes.fake_cluster import FakeCluster, Fault
from tests.kubernetes.stories import fails
from tests.kubernetes.test_place_job import Clusters, clusters, other  # noqa: F401

Json = dict[str, Any]


def check(clusters: Clusters) -> tuple[dict[str, Json], list[Json]]:  # noqa: F811
    found = check_clusters(["f/x/east", "f/x/west"], 20, clusters.settings, clusters.resources.__getitem__)
    return {row["cluster"]: row for row in found["clusters"]}, found["work"]


def test_every_cluster_and_its_work_are_in_one_table(clusters: Clusters) -> None:  # noqa: F811
    clusters.put_running_job()
    clusters.mend()
    found, work = check(clusters)
    assert (found["f/x/east"]["state"], found["f/x/west"]["state"]) == ("ready", "ready")
    assert found["f/x/east"]["cpus"] == 4 and found["f/x/east"]["models"] == 0
    (row,) = work
    assert (row["cluster"], row["kind"], row["state"], row["placed"]) == ("f/x/east", "Job", "succeeded", "in use")


@pytest.mark.fault(7, "I3")
def test_of_a_silent_cluster_both_clocks_are_shown_and_nothing_is_said_to_have_ended(
    clusters: Clusters,  # noqa: F811
) -> None:
    started = time.time() - 20
    clusters.put_running_job(started=started)
    found, work = check(clusters)
    lost = found["f/x/east"]
    assert lost["state"] == "unreachable" and lost["last_contact"] and lost["lost_s"] is not None
    assert lost["running_jobs"] is None and lost["free_cpus"] is None
    (row,) = work
    assert row["state"] == "not known" and row["placed"] == "in use"
    assert row["deadline"] == pytest.approx(started + 60 + 3 + DEADLINE_MARGIN_S)
    assert 60 < row["deadline_in_s"] < 75 and row["last_contact"] == lost["last_contact"]
    page = re.sub("<[^>]+>", "", render_clusters_page(list(found.values()), work))
    assert "● unreachable" in page and "not measured" in page and "lost for" in page and "● not known" in page


def test_a_cluster_that_refuses_is_told_from_one_that_is_silent(clusters: Clusters) -> None:  # noqa: F811
    refusal = {"kind": "Status", "message": "Unauthorized"}
    clusters.fakes["f/x/west"].api.faults = [Fault(method="GET", path="/version", status=401, body=refusal)]
    found, _ = check(clusters)
    assert found["f/x/west"]["state"] == "refuses" and "credentials" in found["f/x/west"]["detail"]


def test_work_that_may_not_be_listed_is_not_none(clusters: Clusters, cluster: FakeCluster) -> None:  # noqa: F811
    clusters.fakes["f/x/east"].api.story = fails(1)
    cluster.api.denied = {"jobs"}
    found, _ = check(clusters)
    assert found["f/x/east"]["running_jobs"] is None and found["f/x/west"]["running_jobs"] == 0


def test_a_copy_that_was_left_is_marked_as_such(clusters: Clusters) -> None:  # noqa: F811
    clusters.put_running_job(started=None)
    clusters.run(safe_to_repeat=True)
    clusters.mend()
    _, work = check(clusters)
    assert {row["cluster"]: row["placed"] for row in work} == {"f/x/east": "left", "f/x/west": "in use"}


def test_no_cluster_to_check_is_refused(clusters: Clusters) -> None:  # noqa: F811
    with pytest.raises(InvalidInput, match="clusters is empty: name at least one"):
        check_clusters([], 1, clusters.settings, clusters.resources.__getitem__)


def test_amounts_that_were_not_measured_are_null() -> None:
    assert set(sum_nodes(None).values()) == {None}
    assert sum_nodes((Node(2, 4, 8, 1),)) | {} == {
        "nodes": 2,
        "cpus": 8,
        "gpus": 2,
        "free_cpus": None,
        "free_memory_bytes": None,
        "free_gpus": None,
    }
