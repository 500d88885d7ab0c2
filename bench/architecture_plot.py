"""Draws docs/architecture.svg from the code: the library's packages in the layers that import-linter holds, and what
imports what. Deterministic.

    uv run python -m bench.architecture_plot > docs/architecture.svg

An arrow that follows from two others is left out, and so are those to `core`, which everything imports. Dashed arrows
are addresses of the registry, imported when they are needed. What pyproject.toml lists as not so yet is not drawn.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIBRARY = "f.flexcore.lib"
BASE = "core"
# Columns that keep arrows short; a package that is not named stands at the end of its row.
COLUMNS = {
    "pipeline": 0,
    "operations": 2,
    "api": 4,
    "runtimes": 2,
    "meltano": 1,
    "ray": 2,
    "kubernetes": 3,
    "views": 0,
    "windmill": 4,
    "selection": 1,
    "storage": 2,
}
CELL_WIDTH, CELL_HEIGHT, BOX_WIDTH, BOX_HEIGHT, MARGIN = 150, 78, 118, 36, 24
BLUE, GRAY, INK, FILL = "#2563eb", "#9ca3af", "#1f2937", "#eff6ff"
Edge = tuple[str, str]


def read_layers() -> list[list[str]]:
    """The rows of packages, the highest first, as the import rules in pyproject.toml have them."""
    rules = [item for item in _read_rules() if item["type"] == "layers"]
    (levels,) = [item["layers"] for item in rules if any(f"{LIBRARY}.{BASE}" in line for line in item["layers"])]
    (within,) = [item["layers"] for item in rules if item.get("containers") == [LIBRARY]]
    rows = [[name.removeprefix(f"{LIBRARY}.") for name in _names(line) if name.startswith(LIBRARY)] for line in levels]
    inner = [_names(line) for line in within]
    known = {name for row in inner for name in row}
    # One of the levels has rows of its own.
    return [row for level in rows if level for row in (inner if known & set(level) else [level])]


def read_imports(layers: list[list[str]]) -> set[Edge]:
    """(importer, imported) of the library's packages."""
    known = {name for row in layers for name in row}
    exceptions = {item for rule in _read_rules() for item in rule.get("ignore_imports", ())}
    edges = set()
    folder = ROOT / LIBRARY.replace(".", "/")
    for file in sorted(folder.rglob("*.py")):
        module = f"{LIBRARY}.{'.'.join(file.relative_to(folder).with_suffix('').parts)}"
        importer = module.split(".")[3]
        for imported in _imported_modules(file):
            package = imported.split(".")[3]
            if package in known and package != importer and f"{module} -> {imported}" not in exceptions:
                edges.add((importer, package))
    return edges


def read_addresses() -> set[Edge]:
    """(registry, package) of what the registry names without importing it."""
    from f.flexcore.lib.runtimes import RUNTIMES

    addresses = [
        address
        for runtime in RUNTIMES.values()
        for address in (*runtime.operations.values(), runtime.health, runtime.objects, runtime.hints)
        if address
    ]
    return {("runtimes", address.split(".")[3]) for address in addresses}


def reduce_edges(edges: set[Edge]) -> set[Edge]:
    """Without those that follow from others, and without those to the base."""
    reached = set(edges)
    names = sorted({name for edge in edges for name in edge})
    for middle, start, end in product(names, names, names):
        if (start, middle) in reached and (middle, end) in reached:
            reached.add((start, end))
    return {
        (start, end)
        for start, end in edges
        if end != BASE and not any((start, middle) in reached and (middle, end) in reached for middle in names)
    }


def draw() -> str:
    layers = read_layers()
    addresses = read_addresses()
    edges = reduce_edges(read_imports(layers) | addresses)
    places = _place(layers)
    width = 2 * MARGIN + 5 * CELL_WIDTH
    height = 2 * MARGIN + (len(layers) + 1) * CELL_HEIGHT
    lines = [_arrow(places[start], places[end], (start, end) in addresses) for start, end in sorted(edges)]
    boxes = [_box(x, y, BOX_WIDTH, name) for name, (x, y) in places.items() if name != BASE]
    base = _box(width / 2, places[BASE][1], width - 2 * MARGIN, "core: contracts, errors, the driver, redaction")
    steps = _box(width / 2, MARGIN + BOX_HEIGHT / 2, width - 2 * MARGIN, "steps: f/flexcore/*/*.py, each with a main")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            ' font-family="Helvetica, Arial, sans-serif" font-size="13">',
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7"'
            ' orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z" fill="{GRAY}"/></marker></defs>',
            '<rect width="100%" height="100%" fill="white"/>',
            *lines,
            steps,
            *boxes,
            base,
            "</svg>\n",
        ]
    )


def _read_rules() -> list[dict[str, Any]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rules: list[dict[str, Any]] = project["tool"]["importlinter"]["contracts"]
    return rules


def _names(line: str) -> list[str]:
    """Packages of one layer, independent of each other (|) or not (:)."""
    return line.replace("|", " ").replace(":", " ").split()


def _imported_modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(LIBRARY):
            yield from (f"{node.module}.{item.name}" for item in node.names)


def _place(layers: list[list[str]]) -> dict[str, tuple[float, float]]:
    """The middle of each box."""
    places = {}
    for row, names in enumerate(layers, start=1):
        for number, name in enumerate(names):
            column = COLUMNS.get(name, number)
            x = MARGIN + CELL_WIDTH * (column + 0.5)
            places[name] = (x, MARGIN + CELL_HEIGHT * row + BOX_HEIGHT / 2)
    return places


def _arrow(start: tuple[float, float], end: tuple[float, float], is_address: bool) -> str:
    (x1, y1), (x2, y2) = start, end
    if y1 == y2:
        side = BOX_WIDTH / 2 if x2 > x1 else -BOX_WIDTH / 2
        x1, x2 = x1 + side, x2 - side
    else:
        y1, y2 = y1 + BOX_HEIGHT / 2, y2 - BOX_HEIGHT / 2
        if abs(x2 - x1) > CELL_WIDTH and y2 - y1 > 2 * CELL_HEIGHT:
            # Past the corner of what stands between.
            x1, x2 = (x1 + BOX_WIDTH / 2, x2 + 30) if x2 > x1 else (x1 - BOX_WIDTH / 2, x2 - 30)
    dashed = ' stroke-dasharray="5 4"' if is_address else ""
    return (
        f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="{GRAY}" stroke-width="1.4"{dashed}'
        ' marker-end="url(#arrow)"/>'
    )


def _box(x: float, y: float, width: float, text: str) -> str:
    return (
        f'<rect x="{x - width / 2:.0f}" y="{y - BOX_HEIGHT / 2:.0f}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="5"'
        f' fill="{FILL}" stroke="{BLUE}"/>'
        f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" fill="{INK}">{text}</text>'
    )


if __name__ == "__main__":
    print(draw(), end="")
