"""The bundle's entries in a repository's wmill-lock.yaml, merged with those of the team and taken out again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from f.flexcore.lib.core.errors import InvalidInput
from flexcore.bundle.installation import LOCKS, is_bundle_lock

# Order of the CLI's own writer, which compares in the way of ICU: punctuation before digits before letters.
ORDER = "_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz"


def merge_lock_entries(text: str | None, entries: Mapping[str, str], spared: Iterable[str] = ()) -> str:
    """The team's entries as they were, the bundle's as it has them. Those of files that the team has changed (`spared`)
    stay the team's: they are of its text. Raises InvalidInput for a form that the wmill CLI would not take either."""
    kept = tuple(spared)
    before = _entries(text)
    own = {key: value for key, value in before.items() if not is_bundle_lock(key) or _is_of(key, kept)}
    return _dump({key: value for key, value in entries.items() if not _is_of(key, kept)} | own)


def remove_lock_entries(text: str, spared: Iterable[str] = ()) -> str:
    """Without the entries of the bundle; "" when no other is left."""
    kept = tuple(spared)
    own = {key: value for key, value in _entries(text).items() if not is_bundle_lock(key) or _is_of(key, kept)}
    return _dump(own) if own else ""


def _is_of(key: str, files: Iterable[str]) -> bool:
    item = key.partition("+")[0]
    return any(path == item or path.startswith((f"{item}.", f"{item}/")) for path in files)


def _entries(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        document = None
    locks = document.get("locks") if isinstance(document, dict) else None
    if not isinstance(document, dict) or document.get("version") != "v2" or not isinstance(locks, dict):
        raise InvalidInput(
            f"{LOCKS} is not a lock file of version v2",
            subject=LOCKS,
            remedy="Delete it and run `wmill generate-metadata rehash`, which writes it anew from the files.",
        )
    return locks


def _dump(entries: Mapping[str, Any]) -> str:
    ordered = dict(sorted(entries.items(), key=lambda item: _rank(item[0])))
    return yaml.safe_dump({"version": "v2", "locks": ordered}, sort_keys=False, width=10**9, allow_unicode=True)


def _rank(key: str) -> tuple[list[int], str]:
    return [ORDER.find(letter) for letter in key.lower()], key
