# requirements: flexcore_kubernetes
"""Runs a job on the cluster that suits it, and elsewhere only when it cannot run there any more, or may run twice."""

from typing import Any

from f.flexcore.lib.core import operation
from f.flexcore.lib.kubernetes import placed_job
from f.flexcore.lib.windmill import client, stops

c_flexcore_settings = dict


def main(
    job: dict,
    placement: dict | None = None,
    safe_to_repeat: bool = False,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    stops.refuse_stopped()
    return operation.show(placed_job.place_job(locals(), client.Client().resource))
