# requirements: flexcore_base
# py: ==3.11.*
"""State before and after a run, and bringing it to its place once the result is stored."""

from __future__ import annotations

from collections.abc import Sequence

from f.flexcore.meltano.state import State, StatePlace, StateStore

# By state id; None where only Meltano itself can read them.
States = dict[str, State | None] | None
Changes = dict[str, tuple[State | None, State | None]] | None


def read_states(place: StatePlace, keys: Sequence[str]) -> States:
    """The states by id; None where only Meltano itself can read them."""
    store = StateStore(place)
    return {key: store.read(key) for key in keys} if store.known else None


def changes_between(before: States, after: States) -> Changes:
    if before is None or after is None:
        return None
    return {key: (before[key], after.get(key)) for key in before}


def write_back(place: StatePlace, changes: Changes) -> None:
    """Brings the state of a finished run to its place. Safe to repeat: what has moved on since is left alone."""
    store = StateStore(place)
    for key, (old, new) in (changes or {}).items():
        if new and new != old and store.read(key) == old:
            store.write(key, new)
