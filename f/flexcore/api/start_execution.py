# requirements: flexcore_api
# py: ==3.11.*
"""POST flexcore/executions: starts one of this bundle's flows, once for each Idempotency-Key."""

from typing import Any
from urllib.parse import quote

from f.flexcore.api.exchange import Answer, Request, answer, check_known, received
from f.flexcore.api.executions import execution
from f.flexcore.api.starting import start
from f.flexcore.api.windmill import Windmill


def preprocessor(event: dict) -> dict:
    return received(event)


def main(request: dict) -> dict[str, Any]:
    return answer(request, started)


def started(asked: Request) -> Answer:
    check_known(asked.query, (), "Query parameter")
    windmill = Windmill(asked.token)
    job, repeated = start(windmill, asked)
    headers = {"Location": f"/api/r/{quote(windmill.workspace)}/flexcore/executions/{job['id']}"}
    replayed = {"Idempotency-Replayed": "true"} if repeated else {}
    return Answer(execution(job).plain(), 200 if repeated else 201, headers | replayed)
