# requirements: flexcore_benchmark
"""The end of one run of the race: its output compared with the source and removed, its time asked of Windmill.

What came of it is stored before the output goes: a repeat of the step finds no output any more, and returns that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.benchmark import database, legs, outputs, results
from f.flexcore.lib.core import contracts, errors, identity
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import client

# Of the flow of one run: the step that does the work.
STEP = "run"


def record(
    leg: legs.Leg,
    result: Any,
    source: Mapping[str, Any],
    place: database.Database,
    store: object_store.Store,
    windmill: client.Client,
    flow_job: str,
    key: identity.ExecutionKey,
) -> dict[str, Any]:
    """{success, measurement, run, wm_labels}: the run is the row that the history reads."""
    uri = store.uri(key.value, "measurement.json")
    recorded: dict[str, Any] | None = store.read_json(uri)
    step, error = results.read_step_result(result)
    if recorded is None:
        seconds = client.read_step_duration_s(windmill, flow_job, STEP)
        recorded = _measure(leg, step, error, source, place, store, seconds)
        store.write_json(uri, recorded)
    outputs.remove_output(leg, step, place, store)
    return recorded


def _measure(
    leg: legs.Leg,
    step: contracts.StepResult | None,
    error: str,
    source: Mapping[str, Any],
    place: database.Database,
    store: object_store.Store,
    seconds: float | None,
) -> dict[str, Any]:
    expected = errors.validate(results.Marks, source.get("fingerprint"), "source.fingerprint")
    difference: str | None = None
    if step and step.success:
        try:
            difference = outputs.find_difference(leg, step, expected, place, store)
        except errors.FlexcoreError as problem:
            error = f"disqualified: {problem}"
    measurement = results.measure(leg, step, seconds, expected.rows, difference, error)
    run = results.build_run(leg, measurement, source)
    print(
        f"{leg.work} {leg.table} on {leg.runtime}: {seconds} s, {measurement.error or 'equal to the source'}",
        flush=True,
    )
    return {
        "success": measurement.success,
        "measurement": measurement.plain(),
        "run": run.plain() if run else None,
        "wm_labels": results.build_labels(leg) if run else [],
    }
