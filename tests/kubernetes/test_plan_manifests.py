"""Odd Job manifests through a plan: each is likely, will not run for a reason with a remedy, or is refused by field."""

from __future__ import annotations

import pytest

from f.flexcore.kubernetes.plan_work import main as plan_work
from f.flexcore.lib.core.errors import InvalidInput
from tests.kubernetes.fake_cluster import FakeCluster
from tests.kubernetes.odd_manifests import MANIFESTS
from tests.kubernetes.test_plan_nodes import make_node


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_as_people_paste_it_is_planned(cluster: FakeCluster, name: str) -> None:
    expected, text = MANIFESTS[name]
    for node in ("a", "b"):
        cluster.do(cluster.api.keep("v1/nodes", make_node(node)))
    if expected not in ("likely", "will not"):
        with pytest.raises(InvalidInput) as caught:
            plan_work(cluster.resource, "job", {"manifest": text})
        assert caught.value.subject == expected and caught.value.remedy and not cluster.api._requests
        return
    result = plan_work(cluster.resource, "job", {"manifest": text})
    assert result["data"]["verdict"] == expected, result["data"]["reasons"]
    assert all(reason["remedy"] and reason["subject"] for reason in result["data"]["reasons"])
    assert bool(result["data"]["reasons"]) == (expected == "will not")
