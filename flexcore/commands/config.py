"""`flexcore config`: windmill.yaml and flexcore.yaml, checked and applied."""

from __future__ import annotations

from pathlib import Path

import typer

from flexcore import exit_codes
from flexcore.console import AsJson, Root, examples, guarded, print_json, say

app = typer.Typer(no_args_is_help=True, help="Check and apply windmill.yaml and flexcore.yaml.")


@app.command(epilog=examples("flexcore config check", "flexcore config check --root deploy --json"))
def check(root: Root = Path(), as_json: AsJson = False) -> None:
    """Explain every problem of both files at its line. Exit code 2 when there is one."""
    guarded(lambda: _check(root, as_json))


def _check(root: Path, as_json: bool) -> int:
    from dataclasses import asdict

    from f.flexcore.core.errors import NotFound
    from flexcore.configuration.files import FLEXCORE, WINDMILL
    from flexcore.configuration.files import check as checked

    found = checked(root)
    if not found.given:
        raise NotFound(
            f"{root} holds neither {WINDMILL} nor {FLEXCORE}",
            subject="--root",
            remedy="Write one (the README shows both), or name their folder with --root.",
        )
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
