# requirements: flexcore_base
"""Starts a failed or canceled pipeline again with the same arguments, from what it has finished where it can."""

import os
from typing import Any

from f.flexcore.lib.pipeline import resume
from f.flexcore.lib.windmill import client


def main(execution: str, dry_run: bool = False) -> dict[str, Any]:
    windmill = client.Client()
    job = windmill.job(client.parse_job_id(execution, "execution"))
    path = resume.check_resumable(job)
    finished = resume.completed_stages(windmill, job)
    arguments = resume.arguments(job, finished)
    names = resume.list_names(finished)
    print(f"{path} goes on after {', '.join(names)}" if names else f"{path} begins again: nothing was finished")
    started = url = None
    if not dry_run:
        started = resume.start(windmill, path, arguments)
        url = f"{os.environ.get('WM_BASE_URL', '').rstrip('/')}/run/{started}?workspace={windmill.workspace}"
    return {"path": path, "resumed": job["id"], "finished": names, "started": started, "url": url}
