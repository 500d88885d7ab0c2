# requirements: flexcore_base
"""The last page of an execution that failed: what failed, what to do, what is kept for the next run. Pure.

failure: the plain FlowFailure that its error was read into.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from html import escape
from typing import Any

from f.flexcore.lib.views import html, result_pages, stages

Plain = Mapping[str, Any]
MAX_ERROR_CHARACTERS = 3000
MAX_LINE_CHARACTERS = 300
RESUME = "script operations/resume_pipeline"


def show_failure(failure: Plain, env: Mapping[str, str]) -> dict[str, Any]:
    """A FlowFailure with its page."""
    return result_pages.show(render_failure, failure, env)


def show_pipeline_failure(result: Plain, failure: Plain, env: Mapping[str, str]) -> dict[str, Any]:
    """A failed PipelineResult with its page."""
    return result_pages.show(partial(_render_pipeline_failure, failure), result, env)


def show_data_failure(result: Plain, failure: Plain, env: Mapping[str, str]) -> dict[str, Any]:
    """A failed DataPipelineResult with its page."""
    return result_pages.show(partial(_render_data_failure, failure), result, env)


def render_failure(failure: Plain, links: result_pages.Links) -> str:
    found = _read_containers(failure)
    kept = [item.name for item in found if item.status in ("success", "reused")]
    again = [f"Kept: {escape(', '.join(kept))}. A run that is given them does not run them again."] if kept else []
    return _build(failure, found, again)


def _render_pipeline_failure(failure: Plain, result: Plain, links: result_pages.Links) -> str:
    found = result_pages.read_pipeline_stages(result)
    done, failed = [stage.name for stage in found], result.get("failed_stage")
    for name in result_pages.STAGE_NAMES:
        if name not in done:
            found.append(stages.Stage(name, html.UNKNOWN, "failed" if name == failed else "not run"))
    kept = f"Kept: {', '.join(done)}. To go on from there" if done else "Nothing was finished. To start it again"
    start = f"start {links.flow(RESUME)} with execution {html.build_code(links.job or 'ID')}"
    return _build(failure, found, [f"{escape(kept)}, {start}."])


def _render_data_failure(failure: Plain, result: Plain, links: result_pages.Links) -> str:
    start = f"{links.flow(RESUME)} with execution {html.build_code(links.job or 'ID')}"
    again = f"Start it again with the same arguments: {start}."
    return _build(failure, result_pages.read_attempts(result), [again])


def _build(failure: Plain, found: list[stages.Stage], again: list[str]) -> str:
    """again: HTML of what is kept and how to go on."""
    text, step = str(failure.get("error") or "unknown error"), failure.get("failed_step")
    line = next((part.strip() for part in text.splitlines() if part.strip()), "unknown error")
    short = line if len(line) <= MAX_LINE_CHARACTERS else f"{line[: MAX_LINE_CHARACTERS - 1]}…"
    at = f"at {step}: " if step else ""
    details = failure.get("details") or {}
    diagnosis = details.get("diagnosis")
    remedy = failure.get("remedy") or (diagnosis or {}).get("remedy") if isinstance(diagnosis, Mapping | None) else ""
    return html.build_page(
        html.build_summary("failed", f"{at}{short}"),
        html.build_next_steps([*_list_remedies(failure, str(remedy or "")), *again, *_list_links(failure, details)]),
        *(stages.render_stages(found) if found else ()),
        _build_facts(failure),
        result_pages.build_diagnosis(diagnosis),
        html.build_fold("The whole error", text, MAX_ERROR_CHARACTERS) if text.strip() != short else "",
        html.build_fold("End of the log", str(details.get("log_tail") or "")),
    )


def _list_remedies(failure: Plain, remedy: str) -> list[str]:
    steps = [f"<b>{escape(remedy)}</b>"] if remedy else []
    if failure.get("retryable"):
        steps.append("It may pass by itself: start it again.")
    return steps or ["Read the error below, and the log of the step that failed."]


def _list_links(failure: Plain, details: Plain) -> list[str]:
    remote = details.get("remote")
    steps = []
    if isinstance(remote, Mapping) and str(remote.get("url") or "").startswith(("http://", "https://")):
        steps.append(f"Open {html.build_link(str(remote['url']), str(remote.get('name') or remote['url']))}.")
    notified = failure.get("notified")
    if notified is False:
        steps.append("The notification was not sent; the log of this step says why.")
    return steps


def _build_facts(failure: Plain) -> str:
    rows = [(name.title(), str(failure[name])) for name in ("category", "subject") if failure.get(name)]
    return html.build_table(("", ""), rows) if rows else ""


def _read_containers(failure: Plain) -> list[stages.Stage]:
    """The containers of a workflow that failed: finished ones, then failed ones, then those not run."""
    details = failure.get("details") or {}
    finished, failed, skipped = (details.get(name) for name in ("partial_results", "failed", "skipped"))
    found = []
    for item in finished if isinstance(finished, list) else ():
        if isinstance(item, Mapping) and isinstance(item.get("result"), Mapping):
            name = str(item.get("node") or item.get("stage") or "")
            found.append(stages.read_stage(name, item["result"], "reused" if item.get("reused") else ""))
    for names, status in ((failed, "failed"), (skipped, "not run")):
        found += [stages.Stage(str(name), html.UNKNOWN, status) for name in names] if isinstance(names, Mapping) else []
    return found
