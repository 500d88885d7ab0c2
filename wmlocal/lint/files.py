"""What a bundle holds: its files by kind, as a push would read them.

f/x/name.py + .script.yaml + .script.lock         script (or .ts, .sh, … and its extensions)
f/x/name__flow/flow.yaml + inline files           flow (`.flow` with dotted paths), apps alike
f/x/name.<kind>.yaml                              resource, variable, schedule, http_trigger, …
name.resource-type.yaml, dependencies/*, wmill.yaml, wmill-lock.yaml    in the root alone
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from wmlocal.formats.layout import LANGUAGES
from wmlocal.lint.globs import TRIGGERS, Selection, selections
from wmlocal.lint.positions import Item, NotYaml, read

SPACES = ("f", "u", "g")
FOLDERS = {"flow": ("__flow", ".flow"), "app": ("__app", ".app"), "raw_app": ("__raw_app", ".raw_app")}
ITEM = re.compile(
    r"(?P<path>.+?)(?:\.(?P<workspace>[^./]+))?\.(?P<kind>script|resource|variable|schedule|group|user|(?:"
    + "|".join(TRIGGERS)
    + r")_trigger)\.yaml$"
)
# Longest first: `.bun.ts` before `.ts`.
EXTENSIONS = dict(sorted(LANGUAGES.items(), key=lambda pair: -len(pair[0])))


class CannotCheck(Exception):
    """The folder is not a bundle, or cannot be read at all."""


@dataclass(frozen=True, slots=True)
class Script:
    path: str
    file: str
    language: str


@dataclass(frozen=True, slots=True)
class Yaml:
    """A file that holds one item: `path` is the item's own, `kind` what it is."""

    file: str
    kind: str
    path: str
    workspace: str | None = None


@dataclass
class Files:
    root: Path
    names: list[str] = field(default_factory=list)

    @classmethod
    def below(cls, root: Path) -> Files:
        """Raises CannotCheck when the folder holds nothing that Windmill would sync."""
        if not root.is_dir():
            raise CannotCheck(f"{root} is not a folder; give the bundle's folder with --root")
        if not any((root / name).exists() for name in ("wmill.yaml", *SPACES)):
            raise CannotCheck(
                f"{root} is not a Windmill bundle (no wmill.yaml, f/ or u/ in it); give its folder with --root"
            )
        return cls(root, sorted(_names(root)))

    @cached_property
    def config(self) -> Item | None:
        """wmill.yaml, None when there is none or it is not YAML."""
        try:
            return read(self.text("wmill.yaml") or "") if "wmill.yaml" in self.set else None
        except NotYaml:
            return None

    @cached_property
    def options(self) -> dict[str, Any]:
        plain = self.config.plain() if self.config else None
        return plain if isinstance(plain, dict) else {}

    @cached_property
    def selections(self) -> list[Selection]:
        return selections(self.options)

    @cached_property
    def set(self) -> frozenset[str]:
        return frozenset(self.names)

    def taken(self, file: str) -> bool:
        """Whether a push to some workspace takes the file."""
        return any(selection.takes(file) for selection in self.selections)

    def pushes(self, kind: str, file: str) -> bool:
        """Whether a push to some workspace takes the file, which holds an item of that kind."""
        return any(selection.takes(file) and kind not in selection.skipped for selection in self.selections)

    def skips(self, kind: str) -> bool:
        """Whether no push takes an item of that kind."""
        return all(kind in selection.skipped for selection in self.selections)

    @cached_property
    def workspaces(self) -> frozenset[str]:
        names: set[str] = set()
        for key in ("workspaces", "gitBranches", "git_branches", "environments"):
            value = self.options.get(key)
            names |= set(value) if isinstance(value, dict) else set()
        return frozenset(names)

    def text(self, file: str) -> str | None:
        """The file's text, None when it is not UTF-8 or cannot be read; a pipe, say, would never end."""
        try:
            path = self.root / file
            return path.read_bytes().decode("utf-8") if path.is_file() else None
        except (OSError, UnicodeDecodeError):
            return None

    def why_unreadable(self, file: str) -> str:
        """Of a file whose text is None."""
        path = self.root / file
        if path.is_symlink() and not path.exists():
            return f"it is a link to {path.readlink()}, which is not there; link to a file, or delete it"
        return "cannot be read as UTF-8; save it as UTF-8 text" if path.is_file() else "it is not a file; write one"

    @cached_property
    def scripts(self) -> dict[str, Script]:
        """By path. Inline code of flows and apps is none, nor are the modules of a multi-file script."""
        found: dict[str, Script] = {}
        for name in self.code:
            extension = _extension(name)
            language = EXTENSIONS[extension]
            if extension == ".ts" and self.options.get("defaultTs") == "deno":
                language = "deno"
            found.setdefault(self.script_path(name), Script(self.script_path(name), name, language))
        return found

    @cached_property
    def code(self) -> list[str]:
        """The files of scripts."""
        return [
            name
            for name in self.names
            if _extension(name)
            and "." not in self.script_path(name).rpartition("/")[2]
            and name.split("/")[0] in SPACES
            and not inside_folder(name)
            and self.pushes("script", name)
        ]

    @staticmethod
    def script_path(name: str) -> str:
        return name.removesuffix(_extension(name))

    @cached_property
    def unreadable(self) -> list[str]:
        """Code whose language its name does not tell: a push of it ends with an error."""
        return [
            name
            for name in self.names
            if name.endswith((".sql", ".js"))
            and not name.endswith(tuple(EXTENSIONS))
            and name.split("/")[0] in SPACES
            and not inside_folder(name)
            and self.pushes("script", name)
        ]

    @cached_property
    def yamls(self) -> list[Yaml]:
        found = (item for name in self.names if (item := self._yaml(name)))
        return [item for item in found if not self.skips(item.kind)]

    @cached_property
    def outside(self) -> list[str]:
        """Items in folders of the root from which no push takes any."""
        return sorted(_outside(self.root))

    def _yaml(self, name: str) -> Yaml | None:
        folder, _, base = name.rpartition("/")
        if not folder:
            if name.endswith(".resource-type.yaml"):
                return Yaml(name, "resource-type", name.removesuffix(".resource-type.yaml"))
            # Only a bundle that syncs its workspace's settings holds them; others may use the name.
            settings = name == "settings.yaml" and self.options.get("includeSettings") is True
            return Yaml(name, "settings", "settings") if settings else None
        if folder in ("groups", "users"):
            match = ITEM.fullmatch(name)
            return Yaml(name, match["kind"], match["path"]) if match and f"{match['kind']}s" == folder else None
        if folder.split("/")[0] not in SPACES:
            return None
        for kind, suffixes in FOLDERS.items():
            for suffix in suffixes:
                if folder.endswith(suffix) and base == f"{kind}.yaml":
                    return Yaml(name, kind, folder.removesuffix(suffix)) if self._takes_any_below(folder) else None
        if inside_folder(name) or not self.taken(name):
            return None
        if base == "folder.meta.yaml":
            return Yaml(name, "folder", folder)
        match = ITEM.fullmatch(name)
        if not match:
            return None
        workspace = match["workspace"] if match["workspace"] in self.workspaces else None
        path = match["path"] if workspace or not match["workspace"] else f"{match['path']}.{match['workspace']}"
        return Yaml(name, match["kind"], path, workspace)

    def _takes_any_below(self, folder: str) -> bool:
        """Whether a push takes a file of the folder: with any of them it reads the flow's or app's own file, also where
        wmill.yaml excludes that one."""
        return any(name.startswith(f"{folder}/") and self.taken(name) for name in self.names)

    @cached_property
    def flows(self) -> dict[str, str]:
        """Path of each flow → its flow.yaml."""
        return {item.path: item.file for item in self.yamls if item.kind == "flow"}

    def exists_untaken(self, path: str) -> bool:
        """Whether there is a script or flow of that path on disk that no push takes."""
        on_disk = (
            *(path + extension for extension in EXTENSIONS),
            *(f"{path}{end}/flow.yaml" for end in FOLDERS["flow"]),
        )
        return any(name in self.set for name in on_disk)


def _extension(name: str) -> str:
    return next((extension for extension in EXTENSIONS if name.endswith(extension)), "")


def inside_folder(name: str) -> bool:
    """Whether a file belongs to a flow, an app or a multi-file script."""
    ends = ("__mod", ".fileset", *(suffix for suffixes in FOLDERS.values() for suffix in suffixes))
    return any(part.endswith(ends) for part in name.split("/")[:-1])


# Folders of a repository that hold other things, such as a test's own bundles.
ELSEWHERE = frozenset(
    {
        "node_modules",
        "__pycache__",
        "tests",
        "test",
        "docs",
        "doc",
        "examples",
        "example",
        "fixtures",
        "dist",
        "build",
        "venv",
        "env",
        "dependencies",
        "locks",
        "groups",
        "users",
        "backups",
        "archive",
        *SPACES,
    }
)


def _outside(root: Path) -> Iterator[str]:
    """Not in folders that are a bundle of their own."""
    for folder in sorted(root.iterdir()):
        if folder.is_symlink() or not folder.is_dir() or folder.name in ELSEWHERE or folder.name.startswith("."):
            continue
        for place, below, files in os.walk(folder):
            below[:] = (
                []
                if "wmill.yaml" in files
                else [name for name in below if name not in ELSEWHERE and not name.startswith(".")]
            )
            if "wmill.yaml" in files:
                continue
            for name in files:
                path = f"{Path(place).relative_to(root).as_posix()}/{name}"
                if ITEM.fullmatch(path) or any(
                    place.endswith(end) and name == f"{kind}.yaml" for kind, ends in FOLDERS.items() for end in ends
                ):
                    yield path


def _names(root: Path) -> Iterator[str]:
    for base in (*SPACES, "dependencies", "locks", "groups", "users"):
        # A folder of a linked cycle would never end, so links are not followed.
        for folder, below, files in os.walk(root / base):
            below[:] = [name for name in below if name not in ("node_modules", "__pycache__", ".git", ".venv")]
            place = Path(folder).relative_to(root).as_posix()
            yield from (f"{place}/{name}" for name in files if not name.endswith(".pyc") and _is_text(name))
    yield from (entry.name for entry in root.iterdir() if entry.is_file() and _is_text(entry.name))


def _is_text(name: str) -> bool:
    """A file's name may be bytes that are no UTF-8; no path of a workspace is."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
