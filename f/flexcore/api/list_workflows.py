# requirements: flexcore_api
"""GET flexcore/workflows: what can be started, each with the schema of its arguments."""

from typing import Any

from f.flexcore.lib.api import http, starting
from f.flexcore.lib.windmill import api


def preprocessor(event: dict) -> dict:
    return http.received(event)


def main(request: dict) -> dict[str, Any]:
    return http.answer(request, startable)


def startable(asked: http.Request) -> http.Answer:
    http.check_known(asked.query, (), "Query parameter")
    return http.Answer({"workflows": starting.workflows(api.Windmill(asked.token))})
