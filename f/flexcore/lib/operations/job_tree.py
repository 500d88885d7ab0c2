# requirements: flexcore_base
"""Reads an execution's whole tree of jobs, level by level, in a bounded number of questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import monitoring
from f.flexcore.lib.operations import job_records

# Of flows within flows within loops; what is deeper or more is left out, and the record says so.
MOST_JOBS = 500
MOST_LEVELS = 12
# Windmill's name for the job of a module that ran none.
NO_JOB = "00000000-0000-0000-0000-000000000000"


def tree(jobs: job_records.Jobs, root: str, most: int = MOST_JOBS) -> tuple[monitoring.Node, bool]:
    """The job with all below it, and whether that is all. Raises NotFound, Forbidden or Unreachable."""
    top = monitoring.Node("", jobs.job(root))
    level, seen, complete = [top], 1, True
    for _ in range(MOST_LEVELS):
        wanted = {id(node): _modules(node) for node in level}
        ids = [job for modules in wanted.values() for _, _, found in modules for job in found]
        complete = complete and seen + len(ids) <= most
        known = jobs.several(ids[: most - seen])
        seen += len(known)
        level = [child for node in level for child in _attach(node, wanted[id(node)], known)]
        if not level:
            return top, complete
    return top, False


Modules = list[tuple[str, Mapping[str, Any], list[str]]]


def _modules(node: monitoring.Node) -> Modules:
    """(id, state, its jobs) of each module of a flow's job, the failure module only when it ran."""
    state = (node.job or {}).get("flow_status") or {}
    failure = state.get("failure_module") or {}
    found = [module for module in state.get("modules") or [] if isinstance(module, dict)]
    shown = [*found, *([failure] if _jobs_of(failure) else [])]
    return [(str(module.get("id")), module, _jobs_of(module)) for module in shown]


def _jobs_of(module: Mapping[str, Any]) -> list[str]:
    several = module.get("flow_jobs")
    jobs = several if several is not None else [module.get("job")]
    return [str(job) for job in [*(module.get("failed_retries") or []), *jobs] if job and job != NO_JOB]


def _attach(node: monitoring.Node, modules: Modules, known: Mapping[str, job_records.Job]) -> list[monitoring.Node]:
    """The new nodes that have a job."""
    begun = []
    for name, state, ids in modules:
        if state.get("flow_jobs") is None and len(ids) <= 1:
            children = [monitoring.Node(name, known.get(ids[0]) if ids else None, state)]
            node.children += children
        else:
            group = monitoring.Node(name, None, state)
            children = [monitoring.Node(f"[{number}]", known.get(job)) for number, job in enumerate(ids)]
            group.children = children
            node.children.append(group)
        begun += [child for child in children if child.job]
    return begun
