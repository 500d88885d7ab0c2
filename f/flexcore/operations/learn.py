# requirements: flexcore_learning
# py: ==3.11.*
"""Learns from the data pipelines that have run what each runtime takes and costs, for `pipeline/select_runtime`.

Meant for a schedule. The model is a resource of plain numbers (c_flexcore_forecast). When there is nothing to learn
from, what was learned before stays.
"""

from typing import Any

import wmill

from f.flexcore.core.errors import checked
from f.flexcore.core.fitting import fit
from f.flexcore.core.forecast import Forecasts, loaded
from f.flexcore.core.forecast_page import html, rows
from f.flexcore.core.tables import rendered
from f.flexcore.operations.history import pipeline_runs
from f.flexcore.operations.jobs import Jobs
from f.flexcore.operations.windmill_api import WindmillApi


def main(path: str = "f/flexcore/forecast", most: int = 1000, dry_run: bool = False) -> dict[str, Any]:
    client: Any = wmill.Windmill()  # type: ignore[no-untyped-call]
    runs = pipeline_runs(Jobs(WindmillApi(client.client, str(client.workspace))), max(1, checked(int, most, "most")))
    if not runs:
        print("No data pipeline has ended with a row of history yet; nothing is learned")
        return rendered(html(Forecasts(number=0)), {"model": None, "runtimes": []})
    before = _before(client, path)
    model = fit(runs).model_copy(update={"number": before.number + 1 if before else 1})
    if not dry_run:
        client.set_resource(model.plain(), path, "c_flexcore_forecast")
    print(f"{len(runs)} runs, {model.duplicates} of them duplicates; {path} is at number {model.number}")
    return rendered(html(model), {"model": path, "number": model.number, "runtimes": rows(model)})


def _before(client: Any, path: str) -> Forecasts | None:
    """What was learned last; None when there is none, or none that can be read."""
    try:
        return loaded(client.get_resource(path))[0]
    except Exception:
        # The client raises a bare Exception for a resource that does not exist.
        return None
