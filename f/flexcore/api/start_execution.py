# requirements: flexcore_api
"""POST flexcore/executions: starts one of this bundle's flows, once for each Idempotency-Key."""

from typing import Any
from urllib.parse import quote

from f.flexcore.lib.api import executions, http, starting
from f.flexcore.lib.windmill import api


def preprocessor(event: dict) -> dict:
    return http.received(event)


def main(request: dict) -> dict[str, Any]:
    return http.answer(request, started)


def started(asked: http.Request) -> http.Answer:
    http.check_known(asked.query, (), "Query parameter")
    windmill = api.Windmill(asked.token)
    job, repeated = starting.start(windmill, asked)
    headers = {"Location": f"/api/r/{quote(windmill.workspace)}/flexcore/executions/{job['id']}"}
    replayed = {"Idempotency-Replayed": "true"} if repeated else {}
    return http.Answer(executions.execution(job).plain(), 200 if repeated else 201, headers | replayed)
