"""Data and models of the store by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import DataManifest
from f.flexcore.lib.core.errors import DataError, InvalidInput, ManifestMismatch, NotFound
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.storage import catalog
from f.flexcore.lib.storage.file_data import manifest_of_files
from f.flexcore.lib.storage.object_store import Store
from f.flexcore.storage.register_model import main as register


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Settings(storage_uri=f"file://{tmp_path}/store"))


def written(store: Store, *names: str) -> DataManifest:
    for name in names:
        store.write_bytes(store.uri("sales", name), f"content of {name}\n".encode())
    return manifest_of_files(store, [store.uri("sales", name) for name in names])


def test_a_name_means_its_newest_version_and_a_version_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = written(store, "a.csv"), written(store, "b.csv")
    for number, manifest in ((1, first), (2, second)):
        monkeypatch.setattr("time.gmtime", lambda number=number: (2026, 1, number, 0, 0, 0, 0, 1, 0))
        catalog.add(store, "data", "Daily Sales", f"v{number}", manifest)
    assert catalog.find_data(store, "daily-sales") == second
    assert catalog.find_data(store, "daily-sales:v1") == first
    assert catalog.find_data(store, first.plain()) == first
    assert [item.label for item in catalog.list_entries(store, "data")] == [
        "daily-sales 2026-01-02 00:00 UTC (v2)",
        "daily-sales 2026-01-01 00:00 UTC (v1)",
    ]


def test_the_same_version_is_listed_once(store: Store) -> None:
    entries = [catalog.add(store, "data", "x", "v1", written(store, "a.csv")) for _ in range(2)]
    assert entries[0] == entries[1] and catalog.list_entries(store, "data") == [entries[0]]


@pytest.mark.parametrize("reference", ["sale", "sales:v9", "../sales"])
def test_what_is_not_there_is_told_with_what_is(store: Store, reference: str) -> None:
    catalog.add(store, "data", "sales", "v1", written(store, "a.csv"))
    with pytest.raises(NotFound, match="The store has no data"):
        catalog.find_data(store, reference + "x")
    with pytest.raises(NotFound, match="It has no model at all"):
        catalog.find_model(store, reference)


@pytest.mark.parametrize("reference", ["", None, " "])
def test_nothing_chosen_is_told(store: Store, reference: Any) -> None:
    with pytest.raises(InvalidInput, match="No data is chosen"):
        catalog.find_data(store, reference)


def test_a_damaged_entry_is_told_as_such(store: Store) -> None:
    entry = catalog.add(store, "data", "sales", "v1", written(store, "a.csv"))
    store.write_bytes(entry.uri, b"{")
    with pytest.raises(DataError, match="not valid JSON"):
        catalog.find_data(store, "sales")
    store.write_json(entry.uri, {"kind": "model"})
    with pytest.raises(ManifestMismatch, match="data is a model manifest"):
        catalog.find_data(store, "sales")


def test_files_become_one_stream_that_verifies(store: Store) -> None:
    written(store, "a.csv", "deep/b.csv")
    manifest = manifest_of_files(store, [store.uri("sales")])
    store.verify(manifest)
    (stream,) = manifest.streams
    assert (manifest.format, manifest.rows, stream.name) == ("csv", None, "sales")
    assert [item.path for item in stream.files] == ["a.csv", "deep/b.csv"]
    assert manifest_of_files(store, [store.uri("sales/*.csv")]).streams[0].files == stream.files[:1]


def test_packed_text_is_of_the_kind_of_its_content(store: Store) -> None:
    written(store, "a.csv", "b.csv.gz", "c.CSV.zst")
    assert manifest_of_files(store, [store.uri("sales")]).format == "csv"
    store.write_bytes(store.uri("other/x.parquet.gz"), b"x")
    with pytest.raises(InvalidInput, match=r"The files end in \.gz"):
        manifest_of_files(store, [store.uri("other")])


def test_files_of_several_kinds_or_of_none_are_refused(store: Store) -> None:
    written(store, "a.csv")
    store.write_bytes(store.uri("sales/b.xml"), b"<x/>")
    with pytest.raises(InvalidInput, match=r"The files end in \.csv, \.xml"):
        manifest_of_files(store, [store.uri("sales")])
    with pytest.raises(NotFound, match="matches no file"):
        manifest_of_files(store, [store.uri("nowhere")])
    with pytest.raises(InvalidInput, match="No files are named"):
        manifest_of_files(store, [])


def training(store: Store, **metrics: float) -> dict[str, Any]:
    files = written(store, "a.csv").streams[0].files
    model = {
        "kind": "model",
        "uri": store.uri("sales"),
        "format": "sklearn-joblib",
        "name": "m",
        "version": "v1",
        "checksum": written(store, "a.csv").checksum,
        "algorithm": "Ridge",
        "target": "y",
        "metrics": metrics,
        "framework": {"name": "scikit-learn", "version": "1"},
        "files": [item.model_dump() for item in files],
        "signature": {"inputs": [{"name": "x", "datatype": "FP64"}], "outputs": [{"name": "y", "datatype": "FP64"}]},
    }
    return {"success": True, "runtime": "ray", "execution_key": "fc-1", "attempt": 1, "output": model}


def test_a_model_is_registered_once_it_beats_the_naive_guess(store: Store) -> None:
    settings = {"storage_uri": store.root}
    result = register(training(store, rmse=1.0, baseline_rmse=2.0), settings=settings)
    assert result["data"]["registered"]["name"] == "m"
    assert catalog.find_model(store, "m:v1").algorithm == "Ridge"


@pytest.mark.parametrize("metrics", [{"rmse": 2.0, "baseline_rmse": 2.0}, {"accuracy": 0.5, "baseline_accuracy": 0.6}])
def test_a_model_that_is_no_better_is_registered_on_demand_alone(store: Store, metrics: dict[str, float]) -> None:
    settings = {"storage_uri": store.root}
    with pytest.raises(DataError, match="no better than the naive guess") as caught:
        register(training(store, **metrics), settings=settings)
    assert caught.value.category == "model_not_better"
    assert catalog.list_entries(store, "model") == []
    assert register(training(store, **metrics), False, settings)["data"]["registered"]
