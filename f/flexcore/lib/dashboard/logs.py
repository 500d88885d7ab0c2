# requirements: flexcore_base
"""The log of an execution or of one of its steps, in pages of lines, without secrets."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import errors, monitoring, redaction
from f.flexcore.lib.dashboard import steps
from f.flexcore.lib.windmill import client, executions, job_tree

MAX_LINES = 2000
# A line that a program never ended; a page cannot show it, and no eye can read it.
MAX_LINE_CHARS = 10_000


def read_logs(windmill: client.Client, execution: str, step: str = "", offset: int = 0) -> dict[str, Any]:
    """{lines, offset, next, total, live}: at most MAX_LINES lines from the line `offset` on; a negative one counts from
    the end. Raises NotFound, Forbidden or InvalidInput."""
    root = executions.read_execution(windmill, execution)
    job = _find_step(windmill, execution, step) if step else root
    path = "jobs_u/get_logs" if step else "jobs_u/get_flow_all_logs"
    every = windmill.text(f"{path}/{job['id']}").splitlines()
    first = max(0, len(every) + offset) if offset < 0 else offset
    # From the beginning: a private key that began on an earlier page is masked to its end.
    lines = redaction.Redactor().lines().lines(every[: first + MAX_LINES])[first:]
    after = first + len(lines)
    return {
        "lines": [line[:MAX_LINE_CHARS] for line in lines],
        "offset": first,
        "next": after if after < len(every) else None,
        "total": len(every),
        "live": job.get("type") != "CompletedJob",
    }


def _find_step(windmill: client.Client, execution: str, step: str) -> monitoring.Job:
    """The job of a step by the id that the dashboard has of it."""
    root, _ = job_tree.read_job_tree(windmill, client.parse_job_id(execution, "execution"))
    node = _find_node(root, "", step)
    if node is None or node.job is None:
        raise errors.NotFound(
            f"The step {step[:100]} has no log: it has not begun, or the execution has no such step",
            subject="step",
            remedy="Choose a step that has begun.",
        )
    return node.job


def _find_node(node: monitoring.Node, prefix: str, wanted: str) -> monitoring.Node | None:
    for child in node.children:
        id = steps.join_id(prefix, child.name)
        if id == wanted:
            return child
        if wanted.startswith(id) and (found := _find_node(child, id, wanted)):
            return found
    return None
