"""The bundle checker: what `wmill lint` lets pass, found without a server.

files      what the bundle holds            positions  YAML with places
tables     known keys and types             shape      a file against its table
flows      steps and what they can see      expressions  the JavaScript in a flow
"""

from __future__ import annotations

from pathlib import Path

from wmlocal.lint.bundle import check_bundle
from wmlocal.lint.files import CannotCheck
from wmlocal.lint.finding import Finding, Severity

__all__ = ["CannotCheck", "Finding", "Severity", "check"]


def check(root: Path) -> list[Finding]:
    """All findings in the bundle at `root`, in the order of files and lines. Raises CannotCheck."""
    return check_bundle(root)
