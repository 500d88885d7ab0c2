# requirements: flexcore_base
"""Executions below the dashboard's first page."""

from __future__ import annotations

from f.flexcore.lib.dashboard import listing, shapes
from f.flexcore.lib.windmill import client


def read_older(windmill: client.Client, chosen: shapes.Filter, older: str) -> tuple[list[shapes.Row], str | None]:
    """At most listing.OLDER_ROWS rows, newest first, and the position for the next ones; None when there are no more.
    Raises InvalidInput for what is no position."""
    return listing.read_older(windmill, chosen, older)
