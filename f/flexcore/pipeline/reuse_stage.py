# requirements: flexcore_base
# py: ==3.11.*
"""Stands in for a stage that was done before: hands on its verified result."""

from typing import Any

from f.flexcore.core.contracts import StepResult
from f.flexcore.core.errors import validated


def main(result: dict) -> dict[str, Any]:
    return validated(StepResult, result, "result").plain()
