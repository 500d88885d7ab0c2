# requirements: flexcore_postgres
# py: ==3.11.*
"""Measures the data of a request where it lies.

What the caller described must be readable, unless he says its size himself; what only a tap's configuration tells is
measured where that is possible, and said to be unknown where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from f.flexcore.core.analysis import Part, manifest_parts
from f.flexcore.core.data_requests import DataSource
from f.flexcore.core.errors import FlexcoreError
from f.flexcore.core.resources import Settings
from f.flexcore.meltano.preparation import Prepared
from f.flexcore.meltano.tap_data import TapData, tap_data
from f.flexcore.pipeline.described import Work
from f.flexcore.pipeline.file_probe import file_part
from f.flexcore.storage.store import data_manifest

Probe = Callable[[], list[Part]]


def measured(
    source: DataSource, database: Mapping[str, Any] | None, work: Work, prepared: Prepared | None, settings: Settings
) -> tuple[list[Part], list[str]]:
    """The parts of the data, and what is to be said about them. database: a `postgresql` resource; prepared: the
    Meltano request, whose taps are asked when nothing else is described. Raises FlexcoreError."""
    manifest = source.manifest or (work.get("ray") or {}).get("source")
    probes: list[Probe] = [partial(_file, uri, settings) for uri in source.uris]
    if manifest:
        probes.append(lambda: manifest_parts(data_manifest(manifest, "data.manifest")))
    if database:
        probes.append(lambda: _tables(database, source.tables))
    if probes:
        return _described(probes, fallback=source.size is not None)
    if prepared is None or source.size is not None:
        return [], []
    taps = tap_data(prepared, (work.get("meltano") or {}).get("select") or [])
    told = "by the taps' configuration; an incremental run reads less"
    return [part for tap in taps for part in _tap_parts(tap, settings)], [told]


def _file(uri: str, settings: Settings) -> list[Part]:
    return [file_part(uri, settings)]


def _described(probes: Sequence[Probe], fallback: bool) -> tuple[list[Part], list[str]]:
    parts: list[Part] = []
    for probe in probes:
        try:
            parts += probe()
        except FlexcoreError as error:
            if not fallback:
                raise
            return [], [f"the source could not be read, so what is declared counts: {error}"]
    return parts, []


def _tap_parts(tap: TapData, settings: Settings) -> list[Part]:
    try:
        if tap.paths:
            return [file_part(path, settings, tap.base) for path in tap.paths]
        if tap.database:
            return _tables(tap.database, (), tap.wants)
    except FlexcoreError as error:
        return [Part(place=tap.tap, detail=str(error))]
    return [Part(place=tap.tap, detail=tap.unknown)]


def _tables(
    database: Mapping[str, Any], tables: Sequence[str], wanted: Callable[[str, str], bool] | None = None
) -> list[Part]:
    # Most pipelines read no database: they need not pay for the driver's import.
    from f.flexcore.pipeline.postgres_probe import table_parts

    return table_parts(database, tables, wanted)
