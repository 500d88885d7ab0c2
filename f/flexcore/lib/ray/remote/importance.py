# requirements: flexcore_base
"""How much a model leans on each feature: what its score loses when the feature's values are shuffled among the
held-out rows (permutation importance; Breiman, 2001). Shipped as source."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
# Of so many held-out rows; more say no more.
MAX_ROWS = 1000
# A card is not worth more of a training's time.
MAX_S = 10.0
SEED = 0


def measure_importance(
    pipeline: Any, rows: Any, truth: Any, task: str, clock: Callable[[], float] = time.monotonic
) -> tuple[list[tuple[str, float]], list[str]]:
    """([(feature, loss of score)] from the most to the least important, notes): of accuracy for classes, else of R²
    (for a ranking, of its own scores). A feature that the time did not reach is left out, and said."""
    import numpy as np

    if len(rows) < 2:
        return [], ["The importance of the features is not measured: fewer than two rows are held out"]
    if len(rows) > MAX_ROWS:
        rows = rows.sample(MAX_ROWS, random_state=SEED)
        truth = truth.loc[rows.index]
    generator, deadline = np.random.default_rng(SEED), clock() + MAX_S
    # The order that a ranking gives has no truth of its own scale: what changes it is what it leans on.
    truth = pipeline.predict(rows) if task == "ranking" else truth.to_numpy()
    whole, found, late = score(pipeline, rows, truth, task), list[tuple[str, float]](), list[str]()
    for name in rows.columns:
        if clock() > deadline:
            late.append(str(name))
            continue
        shuffled = rows.copy()
        shuffled[name] = rows[name].to_numpy()[generator.permutation(len(rows))]
        found.append((str(name), round(whole - score(pipeline, shuffled, truth, task), 6)))
    notes = [f"The importance of {len(late)} features was not measured within {MAX_S:g} s"] if late else []
    return sorted(found, key=lambda item: -item[1]), notes


def score(pipeline: Any, rows: Any, truth: Any, task: str) -> float:
    import numpy as np

    answers = pipeline.predict(rows)
    if task == "classification":
        return float(np.mean(np.asarray(answers) == np.asarray(truth)))
    spread = float(np.sum((truth - np.mean(truth)) ** 2))
    return 1 - float(np.sum((truth - answers) ** 2)) / spread if spread else 0.0
