# requirements: flexcore_base
"""A fitted pipeline as files without pickle, and back again. Shipped as source.

    pipeline.json     the columns and how they become numbers, the classes, which file holds the estimator
    model.ubj         xgboost-ubj: the booster as xgboost itself writes it
    model.txt         lightgbm-txt: the booster as LightGBM itself writes it
    model.skops       sklearn-skops: the estimator, and what the columns' steps have learned
    model.joblib      sklearn-joblib: a pickle, which runs whatever it holds; read with an explicit yes alone

The columns are built anew from pipeline.json by the code that built them for the training, so that no file names a
function to call. skops builds no object of a type that is not trusted: scikit-learn's estimators (its own list) and
TRUSTED below.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from f.flexcore.lib.serving import estimators, problems

Json = dict[str, Any]
LAYOUT = 1
DESCRIPTION = "pipeline.json"
JOBLIB = "sklearn-joblib"
SKOPS = "sklearn-skops"
FILES = {"xgboost-ubj": "model.ubj", "lightgbm-txt": "model.txt", SKOPS: "model.skops", JOBLIB: "model.joblib"}
# The module that reads each format, beside those of the columns.
READERS = {"xgboost-ubj": "xgboost", "lightgbm-txt": "lightgbm", SKOPS: "skops", JOBLIB: "joblib"}
# What scikit-learn's own estimators hold and skops does not trust by itself: found by fitting every algorithm that can
# be chosen by name. None of them calls anything that its state names.
TRUSTED = (
    "numpy.dtype",
    "numpy.random.mtrand.RandomState",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.ManhattanDistance64",
    "sklearn.metrics._dist_metrics.MinkowskiDistance64",
    "sklearn.metrics._dist_metrics.ChebyshevDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)
# The steps of a column that learn something.
FITTED_STEPS = ("fill", "scale")
RETRAIN = "Train the model again."


class ServedModel:
    """A booster behind its columns: raw rows in, predictions out, as a scikit-learn pipeline answers."""

    def __init__(self, columns: Any, booster: Any, labels: list[Any]) -> None:
        self.named_steps = {"columns": columns, "model": booster}
        self.classes_ = labels

    def predict(self, rows: Any) -> Any:
        return self.named_steps["model"](self.named_steps["columns"].transform(rows))


class ServedClassifier(ServedModel):
    """The same for classes, with the probability of each, in the order of `classes_`."""

    def predict(self, rows: Any) -> Any:
        import numpy as np

        kind = type(self.classes_[0])
        classes = np.array(self.classes_, dtype=object if kind is str else kind)
        return classes[self.predict_proba(rows).argmax(axis=1)]

    def predict_proba(self, rows: Any) -> Any:
        import numpy as np

        chances = super().predict(rows)
        return chances if chances.ndim == 2 else np.column_stack([1 - chances, chances])


class XgboostScorer:
    """What xgboost's own file answers for a matrix, by the best iteration where the training stopped early."""

    def __init__(self, path: Path) -> None:
        import xgboost

        self.booster = xgboost.Booster()
        self.booster.load_model(path)
        best = self.booster.attr("best_iteration")
        self.iterations = (0, int(best) + 1 if best is not None else 0)

    def __call__(self, matrix: Any) -> Any:
        return self.booster.inplace_predict(matrix, iteration_range=self.iterations)


class LightgbmScorer:
    """What LightGBM's own file answers for a matrix; the file ends with the best iteration."""

    def __init__(self, path: Path) -> None:
        import lightgbm

        self.booster = lightgbm.Booster(model_file=path)

    def __call__(self, matrix: Any) -> Any:
        return self.booster.predict(matrix)


SCORERS: dict[str, Any] = {"xgboost-ubj": XgboostScorer, "lightgbm-txt": LightgbmScorer}


def unwrap(pipeline: Any) -> tuple[Any, list[Any]]:
    """(the estimator itself, its classes in the order of its codes) of a fitted pipeline."""
    model = pipeline.named_steps["model"]
    classes = getattr(model, "classes_", None)
    labels = [] if classes is None else classes.tolist()
    # scikit-learn's label encoding stands around the estimator.
    return (model.estimators_[0] if estimators.is_label_wrapper(model) else model), labels


def find_format(pipeline: Any) -> str:
    root = type(unwrap(pipeline)[0]).__module__.split(".")[0]
    return {"xgboost": "xgboost-ubj", "lightgbm": "lightgbm-txt"}.get(root, SKOPS)


def write_pipeline(folder: Path, pipeline: Any) -> str:
    """Writes the files of a fitted pipeline; returns their format. Raises InvalidInput for an estimator that cannot be
    written without pickle."""
    form = find_format(pipeline)
    estimator, labels = unwrap(pipeline)
    description = {
        "layout": LAYOUT,
        "format": form,
        "estimator": type(estimator).__name__,
        "labels": labels,
        **describe_columns(pipeline.named_steps["columns"]),
    }
    path = folder / FILES[form]
    if form == "xgboost-ubj":
        estimator.get_booster().save_model(path)
    elif form == "lightgbm-txt":
        estimator.booster_.save_model(path)
    else:
        write_skops(path, {"model": estimator, "steps": collect_fitted_steps(pipeline.named_steps["columns"])})
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1, allow_nan=False) + "\n")
    return form


def describe_columns(columns: Any) -> Json:
    """{numbers, categories, times}: what `estimators.make_columns` built."""
    described: Json = {"numbers": [], "categories": {}, "times": {}}
    for name, steps, chosen in columns.transformers:
        if name == "numbers":
            described["numbers"] = list(chosen)
        elif name == "categories":
            values = steps.named_steps["encode"].categories
            described["categories"] = {
                column: list(map(str, kept)) for column, kept in zip(chosen, values, strict=True)
            }
        else:
            described["times"][chosen] = steps.named_steps["parse"].kw_args["format"]
    return described


def collect_fitted_steps(columns: Any) -> Json:
    """`transformer/step` → the fitted step, of those that learn something from the rows."""
    return {
        f"{name}/{step}": fitted
        for name, steps, _ in columns.transformers_
        for step, fitted in getattr(steps, "steps", [])
        if step in FITTED_STEPS
    }


def write_skops(path: Path, content: Json) -> None:
    import skops.io

    skops.io.dump(content, path, compression=zipfile.ZIP_DEFLATED)
    refused = find_untrusted_types(path)
    if refused:
        raise problems.Problem(
            "InvalidInput",
            f"The estimator holds types that flexcore does not store without pickle: {', '.join(refused)}",
            "algorithm",
            "Choose another algorithm or other parameters; xgboost and lightgbm are stored in their own formats.",
        )


def find_untrusted_types(path: Path) -> list[str]:
    """The types in a skops file that are neither skops' own defaults nor TRUSTED."""
    import skops.io

    return sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))


def load_pipeline(folder: Path, form: str, allow_pickle: bool = False) -> Any:
    """The pipeline of a model's folder, whose files were verified before. Raises InvalidInput for a pickle without a
    yes and for an unknown format, and ManifestMismatch that names the types of a file that are not trusted."""
    if form == JOBLIB:
        return load_joblib(folder / FILES[form], allow_pickle)
    if form not in FILES:
        raise problems.Problem(
            "InvalidInput", f"No model of format {form!r} can be loaded", "model.format", RETRAIN, formats=list(FILES)
        )
    description = read_description(folder, form)
    features = {name: "number" for name in description["numbers"]}
    features |= {name: "category" for name in description["categories"]} | {
        name: "time" for name in description["times"]
    }
    kinds = features, description["categories"], description["times"]
    columns = estimators.make_columns(description["estimator"], *kinds).fit(make_blank_rows(features))
    path = folder / FILES[form]
    if form == SKOPS:
        return load_skops(path, columns, description["estimator"])
    try:
        scorer = SCORERS[form](path)
    except Exception as error:
        # xgboost's own words come first, a stack of addresses after them.
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise damaged(f"{path.name} cannot be read: {reason[:200]}") from None
    labels = description["labels"]
    return (ServedClassifier if labels else ServedModel)(columns, scorer, labels)


def read_description(folder: Path, form: str) -> Json:
    try:
        description: Json = json.loads((folder / DESCRIPTION).read_text())
        layout, named = description["layout"], description["format"]
        missing = {"estimator", "labels", "numbers", "categories", "times"} - set(description)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(f"{DESCRIPTION} cannot be read ({type(error).__name__})") from None
    if layout != LAYOUT or named != form or missing:
        raise damaged(f"{DESCRIPTION} has layout {layout!r} and format {named!r} instead of {LAYOUT} and {form!r}")
    return description


def make_blank_rows(features: dict[str, str]) -> Any:
    """Two rows that the columns can be set up with: what they learn is put in afterwards."""
    import pandas as pd

    numbers = ("number", "flag")
    numeric = {name: [0.0, 1.0] for name, kind in features.items() if kind in numbers}
    blank = {name: pd.Series([None, None], dtype=object) for name, kind in features.items() if kind not in numbers}
    return pd.DataFrame({name: numeric.get(name, blank.get(name)) for name in features})


def load_skops(path: Path, columns: Any, name: str) -> Any:
    import skops.io
    from sklearn.pipeline import Pipeline

    try:
        refused = find_untrusted_types(path)
        if not refused:
            content = skops.io.load(path, trusted=list(TRUSTED))
    except Exception as error:
        raise damaged(f"{path.name} cannot be read: {type(error).__name__}: {str(error)[:200]}") from None
    if refused:
        raise problems.Problem(
            "ManifestMismatch",
            f"{path.name} holds types that are not trusted: {', '.join(refused)}; nothing of it was loaded",
            "model",
            "Find out who wrote the file, and train the model again.",
            types=refused,
        )
    if type(content["model"]).__name__ != name:
        raise damaged(f"{path.name} holds {type(content['model']).__name__} instead of {name}")
    replace_fitted_steps(columns, content["steps"])
    return Pipeline([("columns", columns), ("model", content["model"])])


def replace_fitted_steps(columns: Any, fitted: Json) -> None:
    """Puts what the training learned into columns that were set up with blank rows."""
    for name, steps, _ in columns.transformers_:
        for number, (step, own) in enumerate(getattr(steps, "steps", [])):
            if step in FITTED_STEPS:
                learned = fitted.get(f"{name}/{step}")
                if type(learned) is not type(own):
                    raise damaged(f"it lacks what the step {step} of {name} has learned")
                steps.steps[number] = (step, learned)


def load_joblib(path: Path, allow_pickle: bool) -> Any:
    if not allow_pickle:
        raise pickle_problem()
    import joblib

    return joblib.load(path)


def pickle_problem() -> problems.Problem:
    return problems.Problem(
        "InvalidInput",
        "The model is a pickle (model.joblib), which runs whatever it holds when it is loaded",
        "settings.pickle",
        "Train the model again, which stores it without pickle; or set settings.pickle to allow when you trust all who "
        "can write the store.",
    )


def damaged(what: str) -> problems.Problem:
    return problems.Problem("ManifestMismatch", f"The model's files are damaged: {what}", "model", RETRAIN)
