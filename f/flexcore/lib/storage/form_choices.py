# requirements: flexcore_base
"""What a form offers of the store: data and models of its catalog, and the streams and columns of the chosen data."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import contracts, errors, form_choices, resources
from f.flexcore.lib.storage import catalog, object_store

# A longer list is not scrolled through; what is typed narrows it down.
MAX_CHOICES = 200


CHOOSE_DATA = form_choices.note("First choose the data")
EMPTY_NOTES = {
    "data": form_choices.note(
        "The store holds no data yet", "Run singer_extraction with these settings, or choose others."
    ),
    "model": form_choices.note(
        "The store holds no model yet", "Run ml_training with these settings, or choose others."
    ),
}


@form_choices.explain_failure
def entry_choices(settings: Any, kind: catalog.Kind, typed: str | None = "") -> form_choices.Choices:
    """Each name for its newest entry, then every version."""
    if not (found := catalog.list_entries(open_store(settings), kind)):
        return EMPTY_NOTES[kind]
    newest = [(f"{name} (the newest)", name) for name in dict.fromkeys(item.name for item in found)]
    return form_choices.filter_choices(
        [*newest, *((item.label, f"{item.name}:{item.version}") for item in found)], typed
    )[:MAX_CHOICES]


@form_choices.explain_failure
def stream_choices(settings: Any, data: Any, typed: str | None = "") -> form_choices.Choices:
    if not data:
        return CHOOSE_DATA
    return form_choices.filter_choices(
        [(format_stream(stream), stream.name) for stream in list_streams(settings, data)], typed
    )


@form_choices.explain_failure
def column_choices(settings: Any, data: Any, stream: str | None, typed: str | None = "") -> form_choices.Choices:
    """The columns of the chosen stream, or of the only one; Singer's own (`_sdc_…`) are left out."""
    if not data:
        return CHOOSE_DATA
    streams = list_streams(settings, data)
    chosen = [item for item in streams if item.name == stream] or (streams if len(streams) == 1 else [])
    if not chosen:
        return form_choices.note("First choose the stream")
    columns = {name: kind for item in chosen for name, kind in item.columns.items() if not name.startswith("_sdc_")}
    return form_choices.filter_choices([(f"{name} ({kind})", name) for name, kind in columns.items()], typed)


def list_streams(settings: Any, data: Any) -> list[contracts.Stream]:
    return catalog.find_data(open_store(settings), data).streams


def format_stream(stream: contracts.Stream) -> str:
    return stream.name if stream.rows is None else f"{stream.name} ({stream.rows:,} rows)"


def open_store(settings: Any) -> object_store.Store:
    return object_store.Store(errors.validate(resources.Settings, settings or {}, "settings"))
