"""Reads a Windmill bundle from disk: scripts, flows, resources, variables.

Nothing is cached, so that a long-running engine sees an edited file at the next step, as a push would have it.
Both flow layouts are understood: `x__flow/flow.yaml` and the dotted `x.flow/flow.yaml`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flexcore.engine.errors import BadBundle, Finding

INLINE = "!inline "
SPACES = ("f", "u")
FLOW_SUFFIXES = ("__flow", ".flow")
# Extensions of the languages that Windmill knows; `.py` is the one we run, the others are refused by name.
LANGUAGES = {
    ".py": "python3", ".ts": "bun", ".bun.ts": "bun", ".deno.ts": "deno", ".fetch.ts": "nativets", ".go": "go",
    ".sh": "bash", ".ps1": "powershell", ".pg.sql": "postgresql", ".my.sql": "mysql", ".bq.sql": "bigquery",
    ".sf.sql": "snowflake", ".ms.sql": "mssql", ".odb.sql": "oracledb", ".duckdb.sql": "duckdb", ".gql": "graphql",
    ".php": "php", ".rs": "rust", ".playbook.yml": "ansible", ".cs": "csharp", ".nu": "nu", ".java": "java",
    ".rb": "ruby", ".r": "rlang",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Script:
    path: str
    content: str
    language: str
    lock: str | None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Sixteen hex digits, as WM_RUNNABLE_ID has them: a cache key for "this very text"."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Flow:
    path: str
    value: dict[str, Any]
    meta: dict[str, Any]
    # Inline files that the flow names and the bundle lacks.
    findings: tuple[Finding, ...] = ()


def is_bundle(root: Path) -> bool:
    return any((root / name).exists() for name in ("wmill.yaml", *SPACES))


class Bundle:
    """A directory that holds `f/` or `u/`, usually with a wmill.yaml beside them."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        if not is_bundle(self.root):
            raise BadBundle(
                f"{root} is no Windmill bundle (no wmill.yaml, f/ or u/ in it); give its folder with --root"
            )

    def script(self, path: str) -> Script | None:
        meta_file = self._item(path, ".script.yaml")
        for extension, language in LANGUAGES.items():
            source = self._item(path, extension)
            if source and (language == "python3" or meta_file):
                meta = _read_yaml(meta_file) if meta_file else {}
                lock = self._lock_of(path, meta.get("lock") if meta_file else None)
                return Script(path, _read_text(source), language, lock, meta)
        return None

    def _lock_of(self, path: str, entry: Any) -> str | None:
        """The lock's text; None when the script has none at all and one must be inferred."""
        if isinstance(entry, str) and entry.startswith(INLINE):
            target = self.root / entry.removeprefix(INLINE).strip()
            return _read_text(target) if target.is_file() else None
        if isinstance(entry, list):
            return "\n".join(str(line) for line in entry)
        if isinstance(entry, str) and entry:
            return entry
        beside = self._item(path, ".script.lock")
        return _read_text(beside) if beside else None

    def flow(self, path: str) -> Flow | None:
        for suffix in FLOW_SUFFIXES:
            file = self._item(path, suffix + "/flow.yaml")
            if file:
                return self._read_flow(path, file)
        return None

    def _read_flow(self, path: str, file: Path) -> Flow:
        document = _read_yaml(file)
        value = document.get("value")
        if not isinstance(value, dict):
            raise BadBundle(f"{file} has no `value` mapping; it is no flow")
        findings: list[Finding] = []
        value = _with_inline_files(value, file.parent, findings, path)
        meta = {key: item for key, item in document.items() if key != "value"}
        return Flow(path, value, meta, tuple(findings))

    def resource(self, path: str, workspace: str | None = None) -> dict[str, Any] | None:
        return self._yaml_item(path, "resource", workspace)

    def variable(self, path: str, workspace: str | None = None) -> dict[str, Any] | None:
        return self._yaml_item(path, "variable", workspace)

    def http_trigger(self, path: str, workspace: str | None = None) -> dict[str, Any] | None:
        return self._yaml_item(path, "http_trigger", workspace)

    def _yaml_item(self, path: str, kind: str, workspace: str | None) -> dict[str, Any] | None:
        """The file of the workspace (`x.prod.resource.yaml`) goes before the common one."""
        for suffix in ([f".{workspace}.{kind}.yaml"] if workspace else []) + [f".{kind}.yaml"]:
            file = self._item(path, suffix)
            if file:
                return _read_yaml(file)
        return None

    def paths(self, kind: str) -> list[str]:
        """All paths of a kind: script, flow, resource, variable or http_trigger."""
        return sorted(set(self._walk(kind)))

    def _walk(self, kind: str) -> Iterator[str]:
        for space in SPACES:
            base = self.root / space
            if kind == "flow":
                for suffix in FLOW_SUFFIXES:
                    for file in base.glob(f"**/*{suffix}/flow.yaml"):
                        yield self._relative(file.parent).removesuffix(suffix)
            elif kind == "script":
                for file in base.glob("**/*.py"):
                    if not any(part.endswith((*FLOW_SUFFIXES, "__app", "__raw_app", ".app", ".raw_app"))
                               for part in file.relative_to(base).parts):  # fmt: skip
                        yield self._relative(file).removesuffix(".py")
            else:
                for file in base.glob(f"**/*.{kind}.yaml"):
                    yield self._relative(file).removesuffix(f".{kind}.yaml")

    def path_of(self, given: str) -> str:
        """`f/x/y` from what a person types: also `f/x/y.py`, `f/x/y__flow`, `f/x/y__flow/flow.yaml`, and such a file
        as seen from the current folder."""
        candidate = Path(given).resolve()
        is_file = candidate.is_file() or (candidate.is_dir() and candidate.name.endswith(FLOW_SUFFIXES))
        if (Path(given).is_absolute() or is_file) and candidate.is_relative_to(self.root):
            given = str(candidate.relative_to(self.root))
        given = given.removeprefix("./").rstrip("/").removesuffix("/flow.yaml").removesuffix(".script.yaml")
        for suffix in (".py", *FLOW_SUFFIXES):
            given = given.removesuffix(suffix)
        return given

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()

    def _item(self, path: str, suffix: str) -> Path | None:
        """The file, unless the path leaves f/ and u/."""
        if path.split("/")[0] not in SPACES or ".." in path.split("/"):
            return None
        file = self.root / (path + suffix)
        return file if file.is_file() else None


def _with_inline_files(node: Any, folder: Path, findings: list[Finding], where: str) -> Any:
    if isinstance(node, dict):
        inner = f"{where}/{node['id']}" if isinstance(node.get("id"), str) else where
        return {key: _with_inline_files(item, folder, findings, inner) for key, item in node.items()}
    if isinstance(node, list):
        return [_with_inline_files(item, folder, findings, where) for item in node]
    if isinstance(node, str) and node.startswith(INLINE):
        return _inline_file(node.removeprefix(INLINE).strip(), folder, findings, where)
    return node


def _inline_file(name: str, folder: Path, findings: list[Finding], where: str) -> str:
    file = folder / name
    if not file.is_file():
        findings.append(Finding(where, f"the inline file {name} is missing", f"write {folder.name}/{name}"))
        return ""
    return _read_text(file)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadBundle(f"{file} cannot be read: {error}") from error


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        document = yaml.load(_read_text(file), Loader=_Loader)
    except yaml.YAMLError as error:
        raise BadBundle(f"{file} is no valid YAML: {error}") from error
    except RecursionError:
        raise BadBundle(f"{file} is nested too deeply") from None
    if not isinstance(document, dict):
        raise BadBundle(f"{file} holds no mapping")
    return document


_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_FastLoader):  # type: ignore[misc]
    """Safe, and leaves dates as text: Windmill's YAML is YAML 1.2, where `2026-01-01` is a string."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _FastLoader.yaml_implicit_resolvers.items()
}
