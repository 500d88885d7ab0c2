# requirements: flexcore_api
"""GET flexcore/executions/:id: one execution with its steps, and its result or its typed error."""

from typing import Any

from f.flexcore.lib.api import executions, http, reading
from f.flexcore.lib.windmill import api


def preprocessor(event: dict) -> dict:
    return http.received(event)


def main(request: dict) -> dict[str, Any]:
    return http.answer(request, got)


def got(asked: http.Request) -> http.Answer:
    http.check_known(asked.query, (), "Query parameter")
    windmill = api.Windmill(asked.token)
    job = reading.found(windmill, asked.params.get("id", ""))
    return http.Answer(executions.detail(job, reading.failed_step_job(windmill, job)).plain())
