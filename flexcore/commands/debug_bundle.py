"""`flexcore debug-bundle`: all that an engineer needs to understand one run, as one ZIP file without secrets.

The bundle's own step makes it, with the rights of the token; this only saves it.
"""

from __future__ import annotations

import base64
from pathlib import Path

from f.flexcore.lib.core.errors import ExecutionFailed, NotFound
from flexcore import exit_codes
from flexcore.console import print_json, say

STEP = "f/flexcore/dashboard/make_debug_bundle"


def debug_bundle_command(given: str, output: Path, server: str, workspace: str, root: Path, as_json: bool) -> int:
    """Writes the file below `output`, a folder, or to it. Raises NotFound, ExecutionFailed."""
    from flexcore.client.executions import complete_id
    from flexcore.client.target import open_client
    from flexcore.client.watch import Watch, error_text

    with open_client(server, workspace, root) as (client, _):
        run = complete_id(client, given)
        client.job(run)
        if not client.get(f"scripts/exists/p/{STEP}"):
            raise NotFound(
                f"{client.url}, workspace {client.workspace}, has no {STEP}",
                subject="server",
                remedy="Deploy this version of the bundle: `flexcore workflow deploy`.",
            )
        job = client.start("script", STEP, {"execution": run})
        ended = Watch(client, job).follow(lambda event: None)
    if not ended.get("success"):
        raise ExecutionFailed(
            f"The debug bundle was not made: {error_text(ended)}", remedy=f"`flexcore workflow logs {job}` shows more."
        )
    result = ended["result"]
    path = _save(result, output)
    shown = {"execution": run, "file": str(path) if path else None, "uri": result["uri"]}
    if as_json:
        print_json(shown)
    elif path:
        print(path)
    else:
        say("It is too large for a result; it is in the store:")
        print(result["uri"])
    return exit_codes.DONE


def _save(result: dict[str, str | None], output: Path) -> Path | None:
    """None for one that is in the store alone."""
    content = result["base64"]
    if content is None:
        return None
    path = output / str(result["file_name"]) if output.is_dir() else output
    path.write_bytes(base64.b64decode(content))
    return path
