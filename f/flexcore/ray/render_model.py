# requirements: flexcore_base
"""Shows a trained model: its measures beside a naive guess, what it leans on, its versions, notes and model card."""

from typing import Any

from f.flexcore.lib.views import model_pages


def main(trained: dict) -> dict[str, Any]:
    try:
        return {"html": model_pages.render_model_page(trained)}
    except (AttributeError, KeyError, TypeError, ValueError):
        # Every run would pay for this import.
        from f.flexcore.lib.core import errors

        remedy = "Give the whole result of a training."
        raise errors.InvalidInput("trained is not the result of a training", subject="trained", remedy=remedy) from None
