# requirements: flexcore_base
"""Takes the run index that earlier versions kept for all workspaces together: run_index/DAY.… → run_index/WORKSPACE/.

Its rows name no workspace. So it is taken only where each row of the time that Windmill still remembers is of an
execution of this workspace: else several have written it. Then it stays as it is, and is no more than history; what
Windmill still has, each workspace indexes for itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.dashboard import run_index
from f.flexcore.lib.windmill import client, execution_models, executions

# Written once it is decided, so that it is not asked with each pass.
DECISION = "adopted.json"
# Windmill forgets jobs by their end, many at a time.
MARGIN = timedelta(days=1)


def adopt_old_files(windmill: client.Client, index: run_index.RunIndex, now: datetime) -> None:
    """Says what became of them, if there are some. Raises as client and store do."""
    store, folder = index.store, index.store.uri(run_index.FOLDER)
    names = [name for name in store.names(folder) if run_index.day_of(name)]
    decision = f"{index.folder}/{DECISION}"
    if not names or store.read_json(decision):
        return
    contents = {name: content for name in names if (content := _read_whole(index, f"{folder}/{name}")) is not None}
    is_ours = _is_ours(windmill, run_index.join_rows(contents.values()), now)
    if is_ours is None:
        return
    for name, content in contents.items() if is_ours else ():
        # Under its own name: a pass that is repeated writes the same file.
        store.write_json(f"{index.folder}/{name}", content)
        store.remove(f"{folder}/{name}")
    store.write_json(decision, {"adopted": is_ours})
    if is_ours:
        print(f"{len(contents)} files of the run index were moved to {index.folder}")
    else:
        print(f"The run index in {folder} has executions of other workspaces, too, and is left as it is")


def _is_ours(windmill: client.Client, rows: run_index.Rows, now: datetime) -> bool | None:
    """None while Windmill has no execution from which to tell."""
    listed = executions.ended_since(windmill, now - timedelta(days=run_index.MAX_DAYS))
    ends = {job.id: job.ended_at for job in map(execution_models.execution_from_job, listed)}
    oldest = min(filter(None, ends.values()), default=None)
    if oldest is None:
        return None
    remembered = [row for row in rows.values() if (row.ended_at or row.created_at) > oldest + MARGIN]
    return all(row.id in ends for row in remembered)


def _read_whole(index: run_index.RunIndex, uri: str) -> Any | None:
    """None for a file that is damaged, or gone."""
    try:
        return index.store.read_json(uri)
    except errors.DataError:
        return None
