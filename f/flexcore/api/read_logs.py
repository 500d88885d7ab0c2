# requirements: flexcore_api
"""GET flexcore/executions/:id/logs: the last lines of an execution's log and its steps', as plain text."""

from typing import Any

from f.flexcore.lib.api import executions, http, reading
from f.flexcore.lib.core import errors, redaction
from f.flexcore.lib.windmill import api


def preprocessor(event: dict) -> dict:
    return http.received(event)


def main(request: dict) -> dict[str, Any]:
    return http.answer(request, tail)


def tail(asked: http.Request) -> http.Answer:
    http.check_known(asked.query, executions.LogQuery.model_fields, "Query parameter")
    lines = errors.validated(executions.LogQuery, asked.query, "").tail
    windmill = api.Windmill(asked.token)
    job = reading.found(windmill, asked.params.get("id", ""))
    log = windmill.text(f"jobs_u/get_flow_all_logs/{job['id']}").splitlines()[-lines:]
    return http.Answer(redaction.Redactor().text("\n".join(log)), content_type=http.TEXT)
