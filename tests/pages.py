"""What a step with a page for people hands to programs."""

from __future__ import annotations

from typing import Any


def read_plain(result: dict[str, Any]) -> dict[str, Any]:
    """The plain data of a rich result: its last part."""
    plain: dict[str, Any] = result["render_all"][-1]
    return plain
