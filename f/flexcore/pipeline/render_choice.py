# requirements: flexcore_base
"""Shows the choice of a runtime: what the work is, the candidates, the chosen one, and why not the others."""

from typing import Any

from f.flexcore.lib.views import selection_pages


def main(choice: dict) -> dict[str, Any]:
    try:
        analysis = selection_pages.render_analysis_page(choice["measures"])
        selection = selection_pages.render_selection_page(choice["selection"])
    except (AttributeError, KeyError, TypeError, ValueError):
        # Every run would pay for this import.
        from f.flexcore.lib.core import errors

        remedy = "Give the whole result of select_runtime."
        raise errors.InvalidInput("choice is not the result of a choice", subject="choice", remedy=remedy) from None
    return {"html": f"{selection}{analysis}"}
