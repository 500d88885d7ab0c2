"""`flexcore kubernetes`: what the Kubernetes steps would do or say. No command here asks a server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from flexcore import exit_codes
from flexcore.console import AsJson, Parameters, examples, json_object, print_json, run_guarded, say

app = typer.Typer(no_args_is_help=True, help="Kubernetes manifests, dumps and kubeconfigs, without a cluster.")

KUBECONFIG_REMEDY = (
    "Give the path of one kubeconfig file; `kubectl config view --raw --flatten` merges several into one."
)
DUMP_REMEDY = "Give the path of a file with what `kubectl get job,pod,event -o json` printed, or - for stdin."


def answer(action: Callable[[], int], as_json: bool) -> None:
    """`guarded`, and with --json the step's own error on stdout: {error: {category, message, subject, remedy}}."""
    run_guarded(lambda: _with_json_error(action) if as_json else action())


def _with_json_error(action: Callable[[], int]) -> int:
    from f.flexcore.lib.core.errors import FlexcoreError
    from wmlocal.engine.errors import BadArguments

    try:
        return action()
    except FlexcoreError as error:
        print_json({"error": error_fields(error)})
        return exit_codes.of_error(type(error))
    except BadArguments as error:
        remedy = str(error).rpartition("; ")[2]
        fields = {"message": str(error), "subject": "--parameters", "remedy": remedy[:1].upper() + remedy[1:] + "."}
        print_json({"error": {"category": "invalid_input", **fields}})
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
    from flexcore.commands.kubernetes_render import rendered_objects, to_yaml

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
        "flexcore kubernetes access ~/.kube/config",
        "flexcore kubernetes access kubeconfig.yaml --context staging --json",
    )
)
def access(
    file: Annotated[str, typer.Argument(help="A kubeconfig; - reads it from stdin.", show_default=False)],
    context: Annotated[str, typer.Option(help="Context to use; its current one if empty.")] = "",
    as_json: AsJson = False,
) -> None:
    """Print how the steps would reach a cluster with this kubeconfig: server, trust and kind of credentials."""
    answer(lambda: _access(file, context, as_json), as_json)


def _access(file: str, context: str, as_json: bool) -> int:
    from f.flexcore.lib.core.redaction import Redactor
    from f.flexcore.lib.kubernetes_api.credentials import from_kubeconfig

    found = from_kubeconfig(_file_text(file, KUBECONFIG_REMEDY), context)
    fields = {
        "context": found.context,
        "server": found.server,
        "namespace": found.namespace,
        "certificate_authority_bytes": len(found.ca.encode()),
        "user": "token" if found.bearer() else "certificate" if found.client_certificate else "none",
        "proxy": Redactor(found.secrets()).text(found.proxy),
    }
    if as_json:
        print_json(fields)
    else:
        for name, value in fields.items():
            print(f"{name}: {value}")
    return exit_codes.DONE


def _file_text(file: str, remedy: str) -> str:
    from f.flexcore.lib.core.errors import InvalidInput

    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).expanduser().read_bytes()
        # As kubectl reads it: UTF-16 has a mark at its beginning.
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise InvalidInput(f"{file} cannot be read: {why}", subject="FILE", remedy=remedy) from None


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
    from flexcore.commands.kubernetes_explanation import explain as explain_dump

    found = explain_dump(_file_text(dump, DUMP_REMEDY), job)
    if as_json:
        print_json(found.plain())
        return exit_codes.DONE
    print(f"{found.state}{f' ({found.category})' if found.category else ''}: {found.message}")
    if found.remedy:
        print(f"remedy: {found.remedy}")
    for note in found.notes:
        print(f"note: {note}")
    return exit_codes.DONE
