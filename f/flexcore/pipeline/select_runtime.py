# requirements: flexcore_pipeline
"""Checks the data pipeline's whole form, measures the work at its source and chooses the runtime for it.

Asks every candidate how it is now, and Windmill what was learned from earlier runs. For a plan (explain_only) every
candidate's service is asked whether it would take the work.
"""

from typing import Any

from f.flexcore.lib.pipeline import choice
from f.flexcore.lib.windmill import client, stops


def main(request: dict) -> dict[str, Any]:
    stops.refuse_stopped()
    return choice.choose_runtime(request, client.Client().resource)
