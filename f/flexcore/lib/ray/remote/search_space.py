# requirements: flexcore_base
"""Spaces of parameters to search, as plain JSON, and what is drawn from them. Pure; shipped as source.

    {"max_depth": {"randint": [3, 11]}, "learning_rate": {"loguniform": [0.01, 0.3]}, "booster": {"choice": ["a", "b"]}}

The names are Ray Tune's and numpy's: of whole numbers the upper bound is not among them.
"""

from __future__ import annotations

import json
import math
import random
from typing import Any

Json = dict[str, Any]
SEED = 0
RANGES = ("uniform", "loguniform", "randint", "lograndint", "quniform")
KINDS = ("choice", *RANGES)
# Draws that were drawn before are not tried twice; a small space has no more to give.
MAX_DRAWS_PER_TRIAL = 20

_RATE, _SHARE = {"loguniform": [0.01, 0.3]}, {"uniform": [0.5, 1.0]}
_BOOSTING = {
    "n_estimators": {"randint": [50, 600]},
    "learning_rate": _RATE,
    "subsample": _SHARE,
    "colsample_bytree": _SHARE,
}
_FOREST = {
    "n_estimators": {"randint": [100, 500]},
    "max_depth": {"choice": [None, 5, 10, 20]},
    "min_samples_leaf": {"randint": [1, 20]},
    "max_features": {"choice": [0.3, 0.6, 1.0]},
}
# By the algorithm's name in lower case, without what says that it is a regressor or classifier.
DEFAULT_SPACES: dict[str, Json] = {
    "xgboost": {**_BOOSTING, "max_depth": {"randint": [3, 11]}, "min_child_weight": {"randint": [1, 20]}},
    "lightgbm": {**_BOOSTING, "num_leaves": {"randint": [15, 128]}, "min_child_samples": {"randint": [5, 50]}},
    "randomforest": _FOREST,
    "extratrees": _FOREST,
    "histgradientboosting": {
        "max_iter": {"randint": [50, 600]},
        "learning_rate": _RATE,
        "max_leaf_nodes": {"randint": [15, 128]},
        "l2_regularization": {"loguniform": [1e-4, 10]},
    },
    "ridge": {"alpha": {"loguniform": [1e-3, 1e3]}},
    "lasso": {"alpha": {"loguniform": [1e-4, 1e2]}},
    "logisticregression": {"C": {"loguniform": [1e-3, 1e3]}},
}
ALIASES = {"xgb": "xgboost", "lgbm": "lightgbm", "lgb": "lightgbm"}


def find_default_space(algorithm: str) -> Json | None:
    """The space of an algorithm for which the request names none; None for an algorithm without."""
    name = ALIASES.get(algorithm.lower(), algorithm.lower())
    return DEFAULT_SPACES.get(name.removesuffix("regressor").removesuffix("classifier")) or DEFAULT_SPACES.get(name)


def check_space(space: Json) -> Json:
    """The space itself. Raises ValueError that names the parameter."""
    for name, values in space.items():
        _check_values(name, values)
    return space


def _check_values(name: str, values: Any) -> None:
    if not isinstance(values, dict) or len(values) != 1 or next(iter(values)) not in KINDS:
        raise ValueError(f'{name}: write what to draw as one of {", ".join(KINDS)}, e.g. {{"uniform": [0.5, 1]}}')
    ((kind, bounds),) = values.items()
    if kind == "choice":
        if not isinstance(bounds, list) or not bounds:
            raise ValueError(f"{name}: choice needs a list of values")
        return
    count = 3 if kind == "quniform" else 2
    if not isinstance(bounds, list) or len(bounds) != count or not all(map(_is_number, bounds)):
        shape = "[low, high, step]" if kind == "quniform" else "[low, high]"
        raise ValueError(f"{name}: {kind} needs the numbers {shape}")
    low, high = bounds[:2]
    if low >= high:
        raise ValueError(f"{name}: {kind} needs a low that is below its high, not {low:g} and {high:g}")
    if kind.startswith("log") and low <= 0:
        raise ValueError(f"{name}: {kind} needs a low above 0")
    if kind.endswith("randint") and not all(float(bound).is_integer() for bound in bounds):
        raise ValueError(f"{name}: {kind} needs whole numbers")
    if kind == "quniform" and bounds[2] <= 0:
        raise ValueError(f"{name}: quniform needs a step above 0")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def draw_candidates(space: Json, given: Json, trials: int) -> list[Json]:
    """The parameters of each trial: first those given, so that a search never ends with something worse, then random
    ones around them (Bergstra and Bengio, 2012); what is given is never changed. The same for the same arguments; fewer
    than `trials` where the space has no more."""
    fixed = {name: value for name, value in given.items() if value is not None}
    free = {name: values for name, values in sorted(space.items()) if name not in fixed}
    drawn, seen, source = [fixed], {_key(fixed)}, random.Random(SEED)
    for _ in range(MAX_DRAWS_PER_TRIAL * trials if free else 0):
        if len(drawn) >= trials:
            break
        item = fixed | {name: draw(values, source) for name, values in free.items()}
        if _key(item) not in seen:
            seen.add(_key(item))
            drawn.append(item)
    return drawn


def draw(values: Json, source: random.Random) -> Any:
    ((kind, bounds),) = values.items()
    if kind == "choice":
        return source.choice(bounds)
    low, high = bounds[:2]
    if kind == "uniform":
        return source.uniform(low, high)
    if kind == "quniform":
        step = bounds[2]
        return min(max(round(source.uniform(low, high) / step) * step, low), high)
    if kind == "randint":
        return source.randrange(int(low), int(high))
    value = math.exp(source.uniform(math.log(low), math.log(high)))
    return min(int(value), int(high) - 1) if kind == "lograndint" else value


def _key(item: Json) -> str:
    return json.dumps(item, sort_keys=True, default=str)
