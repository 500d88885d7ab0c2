"""`flexcore plan`: what a flow would do, told by the flow itself: the runtime that it would choose, at what price, and
whether the services would take the work. Nothing is run.

A flow can be planned when its form has the field `explain_only`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from f.flexcore.lib.core.errors import InvalidInput
from flexcore import exit_codes
from flexcore.commands.selection import show_selection
from flexcore.console import print_json, print_result

FIELD = "explain_only"


def plan_command(path: str, args: dict[str, Any], server: str, workspace: str, root: Path, as_json: bool) -> int:
    """0 when the work would be done; 1 when no runtime is suitable or the chosen one's own check refuses."""
    from flexcore.client.arguments import complete_arguments
    from flexcore.client.target import open_client
    from flexcore.client.watch import Watch
    from flexcore.client.workflows import find, normalize_name, with_settings
    from wmlocal.engine.progress import progress

    with open_client(server, workspace, root) as (client, _):
        workflow = find(client, normalize_name(root, path))
        if FIELD not in (workflow.schema.get("properties") or {}):
            raise InvalidInput(
                f"{workflow.path} cannot be planned: its form has no {FIELD}",
                subject="PATH",
                remedy="Plan f/flexcore/data_pipeline, or a flow of your own that passes the field on to it.",
            )
        given = with_settings(client, workflow, args | {FIELD: True})
        watch = Watch(client, client.start(workflow.kind, workflow.path, complete_arguments(workflow.schema, given)))
        display = progress()
        try:
            ended = watch.follow(display)
        finally:
            display.close()
        if not ended.get("success"):
            _print(ended.get("result"), as_json)
            return exit_codes.of_run(ended, watch.cause())
    return _show(ended.get("result"), as_json)


def _show(result: Any, as_json: bool) -> int:
    from f.flexcore.lib.core.pipeline_result import DataPipelineResult

    if as_json:
        print_json(result)
    found = DataPipelineResult.model_validate(result)
    if not as_json and found.selection:
        show_selection(found.selection)
        for runtime, told in found.checks.items():
            print(f"  {runtime}'s own check: {told['error'] or 'it would take the work'}")
            for line in told["data"].get("summary") or ():
                print(f"    {line}")
        if found.error:
            print(found.error)
    return exit_codes.DONE if found.success else exit_codes.FAILED


def _print(result: Any, as_json: bool) -> None:
    print_json(result) if as_json else print_result(result)
