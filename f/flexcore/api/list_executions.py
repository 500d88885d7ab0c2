# requirements: flexcore_api
# py: ==3.11.*
"""GET flexcore/executions: this bundle's executions, newest first, by workflow, runtime and status, page by page."""

from typing import Any

from f.flexcore.api.exchange import Answer, Request, answer, check_known, received
from f.flexcore.api.executions import ListQuery, execution
from f.flexcore.api.reading import listed
from f.flexcore.api.windmill import Windmill
from f.flexcore.core.errors import validated


def preprocessor(event: dict) -> dict:
    return received(event)


def main(request: dict) -> dict[str, Any]:
    return answer(request, page)


def page(asked: Request) -> Answer:
    check_known(asked.query, ListQuery.model_fields, "Query parameter")
    jobs, cursor = listed(Windmill(asked.token), validated(ListQuery, asked.query, ""))
    return Answer({"executions": [execution(job).plain() for job in jobs], "next_cursor": cursor})
