# requirements: flexcore_kubernetes
"""The field of a request that holds a Job's further options. Its model (job_options) is imported when it is given: most
Jobs are one container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import GetJsonSchemaHandler, TypeAdapter
from pydantic_core import core_schema

from f.flexcore.lib.core import resources

if TYPE_CHECKING:
    from f.flexcore.lib.kubernetes import job_options

DESCRIPTION = (
    "Indexes, retries and policies, sidecars, queue, priority and place of a Job of the short form, e.g. {indexed: "
    "true, completions: 10, parallelism: 4}; empty means one container that is tried once."
)


class Lazy:
    """Validates as job_options.JobOptions does; empty is None, since Windmill's form sends an object for a field that
    nobody has touched."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        from f.flexcore.lib.kubernetes import job_options

        return handler(TypeAdapter(job_options.JobOptions | None).core_schema)


def validate(value: Any) -> job_options.JobOptions | None:
    if not value:
        return None
    from f.flexcore.lib.kubernetes import job_options

    options = job_options.JobOptions.model_validate(value)
    return options if options != job_options.JobOptions() else None


if TYPE_CHECKING:
    OptionalJobOptions = job_options.JobOptions | None
else:
    OptionalJobOptions = Annotated[Any, Lazy(), resources.OPAQUE]
