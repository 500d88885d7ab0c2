"""The pages of the project as the tests read them: blocks by their language, commands, links, headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), ROOT / "wmlocal/README.md", *(ROOT / ".github").rglob("*.md")],
    key=str,
)
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = "$ "
# What separates commands of one line; a word in quotes is never one.
SEPARATORS = {"&&", "|", ";", "||"}


@dataclass(frozen=True, slots=True)
class Block:
    """language: the first word behind the fence; source: the second, the file that the block is a part of."""

    page: Path
    language: str
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """A command of a `console` block and what it prints."""

    command: str
    output: str


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[Block]:
    for info, text in FENCE.findall(page.read_text(encoding="utf-8")):
        language, _, source = info.strip().partition(" ")
        yield Block(page, language, source.strip(), text)


def prose(page: Path) -> str:
    """The page without its blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def runs(block: Block) -> Iterator[Run]:
    for part in re.split(rf"^{re.escape(PROMPT)}", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield Run(command, output)


def shell_commands(block: Block) -> Iterator[list[str]]:
    """Each command of the block in words, without what a shell does around it."""
    lines = [run.command for run in runs(block)] if block.language == "console" else block.text.splitlines()
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if word not in SEPARATORS:
                command.append(word)
            elif command:
                yield command
                command = []


def mentions(page: Path) -> Iterator[list[str]]:
    """Commands in the text: `flexcore workflow deploy --prune`, or on a line of their own that is indented; arguments
    may be left out."""
    for line in re.findall(r"^ {4,}flexcore (.+)$", prose(page), re.MULTILINE):
        yield shlex.split(line, comments=True)
    for code in re.findall(r"`flexcore ([^`]+)`", prose(page)):
        yield shlex.split(code)


def links(page: Path) -> Iterator[str]:
    yield from re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
