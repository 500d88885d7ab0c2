"""What a program on Ray says of versions before it starts anything."""

from __future__ import annotations

import pytest

from f.flexcore.lib.core import model_versions
from f.flexcore.lib.ray.remote import served_versions, shared_storage

MODEL = {
    "name": "delay",
    "version": "7",
    "format": "sklearn-skops",
    "versions": dict(model_versions.installed_versions(["scikit-learn", "skops", "numpy"])),
    "framework": {"name": "scikit-learn", "version": "1.9.1"},
}


def test_the_versions_of_the_training_raise_no_word() -> None:
    assert served_versions.check_versions(MODEL, []) == []


def test_other_versions_ask_for_the_models_own_packages() -> None:
    model = {**MODEL, "versions": {**MODEL["versions"], "scikit-learn": "1.4.2"}}
    with pytest.raises(shared_storage.Problem, match=r"trained with scikit-learn 1\.4\.2, and here is") as caught:
        served_versions.check_versions(model, ["scikit-learn==1.4.2", "numpy==1.26.4"])
    told = caught.value.flexcore
    assert told["details"]["missing_packages"] == ["scikit-learn==1.4.2", "numpy==1.26.4"]
    assert "Serve it with scikit-learn==1.4.2" in told["remedy"]


def test_versions_that_will_do_are_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    model = {**MODEL, "versions": {**MODEL["versions"], "numpy": "1.26.4"}}
    (note,) = served_versions.check_versions(model, [])
    assert "numpy 1.26.4" in note and note in capsys.readouterr().out
