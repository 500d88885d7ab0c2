# requirements: flexcore_base
"""A fitted pipeline as a folder that a server can load, with its measure on held-out rows. Shipped as source.

pipeline.json, model.*  the pipeline without pickle, raw rows in, predictions out (see model_format)
requirements.txt        the exact versions that can read it
model.joblib, model-settings.json
                        only when asked for: the same as a pickle, for MLServer's scikit-learn runtime
                        (source: mlserver/settings.py, ModelSettings)
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from f.flexcore.lib.ray.remote import shared_storage
from f.flexcore.lib.serving import model_format

VERIFY_TIMEOUT_S = 180
Json = dict[str, Any]
DATATYPES = {"number": "FP64", "flag": "BOOL", "category": "BYTES", "time": "BYTES"}
# Distributions by the module that a pipeline may hold objects of.
DISTRIBUTIONS = {
    "sklearn": ["scikit-learn"],
    "xgboost": ["xgboost", "xgboost-cpu"],
    "lightgbm": ["lightgbm"],
    "joblib": ["joblib"],
    "numpy": ["numpy"],
    "scipy": ["scipy"],
    "pandas": ["pandas"],
    "skops": ["skops"],
    "ray": ["ray"],
}
# What reads each format, beside what builds the columns.
READS_ALWAYS = ("sklearn", "numpy", "scipy", "pandas")
LOAD = """
import json, sys
from pathlib import Path
import pandas
from f.flexcore.lib.serving import model_format
model = model_format.load_pipeline(Path("."), sys.argv[1])
rows = json.load(sys.stdin)
answer = model.predict(pandas.DataFrame(rows, columns=list(rows[0]), dtype=object)).tolist() if rows else []
print(json.dumps(answer))
"""
# The folder from which `f` is imported.
ROOT = Path(__file__).parents[5]


def measure_model(pipeline: Any, rows: Any, truth: Any, seen: Any, task: str) -> Json:
    """Scores on held-out rows, and those of the naive guess: the mean, or the most frequent class, of the seen rows."""
    from sklearn import metrics

    guess = pipeline.predict(rows)
    if task == "regression":
        naive = [float(seen.mean())] * len(truth)
        return drop_undefined(
            {
                "rmse": math.sqrt(metrics.mean_squared_error(truth, guess)),
                "mae": metrics.mean_absolute_error(truth, guess),
                "r2": metrics.r2_score(truth, guess) if len(truth) > 1 else None,
                "baseline_rmse": math.sqrt(metrics.mean_squared_error(truth, naive)),
                "baseline_mae": metrics.mean_absolute_error(truth, naive),
                "test_rows": len(truth),
            }
        )
    majority = seen.mode()[0]
    return drop_undefined(
        {
            "accuracy": metrics.accuracy_score(truth, guess),
            "f1": metrics.f1_score(truth, guess, average="macro", zero_division=0),
            "auc": area_under_curve(pipeline, rows, truth),
            "baseline_accuracy": float((truth == majority).mean()),
            "test_rows": len(truth),
        }
    )


def drop_undefined(measures: Json) -> Json:
    """A measure that is not defined for these rows is null: NaN is no JSON."""
    return {name: None if value is None or not math.isfinite(value) else value for name, value in measures.items()}


def area_under_curve(pipeline: Any, rows: Any, truth: Any) -> float | None:
    """Area under the ROC curve (one against the rest, macro); None where it is not defined."""
    from sklearn import metrics

    if not hasattr(pipeline, "predict_proba") or truth.nunique() < 2:
        return None
    try:
        chances, classes = pipeline.predict_proba(rows), list(pipeline.classes_)
        if len(classes) == 2:
            return float(metrics.roc_auc_score(truth == classes[1], chances[:, 1]))
        return float(metrics.roc_auc_score(truth, chances, multi_class="ovr", labels=classes))
    except ValueError:
        # The held-out rows do not have every class.
        return None


def make_signature(features: dict[str, str], task: str, labels: list[Any]) -> Json:
    """Open Inference Protocol v2 inputs, one for each raw column, and the output `predict`."""
    output = "FP64"
    if task == "classification":
        kinds = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}
        output = kinds[type(labels[0])]
    return {
        "inputs": [{"name": name, "datatype": DATATYPES[kind]} for name, kind in features.items()],
        "outputs": [{"name": "predict", "datatype": output}],
    }


def make_examples(rows: Any, features: dict[str, str]) -> list[Json]:
    """One row that is none of `rows`, to ask a model for: it goes into results and logs, where the source's own rows
    have no place. Rounded medians, the commonest categories, and null where that would be a row or a value of its own;
    none when every such row is one of the source's."""
    typical = {name: choose_typical_value(rows[name], kind) for name, kind in features.items()}
    names = list(features)
    # Ever more of it left out, until it is nobody's.
    for count in range(len(names)):
        example = {name: None if at < count else typical[name] for at, name in enumerate(names)}
        if not is_among(example, rows, features):
            return [example]
    nothing = dict.fromkeys(names)
    return [] if is_among(nothing, rows, features) else [nothing]


def choose_typical_value(column: Any, kind: str) -> Any:
    known = column.dropna()
    if not len(known):
        return None
    if kind == "time":
        # The middle one's month.
        return f"{sorted(known)[len(known) // 2][:7]}-01" if str(known.iloc[0])[4:5] == "-" else None
    if kind == "category":
        counts = known.value_counts()
        return str(counts.index[0]) if counts.iloc[0] > 1 else None
    if kind == "flag":
        return bool(known.median() >= 0.5)
    return round_digits(float(known.median()))


def round_digits(value: float, digits: int = 3) -> float:
    return float(f"{value:.{digits}g}")


def is_among(example: Json, rows: Any, features: dict[str, str]) -> bool:
    """Whether one of the rows has just these values."""
    import pandas as pd

    same = pd.Series(True, index=rows.index)
    for name, kind in features.items():
        value = example[name]
        if value is None:
            same = same & rows[name].isna()
        else:
            same = same & (rows[name] == (float(value) if kind in ("number", "flag") else value))
    return bool(same.any())


def list_requirements(form: str, joblib: bool = False) -> list[str]:
    """The exact versions of what reads a model of this format."""
    modules = [*READS_ALWAYS, model_format.READERS[form], *(["joblib"] if joblib else [])]
    return [pinned for name in modules for pinned in [find_installed(name)] if pinned]


def collect_versions(requirements: list[str]) -> dict[str, str]:
    """Distribution → version of what the model was trained with, python and ray among them."""
    pinned = dict(item.split("==") for item in [*requirements, find_installed("ray") or ""] if item)
    return {"python": platform.python_version(), **{name.removesuffix("-cpu"): pinned[name] for name in sorted(pinned)}}


def find_framework(requirements: list[str]) -> Json:
    """{name, version} of the library that trained: the booster, or scikit-learn."""
    boosters = [item for item in requirements if item.startswith(("xgboost", "lightgbm"))]
    name, number = (boosters or requirements)[0].split("==")
    return {"name": name, "version": number}


def find_installed(module: str) -> str | None:
    for name in DISTRIBUTIONS[module]:
        try:
            return f"{name}=={version(name)}"
        except PackageNotFoundError:
            continue
    return None


def write_model(folder: Path, pipeline: Any, name: str, model_version: str, joblib: bool = False) -> Json:
    """Writes the model's files; returns {format, requirements, versions, framework} as its manifest has them. joblib:
    whether MLServer's pickle is written, too."""
    form = model_format.write_pipeline(folder, pipeline)
    requirements = list_requirements(form, joblib)
    if joblib:
        write_mlserver_files(folder, pipeline, name, model_version)
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")
    return {
        "format": form,
        "requirements": requirements,
        "versions": collect_versions(requirements),
        "framework": find_framework(requirements),
    }


def write_mlserver_files(folder: Path, pipeline: Any, name: str, model_version: str) -> None:
    import joblib

    joblib.dump(pipeline, folder / model_format.FILES[model_format.JOBLIB])
    settings = {
        "name": name,
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib", "version": model_version},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings, indent=2) + "\n")


def verify_model(folder: Path, rows: list[Json], form: str) -> list[Any]:
    """Loads the model in a fresh process and asks it for the examples: what the training process alone can load is no
    model. Returns the predictions; raises a DataError with the loader's own words."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, form],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        timeout=VERIFY_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        last = ([line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"])[-1]
        raise shared_storage.Problem(
            "DataError", f"The trained model cannot be loaded again: {last}", "model", "Report this."
        )
    predictions = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None
    if not isinstance(predictions, list) or len(predictions) != len(rows):
        raise shared_storage.Problem("DataError", "The trained model does not answer each row", "model", "Report this.")
    return list(predictions)
