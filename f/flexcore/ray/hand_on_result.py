# requirements: flexcore_base
"""Hands on the result of a job after its cluster was released, or fails with the job's error."""

from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.ray import released_result


def main(job: dict, release: dict | None = None) -> dict[str, Any]:
    result = errors.check_value(dict[str, Any], job, "job")
    return released_result.hand_on(result, errors.check_value(dict[str, Any] | None, release, "release"))
