"""Resources and variables that are named by their path: `$res:f/a/b`, `$var:f/a/b`, `resource("f/a/b")`, a trigger's.

They may well live in the workspace alone: only where their folder keeps its others in the bundle is one that is not
there a defect, and secrets are not kept there by default.
"""

from __future__ import annotations

from wmlocal.lint.context import Context
from wmlocal.lint.positions import Item
from wmlocal.suggest import suggest

PREFIXES = {"$res:": "resource", "$var:": "variable"}


def check_references(context: Context) -> None:
    """Every text of the bundle's files that is a reference."""
    for file, document in context.documents.items():
        for item in document.walk():
            kind = PREFIXES.get(item.value[:5]) if isinstance(item.value, str) else None
            if kind:
                check_reference(context, file, item, kind, item.value[5:], item.value)


def check_reference(
    context: Context, file: str, place: tuple[int, int] | Item, kind: str, path: str, what: str
) -> None:
    parts = path.split("/")
    if parts[0] not in ("f", "u") or len(parts) < 3:
        message = f"{what} is not a path of a workspace; it begins with f/ or u/"
        context.report(file, place, "bad-path", message)
        return
    known = _known_paths(context, kind)
    if path in known or not context.files.taken(f"{path}.{kind}.yaml"):
        return
    if context.files.options.get("skipResources" if kind == "resource" else "skipVariables") is True:
        return
    beside = [other for other in known if other.split("/")[:2] == parts[:2]]
    kept = bool(beside) and (kind == "resource" or any(known[other] for other in beside))
    if not kept and kind == "variable":
        return
    context.report(
        file,
        place,
        f"unknown-{kind}",
        f"the bundle has no {kind} {path}"
        + ("" if kept else "; it must exist in the workspace")
        + suggest(path, list(known)),
        warn=not kept,
    )


def _known_paths(context: Context, kind: str) -> dict[str, bool]:
    """The paths of the bundle's resources or variables, and whether it is a secret."""
    return {
        entry.path: (secret := document.get("is_secret")) is not None and secret.value is True
        for entry, document in context.entries(kind)
    }
