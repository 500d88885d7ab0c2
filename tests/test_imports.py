"""No circle of files: what one of our files imports never leads back to it, not even for its types or when it runs.

Nor a fifth level of packages. The registry names runtimes by address (`module:NAME`), which is no import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("f", "flexcore", "wmlocal")


def modules() -> dict[str, Path]:
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return {name_of(file): file for file in files}


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(file: Path, known: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known:
                    yield inner
                elif node.module in known:
                    yield node.module


def circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_file_of_ours_imports_its_way_back_to_itself() -> None:
    known = modules()
    graph = {name: set(imported(file, known)) - {name} for name, file in known.items()}
    assert sum(map(len, graph.values())) > len(graph)
    assert circle(graph) == []


def test_a_circle_would_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\n")
    (tmp_path / "b.py").write_text("def late():\n    import a\n    return a\n")
    known = {name: tmp_path / f"{name}.py" for name in "ab"}
    found = circle({name: set(imported(file, known)) for name, file in known.items()})
    assert sorted({*found}) == ["a", "b"]


MAX_LEVELS = 4
LIBRARY = "f.flexcore.lib."


def package(module: str) -> str:
    """The folder of the library, or its registry; all steps are one."""
    return module.removeprefix(LIBRARY).partition(".")[0] if module.startswith(LIBRARY) else "steps"


def package_graph() -> dict[str, set[str]]:
    known = {name: file for name, file in modules().items() if name.startswith("f.")}
    graph: dict[str, set[str]] = {}
    for name, file in known.items():
        graph.setdefault(package(name), set()).update({package(other) for other in imported(file, known)})
    return {name: others - {name} for name, others in graph.items()}


def count_levels(graph: dict[str, set[str]]) -> dict[str, int]:
    """By package, the length of the longest chain of imports from it down. Raises CycleError."""
    levels: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        levels[name] = 1 + max((levels[other] for other in graph[name]), default=0)
    return levels


def test_the_packages_of_the_bundle_have_at_most_four_levels_and_no_import_back() -> None:
    levels = count_levels(package_graph())
    assert levels["core"] == 1 and levels["steps"] == max(levels.values())
    assert max(levels.values()) <= MAX_LEVELS, levels
