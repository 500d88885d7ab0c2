# requirements: flexcore_base
"""What a form offers of the store: data and models of its catalog, and the streams and columns of the chosen data."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import contracts, errors, form_choices, resources
from f.flexcore.lib.storage import catalog, object_store

# More than that nobody scrolls through; what is typed narrows it down.
SHOWN = 200


FIRST = form_choices.note("First choose the data")
NOTHING = {
    "data": form_choices.note(
        "The store holds no data yet", "Run singer_extraction with these settings, or choose others."
    ),
    "model": form_choices.note(
        "The store holds no model yet", "Run ml_training with these settings, or choose others."
    ),
}


@form_choices.offered
def entry_choices(settings: Any, kind: catalog.Kind, typed: str | None = "") -> form_choices.Choices:
    """Each name for its newest entry, then every version."""
    if not (found := catalog.entries(store_of(settings), kind)):
        return NOTHING[kind]
    newest = [(f"{name} (the newest)", name) for name in dict.fromkeys(item.name for item in found)]
    return form_choices.matching([*newest, *((item.label, f"{item.name}:{item.version}") for item in found)], typed)[
        :SHOWN
    ]


@form_choices.offered
def stream_choices(settings: Any, data: Any, typed: str | None = "") -> form_choices.Choices:
    if not data:
        return FIRST
    return form_choices.matching([(told(stream), stream.name) for stream in streams_of(settings, data)], typed)


@form_choices.offered
def column_choices(settings: Any, data: Any, stream: str | None, typed: str | None = "") -> form_choices.Choices:
    """The columns of the chosen stream, or of the only one; Singer's own (`_sdc_…`) are nobody's wish."""
    if not data:
        return FIRST
    streams = streams_of(settings, data)
    chosen = [item for item in streams if item.name == stream] or (streams if len(streams) == 1 else [])
    if not chosen:
        return form_choices.note("First choose the stream")
    columns = {name: kind for item in chosen for name, kind in item.columns.items() if not name.startswith("_sdc_")}
    return form_choices.matching([(f"{name} ({kind})", name) for name, kind in columns.items()], typed)


def streams_of(settings: Any, data: Any) -> list[contracts.Stream]:
    return catalog.find_data(store_of(settings), data).streams


def told(stream: contracts.Stream) -> str:
    return stream.name if stream.rows is None else f"{stream.name} ({stream.rows:,} rows)"


def store_of(settings: Any) -> object_store.Store:
    return object_store.Store(errors.validated(resources.Settings, settings or {}, "settings"))
