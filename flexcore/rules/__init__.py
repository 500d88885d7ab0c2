"""What must hold of our own bundle besides what every Windmill bundle must: `find_problems`.

layout     steps and library, requirement sets and their shared locks
registry   lib/runtimes.py: operations, their verbs, and the addresses that name them
forms      script.yaml and flow.yaml against the request models of the operations
"""

from __future__ import annotations

from pathlib import Path

from flexcore.rules.forms import check_forms
from flexcore.rules.layout import check_layout
from flexcore.rules.registry import check_registry
from wmlocal.lint import Finding, check

__all__ = ["find_problems"]


def find_problems(root: Path) -> list[Finding]:
    """All findings in the bundle at `root`, in the order of files and lines. Raises CannotCheck."""
    return sorted({*check(root), *check_layout(root), *check_registry(root), *check_forms(root)})
