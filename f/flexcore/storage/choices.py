# requirements: flexcore_base
# py: ==3.11.*
"""What a form offers of the store: data and models of its catalog, and the streams and columns of the chosen data."""

from __future__ import annotations

from typing import Any

import f.flexcore.storage.catalog as catalog
from f.flexcore.core.choices import Choices, matching, note, offered
from f.flexcore.core.contracts import Stream
from f.flexcore.core.errors import validated
from f.flexcore.core.resources import Settings
from f.flexcore.storage.store import Store

# More than that nobody scrolls through; what is typed narrows it down.
SHOWN = 200


FIRST = note("First choose the data")
NOTHING = {
    "data": note("The store holds no data yet", "Run singer_extraction with these settings, or choose others."),
    "model": note("The store holds no model yet", "Run ml_training with these settings, or choose others."),
}


@offered
def entry_choices(settings: Any, kind: catalog.Kind, typed: str | None = "") -> Choices:
    """Each name for its newest entry, then every version."""
    if not (found := catalog.entries(store_of(settings), kind)):
        return NOTHING[kind]
    newest = [(f"{name} (the newest)", name) for name in dict.fromkeys(item.name for item in found)]
    return matching([*newest, *((item.label, f"{item.name}:{item.version}") for item in found)], typed)[:SHOWN]


@offered
def stream_choices(settings: Any, data: Any, typed: str | None = "") -> Choices:
    if not data:
        return FIRST
    return matching([(told(stream), stream.name) for stream in streams_of(settings, data)], typed)


@offered
def column_choices(settings: Any, data: Any, stream: str | None, typed: str | None = "") -> Choices:
    """The columns of the chosen stream, or of the only one; Singer's own (`_sdc_…`) are nobody's wish."""
    if not data:
        return FIRST
    streams = streams_of(settings, data)
    chosen = [item for item in streams if item.name == stream] or (streams if len(streams) == 1 else [])
    if not chosen:
        return note("First choose the stream")
    columns = {name: kind for item in chosen for name, kind in item.columns.items() if not name.startswith("_sdc_")}
    return matching([(f"{name} ({kind})", name) for name, kind in columns.items()], typed)


def streams_of(settings: Any, data: Any) -> list[Stream]:
    return catalog.find_data(store_of(settings), data).streams


def told(stream: Stream) -> str:
    return stream.name if stream.rows is None else f"{stream.name} ({stream.rows:,} rows)"


def store_of(settings: Any) -> Store:
    return Store(validated(Settings, settings or {}, "settings"))
