"""`flexcore check`: prints findings as linters do, and says by its exit code whether there are any."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from wmlocal.lint import CannotCheck, Finding, Severity, check

CLEAN, FOUND, CANNOT_RUN = 0, 1, 2


def run(root: Path, as_json: bool, fail_on_warn: bool, find: Callable[[Path], list[Finding]] = check) -> int:
    """0 clean, 1 findings (warnings alone do not count, unless asked), 2 when the check could not run. find: for a
    bundle with rules of its own."""
    try:
        findings = find(root)
    except CannotCheck as error:
        print(f"flexcore: {error}", file=sys.stderr)
        return CANNOT_RUN
    if as_json:
        print(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        _print(findings)
    errors = [finding for finding in findings if fail_on_warn or finding.severity is Severity.ERROR]
    return FOUND if errors else CLEAN


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        print(finding)
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    warnings = len(findings) - errors
    if not findings:
        print("All checks passed.")
    else:
        print(f"Found {_count(errors, 'error')} and {_count(warnings, 'warning')}.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
