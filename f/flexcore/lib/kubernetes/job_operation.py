# requirements: flexcore_kubernetes
"""The operation behind kubernetes/run_job: what is checked and asked before a Job is made.

The pipelines check and plan it, too: what only its execution needs is loaded then.
"""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import contracts, operation, resources
from f.flexcore.lib.kubernetes import connection, job_manifest

Invocation = operation.Invocation[job_manifest.JobRequest, resources.KubernetesCluster]


def check(
    request: job_manifest.JobRequest, service: resources.KubernetesCluster | None, settings: resources.Settings
) -> None:
    """Raises InvalidInput or MissingSetting for everything that can be known without a cluster."""
    job_manifest.check(request)
    if job_manifest.hands_over(request):
        from f.flexcore.lib.kubernetes import job_handover

        job_handover.check(request, settings)
    connection.check_place(request.requested_namespace(), service, settings)


def plan(invocation: Invocation) -> contracts.StepResult:
    """What would be made, and whether it would likely run. Raises Unreachable, Forbidden or NotFound."""
    from f.flexcore.lib.kubernetes import plan_job

    return plan_job.plan(invocation)


def execute(invocation: Invocation) -> dict[str, Any]:
    from f.flexcore.lib.core import driver
    from f.flexcore.lib.kubernetes import container_job

    return driver.drive(container_job.open_job, invocation)


RUN_JOB = operation.Operation(
    runtime="kubernetes",
    name="job",
    request=job_manifest.JobRequest,
    service=resources.KubernetesCluster,
    check=check,
    plan=plan,
    execute=execute,
)
