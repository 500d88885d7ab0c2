"""`flexcore doctor`: what this machine and the server lack, in one table, each line with its remedy.

state    ok · note (works, or is not needed by everybody) · missing (needed, and not there or not in order)
Reads only; what is asked last, the runtimes, is asked by a run of operations/check_runtimes.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexcore import exit_codes
from flexcore.console import print_json, print_table, say

if TYPE_CHECKING:
    from flexcore.client.target import Target
    from flexcore.client.windmill import Windmill

OK, NOTE, MISSING = "ok", "note", "missing"
STYLES = {OK: "green", NOTE: "yellow", MISSING: "bold red"}
PYTHON = (3, 11)
# Windmill's own tags that the bundle's work needs: flows, Python steps, and the locks of what is pushed.
WINDMILL_TAGS = ("flow", "python3", "dependency")
DEPLOY = "flexcore workflow deploy"
# How the version of a local engine begins (wmlocal/engine/api.py). It has no workers, and no types or sets of its own.
ENGINE = "flexcore engine"
STATES = {"ready": OK, "limited": NOTE, "down": MISSING}


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    state: str
    detail: str
    remedy: str = ""


def doctor_command(settings: str, server: str, workspace: str, root: Path, as_json: bool) -> int:
    findings = [*check_machine(root), *_check_server(settings, server, workspace, root)]
    if as_json:
        print_json([asdict(item) for item in findings])
    else:
        rows = [(item.check, item.state, item.detail, item.remedy) for item in findings]
        print_table(("CHECK", "STATE", "DETAIL", "REMEDY"), rows, STYLES)
    return exit_codes.FAILED if any(item.state == MISSING for item in findings) else exit_codes.DONE


# This machine


def check_machine(root: Path) -> Iterator[Finding]:
    yield _check_python(sys.version_info[:2])
    yield _check_uv()
    yield _check_program("node", "`flexcore check` compares forms with code by it")
    yield _check_wmill(root.resolve() / "node_modules/.bin")
    yield from _check_meltano()


def _check_python(version: tuple[int, ...]) -> Finding:
    found, wanted = (".".join(map(str, item)) for item in (version, PYTHON))
    if version == PYTHON:
        return Finding("python", OK, found)
    return Finding("python", MISSING, f"{found}; the steps need {wanted}", "Run `make setup`: uv brings it.")


def _check_uv() -> Finding:
    from f.flexcore.lib.core.errors import MissingSetting
    from f.flexcore.lib.meltano import installation

    try:
        return Finding("uv", OK, installation.find_uv())
    except MissingSetting as error:
        return Finding("uv", MISSING, _first_sentence(error), error.remedy)


def _check_program(name: str, use: str, folder: Path | None = None) -> Finding:
    found = shutil.which(name, path=str(folder)) if folder else None
    found = found or shutil.which(name)
    return Finding(name, OK, found) if found else Finding(name, NOTE, f"not found; {use}", "Run `make setup`.")


def _check_wmill(folder: Path) -> Finding:
    from flexcore.bundle import cli_version

    found = _check_program("wmill", "`flexcore workflow deploy` pushes by it", folder)
    version = cli_version.read_version(found.detail) if found.state == OK else None
    if version is None:
        return found
    shown = f"{found.detail}, {cli_version.describe(version)}"
    if cli_version.is_too_old(version):
        remedy = f"Install {cli_version.PACKAGE} {cli_version.describe(cli_version.LOWEST)} or later."
        return Finding("wmill", MISSING, f"{shown}; it pushes raw apps with the rights of their publisher", remedy)
    return Finding("wmill", OK, shown)


def _check_meltano() -> Iterator[Finding]:
    """The disk that environments, state and runs lie on, and the one environment that every extraction needs."""
    from f.flexcore.lib.core.errors import FlexcoreError
    from f.flexcore.lib.meltano import installation

    try:
        folder = installation.folder()
        free = shutil.disk_usage(folder).free
        shown = f"{free / 2**30:.1f} GiB free in {folder.parent}"
        if free < installation.MIN_FREE_BYTES:
            needed = f"{installation.MIN_FREE_BYTES / 2**30:.0f} GiB"
            yield Finding("disk", MISSING, shown, f"Free at least {needed}, or set FLEXCORE_HOME to a larger volume.")
        else:
            yield Finding("disk", OK, shown)
        version = installation.MELTANO_VERSION
        if installation.is_usable(folder / f"tool-{version}"):
            yield Finding("meltano tool", OK, version)
        else:
            detail = f"{version} is not installed here yet"
            yield Finding("meltano tool", NOTE, detail, "Nothing to do: the first extraction installs it.")
    except (FlexcoreError, OSError) as error:
        yield Finding("disk", MISSING, str(error), "Set FLEXCORE_HOME to a folder that can be written.")


# The server, or the embedded engine in its place


def _check_server(settings: str, server: str, workspace: str, root: Path) -> Iterator[Finding]:
    from f.flexcore.lib.core.errors import FlexcoreError
    from flexcore.client.target import open_client
    from wmlocal.engine.errors import EngineError

    try:
        with open_client(server, workspace, root) as (client, target):
            if target is None:
                yield Finding("server", OK, "none: this machine's embedded engine")
            elif client.version().startswith(ENGINE):
                yield Finding("server", OK, f"{target.url}: a local engine, which takes the bundle's files as they are")
            else:
                yield from check_workspace(client, target, root)
            yield from check_runtimes(client, settings)
    except FlexcoreError as error:
        yield Finding("server", MISSING, _first_sentence(error), error.remedy)
    except EngineError as error:
        yield Finding("server", MISSING, str(error), "Name the bundle's folder with --root.")


def check_workspace(client: Windmill, target: Target, root: Path) -> Iterator[Finding]:
    """What the workspace needs of the bundle at `root`, and whether workers take its jobs. Raises FlexcoreError."""
    from f.flexcore.lib.core.errors import FlexcoreError

    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("server", lambda: _check_version(client, target)),
        ("resource types", lambda: _check_resource_types(client, root)),
        ("requirement sets", lambda: _check_requirement_sets(client, root)),
        ("tags", lambda: _check_tags(client, root)),
    )
    for name, check in checks:
        try:
            yield check()
        except FlexcoreError as error:
            yield Finding(name, MISSING, f"cannot be asked: {_first_sentence(error)}", error.remedy)


def _check_version(client: Windmill, target: Target) -> Finding:
    from flexcore.commands.deploy import TESTED, VERSION

    said = client.version()
    match = VERSION.search(said)
    shown, tested = f"{target.url}, workspace {target.workspace}, {said}", f"v{TESTED[0]}.{TESTED[1]}"
    if match is None:
        return Finding("server", NOTE, shown, f"Its version cannot be read; the bundle needs {tested} or later.")
    if (int(match[1]), int(match[2])) < TESTED:
        return Finding("server", MISSING, shown, f"Update it to {tested} or later.")
    return Finding("server", OK, shown)


def _check_resource_types(client: Windmill, root: Path) -> Finding:
    wanted = {file.name.removesuffix(".resource-type.yaml") for file in root.glob("*.resource-type.yaml")}
    missing = sorted(wanted - set(client.get("resources/type/listnames")))
    return _summary("resource types", len(wanted), missing, "no resource of these types can be created")


def _check_requirement_sets(client: Windmill, root: Path) -> Finding:
    """A step whose set is missing cannot be locked anew; one whose set differs gets other packages than were tested."""
    files = sorted((root / "dependencies").glob("*.requirements.in"))
    missing = [f"{name} ({state})" for file in files if (state := _compare_set(client, file)) for name in [_set(file)]]
    return _summary("requirement sets", len(files), missing, "steps that name them cannot be locked as tested")


def _compare_set(client: Windmill, file: Path) -> str:
    from f.flexcore.lib.core.errors import NotFound

    try:
        held = client.get("workspace_dependencies/get_latest/python3", name=_set(file))
    except NotFound:
        held = None
    if not isinstance(held, dict):
        return "missing"
    return "" if held.get("content") == file.read_text(encoding="utf-8") else "differs"


def _set(file: Path) -> str:
    return file.name.removesuffix(".requirements.in")


def _check_tags(client: Windmill, root: Path) -> Finding:
    wanted = [*WINDMILL_TAGS, *sorted(read_tags(root) - set(WINDMILL_TAGS))]
    served = client.served_tags(wanted)
    unserved = [tag for tag in wanted if not served.get(tag)]
    if not unserved:
        return Finding("tags", OK, f"a worker listens to each of {', '.join(wanted)}")
    return Finding(
        "tags",
        MISSING,
        f"no worker listens to {', '.join(unserved)}: jobs with these tags wait for ever",
        "Start a worker with WORKER_TAGS that hold them, or let `flexcore config apply` add them to its group.",
    )


def read_tags(root: Path) -> set[str]:
    """Tags that the bundle's own files ask for, steps and flows alike."""
    import yaml

    files = [*(root / "f").rglob("*.script.yaml"), *(root / "f").rglob("flow.yaml")]
    texts = [file.read_text(encoding="utf-8") for file in files]
    # Few files have one, and parsing them all takes seconds.
    documents = [yaml.safe_load(text) for text in texts if "\ntag:" in text]
    return {str(document["tag"]) for document in documents if document.get("tag")}


def _summary(check: str, count: int, missing: list[str], consequence: str) -> Finding:
    if missing:
        return Finding(check, MISSING, f"{', '.join(missing)}: {consequence}", f"Run `{DEPLOY}`.")
    return Finding(check, OK, f"{count} of {count}")


# Runtimes


def check_runtimes(client: Windmill, settings: str) -> Iterator[Finding]:
    """Health of every runtime that the settings name, as a worker sees it."""
    from f.flexcore.lib.core.errors import FlexcoreError
    from flexcore.client.runtimes import measure_runtimes
    from flexcore.commands.runtime import SETTINGS

    notes: list[str] = []
    say("asking the runtimes …")
    try:
        rows = measure_runtimes(client, settings, SETTINGS, notes.append)
    except FlexcoreError as error:
        yield Finding("runtimes", MISSING, _first_sentence(error), error.remedy or f"Run `{DEPLOY}`.")
        return
    for row in rows:
        yield _runtime_finding(row)
    if notes:
        yield Finding("clusters", NOTE, f"no resource {SETTINGS}: no cluster is known", "Run `flexcore config apply`.")


def _runtime_finding(row: dict[str, Any]) -> Finding:
    state = STATES.get(row["state"], NOTE)
    shown = " ".join(filter(None, (row["place"], row["state"], row["version"])))
    if state == OK:
        return Finding(row["runtime"], OK, shown)
    # A health check says what is wrong and what to do about it in one text.
    return Finding(row["runtime"], state, shown, row["detail"])


def _first_sentence(error: Any) -> str:
    """An error's message without its remedy, which has a column of its own."""
    return str(error).removesuffix(error.remedy).rstrip(". ") if error.remedy else str(error)
