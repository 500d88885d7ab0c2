"""What a program on Ray says of versions before it starts anything."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core import model_versions
from f.flexcore.lib.ray.remote import served_versions, shared_storage

HERE = {name: str(served_versions.find_installed([name])) for name in ("scikit-learn", "skops", "numpy", "python")}


def model(**trained: str) -> dict[str, Any]:
    ranges = model_versions.list_ranges("sklearn-skops", {**HERE, **trained})
    return {"name": "delay", "version": "7", "ranges": ranges}


def test_the_versions_of_the_training_raise_no_word() -> None:
    assert served_versions.check_versions(model(), []) == []


def test_other_versions_ask_for_the_models_own_packages() -> None:
    asked = model(**{"scikit-learn": "1.4.2", "skops": "99.1", "numpy": "1.26.4"})
    with pytest.raises(shared_storage.Problem) as caught:
        served_versions.check_versions(asked, ["scikit-learn==1.4.2", "numpy==1.26.4"])
    told = caught.value.flexcore
    assert (
        "delay 7 cannot be served: the model was trained with scikit-learn 1.4.2, and here is scikit-learn 1"
        in (told["message"])
    )
    assert "trained with skops 99.1, and here is skops" in told["message"]
    assert "numpy" not in told["message"]
    assert told["remedy"].startswith("Serve it with scikit-learn==1.4.2 skops==99.1, or train it again")
    assert told["details"]["missing_packages"] == ["scikit-learn==1.4.2", "numpy==1.26.4"]


def test_a_package_that_is_absent_is_refused_also_where_another_version_would_do() -> None:
    ranges = [
        {"package": "no-such", "names": ["no-such"], "trained": "1", "low": [1, 0], "high": None, "refuse": False}
    ]
    with pytest.raises(shared_storage.Problem, match="no-such 1, and here is no no-such") as caught:
        served_versions.check_versions({**model(), "ranges": ranges}, [])
    assert caught.value.flexcore["details"]["missing_packages"] == ["no-such==1"]


def test_versions_that_will_do_are_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    (note,) = served_versions.check_versions(model(numpy="1.26.4"), [])
    assert "numpy 1.26.4" in note and note in capsys.readouterr().out


def test_the_same_distribution_may_have_another_name() -> None:
    assert served_versions.find_installed(["xgboost", "xgboost-cpu"])
    assert served_versions.find_installed(["no-such-package"]) is None
