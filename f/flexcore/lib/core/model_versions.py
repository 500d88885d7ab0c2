# requirements: flexcore_base
"""Which versions can serve a model that was trained with others. Pure; programs elsewhere get its ranges as data.

RULES: for each format and distribution what is compatible and what the rest means.

    minor       the same major and minor version       scikit-learn promises nothing between its minor versions
    major       the same major version
    not_older   the same minor version or a newer one  boosters and skops read what their older versions wrote
    refuse      nothing is started                     warn   it is started, and said

Sources: scikit-learn, Model persistence; XGBoost, Introduction to Model IO; LightGBM, Booster.save_model; NumPy 2.0
migration guide (pickles of 2.x name numpy._core, which 1.x lacks); skops.io, protocol versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import contracts

# Distribution → (what is compatible, what the rest means).
Rules = dict[str, "tuple[str, str]"]
# Their columns are built anew by our own code, so scikit-learn only has to be of the same kind.
BOOSTER_COLUMNS: Rules = {"scikit-learn": ("major", "warn"), "pandas": ("not_older_major", "warn")}
RULES: dict[str, Rules] = {
    "xgboost-ubj": {"xgboost": ("not_older", "refuse"), **BOOSTER_COLUMNS},
    "lightgbm-txt": {"lightgbm": ("not_older", "refuse"), **BOOSTER_COLUMNS},
    "sklearn-skops": {
        "scikit-learn": ("minor", "refuse"),
        "skops": ("not_older", "refuse"),
        "numpy": ("major", "warn"),
        "pandas": ("not_older_major", "warn"),
    },
    "sklearn-joblib": {
        "scikit-learn": ("minor", "refuse"),
        "xgboost": ("minor", "refuse"),
        "lightgbm": ("minor", "refuse"),
        "numpy": ("major", "refuse"),
        "pandas": ("major", "warn"),
        "scipy": ("major", "warn"),
        "joblib": ("not_older", "warn"),
        "python": ("minor", "warn"),
    },
}
# Distributions that bring the same module under another name.
TWINS = {"xgboost": ("xgboost-cpu",)}
NUMBER = re.compile(r"(\d+)(?:\.(\d+))?")


def list_ranges(form: str, trained: Mapping[str, str]) -> list[dict[str, Any]]:
    """For each distribution that a model of this format needs and was trained with: {package, names: under which it may
    be installed, trained, low, high, refuse}. low, high: the compatible (major, minor), the second one exclusive and
    None for no end; both None: the trained version alone."""
    return [
        {
            "package": package,
            "names": [package, *TWINS.get(package, ())],
            "trained": trained[package],
            **find_bounds(compatible, parse_version(trained[package])),
            "refuse": rest == "refuse",
        }
        for package, (compatible, rest) in RULES.get(form, {}).items()
        if package in trained
    ]


def find_bounds(compatible: str, version: tuple[int, int] | None) -> dict[str, Any]:
    """{low, high} of a rule; a version that is no number (a build of one's own) is compatible with itself alone."""
    if version is None:
        return {"low": None, "high": None}
    major, minor = version
    low, high = {
        "minor": ([major, minor], [major, minor + 1]),
        "major": ([major, 0], [major + 1, 0]),
        "not_older": ([major, minor], None),
        "not_older_major": ([major, 0], None),
    }[compatible]
    return {"low": low, "high": high}


def is_compatible(item: Mapping[str, Any], here: str | None) -> bool:
    """Whether a version, None for an absent one, is in one of the ranges of `list_ranges`."""
    number = parse_version(here or "")
    if here is None or item["low"] is None or number is None:
        return bool(here == item["trained"])
    return bool(item["low"] <= list(number) and (item["high"] is None or list(number) < item["high"]))


def parse_version(text: str) -> tuple[int, int] | None:
    """(major, minor) of a version."""
    match = NUMBER.match(text)
    return (int(match[1]), int(match[2] or 0)) if match else None


def trained_versions(model: contracts.ModelManifest) -> dict[str, str]:
    """What a model was trained with by its manifest; an older one names its framework alone."""
    return dict(model.versions) or {model.framework.name.removesuffix("-cpu"): model.framework.version}
