# requirements: flexcore_base
"""Executions that are older than those the dashboard's first page has, from Windmill and then from the run index."""

from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.dashboard import older_rows, read, shapes
from f.flexcore.lib.windmill import client


def main(older: str, filter: dict | None = None) -> dict[str, Any]:
    chosen, windmill = errors.validate(shapes.Filter, filter or {}, "filter"), client.Client()
    rows, position = older_rows.read_older(windmill, chosen, older, read.read_settings(windmill))
    return {"rows": [row.plain() for row in rows], "older": position, "wm_labels": [shapes.LABEL]}
