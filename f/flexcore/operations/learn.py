# requirements: flexcore_learning
"""Learn from the data pipelines that have run what each runtime takes and costs, for `pipeline/select_runtime`.

Meant for a schedule. The model is a resource of plain numbers (c_flexcore_forecast). When there is nothing to learn
from, what was learned before stays.
"""

from typing import Any

import wmill

from f.flexcore.lib.core import errors
from f.flexcore.lib.operations import history
from f.flexcore.lib.views import html, selection_pages
from f.flexcore.lib.windmill import client


def main(path: str = "f/flexcore/forecast", most: int = 1000, dry_run: bool = False) -> dict[str, Any]:
    windmill = client.Client()
    runs = history.read_pipeline_runs(windmill, max(1, errors.check_value(int, most, "most")))
    if not runs:
        print("No data pipeline has ended with a row of history yet; nothing is learned")
        return html.wrap_page(selection_pages.render_forecast_page([]), {"model": None, "runtimes": []})
    # Loaded for what there is to learn from.
    from f.flexcore.lib.selection import forecast, forecast_fit

    stored = windmill.find_resource(path)
    previous = forecast.parse_forecasts(stored)[0] if stored else None
    model = forecast_fit.fit_forecasts(runs).model_copy(update={"number": previous.number + 1 if previous else 1})
    if not dry_run:
        wmill.set_resource(path, model.plain(), "c_flexcore_forecast")
    print(f"{len(runs)} runs, {model.duplicates} of them duplicates; {path} is at number {model.number}")
    rows = model.summarize()
    plain = {"model": path, "number": model.number, "runtimes": rows}
    return html.wrap_page(selection_pages.render_forecast_page(rows), plain)
