# requirements: flexcore_api
# py: ==3.11.*
"""GET flexcore/executions/:id/logs: the last lines of an execution's log and its steps', as plain text."""

from typing import Any

from f.flexcore.api.exchange import TEXT, Answer, Request, answer, check_known, received
from f.flexcore.api.executions import LogQuery
from f.flexcore.api.reading import found
from f.flexcore.api.windmill import Windmill
from f.flexcore.core.errors import validated
from f.flexcore.core.redaction import Redactor


def preprocessor(event: dict) -> dict:
    return received(event)


def main(request: dict) -> dict[str, Any]:
    return answer(request, tail)


def tail(asked: Request) -> Answer:
    check_known(asked.query, LogQuery.model_fields, "Query parameter")
    lines = validated(LogQuery, asked.query, "").tail
    windmill = Windmill(asked.token)
    job = found(windmill, asked.params.get("id", ""))
    log = windmill.text(f"jobs_u/get_flow_all_logs/{job['id']}").splitlines()[-lines:]
    return Answer(Redactor().text("\n".join(log)), content_type=TEXT)
