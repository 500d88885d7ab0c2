"""`flexcore kubernetes`: what the Kubernetes steps would do or say, without a cluster. No command here asks a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from flexcore import exit_codes
from flexcore.console import AsJson, Parameters, examples, guarded, json_object, print_json, say

app = typer.Typer(no_args_is_help=True, help="Kubernetes manifests, dumps and kubeconfigs, without a cluster.")


def answer(action: Callable[[], int], as_json: bool) -> None:
    """`guarded`, and with --json the step's own error on stdout: {error: {category, message, subject, remedy}}."""
    guarded(lambda: _with_json_error(action) if as_json else action())


def _with_json_error(action: Callable[[], int]) -> int:
    from f.flexcore.core.errors import FlexcoreError
    from flexcore.engine.errors import BadArguments

    try:
        return action()
    except FlexcoreError as error:
        print_json({"error": error_fields(error)})
        return exit_codes.of_error(type(error))
    except BadArguments as error:
        print_json({"error": {"category": "invalid_input", "message": str(error), "subject": "", "remedy": ""}})
        return exit_codes.CANNOT_START


def error_fields(error: Any) -> dict[str, str]:
    return {"category": error.category, "message": str(error), "subject": error.subject, "remedy": error.remedy}


@app.command(
    epilog=examples(
        "flexcore kubernetes render --parameters @request.json",
        "flexcore kubernetes render --parameters @request.json --json",
    )
)
def render(parameters: Parameters = "{}", as_json: AsJson = False) -> None:
    """Print the objects that kubernetes/run_job would create, secret values masked, and what was changed of a manifest
    (stderr)."""
    answer(lambda: _render(parameters, as_json), as_json)


def _render(parameters: str, as_json: bool) -> int:
    from flexcore.kubernetes_render import rendered_objects, to_yaml

    objects, notes = rendered_objects(json_object(parameters, "--parameters"))
    if as_json:
        print_json({"objects": objects, "notes": notes})
    else:
        for note in notes:
            say(f"note: {note}")
        print(to_yaml(objects), end="")
    return exit_codes.DONE
