# requirements: flexcore_api
# py: ==3.11.*
"""GET flexcore/executions/:id: one execution with its steps, and its result or its typed error."""

from typing import Any

from f.flexcore.api.exchange import Answer, Request, answer, check_known, received
from f.flexcore.api.executions import detail
from f.flexcore.api.reading import failed_step_job, found
from f.flexcore.api.windmill import Windmill


def preprocessor(event: dict) -> dict:
    return received(event)


def main(request: dict) -> dict[str, Any]:
    return answer(request, got)


def got(asked: Request) -> Answer:
    check_known(asked.query, (), "Query parameter")
    windmill = Windmill(asked.token)
    job = found(windmill, asked.params.get("id", ""))
    return Answer(detail(job, failed_step_job(windmill, job)).plain())
