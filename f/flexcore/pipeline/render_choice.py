# requirements: flexcore_base
"""Shows the choice of a runtime: what the work is, the candidates, the chosen one, and why not the others."""

from typing import Any

from f.flexcore.lib.views import selection_pages


def main(choice: dict) -> dict[str, Any]:
    analysis = selection_pages.render_analysis_page(choice["measures"])
    return {"html": f"{selection_pages.render_selection_page(choice['selection'])}<br>{analysis}"}
