# requirements: flexcore_base
"""State before and after a run, a copy for the run itself, and bringing it back once the result is stored.

A copy of flexcore's own database is a database again: Meltano's other state backends cost it 0.2 s of imports.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from f.flexcore.lib.meltano import installation, state_store

# By state id; None where only Meltano itself can read them.
States = dict[str, state_store.State | None] | None
Changes = dict[str, tuple[state_store.State | None, state_store.State | None]] | None

# Whoever holds a database's lock copies or changes a few kilobytes.
LOCK_TIMEOUT_S = 30


def read_states(place: state_store.StatePlace, keys: Sequence[str]) -> States:
    """The states by id; None where only Meltano itself can read them."""
    store = state_store.StateStore(place)
    return {key: store.read(key) for key in keys} if store.known else None


def changes_between(before: States, after: States) -> Changes:
    if before is None or after is None:
        return None
    return {key: (before[key], after.get(key)) for key in before}


def copy_state(
    place: state_store.StatePlace, states: dict[str, state_store.State | None], work: Path
) -> state_store.StatePlace:
    """A place below `work` that holds the same states."""
    work.mkdir(parents=True, exist_ok=True)
    if place.uri == state_store.SYSTEM_DATABASE and place.private:
        source, target = state_store.StateStore(place).database, work / "meltano.db"
        if source.exists():
            with installation.locked(source.with_suffix(".lock"), LOCK_TIMEOUT_S):
                state_store.copy_database(source, target)
        return replace(place, database=f"sqlite:///{target}")
    backend = f"file://{work / 'state'}"
    copy = replace(place, uri=backend, env=state_store.backend_environment(backend, {}), options={})
    for key, state in states.items():
        if state:
            state_store.StateStore(copy).write(key, state)
    return copy


def keep_database(place: state_store.StatePlace, run_place: state_store.StatePlace) -> None:
    """The first run of a project makes its database: Meltano created the tables in the run's copy."""
    target = state_store.StateStore(place).database
    if place.uri != state_store.SYSTEM_DATABASE or not place.private or run_place is place or target.exists():
        return
    with installation.locked(target.with_suffix(".lock"), LOCK_TIMEOUT_S):
        if not target.exists():
            part = target.with_suffix(".part")
            state_store.copy_database(state_store.StateStore(run_place).database, part)
            state_store.StateStore(replace(place, database=f"sqlite:///{part}")).forget()
            part.replace(target)


def write_back(place: state_store.StatePlace, changes: Changes) -> None:
    """Brings the state of a finished run to its place. Safe to repeat: what has moved on since is left alone."""
    store = state_store.StateStore(place)
    for key, (old, new) in (changes or {}).items():
        if new and new != old and store.read(key) == old:
            with (
                installation.locked(store.database.with_suffix(".lock"), LOCK_TIMEOUT_S)
                if place.private
                else nullcontext()
            ):
                store.write(key, new)
