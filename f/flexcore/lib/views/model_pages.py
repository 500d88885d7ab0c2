# requirements: flexcore_base
"""The page of a trained model, from the plain result of its training. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from f.flexcore.lib.views import html

Plain = Mapping[str, Any]
MAX_FEATURES = 20
MAX_CARD_CHARACTERS = 50_000
BASELINE = "baseline_"


def render_model_page(result: Plain) -> str:
    """result: as `contracts.StepResult` of a training has it. Names, notes and the card may be anybody's text: they are
    shown as text."""
    model, data = result["output"], result["data"]
    title = f"{model['name']} {model['version']}: {model['algorithm']} for {model['target']}"
    notes = "".join(f"<li>{escape(str(note))}</li>" for note in data.get("notes") or [])
    importance = [(str(name), float(loss)) for name, loss in (data.get("importance") or [])[:MAX_FEATURES]]
    parts = [
        html.build_table(("Measure", "Model", "Naive guess"), _list_metrics(model["metrics"])),
        html.build_bars(
            "Loss of the score without a feature", [(name, max(0.0, loss)) for name, loss in importance], ""
        ),
        html.build_table(("Trained with", "Version"), list((model.get("versions") or {}).items())),
        f"<ul>{notes}</ul>" if notes else "",
        # As it is stored, for whoever wants to copy it.
        html.build_fold("Model card", str(data.get("card") or ""), MAX_CARD_CHARACTERS),
    ]
    return html.build_page(html.build_summary("success" if result.get("success", True) else "failed", title), *parts)


def _list_metrics(metrics: Plain) -> list[tuple[str, str, str]]:
    """Each measure beside that of the naive guess."""
    return [
        (name, _format_number(value), _format_number(metrics.get(BASELINE + name)))
        for name, value in metrics.items()
        if not name.startswith(BASELINE)
    ]


def _format_number(value: Any) -> str:
    return html.UNKNOWN if value is None else f"{value:.6g}"
