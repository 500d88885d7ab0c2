"""Workflows as the files of the bundle have them, before anything is deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flexcore.client.windmill import Windmill
from flexcore.client.workflows import Workflow, find_used_runtimes, form, resolve
from wmlocal.engine.bundle import Bundle, Flow
from wmlocal.engine.unsupported import check_flow, check_script


def local_workflow(root: Path, name: str) -> Workflow:
    """A flow or script of the bundle whose files are sound. Raises NotFound, BadBundle or Unsupported."""
    bundle = Bundle(root)
    path = resolve(bundle.path_of(name), [*bundle.paths("flow"), *bundle.paths("script")])
    flow = bundle.flow(path)
    if flow:
        check_flow(bundle, flow)
        return Workflow(
            path,
            "flow",
            str(flow.meta.get("summary") or ""),
            form(flow.meta.get("schema")),
            find_used_runtimes(path, flow.value),
            flow.has_preprocessor,
        )
    script = bundle.script(path)
    assert script is not None
    check_script(script)
    meta = script.meta
    return Workflow(
        path, "script", str(meta.get("summary") or ""), form(meta.get("schema")), find_used_runtimes(path, None)
    )


def preview(client: Windmill, root: Path, workflow: Workflow, args: dict[str, Any]) -> str:
    """Starts the files as they are now; returns the job's id."""
    bundle = Bundle(root)
    found: Any = bundle.flow(workflow.path) or bundle.script(workflow.path)
    if isinstance(found, Flow):
        return client.start_by("jobs/run/preview_flow", {"path": found.path, "value": found.value, "args": args})
    body = {"path": found.path, "content": found.content, "language": found.language, "lock": found.lock, "args": args}
    return client.start_by("jobs/run/preview", body)
