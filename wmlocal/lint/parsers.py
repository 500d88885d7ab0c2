"""Signatures as Windmill's own parsers see them; one node process answers for a whole bundle."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PARSER = "windmill-parser-wasm-py"
# Long enough for a thousand scripts on a busy machine; a parser that hangs must not hang the check.
TIME_LIMIT_S = 120


class NoParsers(Exception):
    """Node or the parsers are not there; the message says how to get them."""


@dataclass(frozen=True, slots=True)
class Source:
    """A script's text: `key` names it in the answer, `path` is the item's own, empty for a flow's inline code."""

    key: str
    language: str
    content: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """What `main` takes, in the parsers' own words; `args` is None when it cannot be parsed."""

    args: list[dict[str, Any]] | None
    takes_any: bool = False
    is_library: bool = False
    has_preprocessor: bool = False
    # Paths of the scripts that this one imports, as Windmill tracks them.
    imports: tuple[str, ...] = ()
    # What TypeScript imports, in its own words.
    packages: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return [arg["name"] for arg in self.args or ()]


def signatures(sources: list[Source], root: Path) -> dict[str, Signature]:
    """By key; a language without a parser has none. Raises NoParsers."""
    if not sources:
        return {}
    node = shutil.which("node")
    modules = next((folder for folder in _module_folders(root) if (folder / PARSER).is_dir()), None)
    if node is None or modules is None:
        raise NoParsers(f"{'node' if node is None else PARSER} is missing (npm install windmill-cli)")
    asked = [{"key": s.key, "language": s.language, "content": s.content, "path": s.path} for s in sources]
    try:
        done = subprocess.run(
            [node, str(HERE / "parsers.mjs")],
            input=json.dumps({"modules": str(modules), "asked": asked}),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=TIME_LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NoParsers(f"Windmill's parsers did not answer ({error}); reinstall windmill-cli") from None
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {said["key"]: _signature(said) for said in answers if "signature" in said}


def _signature(said: dict[str, Any]) -> Signature:
    parsed = said["signature"]
    args = parsed.get("args") if parsed.get("type") != "Invalid" else None
    return Signature(
        args,
        bool(parsed.get("star_args") or parsed.get("star_kwargs")),
        parsed.get("auto_kind") == "lib" or bool(parsed.get("no_main_func")),
        bool(parsed.get("has_preprocessor")),
        tuple(said.get("imports") or ()),
        tuple(said.get("packages") or ()),
    )


def _module_folders(root: Path) -> Iterator[Path]:
    """Where the packages may be: with the bundle, with us, with a `wmill` that is installed for all."""
    yield root.resolve() / "node_modules"
    yield HERE.parents[1] / "node_modules"
    cli = shutil.which("wmill")
    if cli:
        for folder in Path(cli).resolve().parents:
            yield folder / "node_modules"
            if folder.name == "node_modules":
                yield folder
