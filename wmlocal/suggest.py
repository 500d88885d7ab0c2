"""The known word that a mistyped one was meant to be, where that is beyond doubt.

A wrong guess costs more than none: people follow it. So a word is near only when few letters differ, never when its
digits do (`step1` is not `step2`), and a path only when its last part is near, or the same in another folder.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# Of difflib's ratio: `frist` and `first` have 0.8, `skip_failures` and `skip_if` 0.6.
NEAR = 0.79
NO_DIGITS = re.compile(r"[^0-9]+")
# People leave it out: `secret` is near to `is_secret`.
ASKING = re.compile(r"^(?:is|has)_")


def nearest(word: str, known: Iterable[str]) -> str:
    """ "" when none is near. `max_replica` and `max-replicas` are near to `max_replicas`."""
    words = sorted({str(item) for item in known} - {word})
    return _path(word, words) if "/" in word else _word(word, words)


def _word(word: str, known: Iterable[str]) -> str:
    by_form: dict[str, str] = {}
    for item in known:
        by_form.setdefault(_form(item), item)
    for form, item in list(by_form.items()):
        by_form.setdefault(ASKING.sub("", form), item)
    form = _form(word)
    alike = [item for item in by_form if NO_DIGITS.sub("", item) == NO_DIGITS.sub("", form)]
    found = difflib.get_close_matches(form, alike, n=1, cutoff=NEAR) or [
        item for item in alike if _differs_by_a_slip(form, item)
    ]
    return by_form[found[0]] if found else ""


def _differs_by_a_slip(a: str, b: str) -> bool:
    """Of short words, whose ratio is low: one letter is another (`rey` and `ray`), or two neighbors have changed places
    (`prot` and `port`)."""
    if len(a) != len(b) or len(a) < 3 or a[0] != b[0]:
        return False
    places = [place for place, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    if len(places) == 2:
        first, second = places
        return second == first + 1 and (a[first], a[second]) == (b[second], b[first])
    return len(places) == 1


def _path(path: str, known: list[str]) -> str:
    folder, _, name = path.rpartition("/")
    beside = {other.rpartition("/")[2]: other for other in known if other.rpartition("/")[0] == folder}
    if found := _word(name, beside):
        return beside[found]
    elsewhere = [other for other in known if other.rpartition("/")[2] == name]
    if len(elsewhere) == 1:
        return elsewhere[0]
    folders = {other.rpartition("/")[0]: other for other in elsewhere}
    return folders.get(_word(folder, folders), "")


def _form(word: str) -> str:
    return word.lower().replace("-", "_")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A piece of a sentence, or nothing."""
    found = nearest(word, known)
    return f" (did you mean {found}?)" if found else ""


def suggest(word: str, known: Iterable[object]) -> str:
    """`; did you mean x?`, the end of a sentence, or nothing."""
    found = nearest(word, map(str, known))
    return f"; did you mean {found}?" if found else ""
