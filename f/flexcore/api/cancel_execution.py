# requirements: flexcore_api
# py: ==3.11.*
"""POST flexcore/executions/:id/cancel: asks Windmill to stop an execution and everything below it."""

from typing import Any

from f.flexcore.api.cancelling import cancel
from f.flexcore.api.exchange import Answer, Request, answer, check_known, received
from f.flexcore.api.executions import execution
from f.flexcore.api.windmill import Windmill


def preprocessor(event: dict) -> dict:
    return received(event)


def main(request: dict) -> dict[str, Any]:
    return answer(request, cancelled)


def cancelled(asked: Request) -> Answer:
    check_known(asked.query, (), "Query parameter")
    job = cancel(Windmill(asked.token), asked)
    return Answer(execution(job).plain(), 202)
