# requirements: flexcore_base
"""The rows that early stopping looks at: a part of those to learn from, never of those held out. Shipped as source."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.ray.remote import dataset, holdout

# Of the rows to learn from.
VALIDATION_FRACTION = 0.1


def choose_validation_rows(rows: Any, held: list[Any], plan: dataset.Plan) -> list[Any]:
    """Their numbers, as an object of Ray's store: by content and stratified, as the held-out ones are."""
    import ray

    keys = (
        select(rows, held, False)
        .map_batches(holdout.split_columns, fn_args=[plan.target], batch_format="pyarrow", batch_size=None, num_cpus=0)
        .to_pandas()
    )
    chosen, _ = holdout.choose_rows(keys, plan, VALIDATION_FRACTION)
    return [ray.put(chosen)]


def split(rows: Any, held: list[Any], valid: list[Any] | None) -> dict[str, Any]:
    """train, test and, where early stopping wants it, valid: datasets that are read as they are used. They reserve no
    CPU: the workers that read them have taken what there is."""
    train = select(rows, held, False)
    parts = {"test": select(rows, held, True)}
    if valid is None:
        return {"train": train, **parts}
    return {"train": select(train, valid, False), "valid": select(train, valid, True), **parts}


def select(rows: Any, numbers: list[Any], among: bool) -> Any:
    return rows.map_batches(
        holdout.select_shared_part, fn_args=[numbers, among], batch_format="pyarrow", batch_size=None, num_cpus=0
    )
