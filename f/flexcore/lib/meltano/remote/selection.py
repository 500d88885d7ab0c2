# requirements: flexcore_base
"""A tap's selection held against its catalog and capabilities: every rule that has no effect, and how to write it.

Rules are Meltano's extras of an extractor, resolved: `_select`, `_select_filter`, `_metadata`, `_schema`. A pattern is
`STREAM[.COLUMN[.COLUMN]]`, `!` before it leaves out, a period of a stream's own name is written `\\.`, the rest are
shell wildcards. Source: meltano.core.plugin.singer.{tap,catalog}, 4.4.1.
Runs in Meltano's own Python too (observer.py), so it uses the standard library alone. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

UNESCAPED_DOT = re.compile(r"(?<!\\)\.")
# Meltano finds the columns of a schema by this; others it knows only from the catalog's metadata.
PLAIN_NAME = re.compile(r"\w*")
EVERYTHING = ("*.*", "*")
MAX_NAMES = 12


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule without effect, and the extra that it stands in: what is wrong with it and what to do."""

    extra: str
    rule: str
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """A select pattern taken apart; column is "" when it names a stream alone."""

    stream: str
    column: str
    negated: bool = False

    @classmethod
    def parse(cls, text: str) -> Pattern:
        stream, _, column = UNESCAPED_DOT.sub("\n", text.removeprefix("!"), count=1).partition("\n")
        return cls(stream.replace(r"\.", "."), column, text.startswith("!"))

    def matches_stream(self, stream: str) -> bool:
        return fnmatchcase(stream, self.stream)

    def matches_column(self, column: str) -> bool:
        """column: a path, `address.city`."""
        return not self.column or fnmatchcase(_breadcrumb(column), _breadcrumb(self.column))


# Stream id → its columns' paths.
Columns = Mapping[str, Sequence[str]]


def find_problems(tap: str, extras: Mapping[str, Any], capabilities: Iterable[str], catalog: Any) -> list[Finding]:
    """Every rule of the tap's selection that has no effect; catalog: None when there is none."""
    rules = list_rules(extras)
    if not rules:
        return []
    if not {"catalog", "properties"}.intersection(capabilities):
        names = _join_extras(rules)
        problem = f"{tap} takes no catalog (its capabilities lack catalog), so {_conjugate(names)} no effect"
        remedy = f"Add catalog to the capabilities of {tap} if it reads one, or leave {names} out."
        return [Finding(names, names, problem, remedy)]
    found: list[Finding] = []
    if extras.get("_catalog"):
        names = _join_extras([item for item in rules if item[0] != "select_filter"])
        rules = [item for item in rules if item[0] == "select_filter"]
        problem = (
            f"{tap} is given a catalog of its own ({extras['_catalog']}), used as it is: {_conjugate(names)} no effect"
        )
        remedy = f"Mark the selection in that file, or leave catalog or {names} out."
        found += [Finding(names, names, problem, remedy)] if names else []
    if not isinstance(catalog, Mapping):
        return found
    columns = list_columns(catalog)
    if columns:
        found += [item for name, rule in rules if (item := _check_rule(tap, name, rule, columns))]
        found += _check_exclusions(tap, extras, columns)
    return found


def _join_extras(rules: Iterable[tuple[str, str]]) -> str:
    return " and ".join(dict.fromkeys(name for name, _ in rules))


def _conjugate(names: str) -> str:
    return f"{names} have" if " and " in names else f"{names} has"


def list_rules(extras: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(extra, rule) of everything that asks for another selection than all of it."""
    select = [str(item) for item in extras.get("_select") or []]
    rules = [] if set(select) <= set(EVERYTHING) else [("select", item) for item in select]
    rules += [("select_filter", str(item)) for item in extras.get("_select_filter") or []]
    rules += [("metadata", path) for path in dict.fromkeys(_metadata_paths(extras.get("_metadata")))]
    # A column that is not there yet is what schema may add.
    rules += [("schema", escape_periods(str(stream))) for stream in extras.get("_schema") or {}]
    return rules


def list_columns(catalog: Mapping[str, Any]) -> dict[str, list[str]]:
    """Stream id → paths of the columns that Meltano can mark: of the schema, and of the tap's own metadata."""
    found = {}
    for stream in catalog.get("streams") or []:
        if isinstance(stream, Mapping) and stream.get("tap_stream_id"):
            marked = [entry.get("breadcrumb") or [] for entry in stream.get("metadata") or []]
            paths = [".".join(str(part) for part in crumb[1::2]) for crumb in marked if len(crumb) > 1]
            found[str(stream["tap_stream_id"])] = list(dict.fromkeys([*_schema_paths(stream.get("schema")), *paths]))
    return found


def list_unselected(catalog: Any) -> frozenset[str]:
    """Names of the streams that a catalog with its marks leaves out."""
    names: dict[str, bool] = {}
    for stream in catalog.get("streams") or [] if isinstance(catalog, Mapping) else []:
        marks = next(
            (entry.get("metadata") or {} for entry in stream.get("metadata") or [] if not entry.get("breadcrumb")), {}
        )
        selected = marks.get("selected", stream.get("selected", marks.get("selected-by-default")))
        wanted = bool(selected) or (marks.get("inclusion") == "automatic" and selected is None)
        name = str(stream.get("stream") or stream.get("tap_stream_id"))
        # Two entries of one stream: whatever one of them selects may come.
        names[name] = names.get(name, False) or wanted
    return frozenset(name for name, wanted in names.items() if not wanted)


def _check_rule(tap: str, extra: str, rule: str, columns: Columns) -> Finding | None:
    pattern = Pattern.parse(rule)
    streams = [name for name in columns if pattern.matches_stream(name)]
    if not streams:
        remedy = _suggest_spelling(extra, rule, columns) or "Correct it or leave it out."
        return Finding(
            extra, rule, f"{tap}: {extra} {rule!r} matches no stream of its catalog ({_list_some(columns)})", remedy
        )
    known = [column for name in streams for column in columns[name]]
    # A catalog without columns is filled by the tap as it goes.
    if extra in ("metadata", "select") and pattern.column and known and not any(map(pattern.matches_column, known)):
        place = f"the stream {streams[0]}" if len(streams) == 1 else f"the streams {_list_some(streams)}"
        remedy = _suggest_spelling(extra, rule, columns) or "Correct it or leave it out."
        return Finding(
            extra, rule, f"{tap}: {extra} {rule!r} matches no column of {place} ({_list_some(known)})", remedy
        )
    return None


def _check_exclusions(tap: str, extras: Mapping[str, Any], columns: Columns) -> list[Finding]:
    select = [str(item) for item in extras.get("_select") or []]
    if extras.get("_catalog") or not select or not all(item.startswith("!") for item in select):
        return []
    return [
        Finding(
            "select",
            "select",
            f"{tap}: select only leaves out ({', '.join(select)}), so nothing is extracted",
            f"Begin with what to extract, e.g. '*.*' (streams: {_list_some(columns)}).",
        )
    ]


def _suggest_spelling(extra: str, rule: str, columns: Columns) -> str:
    """The remedy with a spelling that would have matched; empty when none comes near."""
    sign, text = ("!", rule[1:]) if rule.startswith("!") else ("", rule)
    for candidate in _spellings(text, columns):
        if candidate != text and _matches_any(candidate, columns):
            # The keys of metadata know no escape: a wildcard stands for the period.
            spelling = candidate.replace(r"\.", "?") if extra == "metadata" else candidate
            why = " (a period of the stream's own name is escaped)" if r"\." in spelling else ""
            return f"Write {sign + spelling!r}{why}."
    return ""


def _matches_any(text: str, columns: Columns) -> bool:
    pattern = Pattern.parse(text)
    return any(
        pattern.matches_stream(name) and (not pattern.column or not paths or any(map(pattern.matches_column, paths)))
        for name, paths in columns.items()
    )


def _spellings(text: str, columns: Columns) -> Iterator[str]:
    """Other spellings of a pattern, the likeliest first."""
    dots = [match.start() for match in UNESCAPED_DOT.finditer(text)]
    # The period belongs to the stream's name.
    for at in dots[1:]:
        yield escape_periods(text[:at]) + text[at:]
    if dots:
        yield escape_periods(text)
    pattern = Pattern.parse(text)
    streams = [name for name in columns if pattern.matches_stream(name)]
    rest = text[dots[0] :] if dots else ""
    for name in streams:
        close = _find_closest(pattern.column, columns[name])
        if close:
            yield f"{escape_stream(name) if len(streams) == 1 else text[: dots[0]]}.{close}"
    if not streams:
        for name in filter(None, [_find_closest(pattern.stream, columns), _find_closest(text, columns)]):
            yield escape_stream(name) + rest
            if close := _find_closest(pattern.column, columns[name]):
                yield f"{escape_stream(name)}.{close}"
            yield f"{escape_stream(name)}.*"


def _find_closest(name: str, known: Iterable[str]) -> str:
    by_case = {item.casefold(): item for item in known}
    found = get_close_matches(name.casefold(), list(by_case), n=1)
    return by_case[found[0]] if name and found else ""


def escape_stream(stream: str) -> str:
    """A stream's name as a pattern that matches it alone."""
    return escape_periods(re.sub(r"([*?\[])", r"[\1]", stream))


def escape_periods(text: str) -> str:
    return text.replace(r"\.", ".").replace(".", r"\.")


def _breadcrumb(path: str) -> str:
    return "properties." + ".properties.".join(path.split("."))


def _schema_paths(schema: Any, prefix: str = "") -> Iterator[str]:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    for name, item in properties.items() if isinstance(properties, Mapping) else ():
        if PLAIN_NAME.fullmatch(str(name)):
            yield f"{prefix}{name}"
            yield from _schema_paths(item, f"{prefix}{name}.")


def _metadata_paths(content: Any, prefix: str = "") -> Iterator[str]:
    """STREAM[.COLUMN…] of metadata, whose last key is the mark itself. Meltano joins all keys and splits them again at
    every period, so that one of a stream's own name ends it."""
    for key, value in content.items() if isinstance(content, Mapping) else ():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from _metadata_paths(value, path)
        elif "." in path:
            yield path.rpartition(".")[0]


def _list_some(names: Iterable[str]) -> str:
    every = list(dict.fromkeys(names))
    more = f" and {len(every) - MAX_NAMES:,} more" if len(every) > MAX_NAMES else ""
    return ", ".join(every[:MAX_NAMES]) + more
