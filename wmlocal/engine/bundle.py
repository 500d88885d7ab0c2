"""Reads a Windmill bundle from disk: scripts, flows, resources, variables.

Nothing is cached, so that a long-running engine sees an edited file at the next step, as a push would have it.
Both flow layouts are understood: `x__flow/flow.yaml` and the dotted `x.flow/flow.yaml`.

A file that cannot be read raises BadBundle where it is asked for by its path. A walk over all items of a kind passes
over it and reports it, once for each text, so that one broken file never stops the others.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from wmlocal.engine.errors import BadBundle, Finding
from wmlocal.formats.layout import INLINE, LANGUAGES
from wmlocal.formats.yaml12 import NotYaml, load
from wmlocal.suggest import did_you_mean

T = TypeVar("T")

SPACES = ("f", "u")
FLOW_SUFFIXES = ("__flow", ".flow")


@dataclass(frozen=True, slots=True)
class Script:
    path: str
    content: str
    language: str
    lock: str | None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        return _labels(self.meta)

    @property
    def hash(self) -> str:
        """Sixteen hex digits, as WM_RUNNABLE_ID has them: a cache key for "this very text"."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:16]

    @property
    def envs(self) -> dict[str, str]:
        """Each line split at its first `=`, the value as it is written."""
        given = self.meta.get("envs")
        lines = given if isinstance(given, list) else []
        return dict(line.split("=", 1) for line in lines if isinstance(line, str) and "=" in line)

    @property
    def timeout(self) -> float | None:
        given = self.meta.get("timeout")
        return float(given) if isinstance(given, int | float) and given else None


@dataclass(frozen=True, slots=True)
class Flow:
    path: str
    value: dict[str, Any]
    meta: dict[str, Any]
    # Inline files that the flow names and the bundle lacks.
    findings: tuple[Finding, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return _labels(self.meta)

    @property
    def has_preprocessor(self) -> bool:
        return bool(self.value.get("preprocessor_module"))

    @property
    def without_preprocessor(self) -> dict[str, Any]:
        return {key: item for key, item in self.value.items() if key != "preprocessor_module"}


def _labels(meta: dict[str, Any]) -> tuple[str, ...]:
    """Those that every job of it begins with."""
    given = meta.get("labels")
    return tuple(label for label in given if isinstance(label, str)) if isinstance(given, list) else ()


def is_bundle(root: Path) -> bool:
    return any((root / name).exists() for name in ("wmill.yaml", *SPACES))


class Bundle:
    """A directory that holds `f/` or `u/`, usually with a wmill.yaml beside them.

    report: gets a sentence for each file that a walk passes over.
    """

    def __init__(self, root: Path, report: Callable[[str], None] | None = None) -> None:
        self.root = Path(os.path.realpath(root))
        self._report = report or (lambda _: None)
        self._reported: set[str] = set()
        if not is_bundle(self.root):
            raise BadBundle(
                f"{root} is not a Windmill bundle (no wmill.yaml, f/ or u/ in it); give its folder with --root"
            )

    # All items of a kind

    def flows(self) -> Iterator[Flow]:
        return self._readable("flow", self.flow)

    def scripts(self) -> Iterator[Script]:
        return self._readable("script", self.script)

    def http_triggers(self, workspace: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        for path, trigger in self._readable("http_trigger", lambda path: (path, self.http_trigger(path, workspace))):
            if trigger is not None:
                yield path, trigger

    def readable(self, kind: str, read: Callable[[str], T | None]) -> list[T]:
        """What `read` makes of each path of a kind; one that it cannot read is passed over and reported."""
        return list(self._readable(kind, read))

    def _readable(self, kind: str, read: Callable[[str], T | None]) -> Iterator[T]:
        for path in self.paths(kind):
            try:
                item = read(path)
            except BadBundle as error:
                self._tell(f"{error}; it is passed over")
                continue
            if item is None:
                self._tell(
                    f"the {kind} {path} is not a readable file, or is written in a language unknown here;"
                    " it is passed over"
                )
            else:
                yield item

    def _tell(self, text: str) -> None:
        if text not in self._reported:
            self._reported.add(text)
            self._report(text)

    # One item

    def script(self, path: str) -> Script | None:
        meta_file = self._item(path, ".script.yaml")
        for extension, language in LANGUAGES.items():
            source = self._item(path, extension)
            if source and (language == "python3" or meta_file):
                meta = self._read_yaml(meta_file) if meta_file else {}
                lock = self._read_lock(path, meta.get("lock") if meta_file else None)
                return Script(path, self._read_text(source), language, lock, meta)
        return None

    def source(self, path: str) -> str | None:
        """A Python script's text alone, whatever its metadata holds."""
        file = self._item(path, ".py")
        return self._read_text(file) if file else None

    def _read_lock(self, path: str, entry: Any) -> str | None:
        """The lock's text; None when the script has none at all and one must be inferred. Raises BadBundle when the
        metadata names a file that is not there: what would be inferred is not what the script was locked with."""
        if isinstance(entry, str) and entry.startswith(INLINE):
            name = entry.removeprefix(INLINE).strip()
            target = self._inside(self.root / name)
            if target is None:
                near = did_you_mean(name, self._locks_beside(self.root / name))
                raise BadBundle(
                    f"{path}.script.yaml names the lock {name}, which is not there{near};"
                    f" copy {Path(name).parent}/ with the bundle, or write it with `flexcore metadata`"
                )
            return self._read_text(target)
        if isinstance(entry, list):
            return "\n".join(str(line) for line in entry)
        if isinstance(entry, str) and entry:
            return entry
        beside = self._item(path, ".script.lock")
        return self._read_text(beside) if beside else None

    def _locks_beside(self, file: Path) -> list[str]:
        return sorted(self._relative(found) for found in file.parent.glob("*.lock")) if file.parent.is_dir() else []

    def flow(self, path: str) -> Flow | None:
        files = [file for suffix in FLOW_SUFFIXES if (file := self._item(path, suffix + "/flow.yaml"))]
        if len(files) > 1:
            self._tell(f"{path} is there twice: {self._relative(files[0])} is used, {self._relative(files[1])} is not")
        return self._read_flow(path, files[0]) if files else None

    def _read_flow(self, path: str, file: Path) -> Flow:
        document = self._read_yaml(file)
        value = document.get("value")
        if not isinstance(value, dict):
            raise BadBundle(f"{self._relative(file)} has no `value` mapping; {_how_to_write_a_flow(document)}")
        findings: list[Finding] = []
        value = self._with_inline_files(value, file.parent, findings, path)
        meta = {key: item for key, item in document.items() if key != "value"}
        return Flow(path, value, meta, tuple(findings))

    def _with_inline_files(self, node: Any, folder: Path, findings: list[Finding], where: str) -> Any:
        if isinstance(node, dict):
            inner = f"{where}/{node['id']}" if isinstance(node.get("id"), str) else where
            return {key: self._with_inline_files(item, folder, findings, inner) for key, item in node.items()}
        if isinstance(node, list):
            return [self._with_inline_files(item, folder, findings, where) for item in node]
        if isinstance(node, str) and node.startswith(INLINE):
            return self._inline_file(node.removeprefix(INLINE).strip(), folder, findings, where)
        return node

    def _inline_file(self, name: str, folder: Path, findings: list[Finding], where: str) -> str:
        file = self._inside(folder / name)
        if file is None:
            near = did_you_mean(name, sorted(entry.name for entry in folder.iterdir()))
            message = f"the inline file {name} is missing{near}"
            findings.append(Finding(where, message, f"write {folder.name}/{name}, or correct the name in flow.yaml"))
            return ""
        try:
            return self._read_text(file)
        except BadBundle as error:
            findings.append(Finding(where, str(error), "correct the file"))
            return ""

    def resource(self, path: str, workspace: str | None = None) -> dict[str, Any] | None:
        return self._yaml_item(path, "resource", workspace)

    def variable(self, path: str, workspace: str | None = None) -> dict[str, Any] | None:
        return self._yaml_item(path, "variable", workspace)

    def resource_type(self, name: str) -> dict[str, Any]:
        """Its schema; empty when the bundle has no such type, or the type has none."""
        file = self.root / f"{Path(name).name}.resource-type.yaml"
        schema = self._read_yaml(file).get("schema") if file.is_file() else None
        return schema if isinstance(schema, dict) else {}

    def http_trigger(self, path: str, workspace: str | None = None) -> dict[str, Any] | None:
        return self._yaml_item(path, "http_trigger", workspace)

    def _yaml_item(self, path: str, kind: str, workspace: str | None) -> dict[str, Any] | None:
        """The file of the workspace (`x.prod.resource.yaml`) goes before the common one."""
        for suffix in ([f".{workspace}.{kind}.yaml"] if workspace else []) + [f".{kind}.yaml"]:
            file = self._item(path, suffix)
            if file:
                return self._read_yaml(file)
        return None

    def paths(self, kind: str) -> list[str]:
        """All paths of a kind: script, flow, resource, variable or http_trigger."""
        return sorted({path for path in self._walk(kind) if self._is_text(path)})

    def _is_text(self, path: str) -> bool:
        """A file's name may be bytes that are no UTF-8; no path of a workspace is."""
        try:
            path.encode()
        except UnicodeEncodeError:
            self._tell(f"{os.fsencode(path)!r} is not UTF-8, which a path must be; rename the file, it is passed over")
            return False
        return True

    def _walk(self, kind: str) -> Iterator[str]:
        for space in SPACES:
            base = self.root / space
            if kind == "flow":
                for suffix in FLOW_SUFFIXES:
                    for file in base.glob(f"**/*{suffix}/flow.yaml"):
                        yield self._relative(file.parent).removesuffix(suffix)
            elif kind == "script":
                for file in base.glob("**/*.py"):
                    if not any(
                        part.endswith((*FLOW_SUFFIXES, "__app", "__raw_app", ".app", ".raw_app"))
                        for part in file.relative_to(base).parts
                    ):
                        yield self._relative(file).removesuffix(".py")
            else:
                for file in base.glob(f"**/*.{kind}.yaml"):
                    yield self._relative(file).removesuffix(f".{kind}.yaml")

    def path_of(self, given: str) -> str:
        """`f/x/y` from what a person types: also `f/x/y.py`, `f/x/y__flow`, `f/x/y__flow/flow.yaml`, and such a file
        as seen from the current folder."""
        candidate = Path(os.path.realpath(given))
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
        try:
            return file if file.is_file() else None
        except (OSError, ValueError):  # a name that is too long, or holds what no name may
            return None

    def _inside(self, file: Path) -> Path | None:
        """A file of the bundle that is named exactly so, also on a disk that does not tell case apart."""
        try:
            inside = file.is_file() and Path(os.path.normpath(file)).is_relative_to(self.root)
            return file if inside and any(entry.name == file.name for entry in file.parent.iterdir()) else None
        except (OSError, ValueError):  # a name that is too long, or holds what no name may
            return None

    def _read_text(self, file: Path) -> str:
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise BadBundle(
                f"{self._relative(file)} is not UTF-8 text (byte {error.start}); save it as UTF-8"
            ) from None
        except OSError as error:
            raise BadBundle(f"{self._relative(file)} cannot be read: {error.strerror or error}") from None

    def _read_yaml(self, file: Path) -> dict[str, Any]:
        try:
            document = load(self._read_text(file))
        except NotYaml as error:
            raise BadBundle(
                f"{self._relative(file)} is not valid YAML: line {error.line}, column {error.column}: {error}"
            ) from None
        if not isinstance(document, dict):
            raise BadBundle(f"{self._relative(file)} holds no mapping of keys to values")
        return document


def _how_to_write_a_flow(document: dict[str, Any]) -> str:
    stray = [key for key in ("modules", "failure_module", "preprocessor_module") if key in document]
    if not stray:
        return "write `value:` with `modules:` below it"
    return f"put {' and '.join(f'`{key}`' for key in stray)} below `value:`, beside summary and schema"
