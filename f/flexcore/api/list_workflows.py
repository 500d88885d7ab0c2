# requirements: flexcore_api
# py: ==3.11.*
"""GET flexcore/workflows: what can be started, each with the schema of its arguments."""

from typing import Any

from f.flexcore.api.exchange import Answer, Request, answer, check_known, received
from f.flexcore.api.starting import workflows
from f.flexcore.api.windmill import Windmill


def preprocessor(event: dict) -> dict:
    return received(event)


def main(request: dict) -> dict[str, Any]:
    return answer(request, startable)


def startable(asked: Request) -> Answer:
    check_known(asked.query, (), "Query parameter")
    return Answer({"workflows": workflows(Windmill(asked.token))})
