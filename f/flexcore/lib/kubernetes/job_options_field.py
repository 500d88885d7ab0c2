# requirements: flexcore_kubernetes
"""The field of a request that holds a Job's further options. Its model (job_options) is imported when it is given: most
Jobs are one container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from f.flexcore.lib.core import resources

if TYPE_CHECKING:
    from f.flexcore.lib.kubernetes import job_options

DESCRIPTION = (
    "Indexes, retries and policies, sidecars, queue, priority and place of a Job of the short form, e.g. {indexed: "
    "true, completions: 10, parallelism: 4}; empty means one container that is tried once."
)


if TYPE_CHECKING:
    OptionalJobOptions = job_options.JobOptions | None
else:
    LATE = resources.LateForm("f.flexcore.lib.kubernetes.job_options:JobOptions", is_optional=True)
    OptionalJobOptions = Annotated[Any, LATE, resources.OPAQUE]
