"""What docs/ takes from the code, written anew: `make pages`. A test says when it is due."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench import architecture_plot, command_table, troubleshooting_page

DOCS = Path(__file__).parents[1] / "docs"


def write_cli_page() -> str:
    return command_table.put_table((DOCS / "cli.md").read_text(encoding="utf-8"))


PAGES: dict[str, Callable[[], str]] = {
    "architecture.svg": architecture_plot.draw,
    "cli.md": write_cli_page,
    "troubleshooting.md": troubleshooting_page.render_page,
}

if __name__ == "__main__":
    for name, render in PAGES.items():
        text = render()
        (DOCS / name).write_text(text, encoding="utf-8")
