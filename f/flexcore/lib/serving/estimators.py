# requirements: flexcore_base
"""Algorithms by name: xgboost, lightgbm, or any scikit-learn regressor or classifier. Shipped as source.

Everything is a scikit-learn estimator in the end, so that one pipeline takes raw rows and any server that knows
scikit-learn can load it. Unknown names and parameters are told apart from problems of the data.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib import import_module
from operator import attrgetter, methodcaller
from typing import Any

from f.flexcore.lib.serving import column_kinds, problems

BOOSTERS = {"xgboost": ("xgboost", "XGB"), "lightgbm": ("lightgbm", "LGBM")}
BOOSTER_CLASSES = {"regression": "Regressor", "classification": "Classifier", "ranking": "Ranker"}
ALIASES = {"xgb": "xgboost", "lgbm": "lightgbm", "lgb": "lightgbm"}
# Where scikit-learn keeps its regressors and classifiers.
MODULES = (
    "linear_model",
    "ensemble",
    "tree",
    "svm",
    "neighbors",
    "neural_network",
    "naive_bayes",
    "discriminant_analysis",
    "gaussian_process",
    "kernel_ridge",
    "cross_decomposition",
    "isotonic",
    "dummy",
    "semi_supervised",
)
# The boosters' own names for what their scikit-learn form calls otherwise; they take both.
NATIVE = {
    "xgboost": {"eta", "lambda", "alpha", "min_split_loss", "seed", "nthread"},
    "lightgbm": {"eta", "lambda_l1", "lambda_l2", "max_bin", "bagging_fraction", "bagging_freq", "feature_fraction"},
}
# These split on order and need neither scaling nor one column per category.
TREES = re.compile(r"XGB|LGBM|Tree|Forest|Boosting|Bagging|AdaBoost")
TAKES_MISSING = re.compile(r"XGB|LGBM|HistGradientBoosting")
SEED = 0
CALENDAR = ("year", "month", "day", "day_of_week", "hour")
JULIAN_DAY_OF_1970 = 2440587.5
Json = dict[str, Any]


def make_estimator(algorithm: str, task: str, parameters: Json, threads: int) -> Any:
    """An unfitted estimator. Raises InvalidInput that names `algorithm` or the parameter."""
    kind = find_estimator_class(algorithm, task)
    chosen_values = {name: value for name, value in parameters.items() if value is not None}
    try:
        estimator = kind()
    except TypeError:
        raise problems.Problem(
            "InvalidInput", f"{algorithm} needs other estimators, so it cannot be chosen by name", "algorithm"
        ) from None
    known = set(estimator.get_params())
    booster = ALIASES.get(algorithm.lower(), algorithm.lower())
    for name in chosen_values:
        if name not in known | NATIVE.get(booster, set()):
            near = get_close_matches(name, known, 3)
            hint = f"Did you mean {', '.join(near)}? " if near else ""
            raise problems.Problem(
                "InvalidInput",
                f"{algorithm} has no parameter {name!r}",
                f"parameters.{name}",
                f"{hint}It has: {', '.join(sorted(known))}.",
            )
    defaults = {"random_state": SEED, "n_jobs": threads, **({"verbosity": -1} if booster == "lightgbm" else {})}
    chosen = {name: value for name, value in defaults.items() if name in known | {"verbosity"}} | chosen_values
    if booster not in BOOSTERS:
        chosen = {name: value for name, value in chosen.items() if name in known}
    return estimator.set_params(**chosen)


def find_estimator_class(algorithm: str, task: str) -> Any:
    """The class that an algorithm's name stands for, for regression or classification."""
    name = ALIASES.get(algorithm.lower(), algorithm.lower())
    if name in BOOSTERS:
        module, prefix = BOOSTERS[name]
        return getattr(import_module(module), prefix + BOOSTER_CLASSES[task])
    loaded = next((item for item in map(_load_module, MODULES) if algorithm in item), None)
    if loaded is None:
        raise unknown_algorithm(algorithm)
    kind = loaded[algorithm]
    can = find_task(kind)
    if can is None:
        raise unknown_algorithm(algorithm)
    if can != task:
        other = algorithm.replace("Regressor", "Classifier") if can == "regression" else algorithm
        raise problems.Problem(
            "InvalidInput",
            f"{algorithm} does {can}, but the target asks for {task}",
            "algorithm",
            f"Choose another algorithm, e.g. {other if other != algorithm else 'xgboost'}, or another task.",
        )
    return kind


def find_task(kind: Any) -> str | None:
    from sklearn.base import ClassifierMixin, RegressorMixin

    if not isinstance(kind, type):
        return None
    if issubclass(kind, RegressorMixin):
        return "regression"
    return "classification" if issubclass(kind, ClassifierMixin) else None


def unknown_algorithm(algorithm: str) -> problems.Problem:
    names = sorted(
        name for item in map(_load_module, MODULES) for name, kind in item.items() if find_task(kind) is not None
    )
    names += list(BOOSTERS)
    lower = {name.lower(): name for name in names}
    near = [lower[match] for match in get_close_matches(algorithm.lower(), lower, 4, 0.5)]
    remedy = f"Did you mean {', '.join(near)}? " if near else ""
    return problems.Problem(
        "InvalidInput",
        f"No algorithm is called {algorithm!r}",
        "algorithm",
        f"{remedy}Choose xgboost, lightgbm or a scikit-learn regressor or classifier.",
        nearest=near,
    )


def _load_module(module: str) -> Json:
    loaded = import_module(f"sklearn.{module}")
    return {name: getattr(loaded, name) for name in getattr(loaded, "__all__", []) if hasattr(loaded, name)}


def make_pipeline(
    estimator: Any, features: dict[str, str], categories: dict[str, list[str]], times: dict[str, str] | None = None
) -> Any:
    """An unfitted pipeline from raw rows (a DataFrame with the features by name) to predictions. times: the form of
    each point in time, as pandas names it.

    It is made of scikit-learn's own parts and functions of numpy, pandas and the standard library: a server needs none
    of our code to load it.
    """
    from sklearn.pipeline import Pipeline

    columns = make_columns(type(estimator).__name__, features, categories, times)
    return Pipeline([("columns", columns), ("model", estimator)])


def make_columns(
    name: str, features: dict[str, str], categories: dict[str, list[str]], times: dict[str, str] | None = None
) -> Any:
    """The unfitted part of a pipeline that makes numbers of raw rows, as an estimator of this class name needs them."""
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

    trees = bool(TREES.search(name))
    numbers = [feature for feature, kind in features.items() if kind in ("number", "flag")]
    texts = [feature for feature, kind in features.items() if kind == "category"]
    as_numbers: list[Any] = [
        ("numbers", FunctionTransformer(np.asarray, kw_args={"dtype": "float64"})),
        # What an endpoint is sent may be infinite, or too large for the float32 of trees and boosters.
        (
            "clip",
            FunctionTransformer(np.clip, kw_args={"a_min": -column_kinds.MAX_NUMBER, "a_max": column_kinds.MAX_NUMBER}),
        ),
        *preprocessing_steps(name),
    ]
    # A category that the training never saw, or none at all, must not be an error at the endpoint.
    values = [np.array(categories[feature], dtype=str) for feature in texts]
    encoder = (
        OrdinalEncoder(categories=values, handle_unknown="use_encoded_value", unknown_value=-1)
        if trees
        else OneHotEncoder(categories=values, handle_unknown="ignore", sparse_output=False)
    )
    as_texts = [("text", FunctionTransformer(np.asarray, kw_args={"dtype": "str"})), ("encode", encoder)]
    parts = [("numbers", Pipeline(as_numbers), numbers), ("categories", Pipeline(as_texts), texts)]
    columns = [item for item in parts if item[2]]
    for number, (feature, form) in enumerate((times or {}).items()):
        if feature in features:
            columns += make_time_columns(f"time {number}", feature, form, name)
    return ColumnTransformer(columns)


def preprocessing_steps(name: str) -> list[Any]:
    """The steps that the estimator of this name needs for columns of numbers."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    steps: list[Any] = []
    if not TAKES_MISSING.search(name):
        steps.append(("fill", SimpleImputer(strategy="median", keep_empty_features=True)))
    if not TREES.search(name):
        steps.append(("scale", StandardScaler()))
    return steps


def make_time_columns(label: str, feature: str, form: str, estimator: str) -> list[Any]:
    """The calendar parts of a point in time, in UTC, and its days since 1970; text that is none counts as missing."""
    import numpy as np
    import pandas as pd
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    def step(function: Any, **arguments: Any) -> Any:
        return FunctionTransformer(function, kw_args=arguments)

    parsed = [
        ("text", step(np.asarray, dtype=object)),
        ("parse", step(pd.to_datetime, format=form, utc=True, errors="coerce")),
    ]
    calendar = [("parts", step(attrgetter(*CALENDAR))), ("stack", step(np.column_stack))]
    days = [
        ("days", step(methodcaller("to_julian_date"))),
        ("since", step(methodcaller("__sub__", JULIAN_DAY_OF_1970))),
        ("row", step(np.array, dtype="float64", ndmin=2)),
        ("column", step(np.transpose)),
    ]
    return [
        (f"{label} calendar", Pipeline([*parsed, *calendar, *preprocessing_steps(estimator)]), feature),
        (f"{label} days", Pipeline([*parsed, *days, *preprocessing_steps(estimator)]), feature),
    ]


def needs_label_wrapper(estimator: Any, labels: list[Any]) -> bool:
    """xgboost takes no classes but 0, 1, 2, …, none of which may be absent: not from a fold of a search either."""
    return type(estimator).__name__ == "XGBClassifier" and bool(labels)


def wrap_labels(estimator: Any) -> Any:
    """The estimator behind scikit-learn's own label encoding: a soft vote of one."""
    from sklearn.ensemble import VotingClassifier

    return VotingClassifier([("model", estimator)], voting="soft")


def is_label_wrapper(model: Any) -> bool:
    return type(model).__name__ == "VotingClassifier"


def find_named_parameter(error: BaseException, parameters: Json) -> problems.Problem | None:
    """The given parameter that an estimator's error is about, as a problem of the request; None when it is of none."""
    text = str(error)
    for name, value in parameters.items():
        if value is not None and re.search(rf"\b{re.escape(name)}\b", text):
            lines = [line.strip() for line in text.splitlines() if name in line]
            return problems.Problem(
                "InvalidInput",
                f"The parameter {name} was refused: {lines[0][:300]}",
                f"parameters.{name}",
                "Correct it.",
            )
    return None
