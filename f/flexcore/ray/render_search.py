# requirements: flexcore_base
"""Shows a search for parameters: the leaderboard, and plots of the trials."""

from typing import Any

from f.flexcore.lib.views import search_pages


def main(search: dict) -> dict[str, Any]:
    try:
        return {"html": search_pages.render_search_page(search["data"])}
    except (AttributeError, KeyError, TypeError, ValueError):
        # Every run would pay for this import.
        from f.flexcore.lib.core import errors

        remedy = "Give the whole result of f/flexcore/ray/search."
        raise errors.InvalidInput("search is not the result of a search", subject="search", remedy=remedy) from None
