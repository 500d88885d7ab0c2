"""The table of commands in docs/cli.md, from the command line itself.

uv run python -m bench.pages writes it between the two comments of the page.
"""

from __future__ import annotations

from functools import cache
from typing import Any

BEGIN, END = "<!-- commands: written by make pages -->", "<!-- end of commands -->"
# Every command has these; the page says it once.
COMMON = {"--help", "-h", "--root", "--json", "--server", "--workspace"}


@cache
def list_commands() -> dict[tuple[str, ...], Any]:
    """(group, verb) or (verb,) → the click command, with all its parameters."""
    import typer
    from typer.main import get_command, get_group

    from flexcore.cli import app
    from flexcore.commands.demo import demo

    found: dict[tuple[str, ...], Any] = {}
    for name, item in get_group(app).commands.items():
        below = getattr(item, "commands", None)
        found |= {(name, verb): each for verb, each in below.items()} if below else {(name,): item}
    own = typer.Typer(add_completion=False)
    own.command()(demo)
    # It takes its options by itself, so that help needs not import it.
    found["demo",] = get_command(own)
    return found


def render_table() -> str:
    lines = ["| command | what it does | options of its own |", "|---|---|---|"]
    for path, command in sorted(list_commands().items()):
        arguments = [item for item in command.params if item.param_type_name == "argument"]
        options = [item.opts[0] for item in command.params if item.param_type_name == "option"]
        shown = ", ".join(f"`{name}`" for name in options if name not in COMMON)
        name = " ".join(("flexcore", *path, *map(name_argument, arguments)))
        lines.append(f"| `{name}` | {summarize(command)} | {shown} |")
    return "\n".join(lines)


def name_argument(argument: Any) -> str:
    name = str(argument.metavar or argument.name).upper()
    return name if argument.required else f"[{name}]"


def summarize(command: Any) -> str:
    """The first sentence of its help."""
    text = " ".join(str(command.help or "").split("\n\n")[0].split())
    return text.replace("|", "\\|")


def put_table(page: str) -> str:
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{render_table()}\n{END}{rest.split(END)[1]}"
