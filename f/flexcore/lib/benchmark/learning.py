# requirements: flexcore_benchmark
"""Training and prediction in the race: lineitem's price from five of its columns, by xgboost with the same parameters.

Two trainings draw other held-out rows and agree in no bit, so an output counts when its predictions explain the price
as well as any correct one does: the price is the quantity times what the part costs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost

from f.flexcore.lib.benchmark import legs

# Every so-many-th row is held out.
HOLDOUT_EVERY = 5
PREDICTION = "prediction"
Array = np.ndarray[Any, np.dtype[np.float64]]


def read_columns(path: Path, names: list[str]) -> Array:
    """Columns of a Parquet file as floats."""
    table = pq.read_table(path, columns=names)
    return np.column_stack([table[name].cast(pa.float64()).to_numpy() for name in names])


def train(source: Path, model: Path | None = None) -> dict[str, float]:
    """Metrics on held-out rows. model: where to store the model."""
    features, target = read_columns(source, list(legs.FEATURES)), read_columns(source, [legs.TARGET])[:, 0]
    held_out = np.arange(len(target)) % HOLDOUT_EVERY == 0
    booster = xgboost.train(
        {"max_depth": legs.MAX_DEPTH, "tree_method": "hist"},
        xgboost.DMatrix(features[~held_out], target[~held_out]),
        num_boost_round=legs.TREES,
    )
    guess = booster.predict(xgboost.DMatrix(features[held_out]))
    if model:
        booster.save_model(model)
    return {"r2": compute_r2(target[held_out], guess), "rows": float(len(target))}


def predict(source: Path, model: Path, output: Path) -> int:
    """Rows written: what the model predicts beside the truth."""
    booster = xgboost.Booster(model_file=model)
    guess = booster.predict(xgboost.DMatrix(read_columns(source, list(legs.FEATURES))))
    target = read_columns(source, [legs.TARGET])[:, 0]
    pq.write_table(pa.table({legs.TARGET: target, PREDICTION: guess.astype(np.float64)}), output)
    return len(guess)


def compute_r2(truth: Any, guess: Any) -> float:
    """The part of the variance that is explained; 0 for a truth that does not vary."""
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float(((truth - guess) ** 2).sum()) / spread if spread else 0.0


def evaluate_predictions(batches: Any) -> tuple[int, float]:
    """(rows, r2) of an output of `predict`, whatever runtime wrote it. Raises KeyError for a missing column."""
    columns: tuple[list[Array], list[Array]] = ([], [])
    for batch in batches:
        for values, name in zip(columns, (legs.TARGET, PREDICTION), strict=True):
            values.append(batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False))
    truth, guess = (np.concatenate(values) if values else np.zeros(0) for values in columns)
    return len(truth), compute_r2(truth, guess) if len(truth) else 0.0
