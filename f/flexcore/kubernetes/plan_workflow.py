# requirements: flexcore_kubernetes
"""Checks a workflow of containers before any starts, and orders it into levels that run one after the other."""

from typing import Any

from f.flexcore.lib.kubernetes import workflow_resume
from f.flexcore.lib.windmill import stops

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    nodes: list[dict],
    cluster: c_kubernetes_cluster | None = None,
    namespace: str = "",
    service_account: str = "",
    run_as_user: int | None = None,
    timeout_s: int | None = None,
    queue_timeout_s: int | None = None,
    ttl_s: int | None = None,
    resume_from: str = "",
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    stops.refuse_stopped()
    return workflow_resume.plan(locals())
