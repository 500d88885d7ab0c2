# requirements: flexcore_base
"""What the page says about itself: each state that is not the usual one, in words, with what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from f.flexcore.lib.core import errors, redaction
from f.flexcore.lib.dashboard import shapes

# The bundle is tested with it; the rights of a raw app (`execution_mode: viewer`) need it.
LOWEST_SERVER = (1, 743)
EMBEDDED = "flexcore engine"
VERSION_PATTERN = re.compile(r"v?(\d+)\.(\d+)")
# Of server and worker: what differs by more makes ages and durations wrong.
MAX_CLOCK_SKEW_S = 60


def forgotten(id: str) -> shapes.Notice:
    return shapes.Notice(
        code="forgotten",
        severity="warning",
        message=f"Windmill has no execution {id[:60]} that you may see",
        remedy="It is past Windmill's retention, of another workspace, or you lack the right to see it. "
        "The run index may still have its row: look for it by its day in the list.",
    )


def many_jobs(limit: int) -> shapes.Notice:
    return shapes.Notice(
        code="many_jobs",
        severity="info",
        message=f"The execution has more than {limit} jobs; the rest are not shown",
        remedy="Open its page in Windmill for all of them.",
    )


def other_version(steps: Sequence[str]) -> shapes.Notice:
    return shapes.Notice(
        code="other_version",
        severity="info",
        message=f"Results of another version of flexcore: {'; '.join(steps[:5])}",
        remedy="What this version knows of them is shown; the raw result has the rest.",
    )


def unread(part: str, error: errors.FlexcoreError) -> shapes.Notice:
    """A part that could not be read: the others are shown all the same."""
    forbidden = isinstance(error, errors.Forbidden | errors.NotFound)
    return shapes.Notice(
        code="no_right" if forbidden else "unread",
        severity="warning" if forbidden else "error",
        message=redaction.Redactor().text(f"{part} cannot be read: {error}"),
        remedy=error.remedy or None,
    )


def defect(part: str, error: Exception) -> shapes.Notice:
    """A part whose reading broke: a fault of ours, not of who looks."""
    return shapes.Notice(
        code="defect",
        severity="error",
        message=f"{part} cannot be read: {type(error).__name__}, a defect of flexcore",
        remedy="Report it with the log of this page's last job (label dashboard), which says where it is.",
    )


def no_settings(is_needed: bool) -> shapes.Notice:
    """is_needed: whether a part that was asked for is not whole without them."""
    return shapes.Notice(
        code="no_settings",
        severity="warning" if is_needed else "info",
        message="There is no resource f/flexcore/settings that you may read: clusters and the run index are not shown",
        remedy="Create it as c_flexcore_settings, or ask for the right to read it.",
    )


def check_server(version: str) -> list[shapes.Notice]:
    """A notice for a server that is older than what the bundle is tested with, or that does not say."""
    if version.startswith(EMBEDDED):
        return []
    match = VERSION_PATTERN.search(version)
    if not match:
        message, code = f"The server does not say its version ({version[:40]!r})", "unknown_server"
    elif (int(match[1]), int(match[2])) < LOWEST_SERVER:
        lowest = ".".join(map(str, LOWEST_SERVER))
        message, code = (
            f"The server is {match[0]}, older than {lowest}: parts of this page may be wrong",
            "older_server",
        )
    else:
        return []
    return [shapes.Notice(code=code, severity="warning", message=message, remedy="Upgrade the server.")]


def check_clock(server: datetime, worker: datetime) -> list[shapes.Notice]:
    """server: a time that Windmill's own clock wrote; worker: this process's, at that moment."""
    skew = abs((server - worker).total_seconds())
    if skew <= MAX_CLOCK_SKEW_S:
        return []
    message = f"The clocks of the server and of this worker differ by {round(skew)} s: ages and durations are uncertain"
    remedy = "Switch on time synchronization (NTP) on both."
    return [shapes.Notice(code="clock", severity="warning", message=message, remedy=remedy)]


def unserved_tag(text: str) -> shapes.Notice:
    """text: a sentence for the problem, and one for what to do."""
    problem, _, remedy = text.partition(". ")
    return shapes.Notice(code="unserved_tag", severity="warning", message=problem, remedy=remedy or None)


def unknown_part(name: str) -> shapes.Notice:
    return shapes.Notice(
        code="unknown_part",
        severity="info",
        message=f"This version of flexcore has no part {name[:40]!r} of the dashboard",
        remedy="Deploy the page and the steps in the same version.",
    )
