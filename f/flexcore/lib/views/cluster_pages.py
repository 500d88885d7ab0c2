# requirements: flexcore_base
"""Page of all clusters and our work on them, from the plain data of kubernetes/check_clusters. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from f.flexcore.lib.views import html

Plain = Mapping[str, Any]
CLUSTER_HEAD = (
    "Cluster",
    "State",
    "Cloud",
    "Region",
    "Version",
    "CPUs free",
    "GPUs free",
    "Memory free",
    "Jobs",
    "Models",
    "Last contact",
    "Detail",
)
WORK_HEAD = ("Cluster", "Work", "State", "Version", "Placed", "Last contact", "Deadline there")


def render_clusters_page(clusters: Sequence[Plain], work: Sequence[Plain]) -> str:
    """Two tables; times of contacts by our clock, deadlines by that of the cluster."""
    ready = sum(item["state"] == "ready" for item in clusters)
    state = "ready" if ready == len(clusters) else "limited" if ready else "unreachable"
    state = state if clusters else html.NOT_MEASURED
    text = f"{ready} of {len(clusters)} clusters are ready, with {len(work)} works of ours"
    tables = [html.build_html_table(CLUSTER_HEAD, [_cluster_row(item) for item in clusters])]
    if work:
        tables.append(html.build_html_table(WORK_HEAD, [_work_row(item) for item in work]))
    return html.build_page(html.build_summary(state, text), *tables)


def _cluster_row(item: Plain) -> list[str]:
    cpus = None if item["free_cpus"] is None else f"{item['free_cpus']:g} of {item['cpus']:g}"
    gpus = None if item["free_gpus"] is None else f"{item['free_gpus']:g} of {item['gpus']:g}"
    memory = None if item["free_memory_bytes"] is None else html.format_size(item["free_memory_bytes"])
    measured = [cpus, gpus, memory, item["running_jobs"], item["models"]]
    contact = format_time(item["last_contact"])
    if item["lost_s"] is not None:
        contact = f"{contact}, lost for {html.format_seconds(item['lost_s'])}"
    return [
        escape(item["cluster"]),
        html.build_state(item["state"]),
        *(escape(item[name] or html.UNKNOWN) for name in ("cloud", "region", "version")),
        *(escape(html.NOT_MEASURED if value is None else str(value)) for value in measured),
        escape(contact),
        escape(item["detail"] or html.UNKNOWN),
    ]


def _work_row(item: Plain) -> list[str]:
    return [
        escape(item["cluster"]),
        escape(f"{item['kind']} {item['namespace']}/{item['name']}"),
        html.build_state(item["state"]),
        *(escape(item[name] or html.UNKNOWN) for name in ("version", "placed")),
        escape(format_time(item["last_contact"])),
        escape(format_deadline(item)),
    ]


def format_deadline(item: Plain) -> str:
    if item["deadline"] is None:
        return html.UNKNOWN
    left = item["deadline_in_s"]
    text = format_time(item["deadline"])
    if left is None:
        return text
    return f"{text}, in {html.format_seconds(left)}" if left > 0 else f"{text}, {html.format_seconds(-left)} ago"


def format_time(seconds: float | None) -> str:
    return html.UNKNOWN if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
