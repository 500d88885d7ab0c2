"""Which versions serve a model that was trained with others."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core import model_versions

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
    found = model_versions.compare_versions(form, TRAINED, {**TRAINED, **change})
    assert [("refused" if item.refused else "warned") for item in found] == ([] if verdict is None else [verdict])


def test_both_versions_and_the_remedy_are_named_with_the_refusals_first() -> None:
    served = {**TRAINED, "scikit-learn": "1.7.2", "numpy": "1.26.0", "skops": None}
    found = model_versions.compare_versions("sklearn-skops", TRAINED, served)
    assert [item.package for item in found] == ["scikit-learn", "skops", "numpy"]
    message, remedy = model_versions.describe_refusal("delay 7", [item for item in found if item.refused])
    assert "trained with scikit-learn 1.9.1, and here is scikit-learn 1.7.2" in message
    assert "trained with skops 0.16.0, and here is no skops" in message
    assert remedy == "Serve it with scikit-learn==1.9.1 skops==0.16.0, or train it again with what is here."


def test_an_older_manifest_is_compared_by_its_framework_alone() -> None:
    trained = model_versions.trained_versions({}, {"name": "xgboost-cpu", "version": "3.2.0"})
    assert trained == {"xgboost": "3.2.0"}
    assert model_versions.compare_versions("sklearn-joblib", trained, {"xgboost": "3.2.1"}) == []
    assert model_versions.compare_versions("sklearn-joblib", trained, {"xgboost": "3.1.1"})[0].refused


def test_what_is_installed_here_is_found_under_either_name() -> None:
    found = model_versions.installed_versions(["python", "xgboost", "scikit-learn", "no-such-package"])
    assert found["python"] is not None and found["python"].startswith("3.11")
    assert found["xgboost"] and found["scikit-learn"] and found["no-such-package"] is None
