# requirements: flexcore_kubernetes
"""Why work will not run as it is asked for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.kubernetes_api import admission, categories


@dataclass(frozen=True, slots=True)
class Reason:
    """subject: the field at fault. waits: it may end by itself, and the work waits until then; is_certain: the API
    server, a quota or a queue refuses it, so that it does not depend on what nodes there are or will be."""

    category: str
    subject: str
    text: str
    remedy: str
    waits: bool = False
    is_certain: bool = True

    def plain(self) -> dict[str, Any]:
        return {
            "category": str(self.category),
            "subject": self.subject,
            "text": self.text,
            "remedy": self.remedy,
            "waits": self.waits,
        }

    def __str__(self) -> str:
        return f"{self.text}. {self.remedy}".strip()


def from_error(error: errors.FlexcoreError) -> Reason:
    """The reason in a refused dry run. Raises the error when contact was lost or the credentials do not serve."""
    if error.category == "credentials" or isinstance(error, errors.Unreachable):
        raise error
    text = str(error).removesuffix(error.remedy).strip().rstrip(".")
    if isinstance(error, errors.TransientError):
        return Reason(error.category, error.subject, text, error.remedy, waits=True)
    if error.category not in (categories.Category.ADMISSION_DENIED, categories.Category.QUOTA_EXCEEDED):
        return Reason(error.category, error.subject, text, error.remedy)
    # The message of a controller that may not create its pods, and of our own try, are the same.
    problem = admission.diagnose_creation([{"reason": "FailedCreate", "message": text}])
    if problem is None or problem.category == categories.Category.UNKNOWN:
        return Reason(error.category, error.subject, text, error.remedy)
    return Reason(problem.category, problem.name_subject(error.subject), text, problem.remedy)


def to_diagnosis(reasons: Sequence[Reason]) -> contracts.Diagnosis | None:
    """Of the first reason that does not end by itself; None when there is none."""
    lasting = [reason for reason in reasons if not reason.waits]
    if not lasting:
        return None
    first = lasting[0]
    more = f" (and {len(lasting) - 1} more)" if len(lasting) > 1 else ""
    return contracts.Diagnosis(category=str(first.category), detail=f"{first.text}{more}", remedy=first.remedy)
