# requirements: flexcore_pipeline
"""Measures the data of a request where it lies.

What the caller names must be readable, unless the caller says its size; what only a runtime's own configuration names
is measured where that is possible, and not measured where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from f.flexcore.lib.core import errors, forms, operation, resources
from f.flexcore.lib.pipeline import work
from f.flexcore.lib.selection import analysis

Probe = Callable[[], list[analysis.Part]]
OWN_SOURCES = "by the request's own configuration; an incremental run reads less"


def measure_sources(
    source: forms.DataSource, candidates: Mapping[str, work.Work], settings: resources.Settings
) -> tuple[list[analysis.Part], list[str]]:
    """The parts of the data, and notes about them. The candidates' own sources count when the form names none. Raises
    FlexcoreError."""
    # Asked in any case: a request that its own configuration does not allow is refused here.
    own_sources = [each for candidate in candidates.values() for each in _list_own_sources(candidate, settings)]
    manifest = source.manifest or next(filter(None, map(_read_manifest, candidates.values())), None)
    probes: list[Probe] = [partial(_measure_file, uri, settings) for uri in source.uris]
    if manifest:
        probes.append(partial(_measure_manifest, manifest))
    if source.postgres:
        probes.append(partial(_measure_tables, source.postgres, source.tables))
    if probes:
        return _measure_all(probes, has_fallback=source.size is not None)
    if source.size is not None or not own_sources:
        return [], []
    return [part for each in own_sources for part in _measure_source(each, settings)], [OWN_SOURCES]


def _list_own_sources(candidate: work.Work, settings: resources.Settings) -> list[operation.DataSource]:
    list_sources = candidate.operation.sources
    if list_sources is None:
        return []
    try:
        return list_sources(candidate.invocation(settings))
    except errors.FlexcoreError as error:
        raise errors.qualify(error, candidate.section) from None


def _read_manifest(candidate: work.Work) -> dict[str, Any] | None:
    manifest: dict[str, Any] | None = getattr(candidate.request, work.SOURCE, None)
    return manifest


def _measure_file(uri: str, settings: resources.Settings) -> list[analysis.Part]:
    # Of the store's client and these probes only work with such data needs to pay for the import.
    from f.flexcore.lib.pipeline import file_probe

    return [file_probe.measure_files(uri, settings)]


def _measure_manifest(manifest: dict[str, Any]) -> list[analysis.Part]:
    from f.flexcore.lib.storage import object_store

    return analysis.list_manifest_parts(object_store.data_manifest(manifest, "data.manifest"))


def _measure_tables(
    database: Mapping[str, Any], tables: Sequence[str], is_read: Callable[[str, str], bool] | None = None
) -> list[analysis.Part]:
    from f.flexcore.lib.pipeline import postgres_probe

    return postgres_probe.measure_tables(database, tables, is_read)


def _measure_all(probes: Sequence[Probe], has_fallback: bool) -> tuple[list[analysis.Part], list[str]]:
    parts: list[analysis.Part] = []
    for probe in probes:
        try:
            parts += probe()
        except errors.FlexcoreError as error:
            if not has_fallback:
                raise
            return [], [f"the source could not be read, so what is declared counts: {error}"]
    return parts, []


def _measure_source(source: operation.DataSource, settings: resources.Settings) -> list[analysis.Part]:
    from f.flexcore.lib.pipeline import file_probe

    try:
        if source.paths:
            return [file_probe.measure_files(path, settings, source.base) for path in source.paths]
        if source.database:
            return _measure_tables(source.database, (), source.is_read)
    except errors.FlexcoreError as error:
        return [analysis.Part(place=source.name, detail=str(error))]
    return [analysis.Part(place=source.name, detail=source.unknown)]
