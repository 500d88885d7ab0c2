"""What a plan says of nodes: requests counted as the scheduler counts them, and each thing that keeps a pod away."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.kubernetes import plan_devices, plan_nodes, plan_placement, plan_pod
from f.flexcore.lib.kubernetes.plan_admission import note_architectures, read_architectures
from f.flexcore.lib.kubernetes.plan_nodes import Kind

Object = dict[str, Any]
READY = [{"type": "Ready", "status": "True"}]
LABELS = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": "a"}


def container(cpu: str = "", memory: str = "", name: str = "main", **fields: Any) -> Object:
    requests = {resource: amount for resource, amount in (("cpu", cpu), ("memory", memory)) if amount}
    return {"name": name, "image": "x", "resources": {"requests": requests}, **fields}


def make_pod(*containers: Object, name: str = "p", labels: Object | None = None, **spec: Any) -> Object:
    metadata = {"name": name, "namespace": "work", "labels": labels or {}}
    return {"metadata": metadata, "spec": {"containers": list(containers) or [container("1", "1Gi")], **spec}}


def make_node(name: str = "a", taints: Any = (), labels: Object | None = None, **allocatable: str) -> Object:
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "10", **{k.replace("__", "/"): v for k, v in allocatable.items()}}
    metadata = {"name": name, "labels": {**LABELS, "kubernetes.io/hostname": name, **(labels or {})}}
    return {
        "metadata": metadata,
        "spec": {"taints": list(taints)},
        "status": {"allocatable": amounts, "conditions": READY},
    }


def on(node: str, pod: Object, **metadata: Any) -> Object:
    return {**pod, "metadata": {**pod["metadata"], **metadata}, "spec": {**pod["spec"], "nodeName": node}}


def place(pod: Object, nodes: list[Object], pods: list[Object] | None = None, copies: int = 1) -> Any:
    return plan_placement.place(plan_nodes.make_shape(pod), plan_nodes.read_nodes(nodes, pods or []), copies)


def kinds(pod: Object, node: Object, *pods: Object) -> list[Kind]:
    (answer,) = place(pod, [node], list(pods)).answers
    return [obstacle.kind for obstacle in answer.obstacles]


SIDECAR = {"restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("pod", "requests"),
    [
        (make_pod(container("500m", "1Gi"), container("250m")), {"cpu": 0.75, "memory": 2.0**30}),
        # The largest init container counts where it is more than what follows it.
        (make_pod(container("1"), initContainers=[container("3"), container("2")]), {"cpu": 3.0}),
        (make_pod(container("1"), initContainers=[container("500m")]), {"cpu": 1.0}),
        # A sidecar runs beside the containers, and beside the init containers after it.
        (make_pod(container("1"), initContainers=[container("200m", **SIDECAR)]), {"cpu": 1.2}),
        (make_pod(container("1"), initContainers=[container("500m", **SIDECAR), container("2")]), {"cpu": 2.5}),
        (make_pod(container("1"), initContainers=[container("2"), container("500m", **SIDECAR)]), {"cpu": 2.0}),
        (make_pod(container("1"), overhead={"cpu": "250m", "memory": "120Mi"}), {"cpu": 1.25, "memory": 120 * 2.0**20}),
        (make_pod(container("1"), resources={"requests": {"cpu": "2"}}), {"cpu": 2.0}),
        # A limit without a request is the request.
        (make_pod({"name": "m", "resources": {"limits": {"nvidia.com/gpu": 2}}}), {"nvidia.com/gpu": 2.0}),
    ],
)
def test_a_pod_reserves_what_the_scheduler_counts(pod: Object, requests: Object) -> None:
    assert plan_pod.sum_requests(pod) == pytest.approx(requests)


def test_a_container_that_is_being_resized_holds_the_larger_amount() -> None:
    pod = make_pod(container("500m"))
    pod["status"] = {"containerStatuses": [{"name": "main", "allocatedResources": {"cpu": "2"}}]}
    assert plan_pod.sum_requests(pod) == {"cpu": 2.0}


@pytest.mark.parametrize(
    ("amount", "resource", "text"),
    [(0.5, "cpu", "500m"), (2, "cpu", "2"), (2.0**30 * 1.5, "memory", "1.5Gi"), (1, "nvidia.com/gpu", "1")],
)
def test_amounts_are_told_as_a_manifest_has_them(amount: float, resource: str, text: str) -> None:
    assert plan_pod.format_amount(resource, amount) == text


GPU = make_pod({"name": "m", "resources": {"limits": {"nvidia.com/gpu": 1}}})
TAINT = {"key": "gpu", "value": "true", "effect": "NoSchedule"}


def affinity(*expressions: Object) -> Object:
    required = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


@pytest.mark.parametrize(
    ("pod", "node", "kind", "text"),
    [
        (GPU, make_node(), Kind.TOO_SMALL, "has no nvidia.com/gpu"),
        (make_pod(container("5")), make_node(), Kind.TOO_SMALL, "has 4 cpu at all, the pod asks for 5"),
        (make_pod(), make_node(taints=[TAINT]), Kind.TAINT, "has the taint gpu=true:NoSchedule"),
        (make_pod(nodeSelector={"disk": "ssd"}), make_node(), Kind.SELECTOR, "lacks the label disk=ssd"),
        (
            make_pod(affinity=affinity({"key": "zone", "operator": "In", "values": ["b"]})),
            make_node(labels={"zone": "a"}),
            Kind.SELECTOR,
            "does not match the node affinity zone In (b)",
        ),
        (
            make_pod(affinity=affinity({"key": "cores", "operator": "Gt", "values": ["8"]})),
            make_node(labels={"cores": "8"}),
            Kind.SELECTOR,
            "cores Gt (8)",
        ),
        (make_pod(nodeName="b"), make_node(), Kind.SELECTOR, "is not b, as nodeName says"),
        (make_pod(), make_node(labels={"kubernetes.io/os": "windows"}), Kind.PLATFORM, "runs windows"),
        (make_pod(os={"name": "windows"}), make_node(), Kind.PLATFORM, "the pod needs windows"),
        (make_pod(), make_node(pods="0"), Kind.FULL, "has 0 of at most 0 pods"),
    ],
)
def test_what_keeps_a_pod_from_a_node_is_told_by_its_kind(pod: Object, node: Object, kind: Kind, text: str) -> None:
    placement = place(pod, [node])
    (answer,) = placement.answers
    assert answer.verdict == "will not" and [item.kind for item in answer.obstacles] == [kind]
    assert text in answer.obstacles[0].text and answer.obstacles[0].remedy.endswith(".")
    assert placement.summarize().startswith("0 of 1 nodes: a ")


@pytest.mark.parametrize(
    "pod",
    [
        make_pod(tolerations=[{"key": "gpu", "operator": "Exists"}]),
        make_pod(tolerations=[{"key": "gpu", "value": "true"}]),
        make_pod(tolerations=[{"operator": "Exists"}]),
    ],
)
def test_a_taint_that_is_tolerated_keeps_nobody_away(pod: Object) -> None:
    assert kinds(pod, make_node(taints=[TAINT])) == []


def test_a_toleration_of_another_value_or_effect_does_not_help() -> None:
    for toleration in ({"key": "gpu", "value": "false"}, {"key": "gpu", "operator": "Exists", "effect": "NoExecute"}):
        assert kinds(make_pod(tolerations=[toleration]), make_node(taints=[TAINT])) == [Kind.TAINT]
    assert kinds(make_pod(), make_node(taints=[{**TAINT, "effect": "PreferNoSchedule"}])) == []


def test_a_node_that_is_cordoned_or_not_ready_may_come_back() -> None:
    cordoned, late = make_node(), make_node()
    cordoned["spec"]["unschedulable"] = True
    late["status"]["conditions"] = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
    for node, text in ((cordoned, "is cordoned"), (late, "is not ready (NodeStatusUnknown)")):
        placement = place(make_pod(), [node])
        assert text in placement.summarize() and placement.may_pass


def test_what_runs_on_a_node_is_taken_from_it_and_daemon_sets_never_give_theirs_back() -> None:
    daemon = on("a", make_pod(container("3"), name="d"), ownerReferences=[{"kind": "DaemonSet", "name": "log"}])
    worker = on("a", make_pod(container("500m"), name="w"))
    full = place(make_pod(container("800m")), [make_node()], [daemon, worker])
    (answer,) = full.answers
    assert "has 500m of 4 cpu free (DaemonSets hold 3), the pod asks for 800m" in answer.obstacles[0].text
    assert full.may_pass
    never = place(make_pod(container("2")), [make_node()], [daemon])
    assert never.answers[0].obstacles[0].kind is Kind.TOO_SMALL and not never.may_pass
    assert "at most 1 cpu" in never.answers[0].obstacles[0].remedy


def test_pods_that_have_ended_hold_nothing_and_those_that_preempt_do_already() -> None:
    ended = {**on("a", make_pod(container("4"))), "status": {"phase": "Succeeded"}}
    assert kinds(make_pod(container("4")), make_node(), ended) == []
    coming = {**make_pod(container("4")), "status": {"phase": "Pending", "nominatedNodeName": "a"}}
    assert kinds(make_pod(container("4")), make_node(), coming) == [Kind.FULL]


def test_host_ports_are_taken_once_a_node() -> None:
    port: Object = {"ports": [{"containerPort": 80, "hostPort": 8080}]}
    there = on("a", make_pod(container(**port)))
    assert kinds(make_pod(container(**port)), make_node(), there) == [Kind.FULL]
    other: Object = {"ports": [{"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}]}
    assert kinds(make_pod(container(**other)), make_node(), there) == []


def test_a_higher_priority_runs_by_preemption_and_names_who_would_go() -> None:
    low = [on("a", make_pod(container("2"), name=f"low-{n}", priority=n)) for n in (1, 5)]
    placement = place(make_pod(container("2"), priority=10), [make_node()], low)
    (answer,) = placement.answers
    assert answer.verdict == "likely" and answer.victims == ["work/low-1"] and placement.placed == 0
    for pod in (make_pod(container("2"), priority=1), make_pod(container("2"), priority=10, preemptionPolicy="Never")):
        assert place(pod, [make_node()], low).answers[0].verdict == "will not"


def anti(key: str = "kubernetes.io/hostname", app: str = "web") -> Object:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


WEB = {"app": "web"}


def test_copies_that_avoid_each_other_need_a_node_each() -> None:
    pod = make_pod(container("100m"), labels=WEB, affinity=anti())
    nodes = [make_node("a"), make_node("b")]
    assert place(pod, nodes, copies=3).placed == 2
    there = on("a", make_pod(container("100m"), labels=WEB, name="web-1"))
    placement = place(pod, nodes, [there], copies=1)
    told = {answer.node: answer.verdict for answer in placement.answers}
    assert told == {"a": "will not", "b": "likely"} and "pod web-1 is there" in placement.summarize()


def test_anti_affinity_of_a_pod_that_is_there_counts_too() -> None:
    there = on("a", make_pod(container("100m"), name="lonely", affinity=anti(app="job")))
    assert kinds(make_pod(labels={"app": "job"}), make_node(), there) == [Kind.OTHER_PODS]
    assert kinds(make_pod(labels={"app": "other"}), make_node(), there) == []
    elsewhere = on("a", make_pod(container("100m"), affinity=anti(app="job")), namespace="other")
    assert kinds(make_pod(labels={"app": "job"}), make_node(), elsewhere) == []


def test_affinity_wants_the_zone_of_its_companions_and_the_first_may_go_anywhere() -> None:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": WEB}}
    wish = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    nodes = [make_node("a", labels={"zone": "1"}), make_node("b", labels={"zone": "2"})]
    there = on("b", make_pod(container("100m"), labels=WEB))
    follower = place(make_pod(affinity=wish), nodes, [there])
    assert {answer.node: answer.verdict for answer in follower.answers} == {"a": "will not", "b": "likely"}
    assert not place(make_pod(affinity=wish), nodes).is_likely
    assert place(make_pod(affinity=wish, labels=WEB), nodes).is_likely


def test_pods_are_spread_as_their_constraint_says() -> None:
    rule = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    spread = [{**rule, "labelSelector": {"matchLabels": WEB}}]
    nodes = [make_node("a", labels={"zone": "1"}), make_node("b", labels={"zone": "2"}), make_node("c")]
    there = [on("a", make_pod(container("100m"), labels=WEB))]
    placement = place(make_pod(labels=WEB, topologySpreadConstraints=spread), nodes, there)
    told = {answer.node: answer for answer in placement.answers}
    assert [name for name in "abc" if told[name].verdict == "likely"] == ["b"]
    assert "has 1 such pods in zone=1, 0 are where fewest are" in told["a"].obstacles[0].text
    assert "lacks the label zone" in told["c"].obstacles[0].text
    loose = [{**spread[0], "whenUnsatisfiable": "ScheduleAnyway"}]
    assert all(a.verdict == "likely" for a in place(make_pod(topologySpreadConstraints=loose), nodes, there).answers)


def test_as_many_copies_find_room_as_nodes_can_hold() -> None:
    nodes = [make_node("a"), make_node("b", cpu="2")]
    assert place(make_pod(container("1500m")), nodes, copies=5).placed == 3
    assert place(make_pod(container("1m")), nodes, copies=500).placed == 20


def test_the_node_that_is_nearest_says_what_to_change() -> None:
    nodes = [make_node("far", taints=[TAINT], cpu="1"), make_node("near", labels={"disk": "hdd"})]
    placement = place(make_pod(container("2"), nodeSelector={"disk": "ssd"}), nodes)
    closest = placement.closest()
    assert closest and closest.subject == "spec.template.spec.nodeSelector"
    assert placement.answers[0].node == "near"


def test_a_volume_that_is_bound_to_a_zone_keeps_its_pod_there() -> None:
    where = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["1"]}]}]}
    shape = plan_nodes.make_shape(make_pod(), [("data", where)])
    nodes = plan_nodes.read_nodes([make_node("a", labels={"zone": "1"}), make_node("b", labels={"zone": "2"})], [])
    told = {answer.node: answer for answer in plan_placement.place(shape, nodes, 1).answers}
    assert told["a"].verdict == "likely" and told["b"].obstacles[0].kind is Kind.VOLUME


@pytest.mark.parametrize(
    ("image", "architecture"),
    [
        ("arm64v8/busybox", "arm64"),
        ("docker.io/amd64/debian:12", "amd64"),
        ("registry:5000/tool:1.2-arm64", "arm64"),
        ("tool-linux-aarch64:1", "arm64"),
        ("tool:1.2@sha256:0123", None),
        ("farm64/tool", None),
        ("charm:64", None),
    ],
)
def test_an_image_that_says_its_architecture_is_believed(image: str, architecture: str | None) -> None:
    assert read_architectures({"spec": {"containers": [{"image": image}]}}).get(image) == architecture


def test_the_architecture_decides_where_it_is_known_and_is_a_note_where_it_is_not() -> None:
    arm = {"kubernetes.io/arch": "arm64"}
    nodes = plan_nodes.read_nodes([make_node("a"), make_node("b", labels=arm)], [])
    pod = make_pod({"name": "m", "image": "tool:1-arm64"})
    shape = plan_nodes.make_shape(pod, (), read_architectures(pod))
    told = {answer.node: answer.verdict for answer in plan_placement.place(shape, nodes, 1).answers}
    assert told == {"a": "will not", "b": "likely"}
    (note,) = note_architectures(make_pod({"name": "m", "image": "tool:1"}), nodes)
    assert "must be there for amd64 and arm64" in note and note_architectures(pod, nodes[:1]) == []


# --- devices that are claimed


def claim(count: int = 1, name: str = "gpu.example.com", mode: str = "ExactCount") -> list[plan_devices.Request]:
    exactly = {"deviceClassName": name, "allocationMode": mode, "count": count}
    return plan_devices.read_requests({"devices": {"requests": [{"name": "r", "exactly": exactly}]}})


def make_slice(node: str, *devices: str, generation: int = 1, driver: str = "gpu.example.com") -> Object:
    pool = {"name": node, "generation": generation, "resourceSliceCount": 1}
    items = [{"name": device} for device in devices]
    return {"spec": {"driver": driver, "pool": pool, "nodeName": node, "devices": items}}


def hold(node: str, device: str) -> Object:
    result = {"driver": "gpu.example.com", "pool": node, "device": device, "request": "r"}
    return {"status": {"allocation": {"devices": {"results": [result]}}}}


CLASS = {
    "metadata": {"name": "gpu.example.com"},
    "spec": {"selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]},
}


@pytest.mark.parametrize(
    ("requests", "slices", "claims", "text"),
    [
        (claim(), [make_slice("a", "g0")], [], None),
        (
            claim(2),
            [make_slice("a", "g0")],
            [],
            "has 1 of 1 devices of class gpu.example.com free, request r asks for 2",
        ),
        (claim(), [make_slice("a", "g0")], [hold("a", "g0")], "has 0 of 1 devices"),
        (claim(), [make_slice("a", "g0", "g1")], [hold("a", "g0")], None),
        (claim(), [make_slice("b", "g0")], [], "has no device of class gpu.example.com"),
        (claim(), [make_slice("a", "n0", driver="nic.example.com")], [], "has no device of class"),
        (claim(), [make_slice("a", "g0"), make_slice("a", generation=2)], [], "has no device of class"),
        ([*claim(), *claim()], [make_slice("a", "g0")], [], "has 1 of 1 devices"),
        (claim(mode="All"), [make_slice("a", "g0", "g1")], [hold("a", "g1")], "asks for all"),
    ],
)
def test_a_claim_is_met_by_free_devices_of_its_class_on_the_node(
    requests: Any, slices: list[Object], claims: list[Object], text: str | None
) -> None:
    check = plan_devices.make_check(requests, plan_devices.read_inventory([CLASS], slices, claims))
    (node,) = plan_nodes.read_nodes([make_node()], [])
    obstacle = check(node)
    assert (obstacle is None) if text is None else (obstacle is not None and text in obstacle.text)


def test_a_class_that_does_not_exist_is_named_unless_an_alternative_does() -> None:
    inventory = plan_devices.read_inventory([CLASS], [], [])
    assert plan_devices.list_unknown_classes(claim(name="tpu"), inventory) == ["tpu"]
    first = [{"name": "x", "deviceClassName": "tpu"}, {"name": "y", "deviceClassName": "gpu.example.com"}]
    either = plan_devices.read_requests({"devices": {"requests": [{"name": "r", "firstAvailable": first}]}})
    assert plan_devices.list_unknown_classes(either, inventory) == []
