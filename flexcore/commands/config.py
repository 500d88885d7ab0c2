"""`flexcore config`: windmill.yaml and flexcore.yaml, checked and applied."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flexcore import exit_codes
from flexcore.console import AsJson, Root, Server, Workspace, examples, print_json, run_guarded, say

if TYPE_CHECKING:
    from f.flexcore.lib.core.errors import NotFound
    from flexcore.configuration.plan import FileChange

app = typer.Typer(no_args_is_help=True, help="Check and apply windmill.yaml and flexcore.yaml.")


@app.command(epilog=examples("flexcore config check", "flexcore config check --root deploy --json"))
def check(root: Root = Path(), as_json: AsJson = False) -> None:
    """Explain every problem of both files at its line. Exit code 2 when there is one."""
    run_guarded(lambda: _check(root, as_json))


def _check(root: Path, as_json: bool) -> int:
    from dataclasses import asdict

    from flexcore.configuration.files import check as checked

    found = checked(root)
    if not found.given:
        raise _no_files(root)
    if as_json:
        print_json({"files": found.given, "problems": [asdict(problem) for problem in found.problems]})
    else:
        for problem in found.problems:
            print(problem)
    if found.problems:
        say(f"{len(found.problems)} to correct")
        return exit_codes.CANNOT_START
    say(f"{' and '.join(found.given)}: nothing to correct")
    return exit_codes.DONE


def _no_files(root: Path) -> NotFound:
    from f.flexcore.lib.core.errors import NotFound
    from flexcore.configuration.files import FLEXCORE, WINDMILL

    return NotFound(
        f"{root.resolve()} holds neither {WINDMILL} nor {FLEXCORE}",
        subject="--root",
        remedy="Write one (docs/configuration.md shows both), or name their folder with --root.",
    )


@app.command(epilog=examples("flexcore config apply --dry-run", "flexcore config apply --server production --yes"))
def apply(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    no_push: Annotated[bool, typer.Option("--no-push", help="Leave the push to `flexcore workflow deploy`.")] = False,
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Make the bundle's files and the server what both files say: tags, resources, schedules, secrets, workers.

    Shows the difference first. What an earlier apply made goes again when its section has gone. What came from the
    environment becomes secret variables of the workspace, never a file.
    """
    run_guarded(lambda: _apply(dry_run, yes, no_push, server, workspace, root, as_json))


def _apply(dry_run: bool, yes: bool, no_push: bool, server: str, workspace: str, root: Path, as_json: bool) -> int:
    from flexcore.client.target import open_client
    from flexcore.commands.deploy import Options, confirm, deploy_bundle
    from flexcore.configuration.files import read_configuration
    from flexcore.configuration.plan import plan
    from flexcore.configuration.server_plan import make, server_changes
    from flexcore.configuration.writing import write

    configuration = read_configuration(root)
    if not configuration.given:
        raise _no_files(root)
    with open_client(server, workspace, root) as (client, target):
        planned = plan(root, configuration)
        files, settings = planned.files, server_changes(client, configuration, planned, embedded=target is None)
        if as_json:
            shown = {"files": [item.path for item in files], "server": [item.what for item in settings]}
            print_json(shown | {"deleted": [item.path for item in files if item.after is None], "applied": not dry_run})
        else:
            for item in files:
                _show_diff(item)
            for change in settings:
                print(f"server: {change.what}")
        if not files and not settings:
            say("Nothing to do: files and server are what the configuration says.")
        elif not dry_run:
            confirm(f"Change {len(files)} files and {len(settings)} settings of the server?", yes)
            make(client, settings, say)
            write(root, files, say)
        if target is None or no_push or dry_run:
            return exit_codes.DONE
        return deploy_bundle(client, target, root, Options(yes=yes, quiet=as_json))


def _show_diff(change: FileChange) -> None:
    before, after = (change.before or "").splitlines(), (change.after or "").splitlines()
    names = [change.path if text is not None else "/dev/null" for text in (change.before, change.after)]
    lines = difflib.unified_diff(before, after, names[0], names[1], n=1, lineterm="")
    colors = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        color = colors.get(line[:1]) if sys.stdout.isatty() else None
        typer.secho(line, fg=color) if color else print(line)
