# requirements: flexcore_kubernetes
"""A workflow of containers before anything starts: each checked, and ordered into levels. Pure.

nodes ─→ every request checked ─→ names and needs ─→ a circle refused with its path ─→ levels, each run in parallel

A container is handed what those that it needs have handed on, under their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.kubernetes import job_handover, job_manifest, job_operation, pod_spec

MAX_NODES = 200
# Of a node itself; the rest is its request.
OWN_FIELDS = ("name", "needs")
# What is the same for all containers, and stands in the workflow's form.
COMMON_FIELDS = (
    "namespace",
    "service_account",
    "run_as_user",
    "timeout_s",
    "queue_timeout_s",
    "ttl_s",
)


class Node(resources.Form):
    """One container of a workflow. needs: those that must have succeeded before."""

    name: str = Field(min_length=1)
    needs: list[str] = []
    request: dict[str, Any] = {}


def read_nodes(
    nodes: Any, common: Mapping[str, Any], cluster: resources.KubernetesCluster | None, settings: resources.Settings
) -> list[Node]:
    """The nodes with their whole requests, but for their inputs. Raises InvalidInput that names the node and its
    field."""
    given = errors.check_value(list[dict[str, Any]], nodes or [], "nodes")
    if not given:
        raise _wrong("nodes", "is empty", "Give at least one container.")
    if len(given) > MAX_NODES:
        raise _wrong("nodes", f"has {len(given)} containers", f"Use at most {MAX_NODES}.")
    read = [_read_node(item, index, common) for index, item in enumerate(given)]
    _check_names(read)
    for node in read:
        _check_request(node, cluster, settings)
    return read


def _read_node(item: Mapping[str, Any], index: int, common: Mapping[str, Any]) -> Node:
    where = f"nodes.{item.get('name') or index}"
    own = {name: item.get(name) for name in OWN_FIELDS}
    # The form sends null for what nobody has filled in.
    request = {name: value for name, value in item.items() if name not in OWN_FIELDS and value not in (None, "")}
    if "inputs" in request:
        raise _wrong(f"{where}.inputs", "is what its needs hand on", "Name them in needs.")
    shared = {name: value for name, value in common.items() if name in COMMON_FIELDS and value not in (None, "")}
    return errors.validate(Node, {**own, "request": {**shared, **request}}, where)


def _check_names(nodes: Sequence[Node]) -> None:
    names = [node.name for node in nodes]
    for node in nodes:
        pod_spec.check_name(node.name, f"nodes.{node.name}.name")
        if not job_handover.NAME.fullmatch(node.name):
            raise _wrong(f"nodes.{node.name}.name", "begins with a digit", "Begin it with a letter.")
        if names.count(node.name) > 1:
            raise _wrong(f"nodes.{node.name}.name", "is another container's name too", "Name each container once.")
        for need in node.needs:
            if need not in names:
                choice = ", ".join(names)
                raise _wrong(f"nodes.{node.name}.needs", f"there is no container {need!r}", f"Use one of {choice}.")
        if len(set(node.needs)) < len(node.needs):
            raise _wrong(f"nodes.{node.name}.needs", "names a container twice", "Name each once.")


def _check_request(node: Node, cluster: resources.KubernetesCluster | None, settings: resources.Settings) -> None:
    where = f"nodes.{node.name}"
    try:
        request = errors.validate(job_manifest.JobRequest, node.request, "")
        job_operation.check(request, cluster, settings)
    except errors.UserError as error:
        raise errors.qualify(error, where) from None


# --- order


def order_levels(nodes: Sequence[Node]) -> list[list[str]]:
    """The names in levels: each node stands after all that it needs, as early as it can, in the form's order. Raises
    InvalidInput that shows the path of a circle."""
    if circle := find_circle(nodes):
        path = " → ".join(circle)
        remedy = f"Leave one of these needs out, e.g. {circle[1]} of {circle[0]}."
        raise _wrong(f"nodes.{circle[0]}.needs", f"{path} is a circle, in which none can be the first", remedy)
    depth: dict[str, int] = {}
    needs = {node.name: node.needs for node in nodes}
    while len(depth) < len(needs):
        for name in needs:
            if name not in depth and all(need in depth for need in needs[name]):
                depth[name] = max((depth[need] + 1 for need in needs[name]), default=0)
    return [[name for name in needs if depth[name] == level] for level in range(max(depth.values()) + 1)]


def find_circle(nodes: Sequence[Node]) -> list[str]:
    """The names along a circle of needs, the first one again at its end; [] when there is none."""
    needs = {node.name: node.needs for node in nodes}
    done: set[str] = set()
    for start in needs:
        path: list[str] = []
        waiting: list[tuple[str, Iterator[str]]] = []
        name: str | None = start
        while name is not None or waiting:
            if name is not None and name in path:
                return [*path[path.index(name) :], name]
            if name is not None and name not in done:
                path.append(name)
                waiting.append((name, iter(needs[name])))
            elif not waiting:
                break
            name = next(waiting[-1][1], None)
            if name is None:
                done.add(waiting.pop()[0])
                path.pop()
    return []


def _wrong(subject: str, problem: str, remedy: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"{subject}: {problem}", subject=subject, remedy=remedy)
