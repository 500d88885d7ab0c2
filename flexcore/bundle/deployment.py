"""A push of the bundle by `wmill sync push`, with checks before it and the truth after it.

checks → what would change → push → what would change now: when a push breaks off, the difference says what landed.

The token goes to the CLI in a profile of its own, in a folder that only this user can read and that is gone afterwards:
an argument would be seen in every list of processes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from f.flexcore.lib.core.errors import ExecutionFailed, FlexcoreError, InvalidInput, NotFound
from flexcore.bundle import cli_version
from flexcore.bundle.journal import is_half_done
from flexcore.bundle.settings import read_settings
from flexcore.client.target import Target
from flexcore.client.windmill import Windmill
from flexcore.rules import find_problems
from wmlocal.lint import CannotCheck, Finding, Severity
from wmlocal.lint.globs import selections

CLI = "windmill-cli@1.819.0"
PROFILE = "flexcore"
RAW_APP_FOLDER, RAW_APP_FILE = "__raw_app", "raw_app.yaml"
# A push looks at what is not in these folders, such as resource types, without regard to wmill.yaml's `includes`.
FOLDERS = ("f/", "u/")
# What people make in a workspace: the bundle has none of its own.
WORKSPACES_OWN = re.compile(r"\.(resource|variable)\.|\.fileset/")
# Excludes nothing: the CLI takes an option that is empty for one that is not given.
NO_FILE = "none"
MAX_OUTPUT_CHARS = 4000


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """type: added, edited or deleted."""

    path: str
    type: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """landed and missing: of the changes that were to be made. unsure: it could not be asked what landed.
    locks_failed: scripts that are there, and whose packages the server could not lock. again: what a second push would
    change although the first one sent it. relocks: how many dependency jobs the push has started; relocking: how many
    of them had not ended when they were left."""

    landed: list[Change]
    missing: list[Change] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    locks_failed: list[str] = field(default_factory=list)
    unsure: str = ""
    again: list[Change] = field(default_factory=list)
    relocks: int = 0
    relocking: int = 0

    @property
    def whole(self) -> bool:
        return not (self.missing or self.errors or self.locks_failed or self.unsure)

    def as_json(self) -> dict[str, Any]:
        return {"success": self.whole, **asdict(self)}


class Deployment:
    """One bundle and one server. Raises NotFound when the CLI is not there, InvalidInput when it is too old for it."""

    def __init__(self, root: Path, target: Target, client: Windmill) -> None:
        self.root, self.target, self._client = root.resolve(), target, client
        self._cli = wmill(self.root)
        cli_version.check_raw_apps(self._cli, self.root)

    def findings(self) -> list[Finding]:
        """What `flexcore check` finds; warnings do not stand in the way of a push. Raises InvalidInput."""
        if is_half_done(self.root):
            raise InvalidInput(
                f"A change of the bundle in {self.root} was cut short, so its files are of two versions",
                subject="bundle",
                remedy="Run `flexcore upgrade`, which ends it.",
            )
        try:
            return [item for item in find_problems(self.root) if item.severity is Severity.ERROR]
        except CannotCheck as error:
            remedy = "`flexcore check` shows it alone."
            raise InvalidInput(f"The bundle cannot be checked: {error}", subject="bundle", remedy=remedy) from None

    def lint(self) -> None:
        """Raises InvalidInput with what the CLI found."""
        done = run(self._cli, ["lint", "--locks-required"], self.root)
        if done.returncode:
            raise InvalidInput(
                f"The bundle does not pass `wmill lint`:\n{_tail(done)}",
                subject="bundle",
                remedy="Correct what it names; `wmill lint --locks-required` shows it again.",
            )

    def changes(self) -> list[Change]:
        """What a push would change now. Raises ExecutionFailed."""
        return self._compare("--keep-deleted")

    def drift(self) -> list[Change]:
        """The same, and what only the server has in the folders that wmill.yaml includes, resources and variables
        apart. Raises ExecutionFailed."""
        return [item for item in self._compare() if item.type != "deleted" or _is_of_files(item.path)]

    def _compare(self, *flags: str) -> list[Change]:
        """A dry run, whatever the flags: nothing else may be without --keep-deleted."""
        report = _report(self._sync("--dry-run", *flags))
        if report is None:
            raise ExecutionFailed(
                f"`wmill sync push --dry-run` failed:\n{_tail(self._last)}",
                subject="wmill",
                remedy="Nothing was changed.",
            )
        found = sorted(Change(item["path"], item["type"]) for item in report.get("changes") or ())
        return [item for item in found if not self._is_as_stated(item)]

    def _is_as_stated(self, change: Change) -> bool:
        """Whether the server has a raw app's file as it is: the CLI compares without the policy that a file states, so
        it takes each such file for edited, for ever."""
        folder, _, name = change.path.rpartition("/")
        if change.type != "edited" or name != RAW_APP_FILE:
            return False
        stated = yaml.safe_load((self.root / change.path).read_text(encoding="utf-8"))
        try:
            held = self._client.get(f"apps/get/p/{folder.removesuffix(RAW_APP_FOLDER)}")
        except FlexcoreError:
            return False
        policy, held_policy = stated.pop("policy", None) or {}, held.get("policy") or {}
        return _is_part(policy, held_policy) and _is_part(stated, held)

    def push(self, wanted: list[Change]) -> Outcome:
        done = self._sync("--yes", "--keep-deleted")
        report = _report(done) or {}
        errors = {item["path"]: str(item.get("error") or "refused") for item in report.get("failed") or ()}
        locks = [item["path"] for item in (report.get("lock_jobs") or {}).get("failed") or ()]
        try:
            left = self.changes()
        except ExecutionFailed as error:
            return Outcome([], wanted, errors, locks, unsure=str(error))
        sent = bool(report.get("success"))
        missing = [change for change in wanted if change in left and (not sent or change.path in errors)]
        if not report or any(change.path not in errors for change in missing):
            errors["wmill"] = _tail(done)
        landed, again = [item for item in wanted if item not in missing], [item for item in left if item not in missing]
        return Outcome(landed, missing, errors, locks, again=again)

    def _sync(self, *flags: str) -> subprocess.CompletedProcess[str]:
        name = workspace_name(self.root, self.target)
        with profile(self.target, name) as config:
            command = [
                "sync",
                "push",
                "--json-output",
                "--config-dir",
                str(config),
                "--workspace",
                name,
            ]
            self._last = run(self._cli, [*command, *self._all_raw_apps(), *flags], self.root)
        return self._last

    def _all_raw_apps(self) -> list[str]:
        """The options by which the CLI looks at every raw app's own file: wmill.yaml may exclude it, as a plain push
        would find it edited for ever."""
        excludes = selections(read_settings(self.root))[0].excludes
        kept = [pattern for pattern in excludes if not pattern.endswith(f"/{RAW_APP_FILE}")]
        return ["--excludes", ",".join(kept) or NO_FILE] if len(kept) < len(excludes) else []


def _is_of_files(path: str) -> bool:
    """Whether a file that is not there would be one of the repository's: the CLI leaves out what is not included."""
    return path.startswith(FOLDERS) and not WORKSPACES_OWN.search(path)


def _is_part(stated: dict[str, Any], held: dict[str, Any]) -> bool:
    return all(held.get(name) == value for name, value in stated.items())


def wmill(root: Path) -> str:
    """The bundle's own CLI, else the one on the PATH."""
    own = root / "node_modules/.bin/wmill"
    found = str(own) if own.is_file() else shutil.which("wmill")
    if not found:
        raise NotFound("The wmill CLI is not there", subject="wmill", remedy=f"Install it: npm install --global {CLI}")
    return found


def run(cli: str, arguments: list[str], root: Path) -> subprocess.CompletedProcess[str]:
    """WM_* would make the CLI look elsewhere, and a prompt would wait for ever."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("WM_", "FLEXCORE_TOKEN"))}
    # The wheel of Node.js puts it beside the Python that runs this.
    path = os.pathsep.join([env.get("PATH", ""), str(Path(sys.executable).parent)])
    return subprocess.run(
        [cli, *arguments],
        cwd=root,
        env=env | {"NO_COLOR": "1", "PATH": path},
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@contextmanager
def profile(target: Target, name: str) -> Iterator[Path]:
    """A config folder for the CLI that holds this one server."""
    with tempfile.TemporaryDirectory(prefix="flexcore-") as folder:
        file = Path(folder) / "windmill/remotes.ndjson"
        file.parent.mkdir()
        handle = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
        entry = {"name": name, "remote": target.url + "/", "workspaceId": target.workspace, "token": target.token}
        with os.fdopen(handle, "w") as out:
            out.write(json.dumps(entry) + "\n")
        yield Path(folder)


def workspace_name(root: Path, target: Target) -> str:
    """What wmill.yaml calls this workspace, so that its overrides count; else a name that it does not know."""
    for name, entry in (read_settings(root).get("workspaces") or {}).items():
        if not isinstance(entry, dict):
            continue
        same_server = str(entry.get("baseUrl", "")).rstrip("/") == target.url
        if same_server and entry.get("workspaceId", name) == target.workspace:
            return str(name)
    return PROFILE


def _report(done: subprocess.CompletedProcess[str]) -> dict[str, Any] | None:
    """The JSON object that ends the CLI's output, after whatever it said before."""
    for start, line in enumerate(lines := done.stdout.splitlines()):
        if line == "{" or line.startswith('{"'):
            try:
                found: dict[str, Any] = json.loads("\n".join(lines[start:]))
            except ValueError:
                continue
            return found if "success" in found else None
    return None


def _tail(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stdout + done.stderr).strip()[-MAX_OUTPUT_CHARS:]
