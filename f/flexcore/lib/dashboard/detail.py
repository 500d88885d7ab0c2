# requirements: flexcore_base
"""One execution whole: its steps, its request beside that of the last good run, what failed, what can be done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import errors, monitoring, redaction, resources
from f.flexcore.lib.dashboard import listing, notices, rights, shapes, steps
from f.flexcore.lib.windmill import client, execution_models, job_tree, live_runtimes, trace_links

MAX_RESULT_CHARS = 64 * 1024
# Of an error: a page shows it whole, and some repeat a log of thousands of lines.
MAX_MESSAGE_CHARS = 20_000
# Flows whose definition is read for the summaries of their steps.
MAX_FLOWS_READ = 8
VERSION_LABEL = "flexcore:"
RESOURCE_FORMAT = "resource-"
# The secret environment of a container or a program, as {NAME: value}.
SECRET_ENV = "secrets"


@dataclass(slots=True)
class DetailReader:
    """find_offer: what a restart would be. links: None where nothing is traced. notes: what could not be read."""

    windmill: client.Client
    user: rights.User
    base_url: str
    view: monitoring.View
    find_offer: Callable[[client.Client, execution_models.Job], execution_models.RestartOffer]
    links: trace_links.TraceLinks | None = None
    secrets: list[str] = field(default_factory=list)
    notes: list[shapes.Notice] = field(default_factory=list)

    def read(self, id: str) -> shapes.Detail | None:
        """None, with a notice, for one that Windmill has forgotten or does not show. Raises InvalidInput for what is no
        id."""
        try:
            root, complete = job_tree.read_job_tree(self.windmill, client.parse_job_id(id, "execution"))
        except (errors.NotFound, errors.Forbidden):
            self.notes.append(notices.forgotten(id))
            return None
        job = root.job or {}
        if not complete:
            self.notes.append(notices.many_jobs(job_tree.MAX_JOBS))
        request = job.get("args") if isinstance(job.get("args"), Mapping) else None
        definitions = self._definitions(root)
        schema = definitions.get(str(job.get("script_path")), {}).get("schema") or {}
        marked = find_marked(request, schema)
        redactor = redaction.Redactor([*self.secrets, *redaction.find_secrets(request or {}), *marked])
        reader = steps.StepReader(self.view.runtime_of, redactor, _summaries(definitions))
        shown = reader.read(root, monitoring.job_status(job) in monitoring.LIVE)
        if reader.strange:
            self.notes.append(notices.other_version(reader.strange))
        result, cut = cut_result(redactor.data(job.get("result")))
        return shapes.Detail(
            row=listing.row_from_job(live_runtimes.complete_job(self.windmill, job)),
            url=f"{self.base_url}/run/{job['id']}?workspace={self.windmill.workspace}" if self.base_url else None,
            request=mask_request(request, schema, redactor),
            last_good=self._last_good(job, schema),
            steps=shown,
            error=self._problem(root, redactor),
            result=result,
            cut=cut,
            version=_version(job),
            trace=self._trace(root),
            can=self._abilities(job),
        )

    def _trace(self, root: monitoring.Node) -> shapes.Trace | None:
        id = str((root.job or {}).get("id"))
        found = self.links.find(id, job_tree.list_results(root)) if self.links else None
        return shapes.Trace(id=found.trace_id, url=found.page or None) if found else None

    def _definitions(self, root: monitoring.Node) -> dict[str, Mapping[str, Any]]:
        """The flows of the tree as they are deployed now, by path; without those that cannot be read."""
        found: dict[str, Mapping[str, Any]] = {}
        for path in list(_flow_paths(root))[:MAX_FLOWS_READ]:
            try:
                found[path] = self.windmill.get(f"flows/get/{path}")
            except errors.FlexcoreError:
                continue
        return found

    def _last_good(self, job: execution_models.Job, schema: Mapping[str, Any]) -> shapes.LastGood | None:
        """The last run of the same workflow that succeeded before this one was made; None with a notice where it cannot
        be read."""
        query = {"job_kinds": "flow", "has_null_parent": "true", "success": "true", "order_desc": "true"}
        try:
            found = self.windmill.get(
                "jobs/completed/list",
                script_path_exact=str(job.get("script_path")),
                created_before=str(job["created_at"]),
                per_page=5,
                **query,
            )
            ids = [str(item["id"]) for item in found if item["id"] != job["id"] and not item.get("is_skipped")]
            whole = self.windmill.job(ids[0]) if ids else None
        except errors.FlexcoreError as error:
            self.notes.append(notices.unread("The last good run", error))
            return None
        if not whole or not isinstance(whole.get("args"), Mapping):
            return None
        marked = find_marked(whole["args"], schema)
        redactor = redaction.Redactor([*self.secrets, *redaction.find_secrets(whole["args"]), *marked])
        masked = mask_request(whole["args"], schema, redactor)
        return shapes.LastGood(id=str(whole["id"]), request=masked or {})

    def _problem(self, root: monitoring.Node, redactor: redaction.Redactor) -> execution_models.ExecutionError | None:
        """What failed, in the words of the step that failed, which is typed."""
        job = root.job or {}
        if not execution_models.is_failure(execution_models.job_status(job)):
            return None
        record = monitoring.build_execution(root, self.view)
        failed = next((step for step in record.steps if record.error and step.step == record.error.step), None)
        inner = find_job(root, failed.job) if failed and failed.job else None
        step = failed.step if failed else execution_models.failed_step_id(job)
        found = execution_models.error_from_results(job.get("result"), (inner or {}).get("result"), step)
        if found.message == "It failed without a message" and record.error:
            found = found.model_copy(update={"name": record.error.name, "message": record.error.message})
        message, remedy = redactor.text(found.message), found.remedy and redactor.text(found.remedy)
        cut = f"{message[:MAX_MESSAGE_CHARS]}\n… cut" if len(message) > MAX_MESSAGE_CHARS else message
        return found.model_copy(update={"message": cut, "remedy": remedy})

    def _abilities(self, job: execution_models.Job) -> shapes.Abilities:
        offer = self.find_offer(self.windmill, job)
        return shapes.Abilities(
            cancel=rights.can_cancel(self.user, job),
            restart=shapes.Restart(
                allowed=offer.refusal is None, reason=offer.refusal, resumes=offer.resumes, kept=list(offer.kept)
            ),
            debug_bundle=rights.YES,
        )


def cut_result(result: Any) -> tuple[Any, bool]:
    """The result, or its beginning as text, and whether it was cut."""
    text = json.dumps(result, default=str)
    return (text[:MAX_RESULT_CHARS], True) if len(text) > MAX_RESULT_CHARS else (result, False)


def mask_request(request: Any, schema: Mapping[str, Any], redactor: redaction.Redactor) -> dict[str, Any] | None:
    """The arguments of a run without secrets: by the mark in the flow's form, by the name of a field, by pattern."""
    if not isinstance(request, Mapping):
        return None
    return dict(redactor.data(_mask_marked(request, schema)))


def _mask_marked(value: Any, schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return value
    if schema.get("password") and value:
        return redaction.MASK
    fields, items = schema.get("properties"), schema.get("items")
    if isinstance(value, Mapping) and isinstance(fields, Mapping):
        return {name: _mask_marked(item, fields.get(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_mask_marked(item, items) for item in value]
    return value


def find_marked(value: Any, schema: Any) -> Iterator[str]:
    """The values of fields that the form marks as secret, and the secrets of a resource that was filled in there."""
    if not isinstance(schema, Mapping):
        return
    if schema.get("password"):
        yield from [value] if isinstance(value, str) else ()
    format = str(schema.get("format") or "")
    if format.startswith(RESOURCE_FORMAT) and isinstance(value, Mapping):
        yield from resources.find_secrets(format.removeprefix(RESOURCE_FORMAT), value)
    fields, items = schema.get("properties"), schema.get("items")
    if isinstance(value, Mapping) and isinstance(fields, Mapping):
        for name, item in value.items():
            if name == SECRET_ENV and isinstance(item, Mapping):
                yield from resources.find_secrets("", item)
            yield from find_marked(item, fields.get(name))
    elif isinstance(value, list):
        for item in value:
            yield from find_marked(item, items)


def find_job(node: monitoring.Node, id: str) -> monitoring.Job | None:
    if node.job and str(node.job.get("id")) == id:
        return node.job
    return next((found for child in node.children if (found := find_job(child, id))), None)


def _flow_paths(node: monitoring.Node) -> dict[str, None]:
    job = node.job or {}
    path = str(job.get("script_path") or "")
    own = {path: None} if job.get("job_kind") == "flow" and path else {}
    for child in node.children:
        own |= _flow_paths(child)
    return own


def _summaries(definitions: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for path, flow in definitions.items():
        found |= steps.read_summaries(path, flow.get("value"))
    return found


def _version(job: execution_models.Job) -> str | None:
    labels = map(str, job.get("labels") or ())
    return next((label.removeprefix(VERSION_LABEL) for label in labels if label.startswith(VERSION_LABEL)), None)
