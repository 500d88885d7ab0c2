"""lib/runtimes.py and the operations that it names, read without importing them.

Each address `module:NAME` leads to a module of the bundle that defines NAME; an operation has every part that
`operation.Operation` asks for, and each part that is a name is there; an operation says of itself what the registry
says of it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from wmlocal.lint.finding import Finding
from wmlocal.suggest import suggest

REGISTRY = "f/flexcore/lib/runtimes.py"
PROTOCOL = "f/flexcore/lib/core/operation.py"
RULE = "registry"


def check_registry(root: Path) -> Iterator[Finding]:
    """Nothing where the bundle has no registry."""
    sources = Sources(root)
    registry = sources.read(REGISTRY)
    calls = registry.calls("Runtime") if registry else []
    yield from _check_names(calls)
    for call in calls:
        yield from _check_runtime(sources, call)


@dataclass(frozen=True, slots=True)
class Address:
    """module: the file's path; node: where the registry says it."""

    file: str
    name: str
    node: ast.Constant


@dataclass
class Source:
    """One Python file of the bundle."""

    file: str
    tree: ast.Module

    @cached_property
    def names(self) -> dict[str, ast.AST]:
        """What the module's top level defines or imports."""
        found: dict[str, ast.AST] = {}
        for node in self.tree.body:
            for name in _names_defined(node):
                found[name] = node
        return found

    @cached_property
    def modules(self) -> dict[str, str]:
        """Files of the bundle's modules that are imported, by the name that they have here."""
        return {
            alias.asname or alias.name: f"{(node.module or '').replace('.', '/')}/{alias.name}.py"
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("f.")
            for alias in node.names
        }

    def calls(self, name: str) -> list[ast.Call]:
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call) and _last_name(node.func) == name]
        return sorted(found, key=lambda call: call.lineno)


class Sources:
    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[str, Source | None] = {}

    def read(self, file: str) -> Source | None:
        """None when it is not there or cannot be parsed, which another rule reports."""
        if file not in self._read:
            try:
                self._read[file] = Source(file, ast.parse((self.root / file).read_text(encoding="utf-8")))
            except (OSError, SyntaxError, ValueError):
                self._read[file] = None
        return self._read[file]

    @cached_property
    def parts(self) -> tuple[list[str], set[str]]:
        """The fields of an operation in their order, and those that have no default."""
        source = self.read(PROTOCOL)
        operation = source.names.get("Operation") if source else None
        body = operation.body if isinstance(operation, ast.ClassDef) else []
        fields = [
            (node.target.id, node.value is None)
            for node in body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        ]
        return [name for name, _ in fields], {name for name, needed in fields if needed}

    def operations(self) -> Iterator[tuple[str, str, Address]]:
        """(runtime, operation, address) of each entry that is well-formed."""
        registry = self.read(REGISTRY)
        for call in registry.calls("Runtime") if registry else ():
            table = _keyword(call, "operations")
            for key, value in zip(table.keys, table.values, strict=True) if isinstance(table, ast.Dict) else ():
                if (address := parse_address(value)) and isinstance(key, ast.Constant):
                    yield _text(_keyword(call, "name")), str(key.value), address


def parse_address(node: ast.expr | None) -> Address | None:
    """None where it is not `module:NAME` with a module of the bundle."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return None
    module, _, name = node.value.partition(":")
    if not module.startswith("f.") or not name.isidentifier():
        return None
    return Address(f"{module.replace('.', '/')}.py", name, node)


def _check_names(calls: list[ast.Call]) -> Iterator[Finding]:
    """A table keeps the last of two entries of one name, and says nothing."""
    lines: dict[str, int] = {}
    for call in calls:
        node = _keyword(call, "name")
        name = _text(node)
        if node is not None and name in lines:
            message = f"the runtime {name!r} is registered already, at line {lines[name]}; take one out, or rename it"
            yield _finding(REGISTRY, node, message)
        elif name:
            lines[name] = call.lineno


def _check_runtime(sources: Sources, call: ast.Call) -> Iterator[Finding]:
    """One entry of the registry."""
    runtime, table = _text(_keyword(call, "name")), _keyword(call, "operations")
    named: list[str] = []
    for key, value in zip(table.keys, table.values, strict=True) if isinstance(table, ast.Dict) else ():
        if (name := _text(key)) in named:
            yield _finding(REGISTRY, key or value, f"{runtime} has the operation {name!r} already; take one out")
        named.append(name)
        yield from _check_operation(sources, runtime, name, value)
    pipeline = _keyword(call, "pipeline_operations")
    for element in pipeline.elts if isinstance(pipeline, ast.Tuple | ast.List) else ():
        if (name := _text(element)) and name not in named:
            message = f"{runtime} has no operation {name!r}{suggest(name, named)}; name one of {', '.join(named)}"
            yield _finding(REGISTRY, element, message)
    for part in ("health", "objects"):
        named_here = _keyword(call, part)
        if named_here is not None and not (isinstance(named_here, ast.Constant) and named_here.value == ""):
            yield from _check_address(sources, f"{part} of {runtime}", named_here)
    if objects := parse_address(_keyword(call, "objects")):
        yield from _check_objects(sources, runtime, objects)


def _check_operation(sources: Sources, runtime: str, name: str, value: ast.expr) -> Iterator[Finding]:
    yield from _check_address(sources, f"operation {name} of {runtime}", value)
    address = parse_address(value)
    source = sources.read(address.file) if address else None
    if address is None or source is None or address.name not in source.names:
        return
    node = source.names[address.name]
    call = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if not isinstance(call, ast.Call) or _last_name(call.func) != "Operation":
        if address.name not in source.modules:
            yield _finding(source.file, node, f"{address.name} is registered as operation {name}; make it an Operation")
        return
    order, needed = sources.parts
    given = dict(zip(order, call.args, strict=False)) | {item.arg: item.value for item in call.keywords if item.arg}
    for part in order:
        if part in needed and part not in given and all(item.arg for item in call.keywords):
            message = f"operation {name} of {runtime} lacks `{part}`; an Operation needs {', '.join(sorted(needed))}"
            yield _finding(source.file, call, message)
    for part, expected in (("runtime", runtime), ("name", name)):
        if (said := _text(given.get(part))) and said != expected:
            message = f"{address.name} says {part}={said!r}, and {REGISTRY} says {expected!r}; make them the same"
            yield _finding(source.file, given[part], message)
    for part, expression in given.items():
        yield from _check_reference(sources, source, f"`{part}` of operation {name}", expression)


def _check_address(sources: Sources, what: str, value: ast.expr) -> Iterator[Finding]:
    address = parse_address(value)
    if address is None:
        yield _finding(REGISTRY, value, f"{what} is not an address; write 'f.flexcore.lib.MODULE:NAME'")
        return
    source = sources.read(address.file)
    folder = address.file.rpartition("/")[0]
    if not (sources.root / folder).is_dir():
        message = f"{what}: the bundle has no folder {folder}; add it with the runtime's modules, or take the entry out"
        yield _finding(REGISTRY, value, message)
    elif source is None:
        near = suggest(address.file, [file.relative_to(sources.root).as_posix() for file in _library(sources.root)])
        yield _finding(REGISTRY, value, f"{what}: the bundle has no module {address.file}{near}")
    elif address.name not in source.names:
        near = suggest(address.name, list(source.names))
        yield _finding(REGISTRY, value, f"{what}: {address.file} defines no {address.name}{near}")


def _check_reference(sources: Sources, source: Source, what: str, expression: ast.expr) -> Iterator[Finding]:
    """Whether a bare name, or a name of an imported module of the bundle, is there."""
    if isinstance(expression, ast.Name) and expression.id not in source.names:
        near = suggest(expression.id, list(source.names))
        yield _finding(source.file, expression, f"{what}: the module defines no {expression.id}{near}")
    if isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
        module = sources.read(source.modules.get(expression.value.id, ""))
        if module and expression.attr not in module.names:
            near = suggest(expression.attr, list(module.names))
            yield _finding(source.file, expression, f"{what}: {module.file} defines no {expression.attr}{near}")


def _check_objects(sources: Sources, runtime: str, address: Address) -> Iterator[Finding]:
    """Whether the class has every method of the protocol RemoteObjects."""
    registry, source = sources.read(REGISTRY), sources.read(address.file)
    protocol = registry.names.get("RemoteObjects") if registry else None
    found = source.names.get(address.name) if source else None
    if source is None or not isinstance(protocol, ast.ClassDef) or not isinstance(found, ast.ClassDef) or found.bases:
        return
    missing = sorted(_methods(protocol) - _methods(found))
    for name in missing:
        yield _finding(source.file, found, f"{address.name}, the objects of {runtime}, lacks the method `{name}`")


def _methods(node: ast.ClassDef) -> set[str]:
    return {item.name for item in node.body if isinstance(item, ast.FunctionDef)}


def _library(root: Path) -> list[Path]:
    return sorted((root / "f/flexcore/lib").rglob("*.py"))


def _names_defined(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign():
            return [part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
        case ast.If() | ast.Try():
            return [name for inner in (*node.body, *node.orelse) for name in _names_defined(inner)]
    return []


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((item.value for item in call.keywords if item.arg == name), None)


def _text(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _last_name(node: ast.expr) -> str:
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _finding(file: str, node: ast.AST, message: str) -> Finding:
    return Finding(file, getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1, RULE, message)
