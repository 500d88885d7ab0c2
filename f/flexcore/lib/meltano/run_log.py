# requirements: flexcore_base
"""Meltano's JSON log lines, as readable lines for people and as the facts that a result needs.

Facts: rows per stream (counted on their way to the target by observer.py; until then the taps' `record_count` metrics,
each a delta of its interval: they are summed), columns of the streams' schemas, lines that are no message and who
printed them, how blocks ended, each plugin's last words (a discovery's apart: it runs under the parent's name), whether
another run holds the lock. Facts from a log only explain; how the run ended is decided by its exit code.
Source: meltano.core.block.extract_load and cli.run, 4.4.1; singer_sdk.metrics.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import log_text, redaction
from f.flexcore.lib.meltano import (
    process,
)
from f.flexcore.lib.meltano.remote import (
    singer,
)

TAIL_LINES = 50
# Lines are shortened further where they are shown, after their secrets were masked.
MAX_TEXT_CHARACTERS = 64 * 1024
MAX_QUOTE_CHARACTERS = 200
# Nothing shorter is cut anywhere; a longer text is masked first, or a part of a secret would stay.
MAX_CAUSE_CHARACTERS = 400
# What plugins print at their end that is no cause: Python's own chatter below a traceback, and warnings.
NOISE = re.compile(r"^\s*$|^\s+|^Traceback|Warning[: ]|^\^|^During handling|^The above exception")
ERROR = re.compile(r"\b(error|exception|failed|fatal|critical|invalid|denied|refused|unable|cannot)\b", re.IGNORECASE)
# The last line of a Python traceback.
TYPED_ERROR = re.compile(r"^[\w.]*(?:Error|Exception|Failure)\b[:\s(]|^(?:\w+\.)+[A-Z]\w+: ")
# What Meltano says when neither tap nor target was the first to end.
INTERMEDIATE = "Intermediate block"
# A plugin in the middle that ends is seen as these, by whoever writes to it.
BROKEN_PIPE_ERRORS = ("BrokenPipeError", "ConnectionResetError")
LOCK_HELD = re.compile(r"Another '(?P<job>[^']+)' pipeline is already running which started at (?P<since>[^.]+)")


@dataclass
class PluginLog:
    """What one plugin printed that may explain its end: the last of its most telling lines.

    An exception's own line or one of level error explains more than a line that mentions an error, that more than any.
    """

    cause: str = ""
    weight: int = 0

    def add(self, text: str, level: str) -> None:
        if NOISE.search(text):
            return
        weight = 3 if level in ("error", "critical") or TYPED_ERROR.search(text) else 2 if ERROR.search(text) else 1
        if weight >= self.weight:
            self.cause, self.weight = text, weight


@dataclass(frozen=True, slots=True)
class OddLine:
    """A line between plugins that is no Singer message (of a target: no state), and who printed it."""

    plugin: str
    number: int
    problem: str
    line: str

    @property
    def text(self) -> str:
        shown = self.line if len(self.line) <= MAX_QUOTE_CHARACTERS else f"{self.line[:MAX_QUOTE_CHARACTERS]} …"
        quote = f": {shown!r}" if shown else ""
        return f"{self.plugin} printed {self.problem} to standard output (line {self.number}){quote}"


@dataclass
class RunLog:
    """The log read so far. `rows[tap][stream]` counts rows that the tap says it emitted; a target of the Singer SDK
    counts the same rows again on its side, so only `taps` are listened to. redact: masks secrets in a text."""

    taps: tuple[str, ...] = ()
    redact: Callable[[str], str] = str
    rows: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    plugins: dict[str, PluginLog] = field(default_factory=lambda: defaultdict(PluginLog))
    meltano: PluginLog = field(default_factory=PluginLog)
    discovery: PluginLog = field(default_factory=PluginLog)
    blocks: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    lock_holder: dict[str, str] = field(default_factory=dict)
    # stream → column → JSON type, of all schemas that reached the target.
    columns: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    # tap → stream → messages that name files instead of holding rows.
    batches: dict[str, Mapping[str, int]] = field(default_factory=dict)
    odd_lines: list[OddLine] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    # What the observer did not let happen: message, remedy, subject, category.
    refusal: Mapping[str, str] = field(default_factory=dict)
    # What a failed discovery printed to its standard output.
    discovery_output: dict[str, str] = field(default_factory=dict)
    started: bool = False
    # Whether Meltano could not pass rows on.
    is_chain_broken: bool = False
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    def add(self, line: str) -> str:
        """Takes one raw line in; returns it as a person reads it, empty when it says nothing to a person."""
        event = _parse(line)
        if "flexcore" in event:
            return self._show(self._observe(event))
        text = self._mask(log_text.clean_log(str(event.get("event", ""))).rstrip())
        plugin = str(event.get("string_id") or event.get("name") or "")
        metric = _find_metric(event, text)
        if metric:
            return self._show(self._count(plugin, metric))
        level = str(event.get("level", "info"))
        if event.get("stdio"):
            (self.discovery if event.get("type") == "discovery" else self.plugins[plugin]).add(text, level)
        else:
            self._note(event, text, level)
            # What Meltano quotes of a plugin's output has been shown already.
            text = text.split("\n")[0]
        prefix = f"{plugin}: " if plugin and event.get("stdio") else ""
        mark = f"{level.upper()} " if level in ("warning", "error", "critical") else ""
        return self._show(f"{mark}{prefix}{text}"[:MAX_TEXT_CHARACTERS]) if text else ""

    def format_tail(self, redactor: redaction.Redactor) -> str:
        """The last lines, as a result may hold them."""
        lines = redactor.text("\n".join(self.tail)).split("\n")
        return "\n".join(log_text.shorten(line, process.MAX_LINE_CHARACTERS) for line in lines)

    def _mask(self, text: str) -> str:
        return self.redact(text) if len(text) > MAX_CAUSE_CHARACTERS else text

    def _show(self, text: str) -> str:
        if text:
            self.tail.append(text)
        return text

    def _count(self, plugin: str, metric: Mapping[str, Any]) -> str:
        tags = metric.get("tags") or {}
        stream = str(tags.get("stream") or "")
        if metric.get("metric") != "record_count" or not stream or plugin not in self.taps:
            return ""
        self.rows[plugin][stream] += int(metric.get("value") or 0)
        return f"{plugin}: {stream} {self.rows[plugin][stream]:,} rows"

    def _observe(self, event: Mapping[str, Any]) -> str:
        """Takes in what observer.py reports; returns what a person should see of it."""
        match event["flexcore"]:
            case "rows":
                self.rows[event["tap"]] = defaultdict(int, event["rows"])
                self.batches[event["tap"]] = event["batches"]
            case "schema":
                known = self.columns[event["stream"]]
                known.update(
                    {name: singer.widen_type(known.get(name, ""), kind) for name, kind in event["columns"].items()}
                )
            case "odd_line":
                odd = OddLine(event["plugin"], event["number"], event["problem"], self.redact(event["line"]))
                self.odd_lines.append(odd)
                return f"WARNING {odd.text}"
            case "warning":
                self.warnings.append(self.redact(event["text"])[: process.MAX_LINE_CHARACTERS])
                return f"WARNING {self.warnings[-1]}"
            case "discovery":
                self.discovery_output[event["tap"]] = self.redact(event["printed"])
            case "refused":
                words = ("message", "remedy", "subject", "category")
                self.refusal = {word: self.redact(event[word])[: process.MAX_LINE_CHARACTERS] for word in words}
        return ""

    def _note(self, event: Mapping[str, Any], text: str, level: str) -> None:
        if text == "Block run completed":
            self.blocks[int(event.get("set_number") or 0)] = {**event, "err": self._mask(str(event.get("err") or ""))}
        elif text.startswith("Running job with name"):
            self.started = True
        elif level in ("error", "critical"):
            raised = event.get("exception")
            kinds = (
                [item.get("exc_type") for item in raised if isinstance(item, dict)] if isinstance(raised, list) else []
            )
            self.is_chain_broken |= any(kind in BROKEN_PIPE_ERRORS for kind in kinds)
            self.meltano.add(text.splitlines()[0] if text else "", level)
        self.is_chain_broken |= INTERMEDIATE in text
        if match := LOCK_HELD.search(text):
            self.lock_holder = match.groupdict()


def _find_metric(event: Mapping[str, Any], text: str) -> Mapping[str, Any] | None:
    """The metric of an event: structured by newer Singer SDKs, else JSON behind `METRIC:`."""
    for key in ("point", "metric_info"):
        structured = event.get(key)
        if isinstance(structured, dict):
            return structured
    if "METRIC" not in text[:40]:
        return None
    return _parse(text[text.find("{") :]) or None if "{" in text else None


def _parse(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {"event": line}
    return event if isinstance(event, dict) else {"event": line}
