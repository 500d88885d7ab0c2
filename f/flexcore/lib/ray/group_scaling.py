# requirements: flexcore_base
"""The worker groups of a RayCluster with another number of workers. Pure."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.ray import cluster_requests

Group = dict[str, Any]


def change_group(groups: list[Group], request: cluster_requests.ScaleRequest) -> list[Group]:
    """The groups with the wished bounds; the number of workers is moved into them. Raises InvalidInput."""
    wanted = find_group(groups, request.group)
    least, most = int(wanted.get("minReplicas") or 0), int(wanted.get("maxReplicas") or 0)
    least = least if request.min_workers is None else request.min_workers
    most = max(most, least) if request.max_workers is None else request.max_workers
    least = min(least, most) if request.min_workers is None else least
    replicas = min(max(int(wanted.get("replicas") or 0), least), most)
    changed = {**wanted, "minReplicas": least, "maxReplicas": most, "replicas": replicas}
    return [changed if group is wanted else group for group in groups]


def find_group(groups: list[Group], name: str) -> Group:
    """The group of that name, or the only one. Raises InvalidInput with the choices."""
    names = [str(group.get("groupName")) for group in groups]
    if name in names:
        return groups[names.index(name)]
    if not name and len(groups) == 1:
        return groups[0]
    problem = f"there is no worker group {name!r}" if name else f"the cluster has {len(groups)} worker groups"
    remedy = f"Use one of {', '.join(names)}." if names else "Make it anew with a group."
    raise errors.InvalidInput(f"group: {problem}", subject="group", remedy=remedy)
