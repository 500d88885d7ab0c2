"""wmill.yaml, folders, names: what decides whether files are pushed at all."""

from __future__ import annotations

import re

from wmlocal.lint.context import Context
from wmlocal.lint.files import EXTENSIONS, SPACES, inside_folder
from wmlocal.lint.globs import TRIGGERS, Selection
from wmlocal.lint.positions import Item
from wmlocal.lint.secret_values import looks_secret, plain_secret
from wmlocal.lint.steps import steps

# As the server's tables and its route for folders have them.
FOLDER = re.compile(r"[A-Za-z0-9_-]+")
NAME = re.compile(r"[\w-]+")
# Files whose names are no paths.
NAMELESS = ("resource-type", "group", "user", "settings")
# The column that holds it.
MAX_TAG_CHARS = 50
VARIABLE = "keep it in a secret variable and write $var:PATH"


def check_settings(context: Context) -> None:
    config = context.documents.get("wmill.yaml")
    if config is not None:
        _config(context, config)
    _names(context)
    _outside(context)
    _twice(context)
    _folders(context)
    _tags(context)
    _environment(context)
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
    parallel = config.get("parallel")
    if parallel is not None and isinstance(parallel.value, int) and parallel.value < 1:
        context.report("wmill.yaml", parallel, "wrong-value", f"parallel is {parallel.value}, and must be 1 or more")
    branches: dict[str, str] = {}
    for name, workspace in config.map("workspaces").items():
        branch = workspace.get("gitBranch")
        if branch is not None and isinstance(branch.value, str):
            other = branches.setdefault(branch.value, name)
            if other != name:
                message = f"the branch {branch.value} is the workspace {other}'s already; name another"
                context.report("wmill.yaml", branch, "wrong-value", message)
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
        _check_included(context, config, key, kinds)
    for codebase in config.list("codebases"):
        path = codebase.get("relative_path")
        if path is not None and isinstance(path.value, str) and not (context.files.root / path.value).exists():
            context.report("wmill.yaml", path, "missing-file", f"there is no folder {path.value}")


def _check_included(context: Context, config: Item, key: str, kinds: tuple[str, ...]) -> None:
    files = [entry.file for entry in context.files.yamls if entry.kind in kinds]
    plain = config.plain()
    overridden = any(
        isinstance(workspace, dict)
        and isinstance(workspace.get("overrides"), dict)
        and workspace["overrides"].get(key) is True
        for workspace in (plain.get("workspaces") or {}).values()
        if isinstance(plain.get("workspaces"), dict)
    )
    # Who writes false means it, and the files are not even looked at.
    if files and plain.get(key) is None and not overridden:
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
        *((entry.path, entry.file) for entry in context.files.yamls if entry.kind not in NAMELESS),
    ]:
        parts = path.split("/")
        if file.endswith("folder.meta.yaml"):
            if len(parts) != 2:
                context.report(
                    file, (1, 1), "bad-name", "only folders right below f/ have a folder.meta.yaml; delete it"
                )
            continue
        name, _, workspace = parts[-1].partition(".")
        if workspace and NAME.fullmatch(workspace) and file.endswith(".yaml"):
            context.report(
                file,
                (1, 1),
                "not-pushed",
                f"wmill.yaml has no workspace {workspace}, so no push takes this file; add the workspace or rename it",
                warn=True,
            )
            parts[-1] = name
        bad = next((part for part in parts if not NAME.fullmatch(part)), None)
        if len(parts) < 3:
            context.report(
                file, (1, 1), "bad-name", f"{path} is not a path of a workspace; put it in a folder: f/FOLDER/NAME"
            )
        elif bad is not None:
            context.report(file, (1, 1), "bad-name", f"{bad!r} is not a name of a path; write letters, digits, _ and -")
        elif parts[0] == "f" and not FOLDER.fullmatch(parts[1]):
            context.report(
                file, (1, 1), "bad-name", f"the folder {parts[1]!r} must be of letters, digits, _ and - alone"
            )


def _outside(context: Context) -> None:
    for file in context.files.outside:
        message = (
            "no push takes this file: a workspace's paths begin with f/FOLDER/ or u/USER/; move it there, or the bundle"
            " into a folder of its own with a wmill.yaml"
        )
        context.report(file, (1, 1), "outside-path", message, warn=True)


def _twice(context: Context) -> None:
    """Two files for one item, names that a Mac or Windows cannot tell apart, and names without a language."""
    for file in context.files.unreadable:
        known = [ext for ext in EXTENSIONS if ext.endswith(".sql")] if file.endswith(".sql") else [".ts"]
        message = f"no language is known by this name, and a push ends here; name it {', '.join(known)} or exclude it"
        context.report(file, (1, 1), "unknown-language", message)
    items = [(s.path, s.file, "script") for s in context.files.scripts.values()]
    for name in context.files.code:
        path = context.files.script_path(name)
        if path in context.files.scripts and context.files.scripts[path].file != name:
            message = f"{context.files.scripts[path].file} is the script {path} too; rename or delete one"
            context.report(name, (1, 1), "duplicate-path", message)
    items += [(e.path, e.file, e.kind) for e in context.files.yamls if not e.workspace and e.kind != "script"]
    exact: dict[tuple[str, str], str] = {}
    folded: dict[tuple[str, str], str] = {}
    for path, file, kind in items:
        other = exact.setdefault((path, kind), file)
        if other != file:
            message = f"{other} is the {kind} {path} too; rename or delete one"
            context.report(file, (1, 1), "duplicate-path", message)
            continue
        near = folded.setdefault((path.lower(), kind), path)
        if near != path:
            message = f"{path} and {near} differ by case alone, and are one file on a Mac or Windows; rename one"
            context.report(file, (1, 1), "case-collision", message)


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
                if len(tag.value) > MAX_TAG_CHARS or re.search(r"[\s,]", tag.value):
                    context.report(
                        entry.file,
                        tag,
                        "bad-tag",
                        f"{tag.value!r} is not a worker tag; write at most {MAX_TAG_CHARS} characters, no spaces",
                    )


def _environment(context: Context) -> None:
    for entry, document in context.entries("script"):
        for item in document.list("envs"):
            if not isinstance(item.value, str):
                continue
            name, _, value = item.value.partition("=")
            if not re.match(r"[A-Za-z_]\w*=", item.value):
                context.report(entry.file, item, "wrong-value", f"an environment entry is NAME=value, not {name}")
            elif looks_secret(name, value):
                plain_secret(context, entry.file, item, name, "read a secret variable in the code: wmill.get_variable")
    for entry, document in context.entries("flow"):
        for name, item in document.map("value", "flow_env").items():
            if isinstance(item.value, str) and looks_secret(name, item.value):
                plain_secret(context, entry.file, item, name, VARIABLE)
        for step in steps(document):
            for name, transform in step.item.map("value", "input_transforms").items():
                given = transform.text("value") if transform.text("type") == "static" else None
                if given is not None and looks_secret(name, given):
                    plain_secret(context, entry.file, transform.get("value") or transform, name, VARIABLE)
    for entry, document in context.entries("schedule"):
        for name, item in document.map("args").items():
            if isinstance(item.value, str) and looks_secret(name, item.value):
                plain_secret(context, entry.file, item, name, VARIABLE)


def _orphans(context: Context) -> None:
    """Metadata and locks of scripts that are not there, and scripts without metadata."""
    scripts = context.files.scripts
    for name in context.files.names:
        if name.split("/")[0] not in SPACES or inside_folder(name) or not context.files.pushes("script", name):
            continue
        for end in (".script.yaml", ".script.lock"):
            path = name.removesuffix(end)
            if name.endswith(end) and path not in scripts:
                excluded = context.files.exists_untaken(path)
                why = (
                    "its script is excluded by wmill.yaml; exclude this too"
                    if excluded
                    else ("there is no script of that name beside it; delete it")
                )
                context.report(name, (1, 1), "orphan-file", why)
    for script in scripts.values():
        meta = f"{script.path}.script"
        if f"{meta}.yaml" not in context.files.set and f"{meta}.json" not in context.files.set:
            context.report(
                script.file, (1, 1), "missing-metadata", f"there is no {meta}.yaml; run flexcore metadata", warn=True
            )
