"""Which versions serve a model that was trained with others."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core import contracts, model_versions
from f.flexcore.lib.ray.remote import served_versions

TRAINED = {
    "python": "3.11.7",
    "scikit-learn": "1.9.1",
    "skops": "0.16.0",
    "xgboost": "3.2.0",
    "lightgbm": "4.7.0",
    "numpy": "2.4.6",
    "pandas": "3.1.1",
    "scipy": "1.17.0",
    "joblib": "1.6.0",
    "ray": "2.60.0",
}


@pytest.mark.parametrize(
    ("form", "change", "verdict"),
    [
        ("xgboost-ubj", {}, None),
        ("xgboost-ubj", {"xgboost": "3.2.9"}, None),
        ("xgboost-ubj", {"xgboost": "4.0.0"}, None),
        ("xgboost-ubj", {"xgboost": "3.1.0"}, "refused"),
        ("xgboost-ubj", {"xgboost": "2.9.9"}, "refused"),
        ("xgboost-ubj", {"xgboost": None}, "refused"),
        ("xgboost-ubj", {"scikit-learn": "1.5.0", "numpy": "1.26.0", "python": "3.9.1", "ray": "2.40.0"}, None),
        ("xgboost-ubj", {"scikit-learn": "2.0.0"}, "warned"),
        ("xgboost-ubj", {"pandas": "2.3.3"}, "warned"),
        ("lightgbm-txt", {"lightgbm": "4.6.0"}, "refused"),
        ("lightgbm-txt", {"lightgbm": "4.7.1", "xgboost": None}, None),
        ("sklearn-skops", {"scikit-learn": "1.9.0"}, None),
        ("sklearn-skops", {"scikit-learn": "1.10.0"}, "refused"),
        ("sklearn-skops", {"scikit-learn": "1.8.0"}, "refused"),
        ("sklearn-skops", {"skops": "0.15.0"}, "refused"),
        ("sklearn-skops", {"skops": "0.17.0"}, None),
        ("sklearn-skops", {"numpy": "1.26.4"}, "warned"),
        ("sklearn-joblib", {"numpy": "1.26.4"}, "refused"),
        ("sklearn-joblib", {"xgboost": "3.3.0"}, "refused"),
        ("sklearn-joblib", {"python": "3.12.1"}, "warned"),
        ("sklearn-joblib", {"joblib": "1.5.0"}, "warned"),
        ("sklearn-joblib", {"ray": "2.40.0"}, None),
        ("sklearn-skops", {"scikit-learn": "1.9.dev0+mine"}, None),
        ("sklearn-skops", {"scikit-learn": "mine"}, "refused"),
    ],
)
def test_a_format_says_which_versions_serve_it(form: str, change: dict[str, Any], verdict: str | None) -> None:
    served = {**TRAINED, **change}
    found = [
        "refused" if served[item["package"]] is None or item["refuse"] else "warned"
        for item in model_versions.list_ranges(form, TRAINED)
        if served[item["package"]] is None or not served_versions.is_compatible(item, served[item["package"]])
    ]
    assert found == ([] if verdict is None else [verdict])
    for item in model_versions.list_ranges(form, TRAINED):
        here = served[item["package"]]
        there = here is not None and served_versions.is_compatible(item, here)
        assert model_versions.is_compatible(item, here) is there, "a worker and a server judge alike"


def test_a_build_of_ones_own_serves_itself_alone() -> None:
    (item,) = model_versions.list_ranges("xgboost-ubj", {"xgboost": "mine"})
    assert served_versions.is_compatible(item, "mine") and not served_versions.is_compatible(item, "3.2.0")


def test_ranges_are_told_as_data_for_programs_elsewhere() -> None:
    found = {item.pop("package"): item for item in model_versions.list_ranges("sklearn-skops", TRAINED)}
    assert found == {
        "scikit-learn": range_of("scikit-learn", [1, 9], [1, 10], True),
        "skops": range_of("skops", [0, 16], None, True),
        "numpy": range_of("numpy", [2, 0], [3, 0], False),
        "pandas": range_of("pandas", [3, 0], None, False),
    }
    assert model_versions.list_ranges("onnx", TRAINED) == []
    assert model_versions.list_ranges("sklearn-skops", {"ray": "2.60.0"}) == []


def range_of(name: str, low: list[int], high: list[int] | None, refuse: bool) -> dict[str, Any]:
    return {"names": [name], "trained": TRAINED[name], "low": low, "high": high, "refuse": refuse}


@pytest.mark.parametrize(
    ("text", "version"), [("3.2.0", (3, 2)), ("3", (3, 0)), ("10.21rc1", (10, 21)), ("mine", None), ("", None)]
)
def test_a_version_is_its_first_two_numbers(text: str, version: tuple[int, int] | None) -> None:
    assert model_versions.parse_version(text) == version


def test_an_older_manifest_is_compared_by_its_framework_alone() -> None:
    older: dict[str, Any] = {"versions": {}, "framework": contracts.Framework(name="xgboost-cpu", version="3.2.0")}
    trained = model_versions.trained_versions(contracts.ModelManifest.model_construct(**older))
    (item,) = model_versions.list_ranges("sklearn-joblib", trained)
    assert (item["package"], item["names"], item["low"], item["high"]) == (
        "xgboost",
        ["xgboost", "xgboost-cpu"],
        [3, 2],
        [3, 3],
    )
