"""`flexcore --help` without rich, whose import takes longer than everything else a help page needs."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from flexcore.exit_codes import CANNOT_START

OTHERS = "Commands"
MAX_HELP = 160


class SectionedGroup(TyperGroup):
    """A group of commands whose help page has a section for each `rich_help_panel`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without arguments the page is what was asked for, so it goes to stdout."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            print(ctx.get_help())
            ctx.exit(CANNOT_START)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {OTHERS: []}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                section = sections.setdefault(panel if isinstance(panel, str) else OTHERS, [])
                section.append((name, command.get_short_help_str(MAX_HELP)))
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
