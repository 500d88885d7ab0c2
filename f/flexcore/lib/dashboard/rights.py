# requirements: flexcore_base
"""What whoever looks may do. Pure.

Windmill itself does not ask who cancels a job (seen in the source of 1.743: any user of the workspace may, by its id),
so the dashboard does: who started it, who may write where its flow lies, and administrators.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.dashboard import shapes
from f.flexcore.lib.windmill import execution_models

User = Mapping[str, Any]
YES = shapes.Can(allowed=True)


def may_write(user: User, path: str) -> bool:
    """Whether the user may change what lies at the path, as far as folders say it."""
    if user.get("is_admin") or user.get("is_super_admin"):
        return True
    kind, _, rest = path.partition("/")
    owner = rest.partition("/")[0]
    if user.get("operator"):
        return False
    if kind == "u":
        return owner == user.get("username")
    return owner in [*(user.get("folders") or ()), *(user.get("folders_owners") or ())]


def can_cancel(user: User, job: execution_models.Job) -> shapes.Can:
    if job.get("type") == "CompletedJob":
        status = execution_models.job_status(job)
        return shapes.Can(allowed=False, reason=f"It has ended already ({status})")
    return _may_act(user, job, "cancel it")


def can_stop(user: User, workflow: str) -> shapes.Can:
    path = execution_models.BUNDLE_FOLDER + workflow
    if may_write(user, path):
        return YES
    return shapes.Can(allowed=False, reason=f"Only who may write in the folder {_folder(path)} may stop its workflows")


def check(can: shapes.Can, what: str, subject: str) -> None:
    """Raises Forbidden with the reason."""
    if not can.allowed:
        raise errors.Forbidden(
            f"You may not {what}: {can.reason}",
            subject=subject,
            remedy="Ask an administrator of the workspace, or an owner of the folder, for the right to write there.",
        )


def _may_act(user: User, job: execution_models.Job, what: str) -> shapes.Can:
    path = str(job.get("script_path") or "")
    name = user.get("username")
    # Windmill names a job that was started with a token after the token's label.
    is_own = bool(name) and (job.get("created_by") == name or job.get("permissioned_as") == f"u/{name}")
    if is_own or may_write(user, path):
        return YES
    who = f"{job.get('created_by') or 'another user'}, who started it, an administrator"
    return shapes.Can(allowed=False, reason=f"Only {who}, or who may write in the folder {_folder(path)} may {what}")


def _folder(path: str) -> str:
    return "/".join(path.split("/")[:2])
