# requirements: flexcore_base
"""What the columns of a stream are, from the profiles of its parts. Shipped as source.

parts (see read) → collect → Stream: for each column what all its values are, and the names of all columns.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from f.flexcore.lib.ray.remote import shared_storage
from f.flexcore.lib.serving import column_kinds

Json = dict[str, Any]
FEW_ROWS = 50


@dataclass
class Stream:
    """The columns of a stream by name, each as `merge` makes it; names: also of those that were not read; twice: what
    stands twice in a file, and where."""

    columns: dict[str, Json]
    rows: int
    names: list[str] = field(default_factory=list)
    twice: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def collect(parts: list[Json], declared: list[str]) -> Stream:
    """The stream that the facts of its parts, {file, part, facts}, make; a declared column may be absent from all rows.
    Raises the first error in the order of the files, and EmptyData when there are no rows."""
    facts = [json.loads(item["facts"]) for item in sorted(parts, key=lambda item: (item["file"], item["part"]))]
    for item in facts:
        if item["error"]:
            error = item["error"]
            raise shared_storage.Problem(
                error["type"], error["message"], error["subject"], error["remedy"], **error["details"]
            )
    rows = sum(item["rows"] for item in facts)
    if not rows:
        raise shared_storage.Problem("EmptyData", "The stream has no rows", "source", "Extract data first.")
    stream = Stream(merge([item["profile"] for item in facts], rows), rows)
    for name in declared:
        stream.columns.setdefault(name, _empty_profile(rows))
    for item in facts:
        stream.twice = {**item["twice"], **stream.twice}
    stream.names = list(dict.fromkeys([*stream.columns, *(name for item in facts for name in item["columns"] if name)]))
    for name in stream.twice:
        stream.columns.pop(name, None)
    stream.notes = list(dict.fromkeys(note for item in facts for note in item["notes"])) + describe_absences(
        facts, stream
    )
    return stream


def describe_absences(facts: list[Json], stream: Stream) -> list[str]:
    """A note for each column that some files with rows do not have."""
    names: dict[str, set[str]] = {}
    for item in facts:
        if item["rows"]:
            names.setdefault(item["name"], set()).update(item["columns"])
    return [
        f"{column} is not in {_shorten_list(missing)}; it is null there"
        for column in stream.columns
        for missing in [[name for name, known in names.items() if column not in known]]
        if missing
    ]


def _shorten_list(names: list[str], max_names: int = 3) -> str:
    return ", ".join(names[:max_names]) + (f" and {len(names) - max_names} more" if len(names) > max_names else "")


def merge(profiles: list[dict[str, Json]], rows: int) -> dict[str, Json]:
    """The parts' profiles as one, by column: {rows, values, kinds, numeric, integer, flag, times, distinct, unusable}.
    A row that has no such column has no value in it."""
    merged: dict[str, Json] = {}
    for profile in profiles:
        for name, part in profile.items():
            whole = merged.setdefault(name, _empty_profile(rows))
            whole["words"] += part.get("words", 0)
            whole["nans"] += part.get("nans", 0)
            if part["values"]:
                _merge_part(whole, part)
    return merged


def _empty_profile(rows: int) -> Json:
    empty: Json = {"rows": rows, "values": 0, "kinds": set(), "distinct": set(), "unusable": 0, "mixed": False}
    empty |= {"words": 0, "nans": 0}
    return empty | {"numeric": True, "integer": True, "flag": True, "amounts": True, "times": list(column_kinds.TIMES)}


def _merge_part(whole: Json, part: Json) -> None:
    kind = part["kind"]
    whole["values"] += part["values"]
    whole["unusable"] += part.get("unusable", 0)
    whole["kinds"].add(kind)
    whole["mixed"] |= part.get("mixed", False)
    whole["numeric"] &= kind in ("number", "duration") or part.get("numeric", False)
    whole["integer"] &= part.get("integer", False)
    whole["amounts"] &= part.get("amounts", False)
    whole["flag"] &= kind == "flag" or part.get("flag", False)
    forms = [column_kinds.ISO] if kind == "time" else part.get("times", [])
    whole["times"] = [form for form in whole["times"] if form in forms]
    if len(whole["distinct"]) <= column_kinds.MAX_CATEGORIES:
        whole["distinct"].update(part["distinct"])


def classify_column(column: Json) -> str:
    """One of KINDS or of LEFT_OUT."""
    if not column["values"]:
        return "empty"
    for kind in ("nested", "bytes"):
        if kind in column["kinds"]:
            return kind
    if column["unusable"] == column["values"]:
        return "unusable"
    if len(column["distinct"]) == 1 and column["values"] == column["rows"]:
        return "constant"
    if column["kinds"] == {"clock"}:
        return "clock"
    if column["flag"]:
        return "flag"
    if column["numeric"]:
        return "number"
    if column["times"]:
        return "time" if len(column["times"]) == 1 else "date"
    many = len(column["distinct"]) > column_kinds.MAX_CATEGORIES
    # An identifier: of what nearly every row has a value of its own, nothing can be learned.
    own = column["values"] > FEW_ROWS and len(column["distinct"]) > column["values"] / 2
    if many or own:
        return "amount" if column["amounts"] else "text"
    return "category"


def is_mixed(column: Json) -> bool:
    """Whether the values are of several types, of which text is the one that holds them all."""
    return bool(column["mixed"] or len(column["kinds"]) > 1)


def check_single(name: str, stream: Stream, argument: str) -> None:
    if name in stream.twice:
        raise shared_storage.Problem(
            "InvalidInput",
            f"The column {name!r} stands twice in the data: {stream.twice[name]}",
            argument,
            "Give one of the two another name where the data is made, or name other columns.",
        )


def check_known(name: str, columns: list[str], argument: str) -> None:
    if name in columns:
        return
    if any(map(is_value, columns)):
        raise shared_storage.Problem(
            "InvalidInput",
            f"The stream has no column {name!r}: its first line seems to hold values, and no names",
            argument,
            "Write the columns' names into the first line.",
        )
    lower = {column.lower(): column for column in columns}
    near = [lower[match] for match in get_close_matches(name.lower(), lower, 1)]
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise shared_storage.Problem(
        "InvalidInput",
        f"The stream has no column {name!r}",
        argument,
        f"{hint}It has: {', '.join(sorted(columns))}.",
    )


def describe_columns(columns: list[str]) -> str:
    """What columns there are, unless a row stands in their place."""
    if any(map(is_value, columns)):
        return "Its first line seems to hold values, and no names: write the columns' names there."
    return f"The data has: {', '.join(columns)}."


def is_value(name: str) -> bool:
    """Whether a column's name is surely a value of a row, which no message may show: a fraction, a date, an address."""
    forms = [column_kinds.TIMES[column_kinds.ISO], r"[+-]?\d+[.,]\d+", r"-\d+", r"[^@\s]+@[^@\s]+\.[^@\s]+"]
    return any(re.fullmatch(form, name.strip()) for form in forms)
