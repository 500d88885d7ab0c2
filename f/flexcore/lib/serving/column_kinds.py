# requirements: flexcore_base
"""One column of a table, whatever its Arrow type: what is in it, its values as numbers, and as text. Shipped as source.

Two files of a table may hold the same column in different types (null here, numbers there; numbers and text mixed), so
a type is decided from the profiles of all parts of a column, and each value has one number and one text however it is
stored: 1, 1.0 and "1" are the number 1, and 1 and 1.0 the text "1".
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

Json = dict[str, Any]
# More values than this are names or free text, of which a model learns nothing.
MAX_CATEGORIES = 1000
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
# The greatest number of float32, which trees and boosters calculate with.
MAX_NUMBER = 3.4e38
# Whole numbers beyond it are not exact as a float64.
MAX_EXACT = 2**53
# Leading zeros are those of a code (a postal code, an article), which is no amount.
NUMBER = r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?[Ii]nf(inity)?"
WHOLE = r"-?(0|[1-9]\d*)"
# Those of which any fits into 64 bits.
INTEGER = r"-?(0|[1-9]\d{0,17})"
# Numbers for people: with thousands separators, a currency or a percent sign.
CURRENCY = "[€$£¥₹]"
THOUSANDS = "[.,' \u00a0\u202f]"
AMOUNT = (
    rf"[+-]?([A-Z]{{3}}\s?|{CURRENCY}\s?)?[+-]?(\d{{1,3}}({THOUSANDS}\d{{3}})+|0|[1-9]\d*)([.,]\d+)?"
    rf"(\s?(%|{CURRENCY}|[A-Za-z]{{1,3}}))?"
)
FLAG = r"true|false|True|False|TRUE|FALSE"
CLOCK = r"([T ]\d{2}(:?\d{2}(:?\d{2}(\.\d+)?)?)?\s?(Z|z|[+-]\d{2}(:?\d{2})?)?)?"
DAY, MONTH = r"(0?[1-9]|[12]\d|3[01])", r"(0?[1-9]|1[0-2])"
# The forms of a point in time, by the name that pandas parses them by; the parts of a column must agree on one.
TIMES = {
    "ISO8601": rf"\d{{4}}-\d{{2}}-\d{{2}}{CLOCK}|\d{{4}}/\d{{2}}/\d{{2}}{CLOCK}",
    **{
        f"{date}{clock}": pattern + suffix
        for date, pattern in {
            "%d.%m.%Y": rf"{DAY}\.{MONTH}\.\d{{4}}",
            "%d/%m/%Y": rf"{DAY}/{MONTH}/\d{{4}}",
            "%m/%d/%Y": rf"{MONTH}/{DAY}/\d{{4}}",
        }.items()
        for clock, suffix in {
            "": "",
            " %H:%M": r" \d{1,2}:\d{2}",
            " %H:%M:%S": r" \d{1,2}:\d{2}:\d{2}",
        }.items()
    },
}
ISO = "ISO8601"
# Years 1 to 9999 in seconds since 1970: what text can say.
FIRST_S, LAST_S = -62135596800, 253402300799


def normalize(column: Any) -> Any:
    """The column in one of the types that the functions below tell apart: dictionaries decoded, text as string, small
    floats as double, extension types as what they are stored as."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return normalize(column.storage)
    if pa.types.is_dictionary(kind):
        return normalize(pc.cast(column, kind.value_type))
    if pa.types.is_null(kind) or kind in (pa.large_string(), pa.string_view()):
        return pc.cast(column, pa.string())
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        return pc.cast(column, pa.float64())
    return column


def profile_column(column: Any, mark: str = "") -> Json:
    """{rows, values, kind: number|flag|text|time|duration|clock|bytes|nested, …} of one part of a column.

    numeric, integer, flag: whether all its text is; times: the forms of a point in time that all its text has; mixed:
    whether it was of several types; distinct: up to MAX_CATEGORIES + 1 values as text; unusable: how many numbers are
    infinite or too large; words: how many values are words such as NA, which count as none; nans: how many
    numbers are NaN; amounts: whether all its
    text is numbers with separators or units."""
    import pyarrow.compute as pc

    column = normalize(column)
    rows, kind = len(column), "nested" if mark == "nested" else classify_type(column.type)
    if kind in ("nested", "bytes"):
        return {"rows": rows, "values": rows - column.null_count, "kind": kind, "distinct": []}
    values = column.drop_null()
    words = nans = 0
    if kind == "text":
        there = pc.sum(pc.not_equal(values, "")).as_py() or 0
        values = values.filter(pc.invert(pc.is_in(values, value_set=_to_string_array(MISSING))))
        words = there - len(values)
    elif kind == "number" and is_floating(values.type):
        numbers = values.filter(pc.invert(pc.is_nan(values)))
        nans, values = len(values) - len(numbers), numbers
    profile: Json = {"rows": rows, "values": len(values), "kind": kind, "unusable": 0, "mixed": mark == "mixed"}
    profile |= {"words": words, "nans": nans}
    profile["distinct"] = _list_distinct(values)
    if kind == "text":
        profile |= _profile_text(values)
    if kind in ("number", "duration") or profile.get("numeric"):
        numbers = _to_floats(values)
        profile["unusable"] = int(((numbers > MAX_NUMBER) | (numbers < -MAX_NUMBER)).sum())
    return profile


def classify_type(kind: Any) -> str:
    import pyarrow as pa

    types = pa.types
    for name, tests in {
        "flag": (types.is_boolean,),
        "number": (types.is_integer, types.is_floating, types.is_decimal),
        "text": (types.is_string,),
        "time": (types.is_timestamp, types.is_date),
        "duration": (types.is_duration,),
        "clock": (types.is_time,),
        "bytes": (types.is_binary, types.is_large_binary, types.is_fixed_size_binary),
    }.items():
        if any(test(kind) for test in tests):
            return name
    return "nested"


def is_floating(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind))


def _profile_text(values: Any) -> Json:
    """What the text can be read as, all of it."""
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(values)

    def all_match(pattern: str) -> bool:
        # Most columns are told by their first value, and a regular expression over all of them costs.
        if not len(trimmed) or not re.fullmatch(pattern, trimmed[0].as_py()):
            return False
        return bool(pc.all(pc.match_substring_regex(trimmed, f"^({pattern})$")).as_py())

    numeric = all_match(NUMBER)
    return {
        "numeric": numeric,
        "integer": numeric and all_match(INTEGER),
        "flag": not numeric and all_match(FLAG),
        "amounts": not numeric and all_match(AMOUNT),
        "times": [] if numeric else [name for name, pattern in TIMES.items() if all_match(pattern)],
    }


def _list_distinct(values: Any) -> list[str]:
    import pyarrow.compute as pc

    try:
        values = pc.unique(values)
    except NotImplementedError:
        values = pc.unique(to_texts(values))
    return [value for value in to_texts(values[: MAX_CATEGORIES + 1]).to_pylist() if value is not None]


def to_numbers(column: Any) -> Any:
    """The values as float64; NaN where there is none, where it is no number, and where it is too large for a model."""
    import numpy as np

    values = _to_floats(normalize(column))
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values) <= MAX_NUMBER, values, np.nan)


def _to_floats(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_string(kind):
        return _parse_numbers(pc.utf8_trim_whitespace(column))
    if pa.types.is_duration(kind):
        per_second = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
        return _to_floats(pc.cast(column, pa.int64())) / per_second
    if classify_type(kind) not in ("number", "flag"):
        import numpy as np

        return np.full(len(column), np.nan)
    return pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _parse_numbers(text: Any) -> Any:
    """Text as numbers, true and false as 1 and 0, NaN for what is neither."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    lower = pc.utf8_lower(text)
    text = pc.if_else(pc.equal(lower, "true"), "1", pc.if_else(pc.equal(lower, "false"), "0", text))
    text = pc.if_else(pc.is_in(text, value_set=_to_string_array(MISSING)), None, text)
    try:
        return pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return pd.to_numeric(pd.Series(text.to_pylist(), dtype=object), errors="coerce").to_numpy(dtype="float64")


def to_texts(column: Any) -> Any:
    """The values as a string array; null where there is none. Points in time as ISO 8601 in UTC, seconds and up."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = normalize(column)
    kind = column.type
    if pa.types.is_string(kind):
        return pc.if_else(pc.is_in(column, value_set=_to_string_array(MISSING)), None, column)
    if pa.types.is_floating(kind):
        return pa.array([format_number(value) for value in column.to_pylist()], pa.string())
    if pa.types.is_timestamp(kind):
        seconds = _to_whole_seconds(pc.cast(column, pa.int64()), kind.unit)
        inside = pc.and_(pc.greater_equal(seconds, FIRST_S), pc.less_equal(seconds, LAST_S))
        seconds = pc.if_else(inside, seconds, None)
        return pc.replace_substring(pc.cast(pc.cast(seconds, pa.timestamp("s")), pa.string()), " ", "T")
    if pa.types.is_duration(kind):
        return pa.array([format_number(value) for value in _to_floats(column)], pa.string())
    if classify_type(kind) in ("nested", "bytes"):
        return pa.array([format_json(value) for value in column.to_pylist()], pa.string())
    return pc.cast(column, pa.string())


def _to_whole_seconds(counts: Any, unit: str) -> Any:
    """Rounded down, also before 1970: a cast would round toward it."""
    import pyarrow as pa

    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    known = counts.is_valid().to_numpy(zero_copy_only=False)
    return pa.array(counts.fill_null(0).to_numpy() // per_second, pa.int64(), mask=~known)


def to_time_texts(column: Any) -> Any:
    """Points in time as text that pandas can parse all at once: finer fractions than microseconds would make it take
    nanoseconds for all of them, which hold the years 1677 to 2262 alone."""
    import pyarrow.compute as pc

    return pc.replace_substring_regex(pc.utf8_trim_whitespace(to_texts(column)), r"(\.\d{6})\d+", r"\1")


def to_class_texts(column: Any, kind: str) -> Any:
    """The values as the text of a class: numbers and flags have one, however they are written."""
    import pyarrow as pa
    import pyarrow.compute as pc

    made = to_texts(column)
    if kind not in ("number", "flag"):
        return made
    coded = pc.dictionary_encode(made)
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    names = pa.array([to_class_text(text, kind) for text in coded.dictionary.to_pylist()], pa.string())
    return names.take(coded.indices)


def to_class_text(text: str, kind: str) -> str | None:
    """`1.0` and ` 1` are the class `1`, `TRUE` is `true`; a category is what it is."""
    if kind not in ("number", "flag"):
        return text
    text = text.strip()
    if kind == "flag":
        return text.lower()
    if re.fullmatch(WHOLE, text):
        return str(int(text))
    value = float(text)
    return format_number(value) if math.isfinite(value) else None


def format_number(value: float | None) -> str | None:
    """Whole numbers without a fraction, as an integer column writes them."""
    if value is None or value != value:
        return None
    return str(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < MAX_EXACT else repr(value)


def format_json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _to_string_array(values: tuple[str, ...]) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.string())
