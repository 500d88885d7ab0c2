# requirements: flexcore_base
"""Registers a trained model under its name, once its measures are good enough; its result is the training's."""

from typing import Any

from f.flexcore.lib.core import contracts, errors, operation, resources
from f.flexcore.lib.storage import catalog, object_store

c_flexcore_settings = dict
# (measure, that of the naive guess, whether more is better)
MEASURES = (
    ("rmse", "baseline_rmse", False),
    ("accuracy", "baseline_accuracy", True),
    ("ndcg_at_10", "baseline_ndcg_at_10", True),
)


def main(trained: dict, must_beat_guess: bool = True, settings: c_flexcore_settings | None = None) -> dict[str, Any]:
    result = errors.validate(contracts.StepResult, trained, "trained")
    model = object_store.model_manifest(trained.get("output"))
    store = object_store.Store(errors.validate(resources.Settings, settings or {}, "settings"))
    store.verify(model)
    strict = must_beat_guess is not False  # A form that does not show the field sends null: the default.
    for name, naive, more in MEASURES:
        own, guess = model.metrics.get(name), model.metrics.get(naive)
        if strict and own is not None and guess is not None and (own <= guess if more else own >= guess):
            raise errors.DataError(
                f"{model.name} is no better than the naive guess: {name} {own:.4g}, the guess {guess:.4g}",
                subject="must_beat_guess",
                remedy="Use other features or more data; or register it all the same with must_beat_guess off.",
                category="model_not_better",
                metrics=model.metrics,
                model=model.uri,
            )
    entry = catalog.add(store, "model", model.name, model.version, model)
    print(f"Registered {entry.name}:{entry.version}")
    result.data["registered"] = {"name": entry.name, "version": entry.version, "uri": entry.uri}
    return operation.show(result.plain())
