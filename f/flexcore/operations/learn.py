# requirements: flexcore_learning
"""Learn from the data pipelines that have run what each runtime takes and costs, for `pipeline/select_runtime`.

Meant for a schedule. The model is a resource of plain numbers (c_flexcore_forecast). When there is nothing to learn
from, what was learned before stays.
"""

from typing import Any

import wmill

from f.flexcore.lib.core import errors
from f.flexcore.lib.operations import history, job_records
from f.flexcore.lib.selection import forecast, forecast_fit
from f.flexcore.lib.views import html, selection_pages
from f.flexcore.lib.windmill import instance


def main(path: str = "f/flexcore/forecast", most: int = 1000, dry_run: bool = False) -> dict[str, Any]:
    client: Any = wmill.Windmill()  # type: ignore[no-untyped-call]
    runs = history.pipeline_runs(
        job_records.Jobs(instance.WindmillApi(client.client, str(client.workspace))),
        max(1, errors.checked(int, most, "most")),
    )
    if not runs:
        print("No data pipeline has ended with a row of history yet; nothing is learned")
        return html.wrap_page(selection_pages.render_forecast_page([]), {"model": None, "runtimes": []})
    before = _read_forecasts(client, path)
    model = forecast_fit.fit_forecasts(runs).model_copy(update={"number": before.number + 1 if before else 1})
    if not dry_run:
        client.set_resource(model.plain(), path, "c_flexcore_forecast")
    print(f"{len(runs)} runs, {model.duplicates} of them duplicates; {path} is at number {model.number}")
    rows = model.summarize()
    plain = {"model": path, "number": model.number, "runtimes": rows}
    return html.wrap_page(selection_pages.render_forecast_page(rows), plain)


def _read_forecasts(client: Any, path: str) -> forecast.Forecasts | None:
    """The stored model; None when there is none, or none that can be read."""
    try:
        return forecast.parse_forecasts(client.get_resource(path))[0]
    except Exception:
        # The client raises a bare Exception for a resource that does not exist.
        return None
