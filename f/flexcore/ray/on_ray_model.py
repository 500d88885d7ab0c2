# requirements: flexcore_base
# py: ==3.11.*
"""A fitted pipeline as a folder that a server can load, with its measure on held-out rows. Shipped as source.

model.joblib          the scikit-learn pipeline, raw rows in, predictions out
model-settings.json   for MLServer (source: mlserver/settings.py, ModelSettings)
requirements.txt      the exact versions that can read model.joblib
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from f.flexcore.ray.on_ray_store import Problem

EXAMPLES = 5
VERIFY_S = 180
Json = dict[str, Any]
DATATYPES = {"number": "FP64", "flag": "BOOL", "category": "BYTES"}
# Distributions by the module that a pipeline may hold objects of.
DISTRIBUTIONS = {
    "sklearn": ["scikit-learn"], "xgboost": ["xgboost", "xgboost-cpu"], "lightgbm": ["lightgbm"],
    "joblib": ["joblib"], "numpy": ["numpy"], "scipy": ["scipy"], "pandas": ["pandas"],
}  # fmt: skip
LOAD = """
import json, sys
import joblib, pandas
model = joblib.load("model.joblib")
rows = json.load(sys.stdin)
answer = model.predict(pandas.DataFrame(rows, columns=list(rows[0])))
print(json.dumps(answer.tolist()))
"""


def metrics_of(pipeline: Any, rows: Any, truth: Any, seen: Any, task: str) -> Json:
    """Scores on held-out rows, and those of the naive guess: the mean, or the most frequent class, of the seen rows."""
    from sklearn import metrics

    guess = pipeline.predict(rows)
    if task == "regression":
        naive = [float(seen.mean())] * len(truth)
        return {
            "rmse": math.sqrt(metrics.mean_squared_error(truth, guess)),
            "mae": metrics.mean_absolute_error(truth, guess),
            "r2": metrics.r2_score(truth, guess) if len(truth) > 1 else None,
            "baseline_rmse": math.sqrt(metrics.mean_squared_error(truth, naive)),
            "baseline_mae": metrics.mean_absolute_error(truth, naive),
            "test_rows": len(truth),
        }
    most = seen.mode()[0]
    return {
        "accuracy": metrics.accuracy_score(truth, guess),
        "f1": metrics.f1_score(truth, guess, average="macro", zero_division=0),
        "auc": area(pipeline, rows, truth),
        "baseline_accuracy": float((truth == most).mean()),
        "test_rows": len(truth),
    }


def area(pipeline: Any, rows: Any, truth: Any) -> float | None:
    """Area under the ROC curve (one against the rest, macro); None where it is not defined."""
    from sklearn import metrics

    if not hasattr(pipeline, "predict_proba"):
        return None
    try:
        chances, classes = pipeline.predict_proba(rows), list(pipeline.classes_)
        if len(classes) == 2:
            return float(metrics.roc_auc_score(truth == classes[1], chances[:, 1]))
        return float(metrics.roc_auc_score(truth, chances, multi_class="ovr", labels=classes))
    except ValueError:
        # The held-out rows do not have every class.
        return None


def signature_of(features: dict[str, str], task: str, labels: list[Any]) -> Json:
    """Open Inference Protocol v2 inputs, one for each raw column, and the output `predict`."""
    output = "FP64"
    if task == "classification":
        kinds = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}
        output = kinds[type(labels[0])]
    return {
        "inputs": [{"name": name, "datatype": DATATYPES[kind]} for name, kind in features.items()],
        "outputs": [{"name": "predict", "datatype": output}],
    }


def examples_of(rows: Any, features: dict[str, str]) -> list[Json]:
    """A few raw held-out rows, complete ones first."""
    complete = rows[rows.notna().all(axis=1)]
    chosen = (complete if len(complete) else rows).head(EXAMPLES)
    return [{name: plain(row[name], kind) for name, kind in features.items()} for _, row in chosen.iterrows()]


def plain(value: Any, kind: str) -> Any:
    if value is None or value != value:
        return None
    if kind == "flag":
        return bool(value)
    return float(value) if kind == "number" else str(value)


def requirements_of(pipeline: Any) -> list[str]:
    """The exact versions of what the pipeline's pickle holds."""
    model = pipeline.named_steps["model"]
    parts = [model, *getattr(model, "estimators_", [])]
    roots = {type(part).__module__.split(".")[0] for part in parts}
    modules = ["sklearn", "joblib", "numpy", "scipy", "pandas", *sorted(roots & {"xgboost", "lightgbm"})]
    return [pinned for name in modules for pinned in [installed(name)] if pinned]


def framework_of(requirements: list[str]) -> Json:
    """{name, version} of the library that trained: the booster, or scikit-learn."""
    boosters = [item for item in requirements if item.startswith(("xgboost", "lightgbm"))]
    name, number = (boosters or requirements)[0].split("==")
    return {"name": name, "version": number}


def installed(module: str) -> str | None:
    for name in DISTRIBUTIONS[module]:
        try:
            return f"{name}=={version(name)}"
        except PackageNotFoundError:
            continue
    return None


def write_model(folder: Path, pipeline: Any, name: str, model_version: str) -> list[str]:
    """Writes the model's files; returns its requirements."""
    import joblib

    requirements = requirements_of(pipeline)
    joblib.dump(pipeline, folder / "model.joblib")
    settings = {
        "name": name,
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib", "version": model_version},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")
    return requirements


def verify_model(folder: Path, rows: list[Json]) -> list[Any]:
    """Loads the model in a fresh process and asks it for the examples: what the training process alone can load is no
    model. Returns the predictions; raises a DataError with the loader's own words."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=folder,
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        timeout=VERIFY_S,
        check=False,
    )
    if done.returncode:
        last = ([line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"])[-1]
        raise Problem("DataError", f"The trained model cannot be loaded again: {last}", "model", "Report this.")
    predictions = json.loads(done.stdout.splitlines()[-1])
    if len(predictions) != len(rows):
        raise Problem("DataError", "The trained model does not answer each row", "model", "Report this.")
    return list(predictions)
