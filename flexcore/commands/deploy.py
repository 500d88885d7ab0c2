"""`workflow deploy`, and the push of `config apply`: what they say, what they ask, and in which order."""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from f.flexcore.lib.core.errors import InvalidInput
from flexcore import exit_codes
from flexcore.bundle import stale
from flexcore.bundle.deployment import Deployment
from flexcore.client import relocks
from flexcore.client.target import Target
from flexcore.client.windmill import Windmill
from flexcore.console import print_json, print_table, say

Version = tuple[int, int]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flexcore.bundle.deployment import Change, Outcome
    from flexcore.bundle.stale import Stale
    from wmlocal.lint import Finding

# The server that the bundle is tested against.
TESTED = (1, 743)
VERSION = re.compile(r"v(\d+)\.(\d+)")
# Up to here a server locks every importer of a changed script anew, whether or not its lock would change.
RELOCKS_ALL_UNTIL = (1, 803)
# A first push has hundreds; nobody reads them.
MAX_SHOWN = 25
MAX_STALE_SHOWN = 3
REQUIREMENTS = re.compile(r"dependencies/(.+)\.requirements\.in")
# What a server makes locks for.
LOCKED = ("script", "flow", "app", "dependencies")
FOLDERS = {"__flow": "flow", ".flow": "flow", "__raw_app": "app", ".raw_app": "app", "__app": "app", ".app": "app"}
KIND = re.compile(r"\.(resource-type|resource|variable|schedule|\w+_trigger|group|user)\.(?:yaml|json)$")
STYLES = {"added": "green", "edited": "yellow", "deleted": "red"}


@dataclass(frozen=True, slots=True)
class Options:
    """quiet: stdout is somebody else's. verbose: every change is shown, however many there are. prune: what the
    workspace holds of former versions is removed."""

    dry_run: bool = False
    yes: bool = False
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    prune: bool = False

    @property
    def prints_tables(self) -> bool:
        return not (self.as_json or self.quiet)


def deploy_bundle(client: Windmill, target: Target | None, root: Path, options: Options) -> int:
    """Checks, compares, pushes, waits for the server's locks, and lists what is stale."""
    target = require_server(target)
    if options.prune and not (options.dry_run or options.yes):
        _require_terminal()
    version = _check_version(client)
    deployment = Deployment(root, target, client)
    say(f"checking {deployment.root} …")
    if findings := deployment.findings():
        return _print_findings(findings, options)
    deployment.lint()
    say("comparing with the server …")
    wanted, left_over = deployment.changes(), stale.find_stale(client, deployment.root)
    if not wanted:
        say("Nothing to push: the server has all of it.")
    elif options.prints_tables:
        _print_changes(wanted, options.verbose)
    result: dict[str, Any] = {"success": True, "changes": [asdict(item) for item in wanted], "landed": []}
    code = exit_codes.DONE
    if wanted and not options.dry_run:
        for line in describe_push(client, deployment.root, wanted, left_over, version):
            say(line)
        confirm(f"Push {_count(len(wanted), 'change')} to {target}?", options.yes)
        before = relocks.last_relock(client)
        outcome = _wait_for_locks(client, deployment, deployment.push(wanted), before)
        result |= outcome.as_json()
        code = _report(outcome)
    removed, failed = _handle_stale(client, target, left_over, options, pushed=code == exit_codes.DONE)
    if options.as_json:
        result |= {"success": result["success"] and not failed, "stale": [asdict(item) for item in left_over]}
        print_json(result | {"removed": [asdict(item) for item in removed]})
    return exit_codes.FAILED if failed else code


def require_server(target: Target | None) -> Target:
    """Raises InvalidInput for the embedded engine."""
    if target is None:
        raise InvalidInput(
            "The embedded engine runs the files as they are; there is nothing to deploy",
            subject="--server",
            remedy="Name a server, or a wmill profile.",
        )
    return target


def confirm(question: str, yes: bool) -> None:
    """Ends the command when the answer is no. Raises InvalidInput where the command cannot ask."""
    if not _ask(question, yes):
        say("Nothing was changed.")
        raise typer.Exit(exit_codes.CANCELED)


def _ask(question: str, yes: bool) -> bool:
    if not yes:
        _require_terminal()
    return yes or typer.confirm(question, err=True)


def _require_terminal() -> None:
    if not sys.stdin.isatty():
        raise InvalidInput(
            "The command cannot ask: its input is not a terminal",
            subject="--yes",
            remedy="Look at it with --dry-run, then give --yes.",
        )


def _print_findings(findings: list[Finding], options: Options) -> int:
    if options.as_json:
        print_json({"success": False, "changes": [], "findings": [item.as_json() for item in findings]})
    for finding in findings if not options.as_json else ():
        say(str(finding)) if options.quiet else print(finding)
    say(f"Nothing was pushed: correct {_count(len(findings), 'finding')} first; `flexcore check` shows them again.")
    return exit_codes.CANNOT_START


# Before the push


def describe_push(
    client: Windmill, root: Path, wanted: list[Change], left_over: list[Stale], version: Version | None
) -> list[str]:
    """What the push does besides writing files: to runs in progress, and to locks. One sentence a line."""
    return [_describe_runs(client), *describe_relocks(root, wanted, left_over, version)]


def _describe_runs(client: Windmill) -> str:
    query = {"script_path_start": stale.FOLDER, "job_kinds": "flow", "has_null_parent": "true"}
    runs = len(client.get("jobs/queue/list", per_page=relocks.PAGE, **query))
    if not runs:
        return "No flow of the bundle is running. One that starts during the push may use scripts of both versions."
    return (
        f"{_count(runs, 'run')} of the bundle's flows in progress: each keeps the flow definition it began with, and"
        " every step that it has yet to start uses the pushed scripts and modules."
    )


def describe_relocks(
    root: Path, wanted: list[Change], left_over: list[Stale], version: Version | None
) -> Iterator[str]:
    for change in wanted:
        if match := REQUIREMENTS.fullmatch(change.path):
            users = _count(_count_users(root, match[1]), "script")
            yield f"{change.path} changes: the server locks {users} anew, one dependency job each."
    edits_scripts = any(item.type == "edited" and kind_of(item.path) == "script" for item in wanted)
    old_modules = any(item.kind == "script" for item in left_over)
    if edits_scripts and old_modules and (version is None or version <= RELOCKS_ALL_UNTIL):
        last = ".".join(map(str, RELOCKS_ALL_UNTIL))
        yield (
            f"The server holds modules of a former version: a server up to v{last} locks anew all that imported an"
            " edited script by name. That can be hundreds of dependency jobs, which other jobs wait behind."
        )


def _count_users(root: Path, requirements: str) -> int:
    first = f"# requirements: {requirements}\n"
    return sum(file.read_text(encoding="utf-8").startswith(first) for file in (root / "f").rglob("*.py"))


# After the push


def _wait_for_locks(client: Windmill, deployment: Deployment, outcome: Outcome, before: str) -> Outcome:
    """The outcome once the server has locked anew what it wants to: until then a comparison finds changes to come."""
    if not any(kind_of(item.path) in LOCKED for item in outcome.landed) or outcome.unsure:
        return outcome
    say(f"waiting for the dependency jobs that the push starts, until there were none for {relocks.QUIET_S:.0f} s …")
    found = relocks.wait_for_relocks(client, before, say)
    ended = f"; {found.started - found.left} of them ended" if found.started else ""
    say(f"The push started {_count(found.started, 'dependency job')}{ended}.")
    ours = {item.path.partition(".")[0].removesuffix("__flow/flow") for item in outcome.landed}
    for path in found.failed:
        if path not in ours:
            say(f"note: {path} uses what was pushed, and the server could not lock it anew")
    failed = sorted({*outcome.locks_failed, *(path for path in found.failed if path in ours)})
    again = deployment.changes() if found.started and outcome.again else outcome.again
    again = [item for item in again if item not in outcome.missing]
    return replace(outcome, again=again, locks_failed=failed, relocking=found.left, relocks=found.started)


def _handle_stale(
    client: Windmill, target: Target, left_over: list[Stale], options: Options, pushed: bool
) -> tuple[list[Stale], list[Stale]]:
    """What was removed, and what could not be."""
    if not left_over:
        return [], []
    _print_stale(left_over, options)
    removal = f"flexcore workflow deploy --prune --server {target.url} --workspace {target.workspace}"
    if not options.prune or options.dry_run or not pushed:
        say(f"They stay until this removes them; it asks first:\n  {removal}")
        return [], []
    many = _count(len(left_over), "item")
    if not _ask(f"Remove these {many} from {target}? Scripts are archived, the rest is deleted.", options.yes):
        say("Nothing was removed.")
        return [], []
    failed = stale.remove(client, left_over, say)
    for item, reason in failed.items():
        say(f"  {item.kind} {item.path} was not removed: {reason}")
    removed = [item for item in left_over if item not in failed]
    say(f"{_count(len(removed), 'stale item')} removed.")
    return removed, list(failed)


def _print_stale(left_over: list[Stale], options: Options) -> None:
    say(f"On the server, from former versions, and not in the bundle: {_count(len(left_over), 'item')}:")
    by_kind: dict[str, list[str]] = {}
    for item in left_over:
        by_kind.setdefault(item.kind, []).append(item.path)
    for kind, paths in by_kind.items():
        shown = paths if options.verbose or options.prune else paths[:MAX_STALE_SHOWN]
        more = len(paths) - len(shown)
        say(f"  {_count(len(paths), kind)}: {', '.join(shown)}{f' and {more} more' if more else ''}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print_changes(changes: list[Change], verbose: bool) -> None:
    if verbose or len(changes) <= MAX_SHOWN:
        print_table(("CHANGE", "FILE"), [(item.type, item.path) for item in changes], STYLES)
        return
    counted = Counter((item.type, kind_of(item.path)) for item in changes)
    rows = [(change, kind, number) for (change, kind), number in sorted(counted.items())]
    print_table(("CHANGE", "KIND", "FILES"), rows, STYLES)
    for item in changes:
        # What is taken away is never only counted.
        if item.type == "deleted":
            print_table(("CHANGE", "FILE"), [(item.type, item.path)], STYLES)
    say(f"{len(changes)} files in all; --verbose shows each.")


def kind_of(file: str) -> str:
    """What a file of a bundle belongs to: script, flow, schedule, resource-type, …"""
    parts = file.split("/")
    for end, kind in FOLDERS.items():
        if any(part.endswith(end) for part in parts[:-1]):
            return kind
    if match := KIND.search(parts[-1]):
        return match[1]
    return "dependencies" if parts[0] in ("dependencies", "locks") else "folder" if "folder.meta" in file else "script"


def _report(outcome: Outcome) -> int:
    if outcome.relocking:
        jobs = _count(outcome.relocking, "dependency job")
        say(f"All {len(outcome.landed)} changes are on the server, which still has {jobs} to run: until then flows may")
        say("wait, and a second push may find changes.")
        return exit_codes.DONE
    if outcome.whole:
        landed = len(outcome.landed)
        what = "The change is" if landed == 1 else f"All {landed} changes are"
        what += " on the server; a second push would"
        say(f"{what} still change:" if outcome.again else f"{what} find nothing to do.")
        for change in outcome.again:
            say(f"  {change.type} {change.path}")
        return exit_codes.DONE
    if outcome.unsure:
        say(f"The push broke off, and the server cannot be asked what landed: {outcome.unsure}")
    else:
        say(f"{len(outcome.landed)} of {len(outcome.landed) + len(outcome.missing)} changes landed. These did not:")
        for change in outcome.missing:
            reason = outcome.errors.get(change.path, "")
            say(f"  {change.type} {change.path}{f': {reason}' if reason else ''}")
    for path, reason in outcome.errors.items():
        if all(path != change.path for change in outcome.missing):
            say(f"  {path}: {reason}")
    for path in outcome.locks_failed:
        say(f"  {path}: the server could not install its packages; it will not run until it can")
    say(
        "What landed stays; of the rest the old version runs on. Correct the named files, and deploy again: it goes on."
    )
    return exit_codes.FAILED


def _check_version(client: Windmill) -> Version | None:
    answer = client.version()
    match = VERSION.search(answer)
    if match is None:
        say(f"warning: cannot read the server's version ({answer[:60]}); it may lack workspace dependencies")
        return None
    found = (int(match[1]), int(match[2]))
    if found < TESTED:
        raise InvalidInput(
            f"The server is {match[0]}, and the bundle needs v{TESTED[0]}.{TESTED[1]} or later",
            subject="server",
            remedy="Update the server.",
        )
    if found > TESTED:
        say(f"note: the server is {match[0]}; the bundle is tested with v{TESTED[0]}.{TESTED[1]}")
    return found
