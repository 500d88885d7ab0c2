"""The nearest known word to one that was mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """ "" when none is near. `max_replica` and `max-replicas` are near to `max_replicas`."""
    by_form = {item.lower().replace("-", "_"): item for item in known}
    found = difflib.get_close_matches(word.lower().replace("-", "_"), by_form, n=1)
    return by_form[found[0]] if found else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A piece of a sentence, or nothing."""
    found = nearest(word, known)
    return f" (did you mean {found}?)" if found else ""
