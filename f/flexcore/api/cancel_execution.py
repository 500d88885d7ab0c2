# requirements: flexcore_api
"""POST flexcore/executions/:id/cancel: asks Windmill to stop an execution and everything below it."""

from typing import Any

from f.flexcore.lib.api import cancelling, executions, http
from f.flexcore.lib.windmill import api


def preprocessor(event: dict) -> dict:
    return http.received(event)


def main(request: dict) -> dict[str, Any]:
    return http.answer(request, cancelled)


def cancelled(asked: http.Request) -> http.Answer:
    http.check_known(asked.query, (), "Query parameter")
    job = cancelling.cancel(api.Windmill(asked.token), asked)
    return http.Answer(executions.execution(job).plain(), 202)
