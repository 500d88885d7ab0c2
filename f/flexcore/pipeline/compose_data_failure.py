# requirements: flexcore_base
# py: ==3.11.*
"""Failure module of the data pipeline: what failed, on which runtime, and what was tried before."""

from typing import Any

from f.flexcore.pipeline.data_results import refused


def main(
    error: dict, analysis: dict | None = None, choice: dict | None = None, attempts: list | None = None
) -> dict[str, Any]:
    result = refused(analysis, choice, attempts, error)
    print(result.error)
    return result.plain()
