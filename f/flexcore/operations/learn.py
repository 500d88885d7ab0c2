# requirements: flexcore_learning
"""Learns from the data pipelines that have run what each runtime takes and costs, for `pipeline/select_runtime`.

Meant for a schedule. The model is a resource of plain numbers (c_flexcore_forecast). When there is nothing to learn
from, what was learned before stays.
"""

from typing import Any

import wmill

from f.flexcore.lib.core import errors, tables
from f.flexcore.lib.operations import history, job_records
from f.flexcore.lib.selection import fitting, forecast
from f.flexcore.lib.views import forecast_page
from f.flexcore.lib.windmill import instance


def main(path: str = "f/flexcore/forecast", most: int = 1000, dry_run: bool = False) -> dict[str, Any]:
    client: Any = wmill.Windmill()  # type: ignore[no-untyped-call]
    runs = history.pipeline_runs(
        job_records.Jobs(instance.WindmillApi(client.client, str(client.workspace))),
        max(1, errors.checked(int, most, "most")),
    )
    if not runs:
        print("No data pipeline has ended with a row of history yet; nothing is learned")
        return tables.rendered(forecast_page.html(forecast.Forecasts(number=0)), {"model": None, "runtimes": []})
    before = _before(client, path)
    model = fitting.fit(runs).model_copy(update={"number": before.number + 1 if before else 1})
    if not dry_run:
        client.set_resource(model.plain(), path, "c_flexcore_forecast")
    print(f"{len(runs)} runs, {model.duplicates} of them duplicates; {path} is at number {model.number}")
    return tables.rendered(
        forecast_page.html(model), {"model": path, "number": model.number, "runtimes": forecast_page.rows(model)}
    )


def _before(client: Any, path: str) -> forecast.Forecasts | None:
    """What was learned last; None when there is none, or none that can be read."""
    try:
        return forecast.loaded(client.get_resource(path))[0]
    except Exception:
        # The client raises a bare Exception for a resource that does not exist.
        return None
