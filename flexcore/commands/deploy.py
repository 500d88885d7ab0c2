"""What `workflow deploy` and `config apply` say and ask while they push."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from f.flexcore.lib.core.errors import InvalidInput
from flexcore import exit_codes
from flexcore.bundle.deployment import Deployment
from flexcore.client.relocks import wait_for_relocks
from flexcore.client.target import Target
from flexcore.client.windmill import Windmill
from flexcore.console import print_json, print_table, say

if TYPE_CHECKING:
    from flexcore.bundle.deployment import Change, Outcome
    from wmlocal.lint import Finding

# The server that the bundle is tested against.
TESTED = (1, 743)
VERSION = re.compile(r"v(\d+)\.(\d+)")
# A first push has hundreds; nobody reads them.
MAX_SHOWN = 25
FOLDERS = {"__flow": "flow", ".flow": "flow", "__raw_app": "app", ".raw_app": "app", "__app": "app", ".app": "app"}
KIND = re.compile(r"\.(resource-type|resource|variable|schedule|\w+_trigger|group|user)\.(?:yaml|json)$")
STYLES = {"added": "green", "edited": "yellow", "deleted": "red"}


def deploy_bundle(
    client: Windmill,
    target: Target | None,
    root: Path,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    quiet: bool = False,
    verbose: bool = False,
) -> int:
    """quiet: stdout is somebody else's. verbose: every change is shown, however many there are."""
    if target is None:
        raise InvalidInput(
            "The embedded engine runs the files as they are; there is nothing to deploy",
            subject="--server",
            remedy="Name a server, or a wmill profile.",
        )
    _check_version(client)
    deployment = Deployment(root, target)
    say(f"checking {deployment.root} …")
    if findings := deployment.findings():
        return _refused(findings, as_json, quiet)
    deployment.lint()
    say("comparing with the server …")
    wanted = deployment.changes()
    changes = {"changes": [asdict(item) for item in wanted]}
    if not wanted:
        say("Nothing to do: the server has all of it.")
    elif not as_json and not quiet:
        _show(wanted, verbose)
    if not wanted or dry_run:
        if as_json:
            print_json({"success": True, **changes, "landed": []})
        return exit_codes.DONE
    confirm(f"Push {len(wanted)} changes to {target}?", yes)
    begun = time.time()
    outcome = _settled(client, deployment, deployment.push(wanted), begun)
    if as_json:
        print_json(outcome.as_json() | changes)
    return _told(outcome)


def confirm(question: str, yes: bool) -> None:
    """Raises InvalidInput where nobody can answer, and ends the command when the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(
            "Nobody is there to confirm", subject="--yes", remedy="Look at it with --dry-run, then give --yes."
        )
    if not typer.confirm(question, err=True):
        say("Nothing was changed.")
        raise typer.Exit(exit_codes.CANCELED)


def _refused(findings: list[Finding], as_json: bool, quiet: bool) -> int:
    if as_json:
        print_json({"success": False, "changes": [], "findings": [item.as_json() for item in findings]})
    for finding in findings if not as_json else ():
        say(str(finding)) if quiet else print(finding)
    say(f"Nothing was pushed: correct {len(findings)} findings first; `flexcore check` shows them again.")
    return exit_codes.CANNOT_START


def _settled(client: Windmill, deployment: Deployment, outcome: Outcome, begun: float) -> Outcome:
    """The outcome once the server has locked anew what it wants to: until then a comparison finds changes to come."""
    if not outcome.whole or not outcome.again:
        return outcome
    say("the server does not show all of it yet; looking whether it still makes locks …")
    relocks = wait_for_relocks(client, begun, say)
    if not relocks.seen:
        return outcome
    ours = {item.path.partition(".")[0].removesuffix("__flow/flow") for item in outcome.landed}
    for path in relocks.failed:
        if path not in ours:
            say(f"note: {path} imports what was pushed, and the server could not lock it anew")
    failed = [path for path in relocks.failed if path in ours]
    return replace(outcome, again=deployment.changes(), locks_failed=failed, relocking=relocks.left)


def _show(changes: list[Change], verbose: bool) -> None:
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


def _told(outcome: Outcome) -> int:
    if outcome.relocking:
        say(f"All {len(outcome.landed)} changes are on the server, which still makes {outcome.relocking} locks: until")
        say("it has done so flows may wait, and a second push may find changes.")
        return exit_codes.DONE
    if outcome.whole:
        what = f"All {len(outcome.landed)} changes are on the server; a second push would"
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


def _check_version(client: Windmill) -> None:
    told = client.version()
    match = VERSION.search(told)
    if match is None:
        say(f"warning: the server tells no proper version ({told[:60]}); it may lack workspace dependencies")
        return
    found = (int(match[1]), int(match[2]))
    if found < TESTED:
        raise InvalidInput(
            f"The server is {match[0]}, and the bundle needs v{TESTED[0]}.{TESTED[1]} or later",
            subject="server",
            remedy="Update the server.",
        )
    if found > TESTED:
        say(f"note: the server is {match[0]}; the bundle is tested with v{TESTED[0]}.{TESTED[1]}")
