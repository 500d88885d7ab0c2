# requirements: flexcore_base
# py: ==3.11.*
"""Registers a trained model under its name, once its measures are good enough; its result is the training's."""

from typing import Any

import f.flexcore.storage.catalog as catalog
from f.flexcore.core.contracts import StepResult
from f.flexcore.core.errors import DataError, validated
from f.flexcore.core.resources import Settings
from f.flexcore.storage.store import Store, model_manifest

c_flexcore_settings = dict
# (measure, that of the naive guess, whether more is better)
MEASURES = (("rmse", "baseline_rmse", False), ("accuracy", "baseline_accuracy", True))


def main(trained: dict, must_beat_guess: bool = True, settings: c_flexcore_settings | None = None) -> dict[str, Any]:
    result = validated(StepResult, trained, "trained")
    model = model_manifest(trained.get("output"))
    store = Store(validated(Settings, settings or {}, "settings"))
    store.verify(model)
    # A form that does not show the field sends null, which means the default.
    strict = must_beat_guess is not False
    for name, naive, more in MEASURES:
        own, guess = model.metrics.get(name), model.metrics.get(naive)
        if strict and own is not None and guess is not None and (own <= guess if more else own >= guess):
            raise DataError(
                f"{model.name} is no better than the naive guess: {name} {own:.4g}, the guess {guess:.4g}",
                subject="must_beat_guess",
                remedy="Use other features or more data; or register it all the same with must_beat_guess off.",
                category="model_not_better",
                metrics=model.metrics,
                model=model.uri,
            )
    entry = catalog.add(store, "model", model.name, model.version, model)
    print(f"Registered {entry.name}:{entry.version}")
    registered = {"name": entry.name, "version": entry.version, "uri": entry.uri}
    return result.model_copy(update={"data": {**result.data, "registered": registered}}).plain()
