"""`flexcore init`, `upgrade` and `remove`: the bundle in a team's own repository."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flexcore import exit_codes
from flexcore.console import AsJson, examples, print_json, run_guarded, say

if TYPE_CHECKING:
    from flexcore.bundle.repository import RepositoryChange

Repository = Annotated[
    Path, typer.Option("--root", help="Folder of the repository; else the nearest one at or above this.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
MARKS = ("flexcore-lock.yaml", "wmill.yaml")
# How files of a kind are counted; any other is named.
LABELS = {"f": "{} file{} of f/flexcore", "dependencies": "{} requirement set{}", "locks": "{} lock{}"}


def init(root: Repository = Path(), yes: Yes = False, as_json: AsJson = False) -> None:
    """Bring the bundle into a team's repository: f/flexcore, resource types, requirement sets and locks.

    Shows what it writes and what it changes in wmill.yaml, and asks. What it wrote is recorded in flexcore-lock.yaml.
    """
    run_guarded(lambda: _change("init", root, yes, as_json))


def upgrade(
    root: Repository = Path(),
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit code 1: something to do.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Bring the bundle in a repository to the version of this command line.

    Files that the team has changed stay and are named, with the place of their new version.
    """
    run_guarded(lambda: _change("upgrade", root, yes, as_json, check))


def remove(root: Repository = Path(), yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove from a repository only what init and upgrade wrote; changed files are kept and listed."""
    run_guarded(lambda: _change("remove", root, yes, as_json))


def register(app: typer.Typer, panel: str) -> None:
    app.command(rich_help_panel=panel, epilog=examples("flexcore init", "flexcore init --root ../sales --yes"))(init)
    app.command(rich_help_panel=panel, epilog=examples("flexcore upgrade --check", "flexcore upgrade --yes"))(upgrade)
    app.command(rich_help_panel=panel, epilog=examples("flexcore remove", "flexcore remove --yes"))(remove)


def _change(command: str, given: Path, yes: bool, as_json: bool, check: bool = False) -> int:
    from flexcore.bundle.journal import is_half_done, lock_repository, resume
    from flexcore.bundle.repository import carry_out

    root = find_repository(given)
    with lock_repository(root):
        if check and is_half_done(root):
            say(f"A change of the bundle in {root} was cut short; `flexcore upgrade` ends it.")
            return exit_codes.FAILED
        if resumed := resume(root):
            say(f"A `flexcore {resumed.command}` was cut short here: it is ended now.")
            for path in resumed.edited:
                say(f"{path} was changed since, and stays as it is.")
            if resumed.command == command == "remove":
                return _report(None, as_json, done=True)
        change = _plan(command, root)
        if not as_json:
            _show(root, change)
        if check or not change.contents:
            return _report(change, as_json, done=not change.contents)
        confirm(f"Run `flexcore {command}` in {root}?", yes)
        _refuse_stale(change, _plan(command, root))
        for path in carry_out(root, change):
            say(f"{path} was changed meanwhile, and stays as it is.")
    _report(change, as_json, done=True)
    _say_what_is_next(change)
    return exit_codes.DONE


def find_repository(given: Path) -> Path:
    """The folder that was named; else the nearest with a wmill.yaml, up to the git root as the wmill CLI looks."""
    if given != Path():
        return given.resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if any((folder / mark).is_file() for mark in MARKS):
            return folder
        if (folder / ".git").exists():
            break
    return here


def _plan(command: str, root: Path) -> RepositoryChange:
    from flexcore.bundle import repository
    from flexcore.bundle.installation import read_installed_bundle

    if command == "remove":
        return repository.plan_remove(root)
    plan = repository.plan_init if command == "init" else repository.plan_upgrade
    return plan(root, read_installed_bundle())


def _refuse_stale(shown: RepositoryChange, now: RepositoryChange) -> None:
    """Raises Conflict when files were changed while the question stood there: what was shown is what is done."""
    from f.flexcore.lib.core.errors import Conflict

    if now != shown:
        raise Conflict(
            "Files were changed meanwhile, so this is no longer what was shown; nothing was written",
            subject="--root",
            remedy="Run the command again.",
        )


def _show(root: Path, change: RepositoryChange) -> None:
    if not change.contents:
        say(f"Nothing to do: {root} has the bundle in version {change.version}.")
    for verb, paths in (("write", change.written), ("delete", change.deleted)):
        if paths:
            say(f"{verb}  {_summarize(paths)}")
    for item in change.spared:
        print(f"spare  {item.path}: {item.reason}{_describe_new_version(item.path) if item.has_new_version else ''}")
    if change.settings_diff:
        print(change.settings_diff)
    for note in change.notes:
        say(f"note: {note}")
    if change.contents and not any((folder / ".git").exists() for folder in (root, *root.parents)):
        say("note: this is not a git repository; `git init` and a commit first would let you see and undo the change.")
    elif ignored := list_ignored_files(root, change.written):
        say(f"note: git ignores {len(ignored)} of these files, such as {ignored[0]}; change .gitignore to commit them.")


def list_ignored_files(root: Path, paths: list[str]) -> list[str]:
    """Those that no commit would take; none where git is not installed."""
    command = ["git", "-C", str(root), "check-ignore", "--stdin", "-z"]
    try:
        done = subprocess.run(command, input="\0".join(paths), text=True, capture_output=True, check=False)
    except OSError:
        return []
    return [path for path in done.stdout.split("\0") if path]


def _summarize(paths: list[str]) -> str:
    counts = Counter(_label(path) for path in paths)
    return ", ".join(label.format(number, "s" if number > 1 else "") for label, number in counts.items())


def _label(path: str) -> str:
    folder, slash, _ = path.partition("/")
    if slash:
        return LABELS.get(folder, path)
    return "{} resource type{}" if path.endswith(".resource-type.yaml") else path


def _describe_new_version(path: str) -> str:
    from flexcore import INSTALLED_ROOT

    return f"; see the new version with `diff -u {path} {INSTALLED_ROOT / path}`"


def confirm(question: str, yes: bool) -> None:
    """Raises InvalidInput where nobody can answer, and ends the command when the answer is no."""
    from f.flexcore.lib.core.errors import InvalidInput

    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(
            "Nothing was changed: there is no terminal to confirm on", subject="--yes", remedy="Give --yes."
        )
    if not typer.confirm(question, err=True):
        say("Nothing was changed.")
        raise typer.Exit(exit_codes.CANCELED)


def _report(change: RepositoryChange | None, as_json: bool, done: bool) -> int:
    if as_json:
        print_json({"done": done, **(_as_json(change) if change else {})})
    return exit_codes.DONE if done else exit_codes.FAILED


def _as_json(change: RepositoryChange) -> dict[str, Any]:
    from flexcore import INSTALLED_ROOT

    spared = [
        {"path": item.path, "reason": item.reason}
        | ({"new_version": str(INSTALLED_ROOT / item.path)} if item.has_new_version else {})
        for item in change.spared
    ]
    return {
        "version_before": change.version_before or None,
        "version": change.version or None,
        "written": change.written,
        "deleted": change.deleted,
        "spared": spared,
        "settings": change.settings_diff,
        "notes": list(change.notes),
    }


def _say_what_is_next(change: RepositoryChange) -> None:
    if change.command == "remove":
        say("The bundle is out of this repository; a workspace keeps it until it is deleted there.")
        return
    say(f"The bundle is here in version {change.version}. Commit it, flexcore-lock.yaml with it.")
    if change.command == "init":
        say("Next: `flexcore workflow create f/TEAM/NAME --template singer_extraction`, then `flexcore workflow test`.")
