# requirements: flexcore_base
"""All that an engineer needs to understand one execution, in one ZIP file without secrets.

README.md            what is in it, and what is not
execution.json       the execution as the dashboard shows it: steps, times, error, request beside the last good one
jobs/*.json          every job of it as Windmill has it: arguments, result, state; without the code
logs/*.txt           the log of every job
flows/*.json         the definitions of its flows as they are deployed now
versions.json        flexcore, Windmill, Python, the machine
settings.json        the settings that the caller may read
runtimes.json        how every runtime of the settings is now
notices.json         what could not be read, and why
"""

from __future__ import annotations

import io
import json
import platform
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from f.flexcore.lib.core import contracts, errors, monitoring, redaction, resources
from f.flexcore.lib.dashboard import detail, notices, shapes, steps
from f.flexcore.lib.windmill import client, job_tree

# Of one log the end, of one result the beginning: together they stay below what a page can take.
MAX_LOG_CHARS = 500_000
MAX_JSON_CHARS = 300_000
MAX_TOTAL_CHARS = 40_000_000
NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
REFERENCE = re.compile(r"^\$(res|var):(.+)$")
MAX_REFERENCES = 50
# Scripts whose form is read, for the secrets of resources that their arguments hold themselves.
MAX_SCRIPTS_READ = 50
# The code of a step is in the repository; a log is a file of its own.
LEFT_OUT = ("raw_code", "raw_lock", "raw_flow", "logs")
FORMAT = 1
ReadRuntimes = Callable[[], list[shapes.Runtime]]


@dataclass(slots=True)
class DebugBundle:
    """reader: of the execution's detail, whose notes become notices. runtimes: asks how they are now."""

    windmill: client.Client
    reader: detail.DetailReader
    settings: resources.Settings | None
    runtimes: ReadRuntimes
    now: datetime
    notes: list[shapes.Notice] = field(default_factory=list)
    _left: int = MAX_TOTAL_CHARS

    def build(self, execution: str) -> bytes:
        """The ZIP file. Raises NotFound for a run that Windmill has forgotten or does not show, InvalidInput."""
        id = client.parse_job_id(execution, "execution")
        root, complete = job_tree.read_job_tree(self.windmill, id)
        if not complete:
            self.notes.append(notices.many_jobs(job_tree.MAX_JOBS))
        jobs = list(list_jobs(root))
        definitions = self._definitions(jobs)
        self.reader.secrets = [*self.reader.secrets, *self._secrets(jobs, definitions)]
        redactor = redaction.Redactor(self.reader.secrets)
        shown = self.reader.read(id)
        files = dict(self._files(jobs, definitions, shown, redactor))
        self.notes += self.reader.notes
        files["notices.json"] = _json([note.plain() for note in self.notes])
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return buffer.getvalue()

    def _files(
        self,
        jobs: list[tuple[str, monitoring.Job]],
        definitions: Mapping[str, Any],
        shown: shapes.Detail | None,
        redactor: redaction.Redactor,
    ) -> Iterator[tuple[str, str]]:
        made = f"Made at {self.now.isoformat()} by flexcore {contracts.VERSION}. Secrets are `***`.\n"
        yield "README.md", f"{__doc__}\n{made}"
        yield "versions.json", _json(self._versions())
        yield "settings.json", _json(redactor.data(self.settings.model_dump(mode="json")) if self.settings else None)
        yield "runtimes.json", _json(redactor.data([item.plain() for item in self._read_runtimes()]))
        if shown:
            yield "execution.json", _json(redactor.data(shown.plain()))
        for path, flow in definitions.items():
            yield f"flows/{_file_name(path)}.json", self._cut(_json(redactor.data(flow)), MAX_JSON_CHARS)
        for number, (name, job) in enumerate(jobs):
            file = f"{number:03d}_{_file_name(name or 'flow')}"
            plain = {key: value for key, value in job.items() if key not in LEFT_OUT}
            yield f"jobs/{file}.json", self._cut(_json(redactor.data(plain)), MAX_JSON_CHARS)
            yield f"logs/{file}.txt", self._log(str(job["id"]), redactor)

    def _log(self, job: str, redactor: redaction.Redactor) -> str:
        try:
            text = self.windmill.text(f"jobs_u/get_logs/{job}")
        except errors.FlexcoreError as error:
            return f"The log cannot be read: {error}\n"
        # Masked whole, then cut: a secret that is cut is not recognized.
        masked = "\n".join(redactor.lines().lines(text.splitlines()))
        return self._cut(masked, MAX_LOG_CHARS, keep_end=True)

    def _cut(self, text: str, limit: int, keep_end: bool = False) -> str:
        """As much of the text as one file, and all files together, may hold; says so where it was cut."""
        room = max(0, min(limit, self._left))
        self._left -= min(len(text), room)
        if len(text) <= room:
            return text
        return f"… cut\n{text[-room:] if room else ''}" if keep_end else f"{text[:room]}\n… cut"

    def _definitions(self, jobs: list[tuple[str, monitoring.Job]]) -> dict[str, Any]:
        flows = (job for _, job in jobs if job.get("job_kind") == "flow" and job.get("script_path"))
        paths = dict.fromkeys(str(job["script_path"]) for job in flows)
        found: dict[str, Any] = {}
        for path in list(paths)[: detail.MAX_FLOWS_READ]:
            try:
                found[path] = self.windmill.get(f"flows/get/{path}")
            except errors.FlexcoreError as error:
                self.notes.append(notices.unread(f"The flow {path}", error))
        return found

    def _schemas(
        self, jobs: list[tuple[str, monitoring.Job]], definitions: Mapping[str, Any]
    ) -> dict[str, Mapping[str, Any]]:
        """The forms of the flows and scripts whose arguments hold more than plain values, by path."""
        forms = {path: flow.get("schema") or {} for path, flow in definitions.items()}
        scripts = (job for _, job in jobs if job.get("job_kind") == "script" and job.get("script_path"))
        holding = (job for job in scripts if _holds_more(job.get("args") or {}))
        for path in list(dict.fromkeys(str(job["script_path"]) for job in holding))[:MAX_SCRIPTS_READ]:
            try:
                forms[path] = self.windmill.get(f"scripts/get/p/{path}").get("schema") or {}
            except errors.FlexcoreError as error:
                self.notes.append(notices.unread(f"The form of {path}", error))
        return forms

    def _versions(self) -> dict[str, Any]:
        try:
            server, date = self.windmill.server_version()
        except errors.FlexcoreError:
            server, date = None, None
        return {
            "format": FORMAT,
            "flexcore": contracts.VERSION,
            "windmill": server,
            "server_time": date,
            "worker_time": self.now.isoformat(),
            "python": sys.version,
            "platform": platform.platform(),
            "workspace": self.windmill.workspace,
        }

    def _read_runtimes(self) -> list[shapes.Runtime]:
        try:
            return self.runtimes()
        except errors.FlexcoreError as error:
            self.notes.append(notices.unread("Runtimes", error))
            return []

    def _secrets(self, jobs: list[tuple[str, monitoring.Job]], definitions: Mapping[str, Any]) -> Iterator[str]:
        """What the arguments hold as secrets, or name by reference, as far as the caller may read it."""
        yield from self.settings.secrets() if self.settings else ()
        references: dict[str, None] = {}
        schemas = self._schemas(jobs, definitions)
        for _, job in jobs:
            arguments = job.get("args") or {}
            yield from redaction.find_secrets(arguments)
            yield from detail.find_marked(arguments, schemas.get(str(job.get("script_path"))))
            references |= dict.fromkeys(_references(arguments))
        for reference in list(references)[:MAX_REFERENCES]:
            try:
                if reference.startswith("$var:"):
                    yield self.windmill.variable(reference)
                else:
                    value, type = self.windmill.resource(reference), self.windmill.resource_type(reference)
                    yield from (*redaction.find_secrets(value), *resources.find_secrets(type, value))
            except errors.UserError:
                # Who may not read it here had it in no log either, but for the patterns. Without an answer there is no
                # bundle: it would hold what could not be asked for.
                continue


def list_jobs(node: monitoring.Node, prefix: str = "") -> Iterator[tuple[str, monitoring.Job]]:
    """(step's id, job) of the whole tree, the outermost first, with the id "" for it."""
    if node.job:
        yield prefix, node.job
    for child in node.children:
        yield from list_jobs(child, steps.join_id(prefix, child.name))


def _holds_more(arguments: Mapping[str, Any]) -> bool:
    return any(isinstance(item, dict | list) for item in arguments.values())


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str) and REFERENCE.match(value):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, default=str, ensure_ascii=False)


def _file_name(text: str) -> str:
    return NOT_IN_A_NAME.sub("_", text).strip("_")[:80] or "job"
