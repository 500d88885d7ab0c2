"""What all commands share: options, errors as one plain sentence, tables and JSON.

stdout holds the result alone; whatever else is said goes to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from flexcore import exit_codes

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 change the request or the settings, 3 try again later, 4 timed out, 5 canceled,"
    " 130 interrupted."
)
MAX_NAME_CHARS = 200
# A folder that holds one of these files is a bundle's; so is the current one with one of these folders.
MARKS, SPACES = ("wmill.yaml", "flexcore.yaml", "windmill.yaml"), ("f", "u")


def nearest_bundle(root: Path) -> Path:
    """Where no folder was named: the nearest one at or above this that is a bundle's, as the wmill CLI looks for it."""
    if root != Path():
        return root
    here = Path.cwd()
    if any((here / name).is_dir() for name in SPACES):
        return root
    return next((folder for folder in (here, *here.parents) if any((folder / name).is_file() for name in MARKS)), root)


Root = Annotated[
    Path,
    typer.Option(
        "--root", help="Folder of the bundle; else the nearest one at or above this.", callback=nearest_bundle
    ),
]
Parameters = Annotated[str, typer.Option("--parameters", "--args", "-p", help="JSON object, or @file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]
Server = Annotated[
    str,
    typer.Option("--server", help="URL, wmill profile or `embedded`; else flexcore.yaml's, else the active profile."),
]
Workspace = Annotated[str, typer.Option("--workspace", help="Workspace of the server, when it is not the profile's.")]
Job = Annotated[str, typer.Argument(metavar="ID", help="A run or one of its steps; a unique prefix of a run's id.")]


def run_guarded(action: Callable[[], int]) -> None:
    """Ends the command with the action's exit code; errors made for people are printed, not raised."""
    import sqlite3

    from f.flexcore.lib.core.errors import FlexcoreError
    from wmlocal.engine.errors import EngineError

    try:
        code = action()
    except KeyboardInterrupt:
        code = exit_codes.INTERRUPTED
    except FlexcoreError as error:
        print(f"flexcore: {error}", file=sys.stderr)
        code = exit_codes.of_error(type(error))
    except EngineError as error:
        print(f"flexcore: {error}", file=sys.stderr)
        code = exit_codes.CANNOT_START
    except BrokenPipeError:
        raise
    except OSError as error:
        # A folder that may not be written, a full disk, a name that is too long.
        name = str(error.filename or "a file")[-MAX_NAME_CHARS:]
        print(f"flexcore: {name}: {error.strerror or error}", file=sys.stderr)
        code = exit_codes.CANNOT_START
    except sqlite3.Error as error:
        # SQLite's own words for a full disk, a folder that may not be written, a file that is locked or broken.
        from wmlocal.engine.engine import default_home

        print(
            f"flexcore: {default_home() / 'engine.db'}: {error}; make room on its disk, or set FLEXCORE_HOME to another"
            " folder",
            file=sys.stderr,
        )
        code = exit_codes.CANNOT_START
    raise typer.Exit(code)


def examples(*lines: str, codes: str = EXIT_CODES) -> str:
    """The end of a command's help. codes: "" where the command's own text says them."""
    return "\n\n".join(["Examples:", *(f"  {line}" for line in lines), *([codes] if codes else ())])


def json_object(text: str, option: str) -> dict[str, Any]:
    """A JSON object from the command line, or from a file given as @file. Raises BadArguments."""
    from wmlocal.engine.errors import BadArguments

    source = option
    if text.startswith("@"):
        source = text[1:]
        try:
            text = Path(source).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise BadArguments(f"{source} cannot be read: {error}; give a JSON file as @file") from None
    try:
        value = json.loads(text)
        # What JSON lets pass and nobody can send: half of a surrogate pair.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        why = "half of a surrogate pair in a text" if isinstance(error, UnicodeEncodeError) else error
        raise BadArguments(f"{source} is not JSON ({why}); write it as '{{\"name\": 1}}'") from None
    if not isinstance(value, dict):
        raise BadArguments(
            f"{source} must hold a JSON object, not {type(value).__name__}; write it as '{{\"name\": 1}}'"
        )
    return value


def print_json(value: Any, indent: int | None = None) -> None:
    shows_all = (sys.stdout.encoding or "").lower() in ("utf-8", "utf8")
    print(json.dumps(value, indent=indent, ensure_ascii=not shows_all))


def print_result(value: Any) -> None:
    print_json(value, indent=2)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], styles: dict[str, str] | None = None) -> None:
    """Colored and folded on a terminal; in a pipe one line for each row. styles: of a cell, by its text."""
    lines = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_colored(columns, lines, styles or {})
        return
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    for line in [columns, *lines]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_colored(columns: Sequence[str], lines: list[list[str]], styles: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for line in lines:
        table.add_row(*(Text(cell, style=styles.get(cell, "")) for cell in line))
    Console(highlight=False).print(table)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
