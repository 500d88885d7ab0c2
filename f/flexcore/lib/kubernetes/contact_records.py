# requirements: flexcore_kubernetes
"""When each cluster was last heard of, kept in the store: for those that look at a cluster which does not answer.

`clusters/<digest of the path>/contact.json`; whoever asks a cluster writes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import cluster_contact
from f.flexcore.lib.storage import object_store

# A contact that is younger need not be written again.
WRITE_INTERVAL_S = 5.0


@dataclass(frozen=True, slots=True)
class LastContact:
    """at: when it last answered, by our clock; server_time: the time that it said then. first_failed: the first of the
    contacts that failed since; None while it answers. Seconds since the epoch."""

    cluster: str
    at: float | None = None
    server_time: float | None = None
    version: str = ""
    first_failed: float | None = None
    problem: str = ""


def record(store: object_store.Store, contacts: Iterable[cluster_contact.Contact]) -> dict[str, LastContact]:
    """What is known of each cluster now, written down. A store that cannot be used only loses the record."""
    return {contact.name: _record_one(store, contact) for contact in contacts}


def _record_one(store: object_store.Store, contact: cluster_contact.Contact) -> LastContact:
    before = read(store, contact.name)
    now = advance(before, contact)
    is_news = (now.first_failed, now.problem) != (before.first_failed, before.problem)
    if is_news or (now.at or 0) - (before.at or 0) >= WRITE_INTERVAL_S:
        try:
            store.write_json(_uri(store, contact.name), asdict(now))
        except errors.FlexcoreError as error:
            print(f"The contact with {contact.name} is not recorded: {error}", flush=True)
    return now


def advance(before: LastContact, contact: cluster_contact.Contact) -> LastContact:
    """The record after one more contact. One that was refused is a contact, whose server's time is not known."""
    if contact.is_lost:
        first = before.first_failed if before.first_failed is not None else contact.at
        return LastContact(contact.name, before.at, before.server_time, before.version, first, str(contact.error))
    if contact.error is not None:
        return LastContact(contact.name, before.at, before.server_time, before.version, None, str(contact.error))
    return LastContact(contact.name, contact.at, contact.server_time, contact.version)


def read(store: object_store.Store, name: str) -> LastContact:
    """An empty one for a cluster that was never asked."""
    try:
        stored: Any = store.read_json(_uri(store, name))
    except errors.FlexcoreError:
        stored = None
    if not isinstance(stored, dict):
        return LastContact(name)
    known = {key: value for key, value in stored.items() if key in LastContact.__dataclass_fields__}
    return LastContact(**{**known, "cluster": name})


def _uri(store: object_store.Store, name: str) -> str:
    return store.uri("clusters", hashlib.sha256(name.encode()).hexdigest()[:16], "contact.json")
