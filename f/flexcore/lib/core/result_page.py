# requirements: flexcore_base
"""A result that Windmill shows as a page, and that programs read as if it had none. Pure.

Windmill renders the `html` of a result whose `wm_renderer` says so, and leaves every other field where it is; its
button JSON shows them. Both keys are for eyes alone: no contract has them, and whoever reads a result drops them.
Source: Windmill's DisplayResult.svelte, inferResultKind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENDERER, HTML = "wm_renderer", "html"
# A page that is larger is left out: the plain data stays below what Windmill shows at once.
MAX_PAGE_CHARACTERS = 200_000


def add_page(plain: Mapping[str, Any], page: str) -> dict[str, Any]:
    """The plain result with its page; without one when the page is empty or too large."""
    if not page or len(page) > MAX_PAGE_CHARACTERS:
        return dict(plain)
    return {**plain, RENDERER: HTML, HTML: page}


def drop_page(result: Any) -> Any:
    """The result as programs read it; anything else as it is."""
    if not isinstance(result, Mapping) or result.get(RENDERER) != HTML:
        return result
    return {name: value for name, value in result.items() if name not in (RENDERER, HTML)}
