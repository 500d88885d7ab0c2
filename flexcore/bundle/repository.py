"""The bundle in a team's own repository: what init, upgrade and remove would change there, and the change itself.

look      read_installed_bundle, the manifest and the files as they are
plan      changes.py for files, settings.py for wmill.yaml, lock_entries.py for wmill-lock.yaml: all pure
change    journal.py: all of it or nothing, the manifest last
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from f.flexcore.lib.core.errors import Conflict, InvalidInput
from flexcore.bundle.changes import FilePlan, SparedFile, plan_files, plan_removal
from flexcore.bundle.installation import FOLDER, LOCKS, InstalledBundle
from flexcore.bundle.journal import change_files
from flexcore.bundle.lock_entries import merge_lock_entries, remove_lock_entries
from flexcore.bundle.manifest import (
    MANIFEST,
    Manifest,
    digest,
    digest_file,
    is_newer,
    read_manifest,
    require_manifest,
)
from flexcore.bundle.settings import SETTINGS, SettingsPlan, list_own_files, plan_settings, undo_settings

MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class RepositoryChange:
    """contents: new text by path, None to delete; in the order in which it is made. version_before: "" for none."""

    command: str
    version_before: str
    version: str
    contents: dict[str, bytes | None]
    spared: tuple[SparedFile, ...] = ()
    settings_diff: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def written(self) -> list[str]:
        return [path for path, content in self.contents.items() if content is not None]

    @property
    def deleted(self) -> list[str]:
        return [path for path, content in self.contents.items() if content is None]


def plan_init(root: Path, bundle: InstalledBundle) -> RepositoryChange:
    """Raises InvalidInput where something stands in the way; nothing is written then."""
    _refuse_own_checkout(root, bundle)
    if manifest := read_manifest(root):
        change = plan_upgrade(root, bundle)
        if change.contents:
            raise InvalidInput(
                f"{FOLDER} is here already, in version {manifest.version}; this flexcore has {bundle.version}",
                subject=FOLDER,
                remedy="Run `flexcore upgrade`.",
            )
        return change
    disk = _digest_files(root, bundle.files)
    differing = [path for path, content in bundle.files.items() if disk[path] not in (None, digest(content))]
    if differing:
        raise Conflict(
            f"Files of the bundle are here already, by hand or in another version, and no {MANIFEST} says which:"
            f" {_shorten_list(differing)} differ from {bundle.version}",
            subject=FOLDER,
            remedy="Move them out of the repository (git keeps them), run `flexcore init` again, and bring your changes"
            " back file by file: `flexcore upgrade` spares them from then on.",
        )
    return _plan("init", root, bundle, plan_files(bundle.files, {}, disk), Manifest("", {}))


def plan_upgrade(root: Path, bundle: InstalledBundle) -> RepositoryChange:
    """Raises NotFound where no init has been, InvalidInput when the repository's bundle is the newer one."""
    _refuse_own_checkout(root, bundle)
    manifest = require_manifest(root)
    if is_newer(manifest.version, than=bundle.version):
        raise InvalidInput(
            f"The bundle in {root} is {manifest.version}, newer than this flexcore ({bundle.version})",
            subject=MANIFEST,
            remedy="Upgrade the command line first, such as `uv tool upgrade flexcore`.",
        )
    disk = _digest_files(root, {*bundle.files, *manifest.files})
    return _plan("upgrade", root, bundle, plan_files(bundle.files, manifest.files, disk), manifest)


def plan_remove(root: Path) -> RepositoryChange:
    """Raises NotFound where no init has been."""
    manifest = require_manifest(root)
    plan = plan_removal(manifest.files, _digest_files(root, manifest.files))
    own = list_own_files(root, manifest.files.__contains__)
    contents: dict[str, bytes | None] = dict.fromkeys(plan.delete)
    before, after, notes = _settings_without(root, manifest, [*own, *(item.path for item in plan.spared)])
    if before is not None and before != after:
        contents[SETTINGS] = None if after is None else after.encode()
    if (locks := _read(root, LOCKS)) is not None:
        rest = remove_lock_entries(locks, _files_with_own_entries(plan.spared, own))
        if not rest and after is None:
            contents[LOCKS] = None
        elif (rest := rest or "version: v2\nlocks: {}\n") != locks:
            contents[LOCKS] = rest.encode()
    contents[MANIFEST] = None
    diff = _diff(before or "", after or "")
    return RepositoryChange("remove", manifest.version, "", contents, plan.spared, diff, tuple(notes))


def carry_out(root: Path, change: RepositoryChange) -> tuple[str, ...]:
    """Makes the change; returns the files that somebody edited meanwhile, which stay."""
    return change_files(root, change.command, change.contents)


def _plan(command: str, root: Path, bundle: InstalledBundle, plan: FilePlan, manifest: Manifest) -> RepositoryChange:
    own = list_own_files(root, lambda path: path in bundle.files or path in manifest.files)
    text, locks = _read(root, SETTINGS), _read(root, LOCKS)
    settings = plan_settings(text, own)
    contents: dict[str, bytes | None] = {path: bundle.files[path] for path in plan.write}
    contents |= dict.fromkeys(plan.delete)
    if settings.text != text:
        contents[SETTINGS] = settings.text.encode()
    merged = merge_lock_entries(locks, bundle.lock_entries, _files_with_own_entries(plan.spared, own))
    if merged != locks:
        contents[LOCKS] = merged.encode()
    after = _next_manifest(bundle, plan, manifest, settings, is_new=text is None)
    if after != manifest:
        contents[MANIFEST] = after.dump()
    notes = [*settings.notes]
    if strangers := [path for path in own if path.startswith(f"{FOLDER}/")]:
        notes.append(
            f"{_shorten_list(strangers)} below {FOLDER} are not of the bundle, and stay; keep yours in another folder."
        )
    diff = _diff(text, settings.text) if text is not None else ""
    return RepositoryChange(command, manifest.version, bundle.version, contents, plan.spared, diff, tuple(notes))


def _next_manifest(
    bundle: InstalledBundle, plan: FilePlan, before: Manifest, settings: SettingsPlan, is_new: bool
) -> Manifest:
    known = {(item.key, str(item.after)) for item in settings.changes}
    changes = (*(item for item in before.settings if (item.key, str(item.after)) not in known), *settings.changes)
    created = digest(settings.text.encode()) if is_new else before.settings_created
    return Manifest(bundle.version, plan.files, changes, created)


def _settings_without(root: Path, manifest: Manifest, own: list[str]) -> tuple[str | None, str | None, list[str]]:
    """wmill.yaml as it is, as it is without the bundle (None: gone), and what is to be said of it."""
    text = _read(root, SETTINGS)
    if text is None:
        return None, None, []
    if manifest.settings_created:
        items = [path for path in own if path.startswith(("f/", "u/"))]
        if not items and digest(text.encode()) == manifest.settings_created:
            return text, None, []
        return text, text, [f"{SETTINGS} stays: it is the settings of the repository's other files, or was changed."]
    after, kept = undo_settings(text, manifest.settings, own)
    notes = [f"{SETTINGS}: {item.key} stays as it is; files here rely on it, or it was changed." for item in kept]
    return text, after, notes


def _refuse_own_checkout(root: Path, bundle: InstalledBundle) -> None:
    if root.resolve() == bundle.root.resolve():
        raise InvalidInput(
            f"{root.resolve()} is the bundle's own repository",
            subject="--root",
            remedy="Run this in your team's repository, or name its folder with --root.",
        )


def _files_with_own_entries(spared: Iterable[SparedFile], own: Iterable[str]) -> list[str]:
    """Files whose entries in wmill-lock.yaml are the team's."""
    return [*(item.path for item in spared), *(path for path in own if path.startswith(f"{FOLDER}/"))]


def _digest_files(root: Path, paths: Iterable[str]) -> dict[str, str | None]:
    return {path: digest_file(root, path) for path in paths}


def _read(root: Path, name: str) -> str | None:
    """The text of a file that is changed by an edit. Raises InvalidInput."""
    try:
        return (root / name).read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise InvalidInput(f"{name} is not UTF-8 text", subject=name, remedy="Save it as UTF-8.") from None


def _shorten_list(paths: list[str]) -> str:
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return ", ".join(paths[:MAX_NAMED]) + more


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), SETTINGS, f"{SETTINGS} (new)", lineterm="")
    return "\n".join(lines)
