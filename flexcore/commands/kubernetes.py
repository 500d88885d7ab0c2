"""`flexcore kubernetes`: what the Kubernetes steps would do or say. No command here asks a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

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


@app.command(
    epilog=examples(
        "kubectl get job,pod,event -o json | flexcore kubernetes explain -",
        "flexcore kubernetes explain dump.json --json",
    )
)
def explain(
    dump: Annotated[
        str, typer.Argument(metavar="DUMP", help="What `kubectl get job,pod,event -o json` printed; - for stdin.")
    ],
    job: Annotated[str, typer.Option("--job", help="Of several Jobs this one; else the one that needs it most.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say what a Job is about: how it ended and why, or what it waits for, and what to do."""
    answer(lambda: _explain(dump, job, as_json), as_json)


def _explain(dump: str, job: str, as_json: bool) -> int:
    from f.flexcore.kubernetes.explanation import explain as explain_dump

    found = explain_dump(_read(dump), job)
    if as_json:
        print_json(found.plain())
        return exit_codes.DONE
    print(f"{found.state}{f' ({found.category})' if found.category else ''}: {found.message}")
    if found.remedy:
        print(f"remedy: {found.remedy}")
    for note in found.notes:
        print(f"note: {note}")
    return exit_codes.DONE


def _read(dump: str) -> str:
    """The dump's text. Raises BadArguments."""
    import sys
    from pathlib import Path

    from flexcore.engine.errors import BadArguments

    try:
        content = sys.stdin.buffer.read() if dump == "-" else Path(dump.removeprefix("@")).read_bytes()
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        name = "stdin" if dump == "-" else dump
        raise BadArguments(f"{name} cannot be read ({error}); give a file, or - for stdin") from None
