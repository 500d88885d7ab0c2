# requirements: flexcore_api
"""Which trace an execution is, and where it is shown: for pages, the API and the metrics, by the settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors, resources, trace_context
from f.flexcore.lib.windmill import client


@dataclass(frozen=True, slots=True)
class TraceLink:
    """page: "" where the settings do not say where traces are shown."""

    trace_id: str
    page: str = ""


@dataclass(frozen=True, slots=True)
class TraceLinks:
    """Of a workspace that traces. sample_ratio: the share of its executions whose traces are kept."""

    sample_ratio: float
    url: str

    def find(self, root_job: str, results: Iterable[Any] = ()) -> TraceLink | None:
        """The trace that the steps with these results have joined, else that of the root; None for one that is not
        kept."""
        return self.link(root_job, next(filter(None, map(trace_context.read_told, results)), None))

    def link(self, root_job: str, told: trace_context.Told | None) -> TraceLink | None:
        """The same, of what one of its results tells."""
        trace_id = str(told["trace_id"]) if told else trace_context.trace_of_job(root_job)
        is_kept = told["is_sampled"] if told else trace_context.is_kept(trace_id, self.sample_ratio)
        return TraceLink(trace_id, self.url.replace("{trace_id}", trace_id)) if is_kept else None


def links_of(settings: resources.Settings) -> TraceLinks | None:
    """None where the settings name no collector."""
    return TraceLinks(settings.trace_sample_ratio, settings.trace_url) if settings.otlp_endpoint else None


def read_trace_links(windmill: client.Client) -> TraceLinks | None:
    """None where the settings name no collector, are none, or may not be read."""
    try:
        settings = windmill.find_resource(client.SETTINGS)
    except errors.FlexcoreError:
        return None
    if not isinstance(settings, Mapping) or not settings.get("otlp_endpoint"):
        return None
    ratio, url = settings.get("trace_sample_ratio"), str(settings.get("trace_url") or "")
    is_page = url.startswith(("http://", "https://"))
    return TraceLinks(float(ratio) if isinstance(ratio, int | float) else 1.0, url if is_page else "")
