"""`!inline` texts lead to files, and every file of a flow's folder is led to."""

from __future__ import annotations

from wmlocal.formats.layout import INLINE
from wmlocal.lint.context import Context
from wmlocal.lint.files import EXTENSIONS, FOLDERS
from wmlocal.lint.positions import Item
from wmlocal.suggest import suggest


def check_inline_files(context: Context) -> None:
    """Of flows and apps, whose files stand beside them, and of script locks, whose path begins at the root."""
    for entry, document in context.entries("flow", "app"):
        folder = entry.file.rpartition("/")[0]
        named = {f"{folder}/{name}": item for item in document.walk() if (name := _inline(item))}
        for file, item in named.items():
            if file not in context.files.set:
                _missing(context, entry.file, item, file, folder)
        _report_unused(context, folder, set(named) | {entry.file}, entry.kind)
    for entry, document in context.entries("script"):
        lock = document.get("lock")
        if lock is not None and (name := _inline(lock)) and name not in context.files.set:
            _missing(context, entry.file, lock, name, entry.file.rpartition("/")[0])


def _inline(item: Item) -> str:
    return (
        item.value.removeprefix(INLINE).strip() if isinstance(item.value, str) and item.value.startswith(INLINE) else ""
    )


def _missing(context: Context, file: str, item: Item, name: str, folder: str) -> None:
    end = name[name.rfind(".") :]
    beside = [other for other in context.files.names if other.startswith(f"{folder}/") and other.endswith(end)]
    context.report(
        file, item, "missing-file", f"there is no file {name}; write it, or name another" + suggest(name, beside)
    )


def _report_unused(context: Context, folder: str, used: set[str], kind: str) -> None:
    for name in context.files.names:
        # Other files, such as a README, are none that a push looks at.
        if name.startswith(f"{folder}/") and name not in used and name.endswith((".lock", *EXTENSIONS)):
            context.report(
                name,
                (1, 1),
                "unused-file",
                f"nothing in the {kind} names this file, so every push finds it anew; delete it or write"
                f" `!inline {name.removeprefix(folder + '/')}`",
            )


def check_layout(context: Context) -> None:
    """Folders whose suffix is not the one that wmill.yaml chooses are passed over by a push."""
    dotted = context.files.options.get("nonDottedPaths") is not True
    for folder in sorted({folder for name in context.files.names for folder in _folders(name)}):
        for kind, (plain, with_dot) in FOLDERS.items():
            wrong, right = (plain, with_dot) if dotted else (with_dot, plain)
            if folder.endswith(wrong) and f"{folder}/{kind}.yaml" in context.files.set:
                context.report(
                    f"{folder}/{kind}.yaml",
                    (1, 1),
                    "wrong-suffix",
                    f"wmill.yaml's nonDottedPaths is {str(not dotted).lower()}, so a push reads"
                    f" {kind}s from folders that end in {right}; rename the folder or set it",
                )


def _folders(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: number + 1]) for number in range(len(parts))]
