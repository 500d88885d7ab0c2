# requirements: flexcore_api
"""GET flexcore/executions: this bundle's executions, newest first, by workflow, runtime and status, page by page."""

from typing import Any

from f.flexcore.lib.api import executions, http, reading
from f.flexcore.lib.core import errors
from f.flexcore.lib.windmill import api


def preprocessor(event: dict) -> dict:
    return http.received(event)


def main(request: dict) -> dict[str, Any]:
    return http.answer(request, page)


def page(asked: http.Request) -> http.Answer:
    http.check_known(asked.query, executions.ListQuery.model_fields, "Query parameter")
    jobs, cursor = reading.listed(api.Windmill(asked.token), errors.validated(executions.ListQuery, asked.query, ""))
    return http.Answer({"executions": [executions.execution(job).plain() for job in jobs], "next_cursor": cursor})
