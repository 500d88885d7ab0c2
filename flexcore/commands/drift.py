"""`workflow deploy --check`: how the files and the workspace differ, and who changed what the server has last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from f.flexcore.lib.core.errors import FlexcoreError
from flexcore import exit_codes
from flexcore.bundle import stale
from flexcore.bundle.deployment import Deployment
from flexcore.client.windmill import Windmill
from flexcore.commands.deploy import FOLDERS, kind_of
from flexcore.console import print_json, print_table, say

if TYPE_CHECKING:
    from flexcore.bundle.deployment import Change
    from flexcore.client.target import Target

# How `wmill sync push` calls what it would do → what the difference is.
DIFFERENCES = {"added": "only in the files", "edited": "differs", "deleted": "only on the server"}
STYLES = {"only in the files": "green", "differs": "yellow", "only on the server": "red"}
# Where the server says who wrote an item last, and how it calls that.
WRITERS = {
    "script": ("scripts/get/p/{}", "created_by", "created_at"),
    "flow": ("flows/get/{}", "edited_by", "edited_at"),
    "app": ("apps/get/p/{}", "created_by", "created_at"),
    "schedule": ("schedules/get/{}", "edited_by", "edited_at"),
}
MAX_ASKED = 200
MAX_PARALLEL_REQUESTS = 8


@dataclass(frozen=True, slots=True)
class Difference:
    """path: of the file, or of the item where there is none. changed_by, changed_at: of what the server has; null where
    it does not say."""

    path: str
    kind: str
    difference: str
    changed_by: str | None = None
    changed_at: str | None = None


def check_drift(client: Windmill, target: Target, root: Path, as_json: bool) -> int:
    """Changes nothing. FAILED when files and workspace differ. Raises as a comparison does."""
    deployment = Deployment(root, target, client)
    say("comparing with the server …")
    found = find_differences(client, deployment.drift(), stale.find_stale(client, deployment.root))
    if as_json:
        print_json({"success": not found, "differences": [asdict(item) for item in found]})
    elif found:
        rows = [(item.difference, item.kind, item.path, _describe_writer(item)) for item in found]
        print_table(("DIFFERENCE", "KIND", "PATH", "LAST CHANGED ON THE SERVER"), rows, STYLES)
    server = f"{target.url}, workspace {target.workspace}"
    if not found:
        say(f"No drift: {server} has what the files say.")
        return exit_codes.DONE
    said = "1 difference" if len(found) == 1 else f"{len(found)} differences"
    say(f"{said} between the files and {server}. `flexcore workflow deploy` brings what the files have to the server;")
    say("`wmill sync pull` brings what was changed on the server, or is only there, into the files.")
    return exit_codes.FAILED


def find_differences(client: Windmill, changes: list[Change], left_over: list[stale.Stale]) -> list[Difference]:
    there = [item for item in changes if item.type != "deleted"]
    found = [Difference(item.path, kind_of(item.path), DIFFERENCES.get(item.type, item.type)) for item in there]
    # What is on the server alone is named once, whatever files a pull would make of it.
    here = {_item_path(item.path) for item in there}
    items = {(item.kind, item.path) for item in left_over}
    items |= {(kind_of(item.path), _name_deleted(item.path, here)) for item in changes if item.type == "deleted"}
    found += [Difference(path, kind, DIFFERENCES["deleted"]) for kind, path in items]
    with ThreadPoolExecutor(MAX_PARALLEL_REQUESTS) as pool:
        asked = list(pool.map(lambda item: _with_writer(client, item), found[:MAX_ASKED]))
    return sorted([*asked, *found[MAX_ASKED:]], key=lambda item: (item.path, item.difference))


def _with_writer(client: Windmill, item: Difference) -> Difference:
    if item.difference == DIFFERENCES["added"] or item.kind not in WRITERS:
        return item
    place, by, at = WRITERS[item.kind]
    try:
        held = client.get(place.format(_item_path(item.path)))
    except FlexcoreError:
        return item
    return Difference(item.path, item.kind, item.difference, held.get(by), held.get(at))


def _item_path(file: str) -> str:
    """The path of the item that a file belongs to: f/x/step.script.yaml, f/x/step.py → f/x/step."""
    for ending in FOLDERS:
        if f"{ending}/" in file:
            return file.partition(f"{ending}/")[0]
    folder, _, name = file.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"


def _name_deleted(file: str, here: set[str]) -> str:
    """The item; the file where the item itself is in the repository, or is a folder."""
    item = _item_path(file)
    return file if item in here or kind_of(file) == "folder" else item


def _describe_writer(item: Difference) -> str:
    return f"{item.changed_by} {(item.changed_at or '')[:16]}".strip() if item.changed_by else "-"
