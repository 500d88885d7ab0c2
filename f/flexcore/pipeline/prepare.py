# requirements: flexcore_kubernetes
"""First step of the hybrid pipeline: the whole request checked before anything runs, and the stages already done."""

from typing import Any

from f.flexcore.lib.pipeline import hybrid_request
from f.flexcore.lib.windmill import stops

c_flexcore_settings = dict


def main(
    extraction: dict,
    ml: dict,
    deployment: dict,
    partial_results: list[dict] | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    stops.refuse_stopped()
    given: hybrid_request.Given = {"extraction": extraction, "ml": ml, "deployment": deployment}
    return hybrid_request.prepare(given, partial_results or [], settings)
