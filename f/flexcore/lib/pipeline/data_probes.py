# requirements: flexcore_postgres
"""Measures the data of a request where it lies.

What the caller described must be readable, unless he says its size himself; what only a tap's configuration tells is
measured where that is possible, and said to be unknown where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from f.flexcore.lib.core import errors, forms, operation, resources
from f.flexcore.lib.meltano import (
    preparation,
)
from f.flexcore.lib.pipeline import candidates, file_probe
from f.flexcore.lib.selection import analysis
from f.flexcore.lib.storage import object_store

Probe = Callable[[], list[analysis.Part]]


def measured(
    source: forms.DataSource,
    database: Mapping[str, Any] | None,
    work: candidates.Work,
    prepared: preparation.Prepared | None,
    settings: resources.Settings,
) -> tuple[list[analysis.Part], list[str]]:
    """The parts of the data, and what is to be said about them. database: a `postgresql` resource; prepared: the
    Meltano request, whose taps are asked when nothing else is described. Raises FlexcoreError."""
    manifest = source.manifest or (work.get("ray") or {}).get("source")
    probes: list[Probe] = [partial(_file, uri, settings) for uri in source.uris]
    if manifest:
        probes.append(lambda: analysis.list_manifest_parts(object_store.data_manifest(manifest, "data.manifest")))
    if database:
        probes.append(lambda: _tables(database, source.tables))
    if probes:
        return _described(probes, fallback=source.size is not None)
    if prepared is None or source.size is not None:
        return [], []
    taps = preparation.list_sources(prepared, (work.get("meltano") or {}).get("select") or [])
    told = "by the taps' configuration; an incremental run reads less"
    return [part for tap in taps for part in _tap_parts(tap, settings)], [told]


def _file(uri: str, settings: resources.Settings) -> list[analysis.Part]:
    return [file_probe.file_part(uri, settings)]


def _described(probes: Sequence[Probe], fallback: bool) -> tuple[list[analysis.Part], list[str]]:
    parts: list[analysis.Part] = []
    for probe in probes:
        try:
            parts += probe()
        except errors.FlexcoreError as error:
            if not fallback:
                raise
            return [], [f"the source could not be read, so what is declared counts: {error}"]
    return parts, []


def _tap_parts(tap: operation.DataSource, settings: resources.Settings) -> list[analysis.Part]:
    try:
        if tap.paths:
            return [file_probe.file_part(path, settings, tap.base) for path in tap.paths]
        if tap.database:
            return _tables(tap.database, (), tap.is_read)
    except errors.FlexcoreError as error:
        return [analysis.Part(place=tap.name, detail=str(error))]
    return [analysis.Part(place=tap.name, detail=tap.unknown)]


def _tables(
    database: Mapping[str, Any], tables: Sequence[str], wanted: Callable[[str, str], bool] | None = None
) -> list[analysis.Part]:
    # Most pipelines read no database: they need not pay for the driver's import.
    from f.flexcore.lib.pipeline import postgres_probe

    return postgres_probe.table_parts(database, tables, wanted)
