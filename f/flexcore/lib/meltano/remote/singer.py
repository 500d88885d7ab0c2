# requirements: flexcore_base
"""What the lines between plugins say: Singer messages, the columns of their schemas, and lines that are none.

Runs in Meltano's own Python too (observer.py), so it uses the standard library alone. Pure.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

# What a message carries, as an object.
CONTENTS = {"SCHEMA": "schema", "RECORD": "record", "STATE": "value"}
MESSAGES = ("SCHEMA", "RECORD", "STATE", "ACTIVATE_VERSION", "BATCH")
# Nearly every line of a run: a row as Singer's libraries write it. Parsing it would double what Meltano takes for it.
ROW = re.compile(r'\{"type": ?"RECORD", ?"stream": ?"([^"\\]*)", ?"record": ?\{')
WITH_CONSTANT = "a line with "
# Longer than what is shown: a secret must not be cut before it is masked.
MAX_QUOTE_CHARACTERS = 2000
# A target is behind by what the pipes and its own buffer hold; the line that it failed on is among the last.
MAX_RECENT_BYTES = 1 << 20
MAX_ODD_LINES = 5
JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object", list: "array"}

Report = Callable[[str, dict[str, Any]], None]


class NotJson(ValueError):
    """NaN, Infinity or -Infinity: Python writes and reads them, JSON does not know them."""


def _refuse_constant(constant: str) -> Any:
    raise NotJson(constant)


STRICT = json.JSONDecoder(parse_constant=_refuse_constant)


def find_problem(line: str) -> str:
    """What a line is instead of a Singer message; empty when it is one."""
    text = line.strip()
    if not text:
        return "an empty line"
    if text.startswith("\ufeff"):
        return "a line that begins with a byte order mark"
    try:
        message = STRICT.decode(text)
    except NotJson as error:
        return f"{WITH_CONSTANT}{error}, which is not JSON"
    except ValueError:
        return "a line of broken JSON" if text.startswith("{") else "a line that is not a Singer message"
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return "a line that is not a Singer message (it has no type)"
    if message["type"] not in MESSAGES:
        return f"a message of the unknown type {message['type']!r}"
    if message["type"] in ("SCHEMA", "RECORD") and not isinstance(message.get("stream"), str):
        return f"a {message['type']} without a stream"
    content = CONTENTS.get(message["type"])
    if content and not isinstance(message.get(content), dict):
        return f"a {message['type']} whose {content} is not an object"
    return ""


def find_suspicion(line: str) -> str:
    """What not every target takes of what is a message."""
    if "\ufffd" in line:
        return "a line that is not UTF-8"
    message = _parse_leniently(line)
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "a line with half of a surrogate pair"
    return "a BATCH message (rows in files of their own)" if message.get("type") == "BATCH" else ""


def quote(line: str) -> str:
    """The beginning of a line, on one line."""
    text = line.strip().removeprefix("\ufeff")
    return f"{text[:MAX_QUOTE_CHARACTERS]} …" if len(text) > MAX_QUOTE_CHARACTERS else text


class ProducerWatch:
    """Reads along what a tap or mapper prints. Counts rows by stream, reports schemas when `last` (what the target
    gets) and lines that are no message, and stops what must not go on.

    writeline takes one line before the next plugin gets it, and may raise `Refused`.
    """

    def __init__(self, plugin: str, report: Report, last: bool, first: bool = True) -> None:
        self.plugin, self.report, self.last, self.first = plugin, report, last, first
        self.rows: dict[str, int] = {}
        self.batches: dict[str, int] = {}
        # Streams that the selection leaves out, and whether one that comes all the same ends the run.
        self.unselected: frozenset[str] = frozenset()
        self.strict = False
        self.number = 0
        self._schemas: dict[str, str] = {}
        self._recent: deque[tuple[int, str]] = deque()
        self._recent_size = 0
        self._odd: set[int] = set()
        self._rounded: set[str] = set()

    def writeline(self, line: str) -> None:
        self.number += 1
        self._remember(line)
        match = ROW.match(line)
        # The first row of a stream is looked at.
        if match and self.rows.get(match[1]) and line.endswith("}\n"):
            self.rows[match[1]] += 1
            return
        problem = find_problem(line)
        message = _parse_leniently(line)
        # Python's targets take NaN; whether it may stay is for their files to say.
        if problem and (not message or not problem.startswith(WITH_CONSTANT)):
            self._note(self.number, line, problem)
        kind, stream = message.get("type"), message.get("stream")
        if kind == "STATE":
            self._check_state(message, line)
        elif not isinstance(stream, str):
            return
        elif kind == "RECORD":
            self._check_record(stream, line)
            self.rows[stream] = self.rows.get(stream, 0) + 1
        elif kind == "SCHEMA":
            self._take_schema(stream, message.get("schema"), line)
        elif kind == "BATCH":
            self.batches[stream] = self.batches.get(stream, 0) + 1

    def report_end(self, failed: bool) -> None:
        """Reports the counts, and after a failure the odd ones of the last lines, which were passed on unread."""
        for number, line in self._recent if failed else ():
            if problem := find_problem(line) or find_suspicion(line):
                self._note(number, line, problem)
        if self.last:
            self.report("rows", {"rows": self.rows, "batches": self.batches})

    def _remember(self, line: str) -> None:
        self._recent.append((self.number, line))
        self._recent_size += len(line)
        while self._recent_size > MAX_RECENT_BYTES:
            self._recent_size -= len(self._recent.popleft()[1])

    def _note(self, number: int, line: str, problem: str) -> None:
        if number not in self._odd and len(self._odd) < MAX_ODD_LINES:
            self._odd.add(number)
            self.report("odd_line", {"plugin": self.plugin, "number": number, "problem": problem, "line": quote(line)})

    def _check_record(self, stream: str, line: str) -> None:
        if self.rows.get(stream):
            return
        if stream in self.unselected:
            problem = f"{self.plugin} ignores its catalog: it extracts the stream {stream!r}, which select leaves out"
            remedy = "Use a variant of the tap that selects, or drop the stream with a mapping."
            if self.strict:
                raise LineRefused(problem, remedy)
            if stream not in self.rows or not self.rows[stream]:
                self.report("warning", {"text": f"{problem}. {remedy}"})
        if stream not in self._schemas and stream not in self.rows:
            self._note(self.number, line, f"a record of the stream {stream!r} before its schema")

    def _take_schema(self, stream: str, schema: Any, line: str) -> None:
        self.rows.setdefault(stream, 0)
        if self._schemas.get(stream) == line:
            return
        self._schemas[stream] = line
        if self.last:
            self.report("schema", {"stream": stream, "columns": column_types(schema)})

    def _check_state(self, message: Mapping[str, Any], line: str) -> None:
        if not self.first:
            return
        for path, value in list_fractions(line):
            if value in ("NaN", "Infinity", "-Infinity"):
                raise LineRefused(
                    f"The state of {self.plugin} holds {value} at {path}, which is not JSON and nothing to resume from",
                    "Choose another replication key, or clear the state of the stream and correct the source.",
                )
            if path not in self._rounded and Decimal(repr(float(value))) != Decimal(value):
                self._rounded.add(path)
                rounded = f"{value} at {path}, of which Meltano keeps {float(value)!r}"
                risk = "the next run may repeat or miss rows; use a replication key of whole numbers or times"
                self.report("warning", {"text": f"The state of {self.plugin} holds {rounded}: {risk}"})


class ConsumerWatch:
    """Reads along what a target prints to its standard output, which is for states alone."""

    def __init__(self, plugin: str, report: Report) -> None:
        self.plugin, self.report, self.number, self._odd = plugin, report, 0, 0

    def writeline(self, line: str) -> None:
        self.number += 1
        try:
            state = json.loads(line)
        except ValueError:
            state = None
        if not isinstance(state, dict) and self._odd < MAX_ODD_LINES:
            self._odd += 1
            problem = "a line that is not a state" if line.strip() else "an empty line"
            self.report(
                "odd_line", {"plugin": self.plugin, "number": self.number, "problem": problem, "line": quote(line)}
            )

    def report_end(self, failed: bool) -> None:
        pass


class LineRefused(Exception):
    """Something that must not go on, with what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def _parse_leniently(line: str) -> Mapping[str, Any]:
    """The message as a target in Python reads it; {} when it is none."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def list_fractions(line: str) -> Iterator[tuple[str, str]]:
    """(path, digits as written) of the fractions of a STATE line, and of NaN and Infinity."""
    state = json.loads(line, parse_float=_Digits, parse_constant=_Digits).get("value")
    return _list_digits(state, "")


class _Digits(str):
    pass


def _list_digits(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, _Digits):
        yield path, str(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _list_digits(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _list_digits(item, f"{path}[{number}]")


def column_types(schema: Any) -> dict[str, str]:
    """Column → JSON type of a stream's schema, empty where the schema does not say."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return {str(name): json_type(item) for name, item in properties.items()} if isinstance(properties, Mapping) else {}


def json_type(schema: Any) -> str:
    """The one type that holds all values of a JSON Schema property besides null; empty when it does not say."""
    if not isinstance(schema, Mapping):
        return ""
    kinds = schema.get("type")
    found = [kinds] if isinstance(kinds, str) else [str(kind) for kind in kinds or []]
    for word in ("anyOf", "oneOf", "allOf"):
        found += [json_type(choice) for choice in schema.get(word) or []]
    if not found and isinstance(schema.get("enum"), list):
        found = [JSON_TYPES.get(type(value), "null") for value in schema["enum"]]
    result = ""
    for kind in found:
        result = widen_type(result, "" if kind == "null" else kind)
    return result


def widen_type(first: str, second: str) -> str:
    """The type that holds the values of both; empty: nothing known."""
    if not first or not second or first == second:
        return first or second
    return "number" if {first, second} == {"integer", "number"} else "string"


def find_catalog_problem(text: str) -> str:
    """What there is instead of a catalog, with its beginning; empty when Meltano can use it."""
    content = text.strip()
    if not content:
        return "nothing"
    if content.startswith("\ufeff"):
        return "a byte order mark before its catalog"
    try:
        catalog, end = json.JSONDecoder().raw_decode(content)
    except ValueError:
        what = "broken JSON" if content.startswith("{") else "no catalog"
        return f"{what}; it begins with: {quote(_first_line(content))}"
    if content[end:].strip():
        return f"more than a catalog: {quote(_first_line(content[end:].strip()))}"
    if not isinstance(catalog, dict) or not isinstance(catalog.get("streams"), list):
        return f"JSON that is not a catalog: {quote(_first_line(content))}"
    for number, stream in enumerate(catalog["streams"]):
        if not isinstance(stream, dict) or not isinstance(stream.get("tap_stream_id"), str):
            return f"a catalog whose streams[{number}] has no tap_stream_id"
    return ""


def _first_line(text: str) -> str:
    return text.splitlines()[0]
