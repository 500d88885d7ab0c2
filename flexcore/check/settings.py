"""wmill.yaml, folders, names: what decides whether files are pushed at all."""

from __future__ import annotations

import re

from flexcore.check.context import Context
from flexcore.check.files import SPACES, TRIGGERS
from flexcore.check.globs import Selection
from flexcore.check.positions import Item

FOLDER = re.compile(r"[A-Za-z0-9_]+")
NAME = re.compile(r"[A-Za-z0-9_.@+-]+")
# The column that holds it.
LONGEST_TAG = 50


def check_settings(context: Context) -> None:
    config = context.documents.get("wmill.yaml")
    if config is not None:
        _config(context, config)
    _names(context)
    _folders(context)
    _tags(context)
    _orphans(context)


def _config(context: Context, config: Item) -> None:
    behavior = config.get("syncBehavior")
    if behavior is not None and behavior.value not in ("v0", "v1"):
        context.report("wmill.yaml", behavior, "wrong-value", f"syncBehavior is {behavior.value}, and must be v1")
    for old in ("gitBranches", "git_branches", "environments"):
        item = config.get(old)
        if item is not None:
            context.report(
                "wmill.yaml",
                (item.key_line, item.key_column),
                "deprecated-key",
                f"{old} is the old name of workspaces; run wmill config migrate",
                warn=True,
            )
    for item in config.list("includes"):
        if isinstance(item.value, str) and not any(
            Selection((item.value,)).takes(name) for name in context.files.names
        ):
            context.report("wmill.yaml", item, "no-match", f"no file matches {item.value}", warn=True)
    for workspace in config.map("workspaces").values():
        url = workspace.get("baseUrl")
        if url is not None and isinstance(url.value, str) and not url.value.startswith(("http://", "https://")):
            context.report(
                "wmill.yaml", url, "wrong-value", f"baseUrl must begin with http:// or https://: {url.value}"
            )
    for key, kinds in (
        ("includeSchedules", ("schedule",)),
        ("includeTriggers", tuple(f"{kind}_trigger" for kind in TRIGGERS)),
    ):
        _included(context, config, key, kinds)
    for codebase in config.list("codebases"):
        path = codebase.get("relative_path")
        if path is not None and isinstance(path.value, str) and not (context.files.root / path.value).exists():
            context.report("wmill.yaml", path, "missing-file", f"there is no folder {path.value}")


def _included(context: Context, config: Item, key: str, kinds: tuple[str, ...]) -> None:
    files = [entry.file for entry in context.files.yamls if entry.kind in kinds]
    plain = config.plain()
    overridden = any(
        isinstance(workspace, dict)
        and isinstance(workspace.get("overrides"), dict)
        and workspace["overrides"].get(key) is True
        for workspace in (plain.get("workspaces") or {}).values()
        if isinstance(plain.get("workspaces"), dict)
    )
    if files and plain.get(key) is not True and not overridden:
        item = config.get(key)
        place = (item.key_line, item.key_column) if item else (1, 1)
        context.report(
            "wmill.yaml",
            place,
            "not-pushed",
            f"{key} is not true, so a push passes over {files[0]}"
            + (f" and {len(files) - 1} more" if len(files) > 1 else "")
            + f"; write {key}: true",
        )


def _names(context: Context) -> None:
    for path, file in [
        *((s.path, s.file) for s in context.files.scripts.values()),
        *((entry.path, entry.file) for entry in context.files.yamls if entry.kind != "resource-type"),
    ]:
        parts = path.split("/")
        if file.endswith("folder.meta.yaml"):
            if len(parts) != 2:
                context.report(
                    file, (1, 1), "bad-name", "only folders right below f/ have a folder.meta.yaml; delete it"
                )
            continue
        bad = next((part for part in parts if not NAME.fullmatch(part)), None)
        if len(parts) < 3:
            context.report(
                file, (1, 1), "bad-name", f"{path} is no path of a workspace; put it in a folder: f/FOLDER/NAME"
            )
        elif bad is not None:
            context.report(file, (1, 1), "bad-name", f"{bad!r} is no name of a path; write letters, digits, _ and -")
        elif parts[0] == "f" and not FOLDER.fullmatch(parts[1]):
            context.report(file, (1, 1), "bad-name", f"the folder {parts[1]!r} must be of letters, digits and _ alone")


def _folders(context: Context) -> None:
    if context.files.options.get("skipFolders") is True:
        return
    first: dict[str, str] = {}
    for file in [*(s.file for s in context.files.scripts.values()), *(e.file for e in context.files.yamls)]:
        parts = file.split("/")
        if parts[0] == "f" and len(parts) > 2:
            first.setdefault(parts[1], file)
    for folder, file in first.items():
        if f"f/{folder}/folder.meta.yaml" not in context.files.set:
            context.report(
                file,
                (1, 1),
                "missing-folder",
                f"f/{folder} has no folder.meta.yaml; run wmill folder add-missing",
                warn=True,
            )
    for entry, document in context.entries("folder"):
        permissions = document.get("extra_perms")
        for owner in document.list("owners"):
            if isinstance(owner.value, str) and permissions is not None and owner.value not in permissions.map():
                context.report(
                    entry.file,
                    owner,
                    "owner-without-right",
                    f"the owner {owner.value} is not in extra_perms; add {owner.value}: true, or the next push fails",
                )


def _tags(context: Context) -> None:
    for entry, document in context.entries("script", "flow", "schedule"):
        for item in document.walk():
            for key in ("tag", "tag_override"):
                tag = item.value.get(key) if isinstance(item.value, dict) else None
                inside_schema = (
                    entry.kind != "schedule"
                    and document.get("schema") is not None
                    and ((schema := document.get("schema")) is not None and schema.line <= item.line <= schema.end_line)
                )
                if tag is None or inside_schema or not isinstance(tag.value, str):
                    continue
                if len(tag.value) > LONGEST_TAG or re.search(r"[\s,]", tag.value):
                    context.report(
                        entry.file,
                        tag,
                        "bad-tag",
                        f"{tag.value!r} is no worker tag; write at most {LONGEST_TAG} characters, no spaces",
                    )


def _orphans(context: Context) -> None:
    """Metadata and locks of scripts that are not there, and scripts without metadata."""
    scripts = context.files.scripts
    for name in context.files.names:
        if name.split("/")[0] not in SPACES or not context.files.taken(name):
            continue
        for end in (".script.yaml", ".script.lock"):
            if name.endswith(end) and name.removesuffix(end) not in scripts:
                context.report(name, (1, 1), "orphan-file", "there is no script of that name beside it; delete it")
    for script in scripts.values():
        meta = f"{script.path}.script"
        if f"{meta}.yaml" not in context.files.set and f"{meta}.json" not in context.files.set:
            context.report(
                script.file, (1, 1), "missing-metadata", f"there is no {meta}.yaml; run flexcore metadata", warn=True
            )
