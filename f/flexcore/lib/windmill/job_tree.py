# requirements: flexcore_base
"""Reads an execution's whole tree of jobs, level by level, in a bounded number of requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import errors, monitoring
from f.flexcore.lib.windmill import client

# Of flows within flows within loops; what is deeper or more is left out, and the record says so.
MAX_JOBS = 500
MAX_LEVELS = 12
# Windmill's id for the job of a module that ran none.
NO_JOB = "00000000-0000-0000-0000-000000000000"
# (id, state, its jobs) of each module of a flow.
Modules = list[tuple[str, Mapping[str, Any], list[str]]]


def read_job_tree(
    windmill: client.Client, root: str, max_jobs: int = MAX_JOBS, must_answer: bool = False
) -> tuple[monitoring.Node, bool]:
    """The job with all below it, and whether that is all. must_answer: a job for which Windmill cannot answer now is
    Unavailable; else it is left out. Raises NotFound, Forbidden, Unavailable or Unreachable."""
    top = monitoring.Node("", windmill.job(root))
    level, seen, complete = [top], 1, True
    for _ in range(MAX_LEVELS):
        modules_by_node = {id(node): _modules(node) for node in level}
        ids = [job for modules in modules_by_node.values() for _, _, jobs in modules for job in jobs]
        complete = complete and seen + len(ids) <= max_jobs
        jobs = _read_jobs(windmill, ids[: max_jobs - seen], must_answer)
        seen += len(jobs)
        level = [child for node in level for child in _attach_children(node, modules_by_node[id(node)], jobs)]
        if not level:
            return top, complete
    return top, False


def _read_jobs(windmill: client.Client, ids: list[str], must_answer: bool) -> dict[str, client.Job]:
    if not must_answer:
        return windmill.jobs(ids)
    jobs, absent = windmill.known_jobs(ids)
    if unanswered := set(ids) - jobs.keys() - absent:
        count = f"{len(unanswered)} of {len(ids)} jobs"
        raise errors.Unavailable(f"Windmill cannot answer for {count} now", subject="windmill", remedy="Try again.")
    return jobs


def list_results(node: monitoring.Node) -> list[Any]:
    """The results of all jobs of a tree that have one."""
    own = [node.job["result"]] if node.job and node.job.get("result") is not None else []
    return own + [result for child in node.children for result in list_results(child)]


def _modules(node: monitoring.Node) -> Modules:
    """The modules of a flow's job, the failure module only when it ran."""
    state = (node.job or {}).get("flow_status") or {}
    failure = state.get("failure_module") or {}
    modules = [module for module in state.get("modules") or [] if isinstance(module, dict)]
    shown = [*modules, *([failure] if _module_jobs(failure) else [])]
    return [(str(module.get("id")), module, _module_jobs(module)) for module in shown]


def _module_jobs(module: Mapping[str, Any]) -> list[str]:
    if module.get("type") == "WaitingForEvents":
        # The flow is suspended before it: the job that Windmill names is that of the step before.
        return []
    several = module.get("flow_jobs")
    jobs = several if several is not None else [module.get("job")]
    return [str(job) for job in [*(module.get("failed_retries") or []), *jobs] if job and job != NO_JOB]


def _attach_children(node: monitoring.Node, modules: Modules, jobs: Mapping[str, client.Job]) -> list[monitoring.Node]:
    """The new nodes that have a job."""
    started = []
    for name, state, ids in modules:
        if state.get("flow_jobs") is None and len(ids) <= 1:
            children = [monitoring.Node(name, jobs.get(ids[0]) if ids else None, state)]
            node.children += children
        else:
            group = monitoring.Node(name, None, state)
            children = [monitoring.Node(f"[{number}]", jobs.get(job)) for number, job in enumerate(ids)]
            group.children = children
            node.children.append(group)
        started += [child for child in children if child.job]
    return started
